//! The columns of the table of metric families.

use super::{
    buckets::BucketSet,
    daemon::DaemonState,
    family_writer::FamilyWriter,
    monitor::{CheckTotals, LastCheck, MonitorMetrics, MonitorSnapshot, SlotCounts, TimeInPhase},
    settings::Profile,
};
use crate::check::{MonitorStatus, Phase};

/// A metric family: one row of [`FAMILIES`](super::FAMILIES), the only list of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The labels of its series in alphabetical order, without the user's own and a histogram's `le`.
    pub labels: &'static [&'static str],
    /// The help text.
    pub help: &'static str,
    /// The monitors that have it, or the part of the daemon.
    pub(crate) scope: Scope,
    /// Number of its series, for each monitor or in all.
    pub(crate) cardinality: Cardinality,
    /// The series that remain in the compact profile.
    pub(crate) compact: Compact,
    /// Writes its samples.
    pub(super) writer: Writer,
}

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by bucket.
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The monitors that have series of a family once all have been checked successfully.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every monitor.
    Monitors,
    /// Monitors of these types.
    Types(&'static [&'static str]),
    /// Monitors of these types, depending on their settings or the target's responses.
    SomeOf(&'static [&'static str]),
    /// Monitors whose checks reach one of these phases.
    Phases(&'static [Phase]),
    /// As `Phases`, and only if `metrics.enabled` names the family.
    OptIn(&'static [Phase]),
    /// The daemon.
    Daemon,
    /// A daemon with blocks of discovery.
    Discovery,
    /// A daemon with modules of `probe`.
    Probe,
    /// A daemon with a store.
    Storage,
    /// A daemon with `telemetry`.
    Telemetry,
}

/// The number of series of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cardinality {
    /// Always this many.
    Fixed(usize),
    /// One for each phase that a check reaches.
    Phases,
    /// One for each outcome, or code of a response, that has occurred.
    Outcomes,
    /// One for each phase and reason that a check has failed with.
    Failures,
    /// A histogram for each outcome that has occurred.
    HistogramPerOutcome(BucketSet),
    /// One histogram.
    Histogram(BucketSet),
    /// One for each type that there are monitors of.
    MonitorTypes,
    /// One if more than one failure confirms that it is down.
    Confirmations,
    /// One for each monitor that it depends on.
    Dependencies,
    /// One if there is a limit of concurrent checks per host.
    HostLimit,
    /// None before the first check in maintenance.
    Maintenance,
    /// One if there is a `self_check`.
    SelfCheck,
    /// One for each outcome of heartbeats, if there are any.
    Heartbeats,
    /// One for each source or block of discovery.
    DiscoverySources,
    /// One for each module of `probe` and outcome.
    ProbeModules,
}

/// The series of a family in the compact profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compact {
    /// Those of the full profile.
    Same,
    /// So many of a healthy monitor; others as long as something is the matter.
    Reduced(usize),
    /// Those of the full profile, but none of monitors of these types.
    Except(&'static [&'static str]),
    /// None, unless `metrics.enabled` names the family.
    Nothing,
}

/// The function that writes the samples of a family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Writer {
    /// Called for each monitor.
    Monitor(MonitorWriter),
    /// Called once.
    Daemon(fn(&DaemonState<'_>, &mut FamilyWriter<'_>)),
}

/// The function that writes the samples of one monitor, by its argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum MonitorWriter {
    /// The monitor's settings.
    Settings(fn(&MonitorMetrics, &mut FamilyWriter<'_>)),
    /// Its numbers of slots, as of the start of the page.
    Slots(fn(&SlotCounts, &mut FamilyWriter<'_>)),
    /// Its state, as of the start of the page.
    Status(fn(&MonitorStatus, &mut FamilyWriter<'_>)),
    /// More of it as of the start of the page.
    Snapshot(fn(&MonitorSnapshot, &mut FamilyWriter<'_>)),
    /// Its phases, as of the start of the page.
    Phases(fn(&[TimeInPhase], &mut FamilyWriter<'_>)),
    /// The totals of its checks, as of the moment.
    Totals(fn(&CheckTotals, &mut FamilyWriter<'_>)),
    /// Its last check as of the start of the page; not called before the first one.
    LastCheck(fn(&LastCheck, &mut FamilyWriter<'_>)),
}

impl MonitorWriter {
    /// Returns true if it needs more than a page has of a monitor.
    pub(super) fn reads_monitor(self) -> bool {
        matches!(self, Self::Settings(_) | Self::Totals(_))
    }
}

impl Family {
    /// Returns whether monitors have series of it, so that `metrics.disabled` may name it.
    #[must_use]
    pub fn is_per_monitor(&self) -> bool {
        !matches!(
            self.scope,
            Scope::Daemon | Scope::Discovery | Scope::Probe | Scope::Storage | Scope::Telemetry
        )
    }

    /// Returns true if only a daemon with a store has series of it.
    #[must_use]
    pub(crate) fn is_of_storage(&self) -> bool {
        self.scope == Scope::Storage
    }

    /// Returns whether it is left out of `profile` unless `metrics.enabled` names it.
    #[must_use]
    pub fn is_opt_in(&self, profile: Profile) -> bool {
        let is_left_out = profile == Profile::Compact && self.compact == Compact::Nothing;
        is_left_out || matches!(self.scope, Scope::OptIn(_))
    }

    /// Its name without the suffix of a counter, as OpenMetrics has it.
    #[must_use]
    pub(crate) fn base_name(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }

    /// The unit of its samples, if they have one.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        let (_, last) = self.base_name().rsplit_once('_')?;
        ["seconds", "bytes", "ratio"]
            .into_iter()
            .find(|unit| *unit == last)
    }

    /// The series of a monitor in the compact profile, in words for the documentation.
    #[must_use]
    pub fn compact_series(&self) -> String {
        match self.compact {
            Compact::Same => "same".to_owned(),
            Compact::Reduced(0) => "if not as usual".to_owned(),
            Compact::Reduced(_) => "fewer".to_owned(),
            Compact::Except(types) => format!("not of `{}`", types.join("` `")),
            Compact::Nothing => "off by default".to_owned(),
        }
    }

    /// Returns true if monitors of type `kind` may have series of it in `profile`.
    pub(crate) fn is_of(&self, kind: &str, profile: Profile) -> bool {
        let has_kind = match self.scope {
            Scope::Types(types) | Scope::SomeOf(types) => types.contains(&kind),
            _ => true,
        };
        let is_excepted = matches!(self.compact, Compact::Except(types) if types.contains(&kind));
        has_kind && !(is_excepted && profile == Profile::Compact)
    }

    /// The phases one of which the checks of a monitor reach that has series of it, if these are what decides.
    pub(crate) fn phases(&self) -> Option<&'static [Phase]> {
        match self.scope {
            Scope::Phases(phases) | Scope::OptIn(phases) => Some(phases),
            _ => None,
        }
    }

    /// The monitors that have series of it, in words for the documentation; `None` if it is the daemon's.
    #[must_use]
    pub fn monitors(&self) -> Option<String> {
        let list = |words: &[&str]| format!("`{}`", words.join("` `"));
        let phases = |phases: &[Phase]| {
            let phases: Vec<_> = phases.iter().map(|phase| phase.as_str()).collect();
            format!("with phase {}", list(&phases))
        };
        Some(match self.scope {
            Scope::Monitors => "all".to_owned(),
            Scope::Types(types) => list(types),
            Scope::SomeOf(types) => format!("some of {}", list(types)),
            Scope::Phases(reached) => phases(reached),
            Scope::OptIn(reached) => format!("{}, off by default", phases(reached)),
            Scope::Daemon | Scope::Discovery | Scope::Probe | Scope::Storage | Scope::Telemetry => {
                return None;
            }
        })
    }
}
