//! Counts the series and bytes of `/metrics`, from the table of metric families.

use crate::{
    check::{Job, Phase},
    metrics::{BucketSet, Cardinality, Compact, FAMILIES, Family, Profile, Scope, Settings},
};

/// The properties of a monitor that determine its number of series.
pub(super) struct SeriesModel<'s> {
    settings: &'s Settings,
    kind: &'static str,
    /// The phases that a successful check reaches.
    phases: Vec<Phase>,
    /// True if more than one failure confirms that it is down.
    is_confirmed: bool,
    /// The number of buckets of its latency histograms, if not that of the settings.
    own_duration_buckets: Option<usize>,
}

impl<'s> SeriesModel<'s> {
    /// The model for the monitor of `job`.
    pub(super) fn new(job: &Job, settings: &'s Settings) -> Self {
        Self {
            settings,
            kind: job.kind(),
            phases: job.phases(),
            is_confirmed: job.state_rules.confirm.failures > 1,
            own_duration_buckets: job.duration_buckets.as_deref().map(<[f64]>::len),
        }
    }

    /// Returns true if a successful check reaches `phase`.
    pub(super) fn reaches(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }

    /// The number of series after a successful check, and one before it that failed if `has_failed`.
    ///
    /// The failed one got a response, with a status code of its own.
    pub(super) fn count(&self, has_failed: bool) -> usize {
        let outcomes = 1 + usize::from(has_failed);
        let count = |family: &Family| match family.cardinality {
            _ if self.settings.profile == Profile::Compact
                && let Compact::Reduced(healthy) = family.compact =>
            {
                healthy
            }
            Cardinality::Fixed(count) => count,
            Cardinality::Phases => self.phases.len(),
            Cardinality::Outcomes => outcomes,
            Cardinality::Failures => usize::from(has_failed),
            Cardinality::Histogram(set) => self.histogram(set),
            Cardinality::HistogramPerOutcome(set) => outcomes * self.histogram(set),
            Cardinality::Confirmations => usize::from(self.is_confirmed),
            // Counted for all monitors together.
            Cardinality::Dependencies
            | Cardinality::MonitorTypes
            | Cardinality::HostLimit
            | Cardinality::Maintenance
            | Cardinality::SelfCheck
            | Cardinality::Heartbeats
            | Cardinality::DiscoverySources
            | Cardinality::ProbeModules => 0,
        };
        let exported = FAMILIES.iter().filter(|family| self.exports(family));
        exported.map(count).sum()
    }

    /// The number of sample lines of these series: in the text formats, a native histogram has three.
    pub(super) fn lines(&self, has_failed: bool) -> usize {
        let histograms = |family: &&Family| {
            self.exports(family)
                && matches!(
                    family.cardinality,
                    Cardinality::Histogram(_) | Cardinality::HistogramPerOutcome(_)
                )
        };
        let series = self.count(has_failed);
        if self.settings.has_classic() {
            return series;
        }
        let count = |family: &Family| match family.cardinality {
            Cardinality::HistogramPerOutcome(_) => 1 + usize::from(has_failed),
            _ => 1,
        };
        series + 2 * FAMILIES.iter().filter(histograms).map(count).sum::<usize>()
    }

    /// Returns true if the monitor has native histograms.
    pub(super) fn has_native_histograms(&self) -> bool {
        self.settings.native().is_some()
    }

    /// Returns true if the monitor has series of `family` while it is healthy.
    fn exports(&self, family: &Family) -> bool {
        let has = match family.scope {
            Scope::Monitors => true,
            Scope::Types(types) => types.contains(&self.kind),
            Scope::Phases(phases) | Scope::OptIn(phases) => phases.iter().any(|p| self.reaches(*p)),
            Scope::SomeOf(_)
            | Scope::Daemon
            | Scope::Discovery
            | Scope::Probe
            | Scope::Storage
            | Scope::Telemetry => false,
        };
        let profile = self.settings.profile;
        let is_unusual = profile == Profile::Compact && family.compact == Compact::Reduced(0);
        let is_left_out = is_unusual || !family.is_of(self.kind, profile);
        has && !is_left_out && self.settings.exports(family)
    }

    fn histogram(&self, set: BucketSet) -> usize {
        let own = self.own_duration_buckets;
        let own = own.filter(|_| set == BucketSet::Duration);
        histogram_series(
            own.unwrap_or(self.settings.bounds(set).len()),
            self.settings,
        )
    }
}

/// The number of sample lines of `dependencies` of monitors, if `settings` export them.
pub(super) fn count_of_dependencies(dependencies: usize, settings: &Settings) -> usize {
    let is_exported = FAMILIES
        .iter()
        .any(|family| family.cardinality == Cardinality::Dependencies && settings.exports(family));
    if is_exported { dependencies } else { 0 }
}

/// The number of sample lines of a daemon without discovery, not counting those of its monitors, which have
/// `types` different types.
pub(super) fn daemon_series(types: usize, has_host_limit: bool, settings: &Settings) -> usize {
    let own = FAMILIES.iter().filter(|family| is_daemon_family(family));
    own.map(|family| match family.cardinality {
        Cardinality::Fixed(count) => count,
        Cardinality::Histogram(set) => histogram_series(set.default_bounds().len(), settings),
        Cardinality::MonitorTypes => types,
        Cardinality::HostLimit => usize::from(has_host_limit),
        Cardinality::Maintenance
        | Cardinality::SelfCheck
        | Cardinality::Heartbeats
        | Cardinality::Phases
        | Cardinality::Outcomes
        | Cardinality::Failures
        | Cardinality::HistogramPerOutcome(_)
        | Cardinality::Confirmations
        | Cardinality::Dependencies
        | Cardinality::DiscoverySources
        | Cardinality::ProbeModules => 0,
    })
    .sum()
}

/// The number of sample lines about the store.
pub(super) fn storage_series() -> usize {
    FAMILIES
        .iter()
        .filter(|family| family.is_of_storage())
        .count()
}

fn is_daemon_family(family: &Family) -> bool {
    family.scope == Scope::Daemon
}

/// One for each bucket, one for the bucket without a bound, the sum and the count; one in all if there are native
/// buckets only.
fn histogram_series(buckets: usize, settings: &Settings) -> usize {
    if settings.has_classic() {
        buckets + 3
    } else {
        1
    }
}

/// Bytes of the HELP and TYPE lines on a page of monitors like `models`.
pub(super) fn header_bytes(models: &[&SeriesModel<'_>]) -> usize {
    let is_present = |family: &&Family| {
        is_daemon_family(family) || models.iter().any(|model| model.exports(family))
    };
    let header = |family: &Family| {
        let (help, kind) = ("# HELP  \n".len(), "# TYPE  \n".len());
        let words = family.help.len() + family.kind.as_str().len();
        2 * family.name.len() + words + help + kind
    };
    FAMILIES.iter().filter(is_present).map(header).sum()
}
