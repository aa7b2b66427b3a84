//! A monitor: the keys that all types have in common, and their defaults.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{
    node_hash::hash_node,
    slo::{LatencyBounds, Slo},
    template_name::mark_extends_read,
};
use crate::{
    check::{Confirm, Fingerprint, Replica, StateRules},
    metrics,
    monitors::{self, Type},
    state::{self, Member, PlacedDependency},
    value::{
        EntryPart, Fields, FromNode, Node, Path, Problems, check_label_name, format_duration,
        warn_of_label_name,
    },
};

/// One configured monitor.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// Its name.
    pub name: String,
    /// The interval between slots.
    pub check_every: Duration,
    /// Timeout of a check, at most `check_every`.
    pub timeout: Duration,
    /// Its labels, merged over those of `defaults`.
    pub labels: Arc<BTreeMap<String, String>>,
    /// `duration_buckets`
    pub duration_buckets: Option<Arc<[f64]>>,
    /// The latency beyond which an otherwise successful check fails.
    pub fail_if_slower_than: Option<Duration>,
    /// True if checks send the identity of their trace to the target.
    pub propagate: bool,
    /// True if it is checked at all.
    pub enabled: bool,
    /// When its state changes.
    pub(crate) state_rules: Arc<StateRules>,
    /// The monitors that it depends on.
    pub depends_on: Vec<PlacedDependency>,
    /// The objectives.
    pub slo: Option<Slo>,
    /// The settings of its type.
    pub settings: monitors::Settings,
    /// Number of shards that run it.
    pub replicas: Replicas,
    /// The replica that this daemon runs.
    pub(crate) replica: Replica,
    /// Hash of everything it is built from.
    pub(crate) fingerprint: Fingerprint,
    /// The files named in its settings.
    pub files: BTreeSet<PathBuf>,
}

/// A key of `defaults` and of monitors.
const PROPAGATE: &str = "propagate";

/// A key of `metrics` and of monitors.
pub(super) const DURATION_BUCKETS: &str = "duration_buckets";

/// Reads the upper bounds of a histogram in `units`.
pub(super) fn read_buckets(
    fields: &mut Fields<'_>,
    key: &'static str,
    units: &str,
) -> Option<Arc<[f64]>> {
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
        let expected = format_args!(
            "1 to 100 numbers of {units}, each greater than the one before, the first above 0"
        );
        fields.add_value_problem(key, "invalid buckets", expected);
        return None;
    }
    Some(buckets.into())
}

/// Values for monitors that do not set the key.
pub(super) struct Defaults {
    timeout: Duration,
    check_every: Duration,
    labels: Arc<BTreeMap<String, String>>,
    confirm: Confirm,
    replicas: Replicas,
    propagate: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            check_every: Duration::from_secs(60),
            labels: Arc::default(),
            confirm: Confirm::default(),
            replicas: Replicas::default(),
            propagate: false,
        }
    }
}

impl Defaults {
    pub(super) fn read(mut fields: Fields<'_>) -> Self {
        let defaults = Self::default();
        let (check_every, timeout) = read_timing(&mut fields, &defaults);
        let labels = read_labels(&mut fields).into();
        let confirm = state::read_confirm(&mut fields, defaults.confirm);
        let replicas = fields.optional("replicas").unwrap_or(defaults.replicas);
        let propagate = fields.optional(PROPAGATE).unwrap_or(defaults.propagate);
        fields.reject_unknown_keys();
        Self {
            timeout,
            check_every,
            labels,
            confirm,
            replicas,
            propagate,
        }
    }
}

/// Number of shards that run a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas(pub(crate) u32);

impl Default for Replicas {
    fn default() -> Self {
        Self(1)
    }
}

impl FromNode for Replicas {
    const EXPECTED: &'static str = "a whole number from 1 to 100";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(value) => match u32::try_from(*value) {
                Ok(replicas @ 1..=100) => Ok(Self(replicas)),
                _ => Err(format!("{value} is out of range")),
            },
            _ => Err(format!("found {}", node.kind())),
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
        fields.add_value_problem(
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

/// Warns about a `check_every` that does not look like seconds.
fn warn_of_interval(fields: &Fields<'_>) {
    const SHORT: f64 = 0.1;
    // Whole seconds in milliseconds, and no whole hours in seconds.
    let is_like_millis =
        |number: f64| number >= 10_000.0 && number % 1000.0 == 0.0 && number % 3600.0 != 0.0;
    let message = match fields.seconds_without_unit("check_every") {
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

/// The built-in labels of `monitor_info`.
pub(crate) const OWN_LABELS: [&str; 5] = ["monitor", "type", "target", "check_every", "timeout"];

fn read_labels(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    if let Some((Node::Map(labels), path)) = fields.node("labels") {
        for (index, (name, _)) in labels.iter().enumerate() {
            let path = path.entry(name, index);
            warn_of_label_name(name, path, EntryPart::Key, fields.problems());
        }
    }
    let check_name = |name: &str| {
        check_label_name(name)?;
        if OWN_LABELS.contains(&name) {
            return Err((
                "reserved: a label of monitor_info".to_owned(),
                "another name",
            ));
        }
        Ok(())
    };
    fields.map("labels", check_name).into_iter().collect()
}

impl Monitor {
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
        let fields = Fields::from_layers(values, problems)?;
        // Of what was read before, other settings are made.
        problems.take_files();
        let monitor = Self::read_keys(name, fields, defaults, metrics, assumed)?;
        let files = problems.take_files();
        Some(Self {
            fingerprint: Fingerprint {
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
        mark_extends_read(&mut fields);
        // Of a type that nobody knows, nothing more can be said.
        let monitor_type = match fields.node("type") {
            Some(_) => fields.optional("type")?,
            None => assumed,
        };
        let (check_every, timeout) = read_timing(&mut fields, defaults);
        let mut labels = defaults.labels.clone();
        let own_labels = read_labels(&mut fields);
        if !own_labels.is_empty() {
            Arc::make_mut(&mut labels).extend(own_labels);
        }
        let duration_buckets = read_buckets(&mut fields, DURATION_BUCKETS, "seconds");
        let fail_if_slower_than = fields.optional("fail_if_slower_than");
        if fail_if_slower_than.is_some_and(|limit| limit >= timeout) {
            let wrong = "has no effect: not shorter than the timeout";
            fields.add_value_problem("fail_if_slower_than", wrong, "less than the timeout");
        }
        let timing = state::Timing {
            check_every,
            timeout,
            fail_if_slower_than,
        };
        let confirm = state::read_confirm(&mut fields, defaults.confirm);
        state::warn_of_retries(&mut fields, confirm, &timing);
        let state_rules = StateRules {
            confirm,
            degraded_if: state::read_degraded_if(&mut fields, monitor_type.as_str(), &timing),
            skip_checks_if_dependency_down: fields
                .optional("skip_checks_if_dependency_down")
                .unwrap_or(false),
        };
        let bounds = LatencyBounds {
            timeout,
            fail_if_slower_than,
        };
        let slo = fields
            .section("slo")
            .map(|fields| Slo::read(fields, &bounds, metrics));
        let duration_buckets = match slo.and_then(|slo| slo.latency) {
            Some(latency) => latency.buckets(duration_buckets, metrics),
            None => duration_buckets,
        };
        let replicas = fields.optional("replicas").unwrap_or(defaults.replicas);
        let enabled = fields.optional("enabled").unwrap_or(true);
        let propagate = monitor_type.can_propagate()
            && fields.optional(PROPAGATE).unwrap_or(defaults.propagate);
        let depends_on = state::read_depends_on(&mut fields);
        let settings = monitor_type.read(&mut fields);
        fields.reject_unknown_keys();
        Some(Self {
            name: name.to_owned(),
            check_every,
            timeout,
            labels,
            duration_buckets,
            fail_if_slower_than,
            propagate,
            enabled,
            state_rules: state_rules.shared(),
            depends_on,
            slo,
            settings: settings?,
            replicas,
            replica: Replica::default(),
            fingerprint: Fingerprint::default(),
            files: BTreeSet::new(),
        })
    }

    /// The monitor, as far as dependencies are concerned.
    pub(crate) fn member(&self) -> Member {
        let depends_on = self.depends_on.iter();
        Member {
            name: self.name.as_str().into(),
            labels: self.labels.clone(),
            depends_on: depends_on.map(|on| on.dependency.clone()).collect(),
        }
    }

    /// Of what is in `nodes`, its own keys and those of its templates, and of what other sections gave it.
    fn hash(&self, nodes: &[&Node]) -> u64 {
        let mut hasher = DefaultHasher::new();
        let buckets: Vec<_> = self
            .duration_buckets
            .iter()
            .flat_map(|buckets| buckets.iter())
            .map(|bound| bound.to_bits())
            .collect();
        let replicas = self.replicas.0;
        let given = (
            self.check_every,
            self.timeout,
            &self.labels,
            replicas,
            buckets,
            self.state_rules.confirm,
            self.propagate,
        );
        let nodes: Vec<_> = nodes.iter().map(|node| hash_node(node)).collect();
        (given, nodes).hash(&mut hasher);
        hasher.finish()
    }
}
