//! The keys that every configuration has; those of a type are read by the type.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tracing::level_filters::LevelFilter;

use super::{
    sections::{Named, Sections, reject_duplicate_names},
    slo::{Slo, Timing},
    source::Warning,
    templates::{Blueprints, Size, skip_extends},
    version,
};
use crate::{
    check::{CheckLog, Replica, Version},
    discovery, logging,
    metrics::{self, FAMILIES, Family},
    monitors::{self, Type},
    server,
    value::{
        Fields, ForbiddenNetworks, ForbiddenTargets, FromNode, Node, Path, Place, Problems,
        check_label_name, format_duration, nearest,
    },
};

/// A whole configuration; the default is that of an empty file.
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
    /// `forbid_targets`
    pub forbid_targets: ForbiddenTargets,
    /// `monitors`, in the order of the files.
    pub monitors: Vec<Monitor>,
    /// By which a change of the other sections is known.
    pub fixed: Fixed,
    /// What more monitors can be made of.
    pub blueprints: Blueprints,
    /// `discovery`
    pub discovery: discovery::Settings,
    /// By which a change of `discovery` is known.
    pub discovery_version: Version,
    /// The files that `discovery` was made from.
    pub discovery_files: BTreeSet<PathBuf>,
    /// The file that it stands in, each that it includes, and each folder in which a pattern was looked
    /// for, sorted.
    pub files: Vec<PathBuf>,
    /// What is allowed and surely not meant.
    pub warnings: Vec<Warning>,
}

/// What cannot change while the daemon runs: a hash for each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed(BTreeMap<String, u64>);

impl Fixed {
    const SECTIONS: [&'static str; 4] = ["log", "server", "dispatcher", "metrics"];

    fn read(fields: &mut Fields<'_>) -> Self {
        let mut hashes = BTreeMap::new();
        for section in Self::SECTIONS {
            if let Some((Node::Map(entries), _)) = fields.node(section) {
                let entries = entries.iter();
                hashes.extend(
                    entries.map(|(key, value)| (format!("{section}.{key}"), version::of(value))),
                );
            }
        }
        Self(hashes)
    }

    /// The keys that `other` has or has not, or has with another value.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let changed = keys
            .into_iter()
            .filter(|key| self.0.get(*key) != other.0.get(*key));
        changed.cloned().collect()
    }
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// `log.level`
    pub level: LevelFilter,
    /// `log.format`
    pub format: logging::Format,
    /// `log.checks`
    pub checks: CheckLog,
}

/// How checks are run.
#[derive(Clone, Copy, Debug)]
pub struct Dispatcher {
    /// `dispatcher.max_concurrent_checks`
    pub max_concurrent_checks: usize,
    /// `dispatcher.max_concurrent_checks_per_host`
    pub max_concurrent_checks_per_host: Option<usize>,
}

/// One configured monitor.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// Its name.
    pub name: String,
    /// From one slot to the next.
    pub check_every: Duration,
    /// At most `check_every`.
    pub timeout: Duration,
    /// Its own labels over those of `defaults`.
    pub labels: BTreeMap<String, String>,
    /// `duration_buckets` of its own.
    pub duration_buckets: Option<Arc<[f64]>>,
    /// The latency beyond which a check that is good otherwise has failed.
    pub fail_if_slower_than: Option<Duration>,
    /// What its checks are to achieve.
    pub slo: Option<Slo>,
    /// How to check what.
    pub settings: monitors::Settings,
    /// On how many of several daemons it runs.
    pub replicas: Replicas,
    /// Which of these this is.
    pub replica: Replica,
    /// By which a change of all that is known.
    pub version: Version,
    /// The files that it was made from, apart from the configuration.
    pub files: BTreeSet<PathBuf>,
}

impl Config {
    /// Reads the whole file.
    ///
    /// `included` are further files; where it `is_partial`, there are others that could not be read.
    pub(super) fn read<'a>(
        mut fields: Fields<'a>,
        included: impl Iterator<Item = Fields<'a>>,
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
        let fixed = Fixed::read(&mut fields);
        let forbid_targets: Vec<ForbiddenNetworks> = fields.list("forbid_targets");
        let discovery_node = fields.node("discovery").map(|(node, _)| node);
        let discovery_hash = discovery_node.map_or(0, version::of);
        let discovery = fields.section("discovery");
        let own = Sections::read(&mut fields);
        fields.finish();
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
        let blueprints =
            Blueprints::read(defaults, metrics.clone(), templates, is_partial, problems);
        problems.take_files();
        let discovery = discovery
            .map(|section| discovery::Settings::read(&section, blueprints.names().as_deref()))
            .unwrap_or_default();
        let discovery_files = problems.take_files();
        let discovery_version = Version {
            settings: discovery_hash,
            files: discovery_files.fingerprint(),
        };
        let monitors = Monitor::read_all(
            reject_duplicate_names(monitors, problems),
            &blueprints,
            problems,
        );
        Self {
            log,
            server,
            dispatcher,
            metrics,
            forbid_targets: forbid_targets.into(),
            monitors,
            fixed,
            blueprints,
            discovery,
            discovery_version,
            discovery_files: discovery_files.paths().cloned().collect(),
            files: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Logs the warnings, as many as anybody would read.
    pub fn log_warnings(&self) {
        const LOGGED: usize = 20;
        let warnings = self.warnings.iter();
        let warnings = warnings.filter(|warning| !warning.is_for_validate);
        for warning in warnings.clone().take(LOGGED) {
            tracing::warn!(%warning, "Suspicious configuration");
        }
        let more = warnings.count().saturating_sub(LOGGED);
        if more > 0 {
            tracing::warn!(more, "More warnings, which validate prints");
        }
    }

    /// The monitors' names, each with what a change is known by.
    pub fn versions(&self) -> impl Iterator<Item = (&str, Version)> {
        let monitors = self.monitors.iter();
        monitors.map(|monitor| (&*monitor.name, monitor.version))
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: logging::Format::default(),
            checks: CheckLog::default(),
        }
    }
}

impl Log {
    /// What the log itself needs to know.
    #[must_use]
    pub fn settings(&self) -> logging::Settings {
        logging::Settings {
            level: self.level,
            format: self.format.clone(),
        }
    }

    fn read(mut fields: Fields<'_>) -> Self {
        let defaults = Self::default();
        let log = Self {
            level: fields
                .optional("level")
                .map_or(defaults.level, |Level(level)| level),
            format: fields.optional("format").unwrap_or(defaults.format),
            checks: fields.optional("checks").unwrap_or_default(),
        };
        fields.finish();
        log
    }
}

struct Level(LevelFilter);

impl FromNode for Level {
    const ALLOWED: &'static str = "DEBUG, INFO, WARNING, ERROR or CRITICAL; TRACE and WARN too";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        logging::parse_level(&text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no level"))
    }
}

impl FromNode for logging::Format {
    const ALLOWED: &'static str = "json, logfmt, or a template as of Python's logging";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node)?
            .parse()
            .map_err(|error: logging::TemplateError| error.to_string())
    }
}

impl FromNode for CheckLog {
    const ALLOWED: &'static str = "all, changes, failures or none";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "all" => Ok(Self::All),
            "changes" => Ok(Self::Changes),
            "failures" => Ok(Self::Failures),
            "none" => Ok(Self::None),
            other => Err(format!("{other:?} selects no checks")),
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
        fields.finish();
        Self {
            max_concurrent_checks,
            max_concurrent_checks_per_host,
        }
    }
}

fn read_metrics(mut fields: Fields<'_>) -> metrics::Settings {
    let settings = metrics::Settings {
        duration_buckets: read_buckets(&mut fields, DURATION_BUCKETS, "seconds"),
        response_size_buckets: read_buckets(&mut fields, "response_size_buckets", "bytes"),
        disabled: read_families(&mut fields, "disabled")
            .map(|f| f.name)
            .collect(),
        enabled: read_families(&mut fields, "enabled")
            .map(|f| f.name)
            .collect(),
    };
    for name in &settings.enabled {
        if FAMILIES
            .iter()
            .any(|family| family.name == *name && !family.is_opt_in())
        {
            let wrong = format_args!("{name} is on by default");
            fields.wrong_value("enabled", wrong, "metrics that are off by default");
        }
    }
    fields.finish();
    settings
}

/// The metric families that the list `key` names.
fn read_families(
    fields: &mut Fields<'_>,
    key: &'static str,
) -> impl Iterator<Item = &'static Family> + use<> {
    fields.list::<&'static Family>(key).into_iter()
}

impl FromNode for &'static Family {
    const ALLOWED: &'static str =
        "the name of a metric that monitors have, as in the documentation";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        let known: Vec<_> = FAMILIES.iter().filter(|f| f.is_per_monitor()).collect();
        if let Some(family) = known.iter().find(|family| family.name == name) {
            return Ok(family);
        }
        let names: Vec<_> = known.iter().map(|family| family.name).collect();
        Err(match nearest(&name, &names) {
            Some(near) => format!("{name:?} is no metric of monitors; did you mean {near}?"),
            None => format!("{name:?} is no metric of monitors"),
        })
    }
}

/// A key of `metrics`, and of a monitor.
const DURATION_BUCKETS: &str = "duration_buckets";

/// The upper bounds of a histogram of so many `units`.
fn read_buckets(fields: &mut Fields<'_>, key: &'static str, units: &str) -> Option<Arc<[f64]>> {
    let given = fields.problems().count();
    let (_, _) = fields.node(key)?;
    let buckets: Vec<f64> = fields.list(key);
    if fields.problems().count() > given {
        return None;
    }
    let ascending = buckets.first().is_some_and(|first| *first > 0.0)
        && buckets.is_sorted_by(|a, b| a < b)
        && buckets.iter().all(|bound| bound.is_finite());
    if !ascending || buckets.len() > 100 {
        let allowed = format_args!(
            "1 to 100 numbers of {units}, each greater than the one before, the first above 0"
        );
        fields.wrong_value(key, "cannot be buckets", allowed);
        return None;
    }
    Some(buckets.into())
}

/// What a monitor has where it says nothing itself.
pub(super) struct Defaults {
    timeout: Duration,
    check_every: Duration,
    labels: BTreeMap<String, String>,
    replicas: Replicas,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            check_every: Duration::from_secs(60),
            labels: BTreeMap::new(),
            replicas: Replicas::default(),
        }
    }
}

impl Defaults {
    fn read(mut fields: Fields<'_>) -> Self {
        let defaults = Self::default();
        let (check_every, timeout) = read_timing(&mut fields, &defaults);
        let labels = read_labels(&mut fields);
        let replicas = fields.optional("replicas").unwrap_or(defaults.replicas);
        fields.finish();
        Self {
            timeout,
            check_every,
            labels,
            replicas,
        }
    }
}

/// On how many of several daemons a monitor runs; of one alone, on that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas(pub u32);

impl Default for Replicas {
    fn default() -> Self {
        Self(1)
    }
}

impl FromNode for Replicas {
    const ALLOWED: &'static str = "a whole number from 1 to 100";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(value) => match u32::try_from(*value) {
                Ok(replicas @ 1..=100) => Ok(Self(replicas)),
                _ => Err(format!("{value} is out of range")),
            },
            _ => Err(format!("is {}", node.kind())),
        }
    }
}

/// `check_every` and `timeout`, which is at most as long.
fn read_timing(fields: &mut Fields<'_>, defaults: &Defaults) -> (Duration, Duration) {
    let check_every = fields
        .optional("check_every")
        .unwrap_or(defaults.check_every);
    warn_of_interval(fields);
    let given: Option<Duration> = fields.optional("timeout");
    if let Some(timeout) = given.filter(|timeout| *timeout > check_every) {
        let (timeout, check_every) = (format_duration(timeout), format_duration(check_every));
        fields.wrong_value(
            "timeout",
            format_args!("{timeout} is longer than check_every, {check_every}"),
            "at most check_every",
        );
    }
    (
        check_every,
        given.unwrap_or_else(|| defaults.timeout.min(check_every)),
    )
}

/// Warns of a `check_every` that is like a number of something else than seconds.
fn warn_of_interval(fields: &Fields<'_>) {
    const SHORT: f64 = 0.1;
    // Whole seconds in milliseconds, and no whole hours in seconds.
    let is_like_millis =
        |number: f64| number >= 10_000.0 && number % 1000.0 == 0.0 && number % 3600.0 != 0.0;
    let message = match fields.unitless("check_every") {
        Some(number) if number < SHORT => {
            format!(
                "{number} without a unit is seconds, so {:.0} checks a second",
                1.0 / number
            )
        }
        Some(number) if is_like_millis(number) => {
            format!("{number} without a unit is seconds; {number}ms is milliseconds")
        }
        _ => return,
    };
    fields.warn("check_every", message);
}

/// The labels that `monitor_info` has by itself.
pub(crate) const OWN_LABELS: [&str; 5] = ["monitor", "type", "target", "check_every", "timeout"];

fn read_labels(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let check_name = |name: &str| {
        check_label_name(name)?;
        if OWN_LABELS.contains(&name) {
            return Err((
                "is a label of monitor_info already".to_owned(),
                "any other name",
            ));
        }
        Ok(())
    };
    fields.map("labels", check_name).into_iter().collect()
}

impl Monitor {
    fn read_all(
        entries: Vec<Named<'_>>,
        blueprints: &Blueprints,
        problems: &Problems,
    ) -> Vec<Self> {
        let mut monitors = Vec::with_capacity(entries.len());
        let mut added = Size::default();
        for entry in entries {
            let path = entry.2.clone();
            let (monitor, size) = blueprints.read_monitor(entry, problems);
            monitors.extend(monitor);
            added.add(size);
            if added.is_too_much() {
                let wrong = "adds too much to what is there";
                problems.add(path, Place::Key, wrong, Size::ALLOWED);
                break;
            }
        }
        monitors
    }

    /// Of the first of `values`, its own keys, over those of the templates; of type `assumed` where none
    /// of them says.
    pub(super) fn read(
        name: &str,
        values: Vec<(&Node, Path)>,
        defaults: &Defaults,
        metrics: &metrics::Settings,
        assumed: Type,
        problems: &Problems,
    ) -> Option<Self> {
        let nodes: Vec<_> = values.iter().map(|(node, _)| *node).collect();
        let fields = Fields::over(values, problems)?;
        // Of what was read before, other settings are made.
        problems.take_files();
        let monitor = Self::read_keys(name, fields, defaults, metrics, assumed)?;
        let files = problems.take_files();
        Some(Self {
            version: Version {
                settings: monitor.hash(&nodes),
                files: files.fingerprint(),
            },
            files: files.paths().cloned().collect(),
            ..monitor
        })
    }

    fn read_keys(
        name: &str,
        mut fields: Fields<'_>,
        defaults: &Defaults,
        metrics: &metrics::Settings,
        assumed: Type,
    ) -> Option<Self> {
        skip_extends(&mut fields);
        // Of a type that nobody knows, nothing more can be said.
        let monitor_type = match fields.node("type") {
            Some(_) => fields.optional("type")?,
            None => assumed,
        };
        let (check_every, timeout) = read_timing(&mut fields, defaults);
        let mut labels = defaults.labels.clone();
        labels.extend(read_labels(&mut fields));
        let duration_buckets = read_buckets(&mut fields, DURATION_BUCKETS, "seconds");
        let fail_if_slower_than = fields.optional("fail_if_slower_than");
        if fail_if_slower_than.is_some_and(|limit| limit >= timeout) {
            let wrong = "is not shorter than the timeout, and so never fails anything";
            fields.wrong_value("fail_if_slower_than", wrong, "less than the timeout");
        }
        let bounds = Timing {
            timeout,
            fail_if_slower_than,
        };
        let slo = fields.section("slo");
        let slo = slo.map(|fields| Slo::read(fields, &bounds, metrics));
        let duration_buckets = match slo.and_then(|slo| slo.latency) {
            Some(latency) => latency.buckets(duration_buckets, metrics),
            None => duration_buckets,
        };
        let replicas = fields.optional("replicas").unwrap_or(defaults.replicas);
        let settings = monitor_type.read(&mut fields);
        fields.finish();
        Some(Self {
            name: name.to_owned(),
            check_every,
            timeout,
            labels,
            duration_buckets,
            fail_if_slower_than,
            slo,
            settings: settings?,
            replicas,
            replica: Replica::default(),
            version: Version::default(),
            files: BTreeSet::new(),
        })
    }

    /// Of what is in `nodes`, its own keys and those of its templates, and of what other sections gave it.
    fn hash(&self, nodes: &[&Node]) -> u64 {
        let mut hasher = DefaultHasher::new();
        let buckets = self
            .duration_buckets
            .iter()
            .flat_map(|buckets| buckets.iter());
        let buckets: Vec<_> = buckets.map(|bound| bound.to_bits()).collect();
        let replicas = self.replicas.0;
        let given = (
            self.check_every,
            self.timeout,
            &self.labels,
            replicas,
            buckets,
        );
        let nodes: Vec<_> = nodes.iter().map(|node| version::of(node)).collect();
        (given, nodes).hash(&mut hasher);
        hasher.finish()
    }
}
