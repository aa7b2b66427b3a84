//! The sections of the configuration. The keys of a type are read by the type.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use tracing::level_filters::LevelFilter;

use super::{
    metrics::read_metrics,
    monitor::{Defaults, Monitor},
    node_hash::hash_node,
    sections::{Named, Sections, reject_duplicate_names},
    source::Warning,
    templates::{MonitorBuilder, Size},
};
use crate::{
    check::{Fingerprint, LoggedChecks},
    discovery, heartbeat, logging, metrics, probe, server,
    state::{self, Member},
    storage, telemetry,
    value::{
        EntryPart, Fields, ForbiddenNetworks, ForbiddenTargets, FromNode, Node, Problems,
        WarningKind,
    },
};

/// A configuration. The default equals an empty file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `log`
    pub log: Log,
    /// `server`
    pub server: server::Settings,
    /// `dispatcher`
    pub dispatcher: Dispatcher,
    /// `metrics`
    pub metrics: metrics::Settings,
    /// `probe`
    pub probe: probe::Settings,
    /// `storage`
    pub storage: storage::Settings,
    /// `telemetry`
    pub telemetry: HashedSection<telemetry::Settings>,
    /// `heartbeat`
    pub heartbeat: HashedSection<Option<heartbeat::Settings>>,
    /// `forbid_targets`
    pub forbid_targets: ForbiddenTargets,
    /// `monitors`, in the order of the files.
    pub monitors: Vec<Monitor>,
    /// Hashes of the keys that require a restart.
    pub(crate) restart_only_keys: RestartOnlyKeys,
    /// Builds further monitors from the templates.
    pub monitor_builder: MonitorBuilder,
    /// `discovery`
    pub discovery: discovery::Settings,
    /// Hash of everything that `discovery` is built from.
    pub(crate) discovery_fingerprint: Fingerprint,
    /// The settings for the states of all monitors.
    pub states: state::Settings,
    /// All configured monitors, whichever of them run here, as far as dependencies are concerned; empty if
    /// none can depend on another.
    pub members: Arc<[Member]>,
    /// The files named in `discovery`.
    pub(crate) discovery_files: BTreeSet<PathBuf>,
    /// The configuration file, included files, and folders that patterns were matched in, sorted.
    pub files: Vec<PathBuf>,
    /// Warnings about probable mistakes.
    pub warnings: Vec<Warning>,
}

/// Hashes of the keys that cannot change while the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RestartOnlyKeys(BTreeMap<String, u64>);

impl RestartOnlyKeys {
    const SECTIONS: [&'static str; 4] = ["log", "server", "dispatcher", "metrics"];

    fn read(fields: &mut Fields<'_>) -> Self {
        let mut hashes = BTreeMap::new();
        for section in Self::SECTIONS {
            if let Some((Node::Map(entries), _)) = fields.node(section) {
                let entries = entries.iter();
                hashes.extend(
                    entries.map(|(key, value)| (format!("{section}.{key}"), hash_node(value))),
                );
            }
        }
        if let Some((Node::Map(entries), _)) = fields.node("storage") {
            let paths = entries.iter().filter(|(key, _)| *key == "path");
            hashes.extend(paths.map(|(_, path)| ("storage.path".to_owned(), hash_node(path))));
        }
        Self(hashes)
    }

    /// The keys whose values differ from `other`.
    #[must_use]
    pub(crate) fn changed_keys(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let changed = keys
            .into_iter()
            .filter(|key| self.0.get(*key) != other.0.get(*key));
        changed.cloned().collect()
    }
}

/// Settings of logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// `log.level`
    pub level: LevelFilter,
    /// `log.format`
    pub format: logging::Format,
    /// `log.datefmt`
    pub(crate) date_format: Option<logging::DateFormat>,
    /// `log.checks`
    pub checks: LoggedChecks,
}

/// A section whose part of the daemon starts anew if it changes.
#[derive(Clone, Debug, Default)]
pub struct HashedSection<S> {
    /// The settings.
    pub settings: S,
    /// Hash of everything that they are built from.
    pub(crate) fingerprint: Fingerprint,
    /// The files named in it.
    pub files: BTreeSet<PathBuf>,
}

impl<S: Default> HashedSection<S> {
    /// Reads the section at `key` with `read`.
    fn read(
        fields: &mut Fields<'_>,
        key: &'static str,
        read: impl FnOnce(Fields<'_>) -> S,
    ) -> Self {
        // Those of other sections.
        fields.problems().take_files();
        let node = fields.node(key).map(|(node, _)| node);
        let section = fields.section(key);
        let settings = section.map(read).unwrap_or_default();
        let files = fields.problems().take_files();
        Self {
            settings,
            fingerprint: Fingerprint {
                settings: node.map_or(0, hash_node),
                files: files.fingerprint(),
            },
            files: files.paths().cloned().collect(),
        }
    }
}

/// The hashes of all such sections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SectionFingerprints {
    /// That of `telemetry`.
    pub(crate) telemetry: Fingerprint,
    /// That of `heartbeat`.
    pub(crate) heartbeat: Fingerprint,
}

/// Settings of the dispatcher.
#[derive(Clone, Copy, Debug)]
pub struct Dispatcher {
    /// `dispatcher.max_concurrent_checks`
    pub max_concurrent_checks: usize,
    /// `dispatcher.max_concurrent_checks_per_host`
    pub max_concurrent_checks_per_host: Option<usize>,
}

impl Config {
    /// Reads the configuration.
    ///
    /// `included` are further files, and `blackbox_file` is the one that `probe.config_file` names; `is_partial` is
    /// true if some files could not be read.
    pub(super) fn read<'a>(
        mut fields: Fields<'a>,
        included: impl Iterator<Item = Fields<'a>>,
        blackbox_file: Option<Fields<'_>>,
        is_partial: bool,
    ) -> Self {
        let problems = fields.problems();
        let log = fields.section("log").map(Log::read).unwrap_or_default();
        let server = fields
            .section("server")
            .map(server::Settings::read)
            .unwrap_or_default();
        let defaults = fields
            .section("defaults")
            .map(Defaults::read)
            .unwrap_or_default();
        let dispatcher = fields
            .section("dispatcher")
            .map(Dispatcher::read)
            .unwrap_or_default();
        let metrics = fields
            .section("metrics")
            .map(read_metrics)
            .unwrap_or_default();
        let storage = fields
            .section("storage")
            .map(storage::Settings::read)
            .unwrap_or_default();
        let fixed = RestartOnlyKeys::read(&mut fields);
        let forbid_targets: Vec<ForbiddenNetworks> = fields.list("forbid_targets");
        let (probe, modules) = match fields.section("probe") {
            Some(section) => probe::Settings::read(section, blackbox_file),
            None => (probe::Settings::default(), Vec::new()),
        };
        let telemetry = HashedSection::read(&mut fields, "telemetry", telemetry::Settings::read);
        let heartbeat = HashedSection::read(&mut fields, "heartbeat", heartbeat::Settings::read);
        let discovery_node = fields.node("discovery").map(|(node, _)| node);
        let discovery_hash = discovery_node.map_or(0, hash_node);
        let discovery = fields.section("discovery");
        let self_check = fields.section("self_check");
        let maintenance = fields.section("maintenance");
        let own = Sections::read(&mut fields);
        fields.reject_unknown_keys();
        let files = [own]
            .into_iter()
            .chain(included.map(Sections::read_included));
        let mut templates = Vec::new();
        let mut monitors = Vec::new();
        for file in files {
            templates.extend(file.templates);
            monitors.extend(file.monitors);
        }
        let templates = reject_duplicate_names(templates, problems);
        let monitor_builder = MonitorBuilder::read(
            defaults,
            metrics.clone(),
            templates,
            &modules,
            is_partial,
            problems,
        );
        problems.take_files();
        let discovery = discovery
            .map(|section| discovery::Settings::read(&section, monitor_builder.names().as_deref()))
            .unwrap_or_default();
        let discovery_files = problems.take_files();
        let discovery_version = Fingerprint {
            settings: discovery_hash,
            files: discovery_files.fingerprint(),
        };
        let entries = reject_duplicate_names(monitors, problems);
        let names: Vec<_> = entries.iter().map(|(name, _, _)| *name).collect();
        // Others may be discovered, or stand in a file that could not be read.
        let known = (discovery.is_empty() && !is_partial).then_some(&*names);
        let monitors = read_monitors(entries, &monitor_builder, problems);
        let dependencies = monitors.iter();
        let dependencies =
            dependencies.map(|monitor| (&*monitor.name, &monitor.labels, &*monitor.depends_on));
        state::check_dependencies(dependencies, known, problems);
        let states = read_states(self_check, maintenance.as_ref(), known);
        let may_depend = !discovery.is_empty() || monitors.iter().any(|m| !m.depends_on.is_empty());
        let members = monitors.iter().filter(|_| may_depend);
        let members = members.map(Monitor::member).collect();
        Self {
            log,
            server,
            dispatcher,
            metrics,
            probe,
            storage,
            telemetry,
            heartbeat,
            forbid_targets: forbid_targets.into(),
            monitors,
            restart_only_keys: fixed,
            monitor_builder,
            discovery,
            discovery_fingerprint: discovery_version,
            states,
            members,
            discovery_files: discovery_files.paths().cloned().collect(),
            files: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads a configuration of blackbox_exporter.
    pub(super) fn read_blackbox(fields: Fields<'_>) -> Self {
        let problems = fields.problems();
        let (probe, modules) = probe::read_blackbox_file(fields);
        let monitor_builder = MonitorBuilder::read(
            Defaults::default(),
            metrics::Settings::default(),
            Vec::new(),
            &modules,
            false,
            problems,
        );
        Self {
            probe,
            monitor_builder,
            ..Self::default()
        }
    }

    /// The hashes of the sections whose parts of the daemon start anew if they change.
    #[must_use]
    pub(crate) fn section_fingerprints(&self) -> SectionFingerprints {
        SectionFingerprints {
            telemetry: self.telemetry.fingerprint,
            heartbeat: self.heartbeat.fingerprint,
        }
    }

    /// The files named in these sections.
    pub(crate) fn section_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.telemetry.files.iter().chain(&self.heartbeat.files)
    }

    /// Logs the first warnings.
    pub(crate) fn log_warnings(&self) {
        const MAX_LOGGED: usize = 20;
        let warnings = self.warnings.iter();
        let warnings = warnings.filter(|warning| warning.kind == WarningKind::Suspicious);
        for warning in warnings.clone().take(MAX_LOGGED) {
            tracing::warn!(%warning, "Suspicious configuration");
        }
        let more = warnings.count().saturating_sub(MAX_LOGGED);
        if more > 0 {
            tracing::warn!(more, "More warnings; run validate to see all");
        }
    }

    /// Names and fingerprints of the monitors.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = (&str, Fingerprint)> {
        let monitors = self.monitors.iter();
        monitors.map(|monitor| (&*monitor.name, monitor.fingerprint))
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: logging::Format::default(),
            date_format: None,
            checks: LoggedChecks::default(),
        }
    }
}

impl Log {
    /// The settings of the log writer.
    #[must_use]
    pub fn settings(&self) -> logging::Settings {
        logging::Settings {
            level: self.level,
            format: self.format.clone(),
            date_format: self.date_format.clone(),
        }
    }

    fn read(mut fields: Fields<'_>) -> Self {
        let defaults = Self::default();
        let log = Self {
            level: fields
                .optional("level")
                .map_or(defaults.level, |Level(level)| level),
            format: fields.optional("format").unwrap_or(defaults.format),
            date_format: fields.optional("datefmt"),
            checks: fields.optional("checks").unwrap_or_default(),
        };
        if log.date_format.is_some() && !log.format.has_asctime() {
            fields.warn("datefmt", "has no effect: log.format has no %(asctime)s");
        }
        fields.reject_unknown_keys();
        log
    }
}

struct Level(LevelFilter);

impl FromNode for Level {
    const EXPECTED: &'static str = "DEBUG, INFO, WARNING, ERROR or CRITICAL (also TRACE and WARN)";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        logging::parse_level(&text)
            .map(Self)
            .ok_or_else(|| format!("unknown level {text:?}"))
    }
}

impl FromNode for logging::Format {
    const EXPECTED: &'static str = "json, logfmt, or a template of Python's logging module";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node)?
            .parse()
            .map_err(|error: logging::TemplateError| error.to_string())
    }
}

impl FromNode for logging::DateFormat {
    const EXPECTED: &'static str = "a format of strftime, such as %Y-%m-%dT%H:%M:%S%z";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node)?
            .parse()
            .map_err(|error: logging::DateFormatError| error.to_string())
    }
}

impl FromNode for LoggedChecks {
    const EXPECTED: &'static str = "all, changes, failures or none";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "all" => Ok(Self::All),
            "changes" => Ok(Self::Changes),
            "failures" => Ok(Self::Failures),
            "none" => Ok(Self::None),
            other => Err(format!("unknown selection {other:?}")),
        }
    }
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self {
            max_concurrent_checks: 1000,
            max_concurrent_checks_per_host: None,
        }
    }
}

impl Dispatcher {
    fn read(mut fields: Fields<'_>) -> Self {
        let max_concurrent_checks = fields
            .optional("max_concurrent_checks")
            .unwrap_or(Self::default().max_concurrent_checks);
        let max_concurrent_checks_per_host = fields.optional("max_concurrent_checks_per_host");
        fields.reject_unknown_keys();
        Self {
            max_concurrent_checks,
            max_concurrent_checks_per_host,
        }
    }
}

/// Reads `self_check` and `maintenance`; `known` are the names of all monitors, if they are known.
fn read_states(
    self_check: Option<Fields<'_>>,
    maintenance: Option<&Fields<'_>>,
    known: Option<&[&str]>,
) -> state::Settings {
    state::Settings {
        self_check: self_check
            .map(|section| state::read_self_check(section, known))
            .unwrap_or_default(),
        maintenance: maintenance.map(state::read_maintenance).unwrap_or_default(),
    }
}

/// Reads the monitors in `entries`.
fn read_monitors(
    entries: Vec<Named<'_>>,
    monitor_builder: &MonitorBuilder,
    problems: &Problems,
) -> Vec<Monitor> {
    let mut monitors = Vec::with_capacity(entries.len());
    let mut added = Size::default();
    for entry in entries {
        let path = entry.2.clone();
        let (monitor, size) = monitor_builder.read_monitor(entry, problems);
        monitors.extend(monitor);
        added.add(size);
        if added.exceeds_limit() {
            let wrong = "expanded configuration too large";
            problems.add(path, EntryPart::Key, wrong, Size::EXPECTED);
            break;
        }
    }
    monitors
}
