//! The modules of `/probe`: settings of a check without a target.

use std::{collections::BTreeMap, time::Duration};

use super::{blackbox::translate, shown};
use crate::{
    monitors::Type,
    value::{EntryPart, Fields, FromNode, Node, Path, Problems, Warning, WarningKind, nearest},
};

/// The name of the template that the module `name` is, for `extends` of monitors.
pub(crate) const TEMPLATE_PREFIX: &str = "module/";

/// A module as `/probe` needs it; its keys are in the template of its name.
#[derive(Clone, Debug)]
pub struct Module {
    /// Maximum duration of a probe; `None` for that of the scrape.
    pub timeout: Option<Duration>,
    /// The type of its probes, or why there are none.
    pub prober: Result<Type, Unusable>,
    /// Its keys as YAML, with secrets hidden.
    pub shown: String,
}

/// Why a module cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its prober is not known.
    UnknownProber(String),
    /// It asks for something that cannot be done here.
    Unsupported(Type, &'static str),
}

/// The keys of a module, of which monitors and probes are made.
#[derive(Clone, Debug)]
pub struct ModuleTemplate {
    /// `module/NAME`
    pub name: String,
    /// The keys of a monitor, without a target.
    pub node: Node,
    /// Where they are.
    pub path: Path,
    /// The type they are for, if it is known.
    pub prober: Option<Type>,
    /// True if it is one of blackbox_exporter, which reads files when it probes.
    pub(crate) is_foreign: bool,
}

/// The condition of a family of metrics, besides the type of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for itself")]
pub(crate) struct Traits {
    /// True if a CEL expression judges the body.
    pub(crate) judges_json: bool,
    /// True if the record SOA is asked for.
    pub(crate) asks_for_soa: bool,
    /// True if TLS begins with the connection.
    pub(crate) begins_with_tls: bool,
    /// True if there are steps in `query_response`.
    pub(crate) has_steps: bool,
}

impl Traits {
    /// Reads them from the keys of a monitor.
    #[must_use]
    pub(crate) fn read(fields: &mut Fields<'_>) -> Self {
        let mut has = |key| fields.node(key).is_some();
        Self {
            judges_json: has("fail_if_body_json_matches_cel")
                || has("fail_if_body_json_not_matches_cel"),
            has_steps: has("query_response"),
            asks_for_soa: fields.optional::<String>("query_type").as_deref() == Some("SOA"),
            begins_with_tls: fields.optional("tls") == Some(true),
        }
    }
}

/// The modules of blackbox_exporter.
const PROBERS: [Type; 7] = [
    Type::Http,
    Type::Tcp,
    Type::Icmp,
    Type::Dns,
    Type::Grpc,
    Type::Unix,
    Type::Websocket,
];

/// Modules by name, and the templates that they are.
#[derive(Default)]
pub(super) struct Modules {
    pub by_name: BTreeMap<String, Module>,
    pub templates: Vec<ModuleTemplate>,
}

impl Modules {
    /// Adds the entries of the mapping `modules`; with `is_foreign`, all are of blackbox_exporter.
    pub(super) fn add(&mut self, modules: &Fields<'_>, is_foreign: bool) {
        let problems = modules.problems();
        for (name, node, path) in modules.entries() {
            if self.by_name.contains_key(name) {
                let wrong = "duplicate name: a module of this name is in probe.config_file";
                problems.add(path, EntryPart::Key, wrong, "another name");
                continue;
            }
            let Some(mut fields) = Fields::from_node(node, path.clone(), problems) else {
                continue;
            };
            let is_foreign = is_foreign || fields.node("prober").is_some();
            if is_foreign {
                self.add_foreign(name, node, &path, fields);
            } else {
                self.add_own(name, node, path, fields);
            }
        }
    }

    /// Adds a module in the keys of a monitor.
    fn add_own(&mut self, name: &str, node: &Node, path: Path, mut fields: Fields<'_>) {
        // The template says what is wrong with them.
        let scratch = Problems::default();
        let own = Fields::from_node(node, path.clone(), &scratch);
        let timeout = own.and_then(|mut own| own.optional("timeout"));
        let given = fields.node("type").map(|(node, _)| Type::from_node(node));
        let prober = match given {
            None => Some(Type::Http),
            Some(prober) => prober.ok(),
        };
        let extends = fields.node("extends").is_some();
        self.templates.push(ModuleTemplate {
            name: format!("{TEMPLATE_PREFIX}{name}"),
            node: node.clone(),
            path,
            prober: prober.filter(|_| !extends || fields.node("type").is_some()),
            is_foreign: false,
        });
        let module = Module {
            timeout,
            prober: Ok(prober.unwrap_or(Type::Http)),
            shown: shown::yaml(node),
        };
        self.by_name.insert(name.to_owned(), module);
    }

    /// Adds a module of blackbox_exporter.
    fn add_foreign(&mut self, name: &str, node: &Node, path: &Path, mut fields: Fields<'_>) {
        let problems = fields.problems();
        let timeout = read_timeout(&mut fields);
        let word: Option<String> = fields.required("prober");
        let prober = PROBERS
            .into_iter()
            .find(|prober| Some(prober.as_str()) == word.as_deref());
        let mut obstacle = None;
        let mut own = None;
        for section in PROBERS {
            let found = fields.node(section.as_str());
            let (node, place) = match found {
                Some((node, place)) => (node, place),
                None if Some(section) == prober => (&Node::Null, path.clone()),
                None => continue,
            };
            let translated = translate(section, node, &place, problems);
            let template = ModuleTemplate {
                name: format!("{TEMPLATE_PREFIX}{name}"),
                node: translated.keys,
                path: place,
                prober: Some(section),
                is_foreign: true,
            };
            if Some(section) == prober {
                obstacle = translated.obstacle;
                own = Some(template);
            } else {
                // Not used, and read all the same, as there.
                self.templates.push(ModuleTemplate {
                    name: format!("{TEMPLATE_PREFIX}{name} ({section:?})"),
                    ..template
                });
            }
        }
        fields.reject_unknown_keys();
        if let Some(mut template) = own {
            if let (Some(timeout), Node::Map(entries)) = (timeout, &mut template.node) {
                let timeout = Node::Float(timeout.as_secs_f64());
                entries.push(("timeout".to_owned(), timeout));
            }
            self.templates.push(template);
        }
        let word = word.unwrap_or_default();
        let prober = match (prober, obstacle) {
            (Some(prober), None) => Ok(prober),
            (Some(prober), Some(obstacle)) => Err(Unusable::Unsupported(prober, obstacle)),
            (None, _) => Err(Unusable::UnknownProber(word)),
        };
        if let Err(wrong) = &prober {
            warn(path, problems, &wrong.to_string());
        }
        let module = Module {
            timeout,
            prober,
            shown: shown::yaml(node),
        };
        self.by_name.insert(name.to_owned(), module);
    }
}

/// `timeout` of a module of blackbox_exporter, where 0 means that there is none.
fn read_timeout(fields: &mut Fields<'_>) -> Option<Duration> {
    let (node, _) = fields.node("timeout")?;
    let is_none = match node {
        Node::Int(0) => true,
        Node::Text(text) => matches!(&**text, "0" | "0s" | "0ms" | "0m" | "0h"),
        _ => false,
    };
    if is_none {
        return None;
    }
    fields.optional("timeout")
}

fn warn(path: &Path, problems: &Problems, message: &str) {
    problems.warn(Warning {
        path: path.clone(),
        part: EntryPart::Key,
        message: format!("its probes will fail: {message}"),
        kind: WarningKind::Suspicious,
    });
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsupported(_, obstacle) => f.write_str(obstacle),
            Self::UnknownProber(word) => {
                let known = PROBERS.map(Type::as_str);
                write!(f, "unknown prober {word:?}")?;
                match nearest(word, &known) {
                    Some(near) => write!(f, ", did you mean {near}?"),
                    None => write!(f, ": expected one of {}", known.join(", ")),
                }
            }
        }
    }
}
