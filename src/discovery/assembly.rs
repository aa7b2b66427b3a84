//! Merges the target lists and builds monitors from them. Results are kept for each target, so that a
//! small change of a list costs little.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::Duration,
};

use url::Url;

use super::{
    payload::Target,
    relabel::Labels,
    settings::Block,
    source::Update,
    stats::{BlockCounts, BlockStats},
};
use crate::value::{FromNode, HttpUrl, Node, format_duration};

/// The name and keys of a monitor for a discovered target.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveredMonitor {
    /// Its name, which is valid.
    pub name: String,
    /// The name of its template.
    pub template: Arc<str>,
    /// The value of `target`, for types with that key.
    pub target: String,
    /// The value of `url`, for types with that key.
    pub url: String,
    /// The host name to request, if it is not the target's.
    pub hostname: Option<String>,
    /// Further keys: `labels`, and those that labels of the target set, such as `check_every`.
    pub keys: Vec<(String, Node)>,
}

/// Builds a monitor, or returns all problems with it.
pub type BuildMonitor<M> = dyn Fn(DiscoveredMonitor) -> Result<M, Vec<String>> + Send + Sync;

/// Maximum number of targets that are logged for each change of the lists.
const MAX_LOGGED_TARGETS: usize = 10;

/// Labels with a special meaning.
const ADDRESS: &str = "__address__";
const NAME: &str = "monitor";

/// All lists and their monitors.
pub(super) struct TargetMerger<M> {
    blocks: Vec<BlockState<M>>,
    build: Arc<BuildMonitor<M>>,
    /// Monitor names of more than one target.
    duplicates: HashSet<Arc<str>>,
}

/// The lists and monitors of one block.
struct BlockState<M> {
    block: Block,
    stats: Arc<BlockStats>,
    /// The lists of each source.
    lists: Vec<Vec<Arc<[Target]>>>,
    results: HashMap<Target, TargetResult<M>>,
    /// In the order of the lists.
    monitors: Vec<(Arc<str>, Arc<M>)>,
    dropped: usize,
    rejected: usize,
    is_outdated: bool,
}

/// The result for one target.
enum TargetResult<M> {
    Monitor(Arc<str>, Arc<M>),
    Dropped,
    Rejected,
}

impl<M> Clone for TargetResult<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Monitor(name, monitor) => Self::Monitor(name.clone(), monitor.clone()),
            Self::Dropped => Self::Dropped,
            Self::Rejected => Self::Rejected,
        }
    }
}

impl<M> TargetMerger<M> {
    pub(super) fn new(
        blocks: impl IntoIterator<Item = (Block, Arc<BlockStats>)>,
        build: Arc<BuildMonitor<M>>,
    ) -> Self {
        let blocks = blocks.into_iter().map(|(block, stats)| BlockState {
            lists: vec![Vec::new(); block.sources.len()],
            block,
            stats,
            results: HashMap::new(),
            monitors: Vec::new(),
            dropped: 0,
            rejected: 0,
            is_outdated: true,
        });
        Self {
            blocks: blocks.collect(),
            build,
            duplicates: HashSet::new(),
        }
    }

    /// Replaces the lists of a source.
    pub(super) fn apply(&mut self, update: Update) {
        let Some(lists) = update.lists else { return };
        let mut index = update.source;
        for block in &mut self.blocks {
            match block.lists.get_mut(index) {
                Some(known) => {
                    *known = lists;
                    block.is_outdated = true;
                    return;
                }
                None => index -= block.lists.len(),
            }
        }
    }

    /// Builds all monitors again with `build`.
    pub(super) fn rebuild(&mut self, build: Arc<BuildMonitor<M>>) {
        self.build = build;
        for block in &mut self.blocks {
            block.results.clear();
            block.is_outdated = true;
        }
    }

    /// Returns all monitors. If several have the same name, the first one is used.
    pub(super) fn monitors(&mut self) -> Vec<Arc<M>> {
        for block in &mut self.blocks {
            if mem::take(&mut block.is_outdated) {
                block.update(&*self.build);
            }
        }
        let mut names = HashSet::new();
        let mut monitors = Vec::new();
        let mut duplicates = HashSet::new();
        let mut lines = LogLimiter::default();
        for block in &self.blocks {
            let before = monitors.len();
            for (name, monitor) in &block.monitors {
                if names.insert(name) {
                    monitors.push(monitor.clone());
                    continue;
                }
                if !self.duplicates.contains(name) && lines.allows() {
                    tracing::warn!(
                        block = &*block.block.name,
                        monitor = &**name,
                        "Duplicate monitor name; target ignored"
                    );
                }
                duplicates.insert(name.clone());
            }
            let of_block = monitors.len() - before;
            block.stats.set(BlockCounts {
                monitors: of_block,
                dropped: block.dropped,
                duplicates: block.monitors.len() - of_block,
                rejected: block.rejected,
            });
        }
        lines.finish("More targets ignored because of duplicate monitor names");
        self.duplicates = duplicates;
        monitors
    }
}

impl<M> BlockState<M> {
    /// Builds monitors for new targets, and removes those of targets that are gone.
    fn update(&mut self, build: &BuildMonitor<M>) {
        let mut before = mem::take(&mut self.results);
        let mut results: HashMap<Target, TargetResult<M>> = HashMap::with_capacity(before.len());
        (self.dropped, self.rejected) = (0, 0);
        let mut monitors = Vec::with_capacity(self.monitors.len());
        let mut lines = LogLimiter::default();
        for target in self.lists.iter().flatten().flat_map(|list| list.iter()) {
            let now = if let Some(known) = results.get(target) {
                known.clone()
            } else {
                let (target, now) = match before.remove_entry(target) {
                    Some(known) => known,
                    None => (
                        target.clone(),
                        build_monitor(&self.block, target, build, &mut lines),
                    ),
                };
                results.insert(target, now.clone());
                now
            };
            match now {
                TargetResult::Monitor(name, monitor) => monitors.push((name, monitor)),
                TargetResult::Dropped => self.dropped += 1,
                TargetResult::Rejected => self.rejected += 1,
            }
        }
        lines.finish("More targets rejected");
        self.results = results;
        self.monitors = monitors;
    }
}

/// The decision on one target.
pub(super) enum Decision<M> {
    /// It is monitored.
    Monitor { name: Arc<str>, monitor: M },
    /// The relabelling rule at this index drops it.
    Dropped(usize),
    /// It has no valid monitor. `shown` is the name of the monitor, if it has one, or else the address.
    Rejected { shown: String, error: String },
}

/// Decides on a target: applies the relabelling rules, and builds its monitor.
pub(super) fn decide<M>(block: &Block, target: &Target, build: &BuildMonitor<M>) -> Decision<M> {
    let mut labels = Labels::clone(&target.labels);
    labels.insert(ADDRESS.to_owned(), target.address.clone());
    let labels = match block.rules.apply(labels) {
        Ok(labels) => labels,
        Err(rule) => return Decision::Dropped(rule),
    };
    let monitor = match to_monitor(block, labels) {
        Ok(monitor) => monitor,
        Err(error) => {
            let shown = redacted(&target.address);
            return Decision::Rejected { shown, error };
        }
    };
    let name: Arc<str> = monitor.name.as_str().into();
    match build(monitor) {
        Ok(monitor) => Decision::Monitor { name, monitor },
        Err(errors) => Decision::Rejected {
            shown: name.to_string(),
            error: errors.join("; "),
        },
    }
}

/// Builds the monitor of a new target.
fn build_monitor<M>(
    block: &Block,
    target: &Target,
    build: &BuildMonitor<M>,
    lines: &mut LogLimiter,
) -> TargetResult<M> {
    match decide(block, target, build) {
        Decision::Monitor { name, monitor } => TargetResult::Monitor(name, Arc::new(monitor)),
        Decision::Dropped(_) => TargetResult::Dropped,
        Decision::Rejected { shown, error } => {
            lines.log_rejected(block, &shown, &error);
            TargetResult::Rejected
        }
    }
}

/// The monitor of a target with these `labels`, after relabelling.
fn to_monitor(block: &Block, mut labels: Labels) -> Result<DiscoveredMonitor, String> {
    // Prometheus' rules for blackbox_exporter move the target to this label.
    let address = labels
        .remove("__param_target")
        .or_else(|| labels.remove(ADDRESS));
    let Some(address) = address else {
        return Err(format!("relabelling removed {ADDRESS}"));
    };
    let name = match labels.remove(NAME) {
        Some(name) => name,
        None => format!("{}/{}", block.name, redacted(&address)),
    };
    if name.chars().count() > 200 || name.chars().any(char::is_control) {
        let error = "invalid monitor name: expected at most 200 characters, no control characters";
        return Err(error.to_owned());
    }
    let url = url(&address, &labels);
    let hostname = labels.remove("__param_hostname");
    let mut keys = Vec::new();
    for (key, label) in [
        ("check_every", "__check_every__"),
        ("timeout", "__timeout__"),
    ] {
        if let Some(value) = labels.remove(label) {
            if key == "check_every" {
                check_interval(&value, block.min_check_every)?;
            }
            keys.push((key.to_owned(), Node::Text(value)));
        }
    }
    if let Some(value) = labels.remove("__enabled__") {
        let enabled = match &*value {
            "true" => true,
            "false" => false,
            _ => return Err(format!("__enabled__ is {value:?}, expected true or false")),
        };
        keys.push(("enabled".to_owned(), Node::Bool(enabled)));
    }
    if let Some(value) = labels.remove("__depends_on__") {
        let names = value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| Node::Text(name.to_owned()))
            .collect();
        keys.push(("depends_on".to_owned(), Node::List(names)));
    }
    let own: Vec<_> = labels
        .into_iter()
        .filter(|(name, _)| !name.starts_with("__"))
        .map(|(name, value)| (name, Node::Text(value)))
        .collect();
    if !own.is_empty() {
        keys.push(("labels".to_owned(), Node::Map(own)));
    }
    Ok(DiscoveredMonitor {
        name,
        template: block.template.clone(),
        target: address,
        url,
        hostname,
        keys,
    })
}

/// Rejects an interval shorter than `min`. An invalid interval is rejected later.
fn check_interval(value: &str, min: Duration) -> Result<(), String> {
    match Duration::from_node(&Node::Text(value.to_owned())) {
        Ok(interval) if interval < min => Err(format!(
            "__check_every__ is {}: expected at least min_check_every, {}",
            format_duration(interval),
            format_duration(min)
        )),
        _ => Ok(()),
    }
}

/// The URL of `address`, with Prometheus' labels for missing parts.
fn url(address: &str, labels: &Labels) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let label = |name: &str, default| labels.get(name).map_or(default, String::as_str);
    let scheme = label("__scheme__", "http");
    let path = label("__metrics_path__", "");
    let separator = if path.is_empty() || path.starts_with('/') {
        ""
    } else {
        "/"
    };
    format!("{scheme}://{address}{separator}{path}")
}

/// `address` without parts of a URL that may be secret.
pub(super) fn redacted(address: &str) -> String {
    if !address.contains(['@', '?', '#']) {
        return address.to_owned();
    }
    match Url::parse(address) {
        Ok(url) if url.has_host() => HttpUrl::redacted(&url),
        _ => {
            let end = address.find(['?', '#']).unwrap_or(address.len());
            let start = address[..end].rfind('@').map_or(0, |at| at + 1);
            address[start..end].to_owned()
        }
    }
}

/// Limits the number of log lines about targets.
#[derive(Default)]
struct LogLimiter {
    count: usize,
}

impl LogLimiter {
    fn allows(&mut self) -> bool {
        self.count += 1;
        self.count <= MAX_LOGGED_TARGETS
    }

    fn log_rejected(&mut self, block: &Block, target: &str, error: &str) {
        if self.allows() {
            let block = &*block.name;
            tracing::warn!(block, target, error, "Target rejected");
        }
    }

    fn finish(self, message: &str) {
        let more = self.count.saturating_sub(MAX_LOGGED_TARGETS);
        if more > 0 {
            tracing::warn!(targets = more, "{message}");
        }
    }
}
