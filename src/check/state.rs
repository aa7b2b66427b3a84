//! The state of a monitor (up, down, suspect, …), which follows from the results of its checks.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use super::{ErrorText, Phase, Reason, string_enum::string_enum};

string_enum! {
    /// The state of a monitor. States that need attention come first.
    State {
        /// The target is down.
        Down => "down",
        /// Checks fail while a dependency is down, or are skipped because of it.
        Unreachable => "unreachable",
        /// The last result contradicts the confirmed one, and is not confirmed yet.
        Suspect => "suspect",
        /// The last check succeeded and violated one of the `degraded_if_…` limits.
        Degraded => "degraded",
        /// There was no check yet, or the last one failed on the daemon's side.
        Unknown => "unknown",
        /// A maintenance window is open.
        Maintenance => "maintenance",
        /// The monitor is not enabled.
        Paused => "paused",
        /// The target is up.
        Up => "up",
    }
}

/// When the state of a monitor changes, beyond the result of each check.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StateRules {
    /// Results that confirm a change.
    pub confirm: Confirm,
    /// Limits beyond which a success is degraded.
    pub degraded_if: DegradedIf,
    /// Skips checks while a dependency is down.
    pub skip_checks_if_dependency_down: bool,
}

impl StateRules {
    /// The same for monitors to share; most have the default.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<StateRules>> = LazyLock::new(Arc::default);
        if self == **DEFAULT {
            DEFAULT.clone()
        } else {
            Arc::new(self)
        }
    }
}

/// Results that confirm a change between up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Confirm {
    /// Failures until a monitor is down: in a row, or among the last `of` results.
    pub failures: u32,
    /// Successes in a row until it is up again.
    pub successes: u32,
    /// Number of last results among which failures are counted; `None` for failures in a row.
    pub of: Option<u32>,
    /// Time after a recovery within which a relapse continues the same incident.
    pub hold: Option<Duration>,
    /// Interval of checks while a change is not confirmed; `None` for the slots of the grid alone.
    pub retry_every: Option<Duration>,
}

impl Confirm {
    /// The most results that any of the counts may ask for.
    pub const MAX_RESULTS: u32 = 64;
}

impl Default for Confirm {
    fn default() -> Self {
        Self {
            failures: 1,
            successes: 1,
            of: None,
            hold: None,
            retry_every: None,
        }
    }
}

/// Limits beyond which a success is degraded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DegradedIf {
    /// Latency of the whole check.
    pub slower_than: Option<Duration>,
    /// Share of ICMP echo requests without an answer, from 0 to 1.
    pub packet_loss_above: Option<f64>,
    /// Time until a certificate of the chain expires.
    pub certificate_expires_within: Option<Duration>,
}

/// The state of a monitor with all that is shown of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorStatus {
    /// The state.
    pub state: State,
    /// Time of the last change of `state`.
    pub since: SystemTime,
    /// The confirmed state; `None` before there is one.
    pub is_up: Option<bool>,
    /// True if the last check was a success beyond a limit.
    pub is_degraded: bool,
    /// True if a maintenance window is open.
    pub in_maintenance: bool,
    /// Names of the monitors that it depends on.
    pub depends_on: Arc<[Arc<str>]>,
    /// Those of them that are down or unreachable, if the state is [`State::Unreachable`].
    pub unreachable_through: Arc<[Arc<str>]>,
    /// The open incident, or else the last one.
    pub incident: Option<Arc<Incident>>,
}

impl Default for MonitorStatus {
    fn default() -> Self {
        Self {
            state: State::Unknown,
            since: SystemTime::now(),
            is_up: None,
            is_degraded: false,
            in_maintenance: false,
            depends_on: Arc::default(),
            unreachable_through: Arc::default(),
            incident: None,
        }
    }
}

/// A maintenance window, and when it is or will be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// Its name.
    pub name: Arc<str>,
    /// True if it is open now.
    pub is_open: bool,
    /// When it opened, or opens next.
    pub from: SystemTime,
    /// When it closes then.
    pub until: SystemTime,
}

/// The time from the first failure that made a monitor down to its confirmed recovery.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// End of the first failed check.
    pub began: SystemTime,
    /// Time at which the monitor was reported as down; `None` while a maintenance window holds that back.
    pub reported: Option<SystemTime>,
    /// Time of the confirmed recovery; `None` while the incident is open.
    pub ended: Option<SystemTime>,
    /// Phase of the failure that confirmed it.
    pub phase: Phase,
    /// Reason of the failure that confirmed it.
    pub reason: Reason,
    /// Text of the failure that confirmed it.
    pub error: ErrorText,
    /// The failed checks that confirmed it, the first one first.
    pub checks: Vec<FailedCheck>,
    /// Number of relapses within `confirm.hold` that continued it.
    pub relapses: u32,
    /// Why it ended; `None` while it is open.
    pub end_reason: Option<IncidentEnd>,
}

string_enum! {
    /// Why an incident ended.
    IncidentEnd {
        /// The recovery was confirmed.
        Recovered => "recovered",
        /// The monitor was paused.
        Paused => "paused",
        /// The monitor got another type or target.
        TargetChanged => "target_changed",
        /// The monitor is gone.
        Removed => "removed",
    }
}

/// The state of a monitor before the daemon started.
#[derive(Clone, Debug)]
pub struct PastState {
    /// The type of the monitor.
    pub kind: String,
    /// The target that was checked.
    pub target: String,
    /// The state.
    pub status: MonitorStatus,
}

/// A failed check without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedCheck {
    /// Time at which it ended.
    pub ended_at: SystemTime,
    /// The phase that failed.
    pub phase: Phase,
    /// Why it failed.
    pub reason: Reason,
    /// The address that was checked, if it came to that.
    pub address: Option<IpAddr>,
}
