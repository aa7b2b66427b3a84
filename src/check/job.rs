//! A monitor with its name and timing, and the observers of its slots.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    AnyMonitor, Attempt, MaintenanceWindow, Monitor, MonitorStatus, Phase, Report, StateRules,
    Steps, TraceStart,
};

/// A monitor with its name and timing, ready for the dispatcher.
#[derive(Clone)]
pub struct Job {
    /// The value of the `monitor` label.
    pub name: Arc<str>,
    /// The interval between slots.
    pub check_every: Duration,
    /// The longest time that one check may take.
    pub timeout: Duration,
    /// The user's own labels, for `monitor_info`.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Upper bounds in seconds of its latency histogram, if they are not the default ones.
    pub duration_buckets: Option<Arc<[f64]>>,
    /// The latency beyond which an otherwise successful check fails.
    pub fail_if_slower_than: Option<Duration>,
    /// True if its checks record details, which no monitor exports and a probe does.
    pub records_details: bool,
    /// True if checks send the identity of their trace to the target.
    pub propagate: bool,
    /// True if it is checked at all; else it is shown as paused.
    pub enabled: bool,
    /// When its state changes.
    pub state_rules: Arc<StateRules>,
    /// The position of this daemon among those that run the monitor.
    pub replica: Replica,
    /// Hash of everything the monitor is built from; a changed hash means a changed monitor.
    pub fingerprint: Fingerprint,
    pub(crate) monitor: Arc<dyn AnyMonitor>,
}

/// One of several daemons that run the same monitor and check it in turn, evenly spaced in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Index of the daemon, from 0.
    pub index: u32,
    /// Number of daemons that run the monitor.
    pub count: u32,
}

impl Default for Replica {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

/// Hash of everything a job is built from; jobs with equal fingerprints run the same check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash of the settings.
    pub settings: u64,
    /// Hash of the contents of the files named in the settings.
    pub files: u64,
}

/// The longest interval and timeout, one year; longer ones are shortened.
pub(crate) const MAX_INTERVAL: Duration = Duration::from_secs(366 * 86_400);

impl Job {
    /// Creates a job that checks `monitor` every 60 s with a timeout of 5 s.
    pub fn new(name: impl Into<Arc<str>>, monitor: impl Monitor) -> Self {
        Self {
            name: name.into(),
            check_every: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            labels: Arc::default(),
            duration_buckets: None,
            fail_if_slower_than: None,
            records_details: false,
            propagate: false,
            enabled: true,
            state_rules: StateRules::default().shared(),
            replica: Replica::default(),
            fingerprint: Fingerprint::default(),
            monitor: Arc::new(monitor),
        }
    }

    /// The value of the `type` label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.monitor.kind()
    }

    /// The target as shown to users, without secrets.
    #[must_use]
    pub fn target(&self) -> String {
        self.monitor.target()
    }

    /// The host that its connections go to, if it has one.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.monitor.host()
    }

    /// The method of its requests, if it speaks HTTP.
    #[must_use]
    pub fn request_method(&self) -> Option<&str> {
        self.monitor.request_method()
    }

    /// The phases of a successful check, as far as they are known beforehand.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        self.monitor.phases()
    }

    /// The most memory, in bytes, that the body of a response can take in one check.
    #[must_use]
    pub fn max_body_memory(&self) -> u64 {
        self.monitor.max_body_memory()
    }

    /// The local problem that makes every check fail, if there is one.
    #[must_use]
    pub fn missing_prerequisite(&self) -> Option<String> {
        self.monitor.missing_prerequisite()
    }

    /// Returns true if the checks use TLS.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.phases().contains(&Phase::Tls)
    }

    /// Runs one check now, for at most its timeout.
    pub async fn check_once(&self) -> Report {
        self.check_with_steps(Steps::none()).await
    }

    /// The same, told step by step to `steps`, which the report then has.
    pub async fn check_with_steps(&self, steps: Steps) -> Report {
        let deadline = Instant::now() + self.timeout.min(MAX_INTERVAL);
        Attempt::run(self, deadline, steps, TraceStart::unrecorded(self)).await
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name)
            .field("kind", &self.kind())
            .field("target", &self.target())
            .finish_non_exhaustive()
    }
}

super::string_enum::string_enum! {
    /// The reason why a slot was skipped.
    Skip {
        /// The monitor's previous check was still running.
        Overrun => "overrun",
        /// The limit of concurrent checks was reached.
        Saturated => "saturated",
        /// The daemon was stopped or lacked CPU time.
        Stalled => "stalled",
        /// The daemon was shutting down.
        Shutdown => "shutdown",
        /// A dependency was down, and the monitor has `skip_checks_if_dependency_down`.
        Dependency => "dependency",
    }
}

/// The checks that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoggedChecks {
    /// Every check.
    #[default]
    All,
    /// The first check of a monitor, and each whose outcome differs from the previous one.
    Changes,
    /// Failed ones.
    Failures,
    /// None.
    None,
}

/// Receives the events of one monitor. Every method must return without waiting.
///
/// A slot is either skipped or started, and a started one is either completed or cancelled.
pub trait MonitorObserver: Send + Sync {
    /// The next slot is due at `next`.
    fn on_scheduled(&self, _next: Instant) {}
    /// The check of a slot has started, `lag` after it was due.
    fn on_started(&self, lag: Duration);
    /// The check that is about to be reported as completed ran while the daemon lacked CPU time or was
    /// stopped, so its timing is unreliable.
    ///
    /// Exported as `monitoringdaemon_checks_tainted_total`.
    fn on_tainted(&self) {}
    /// The started check has ended.
    fn on_completed(&self, report: &Report);
    /// The started check was dropped because of a shutdown.
    fn on_cancelled(&self);
    /// `slots` slots were due and did not run.
    fn on_skipped(&self, slots: u64, why: Skip);
    /// The state of the monitor, or what is shown of it, changed to `status`.
    fn on_status(&self, _status: &MonitorStatus) {}
    /// Returns why the slot that just came due must not be run, if there is a reason.
    fn reason_to_skip(&self) -> Option<Skip> {
        None
    }
    /// True if the last result awaits confirmation, so that a check besides the grid is wanted.
    fn awaits_confirmation(&self) -> bool {
        false
    }
}

/// Receives the events of the dispatcher, and provides an [`MonitorObserver`] for each monitor that it runs.
pub trait DispatcherObserver: Send + Sync + 'static {
    /// `job` starts to run; returns its observer.
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver>;
    /// `job` has stopped for good.
    fn on_stopped(&self, job: &Job);
    /// `job` has stopped, and another one of its name starts in its place.
    fn on_replaced(&self, job: &Job) {
        self.on_stopped(job);
    }
    /// True if the daemon itself has a network; `None` without a `self_check`.
    fn on_connected(&self, _is_connected: Option<bool>) {}
    /// Maintenance windows opened or closed, or were configured anew.
    fn on_maintenance(&self, _windows: &Arc<[MaintenanceWindow]>) {}
    /// The delay with which the runtime of the checks just ran a due task, measured ten times a second;
    /// about zero if it keeps up. Must return without waiting.
    ///
    /// Exported as `monitoringdaemon_runtime_delay_seconds`.
    fn on_runtime_delay(&self, _delay: Duration) {}
}
