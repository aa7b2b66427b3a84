//! The relabelling rules of a job: applied to targets that are listed, adapted for blocks of discovery.

use std::time::Duration;

use crate::{
    commands::import::{entry::Keys, report::Report},
    discovery::relabel::{Labels, Rules},
    value::{Fields, Node, Path, Problems, format_duration},
};

const KEY: &str = "relabel_configs";
const MODULE: &str = "__param_module";
const DEFAULT_MODULE: &str = "http_2xx";

/// The labels that all targets of a job have before relabelling.
pub(super) struct JobLabels<'j> {
    /// The name of the job.
    pub job: &'j str,
    /// The first value of each of its parameters.
    pub parameters: &'j [(String, String)],
    /// Its interval and timeout.
    pub(crate) timing: (Duration, Duration),
}

/// The rules of one job.
pub(super) struct Relabelling {
    /// As Prometheus has them.
    rules: Rules,
    /// The labels that all targets have.
    common: Labels,
    /// The rules for a block of discovery.
    adapted: Vec<Keys>,
    /// The module, unless it depends on the target.
    module: Option<String>,
}

/// Reads the rules in `node`; `None`, with rows in the report, if they are not valid.
pub(super) fn read(
    node: Option<(&Node, Path)>,
    job: &JobLabels<'_>,
    report: &Report,
) -> Option<Relabelling> {
    let empty = (&Node::Null, Path::default());
    let (node, path) = node.unwrap_or(empty);
    let list = Node::Map(vec![(KEY.to_owned(), node.clone())]);
    let problems = Problems::default();
    let rules = Fields::from_node(&list, Path::default(), &problems)
        .map(|mut fields| Rules::read(&mut fields))
        .unwrap_or_default();
    let (problems, _) = problems.into_vec();
    if !problems.is_empty() {
        for problem in problems {
            report.left_out(&path, format!("{}: {}", problem.path, problem.message));
        }
        return None;
    }
    let items = match node {
        Node::List(items) => items.as_slice(),
        _ => &[],
    };
    let given: Vec<_> = items.iter().map(Rule::new).collect();
    let default = job
        .parameters
        .iter()
        .find(|(name, _)| name == "module")
        .map_or(DEFAULT_MODULE, |(_, module)| module);
    let chooses_module = given.iter().any(|rule| rule.target == MODULE);
    let mut adapted = constants(&given, job, chooses_module.then_some(default));
    adapted.extend(adapt(&given, &path, report));
    Some(Relabelling {
        rules,
        common: common_labels(job),
        adapted,
        module: (!chooses_module).then(|| default.to_owned()),
    })
}

impl Relabelling {
    /// The labels of the target `address` with its own `labels`; `None` if it is dropped.
    pub(super) fn apply(&self, address: &str, labels: &Labels) -> Option<Labels> {
        let mut all = self.common.clone();
        all.extend(labels.clone());
        all.insert("__address__".to_owned(), address.to_owned());
        self.rules.apply(all).ok()
    }

    /// The module, unless it depends on the target.
    pub(super) fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    /// The rules for a block, which with `module` keeps the targets of that module.
    pub(super) fn rules(&self, module: Option<&String>) -> Vec<Node> {
        let mut rules = self.adapted.clone();
        if let Some(module) = module {
            let mut keep = Keys::default();
            keep.set(
                "source_labels",
                Node::List(vec![Node::Text(MODULE.to_owned())]),
            );
            keep.set("regex", regex_syntax::escape(module));
            keep.set("action", "keep");
            rules.push(keep);
        }
        rules.into_iter().map(|rule| Node::Map(rule.0)).collect()
    }
}

/// One rule, as far as it matters here.
struct Rule<'r> {
    node: &'r Node,
    sources: Vec<&'r str>,
    target: &'r str,
    is_replace: bool,
}

impl<'r> Rule<'r> {
    fn new(node: &'r Node) -> Self {
        let entries = match node {
            Node::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        let get = |key: &str| entries.iter().find(|(name, _)| name == key);
        let text = |key: &str| match get(key) {
            Some((_, Node::Text(text))) => text.as_str(),
            _ => "",
        };
        let sources = match get("source_labels") {
            Some((_, Node::List(items))) => items.as_slice(),
            _ => &[],
        };
        let sources = sources.iter().filter_map(|item| match item {
            Node::Text(text) => Some(text.as_str()),
            _ => None,
        });
        Self {
            node,
            sources: sources.collect(),
            target: text("target_label"),
            is_replace: matches!(text("action").to_lowercase().as_str(), "" | "replace"),
        }
    }

    /// Returns whether it writes the same to its target for each target.
    fn is_constant(&self) -> bool {
        self.is_replace && self.sources.is_empty()
    }
}

/// The labels of all targets, as Prometheus sets them.
fn common_labels(job: &JobLabels<'_>) -> Labels {
    let (interval, timeout) = job.timing;
    let mut labels: Labels = [
        ("job", job.job.to_owned()),
        ("__scheme__", "http".to_owned()),
        ("__metrics_path__", "/probe".to_owned()),
        ("__scrape_interval__", format_duration(interval)),
        ("__scrape_timeout__", format_duration(timeout)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for (name, value) in job.parameters {
        labels.insert(format!("__param_{name}"), value.clone());
    }
    labels
}

/// Rules that set the labels which Prometheus sets and discovery does not, if they are read.
fn constants(given: &[Rule<'_>], job: &JobLabels<'_>, module: Option<&str>) -> Vec<Keys> {
    let mut constants = Vec::new();
    let mut add = |name: &str, value: &str| {
        let mut rule = Keys::default();
        rule.set("target_label", name);
        rule.set("replacement", value.replace('$', "$$"));
        constants.push(rule);
    };
    let reads = |name: &str| given.iter().any(|rule| rule.sources.contains(&name));
    if reads("job") {
        add("job", job.job);
    }
    for (name, value) in job.parameters {
        let label = format!("__param_{name}");
        let is_needed = match name.as_str() {
            "module" => module.is_some() || reads(&label),
            _ => true,
        };
        if is_needed {
            add(&label, value);
        }
    }
    let is_given = job.parameters.iter().any(|(name, _)| name == "module");
    if let (Some(module), false) = (module, is_given) {
        add(MODULE, module);
    }
    constants
}

/// The rules without the ones that lead to the exporter, and with the names that labels have here.
fn adapt(given: &[Rule<'_>], path: &Path, report: &Report) -> Vec<Keys> {
    let mut adapted = Vec::new();
    for (index, rule) in given.iter().enumerate() {
        let is_read_later = |name: &str| {
            given[index + 1..]
                .iter()
                .any(|rule| rule.sources.contains(&name))
        };
        let leads_to_exporter = matches!(
            rule.target,
            "__address__" | "__scheme__" | "__metrics_path__"
        ) && rule.is_constant()
            && !is_read_later(rule.target);
        if leads_to_exporter {
            report.changed(&path.item(index), "dropped: it leads to the exporter");
            continue;
        }
        let Node::Map(entries) = rule.node else {
            continue;
        };
        let mut keys = Keys(entries.clone());
        let renamed = match rule.target {
            "__scrape_interval__" => Some("__check_every__"),
            "__scrape_timeout__" => Some("__timeout__"),
            _ => None,
        };
        if let Some(renamed) = renamed {
            report.changed(
                &path.item(index),
                format!("{} became {renamed}", rule.target),
            );
            keys.set("target_label", renamed);
        }
        adapted.push(keys);
    }
    if given.iter().any(|rule| rule.sources.contains(&"job")) {
        let mut drop = Keys::default();
        drop.set("regex", "job");
        drop.set("action", "labeldrop");
        adapted.push(drop);
    }
    adapted
}
