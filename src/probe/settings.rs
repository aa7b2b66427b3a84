//! `probe`: the modules of `/probe`, and what may be probed.

use std::{collections::BTreeMap, time::Duration};

use super::modules::{Module, ModuleTemplate, Modules};
use crate::value::{AllowedTarget, AllowedTargets, Fields, FromNode, Node};

/// Settings of `/probe`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// True if there are modules, or could be.
    pub(crate) is_enabled: bool,
    /// Modules by name.
    pub modules: BTreeMap<String, Module>,
    /// Targets that may be probed; any if not set.
    pub allowed_targets: Option<AllowedTargets>,
    /// Probes at once.
    pub max_concurrent_probes: usize,
    /// Probes of one host at once; `None` is no limit.
    pub max_concurrent_probes_per_host: Option<usize>,
    /// Time left of the timeout of a scrape for the way back.
    pub(crate) timeout_offset: Duration,
    /// Number of recent probes that are kept, and of failed ones before them.
    pub history_limit: usize,
    /// The probes that are logged.
    pub log: ProbeLog,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_enabled: false,
            modules: BTreeMap::new(),
            allowed_targets: None,
            max_concurrent_probes: 1000,
            max_concurrent_probes_per_host: None,
            timeout_offset: Duration::from_millis(500),
            history_limit: 100,
            log: ProbeLog::default(),
        }
    }
}

impl Settings {
    /// Reads the section, and the modules of `blackbox_file`, which is the content of `config_file`.
    #[must_use]
    pub fn read(
        mut fields: Fields<'_>,
        blackbox_file: Option<Fields<'_>>,
    ) -> (Self, Vec<ModuleTemplate>) {
        let defaults = Self::default();
        let mut modules = Modules::default();
        // The file has been found and parsed by then.
        let _ = fields.node("config_file");
        if let Some(file) = blackbox_file {
            add_file(file, &mut modules);
        }
        if let Some(own) = fields.section("modules") {
            modules.add(&own, false);
        }
        let allowed_targets = fields.node("allowed_targets").is_some().then(|| {
            let allowed: Vec<AllowedTarget> = fields.list("allowed_targets");
            allowed.into()
        });
        let history_limit = fields.optional("history_limit");
        let settings = Self {
            is_enabled: true,
            modules: modules.by_name,
            allowed_targets,
            max_concurrent_probes: fields
                .optional("max_concurrent_probes")
                .unwrap_or(defaults.max_concurrent_probes),
            max_concurrent_probes_per_host: fields.optional("max_concurrent_probes_per_host"),
            timeout_offset: fields
                .optional("timeout_offset")
                .map_or(defaults.timeout_offset, |Offset(offset)| offset),
            log: fields.optional("log").unwrap_or_default(),
            history_limit: history_limit.map_or(defaults.history_limit, |Limit(limit)| limit),
        };
        fields.reject_unknown_keys();
        (settings, modules.templates)
    }
}

/// Reads a configuration of blackbox_exporter.
#[must_use]
pub(crate) fn read_blackbox_file(file: Fields<'_>) -> (Settings, Vec<ModuleTemplate>) {
    let mut modules = Modules::default();
    add_file(file, &mut modules);
    let settings = Settings {
        is_enabled: true,
        modules: modules.by_name,
        ..Settings::default()
    };
    (settings, modules.templates)
}

fn add_file(mut file: Fields<'_>, modules: &mut Modules) {
    if file.entries().is_empty() {
        file.add_problem("empty", "modules");
    }
    if let Some(entries) = file.section("modules") {
        modules.add(&entries, true);
    }
    file.reject_unknown_keys();
}

/// The probes that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeLog {
    /// All.
    All,
    /// Failed ones.
    #[default]
    Failures,
    /// None.
    None,
}

impl FromNode for ProbeLog {
    const EXPECTED: &'static str = "all, failures or none";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "all" => Ok(Self::All),
            "failures" => Ok(Self::Failures),
            "none" => Ok(Self::None),
            other => Err(format!("unknown selection {other:?}")),
        }
    }
}

/// A span of time that may be nothing.
struct Offset(Duration);

impl FromNode for Offset {
    const EXPECTED: &'static str = "0, seconds (0.5) or a value with a unit (500ms), below 2m";

    fn from_node(node: &Node) -> Result<Self, String> {
        if *node == Node::Int(0) {
            return Ok(Self(Duration::ZERO));
        }
        let offset = Duration::from_node(node)?;
        if offset >= Duration::from_mins(2) {
            return Err("is out of range".to_owned());
        }
        Ok(Self(offset))
    }
}

/// A number of probes that are kept.
struct Limit(usize);

impl FromNode for Limit {
    const EXPECTED: &'static str = "a whole number from 0 to 10000";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(number @ 0..=10_000) => Ok(Self(usize::try_from(*number).unwrap_or(0))),
            Node::Int(number) => Err(format!("{number} is out of range")),
            other => Err(format!("found {}", other.kind())),
        }
    }
}
