//! A monitor with its name and its timing, and what becomes of its slots.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{AnyMonitor, Attempt, Monitor, Phase, Report};

/// A monitor under the name it has, with the timing that the dispatcher keeps.
#[derive(Clone)]
pub struct Job {
    /// The value of the `monitor` label.
    pub name: Arc<str>,
    /// From one slot to the next.
    pub check_every: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// The user's own labels, for `monitor_info`.
    pub labels: BTreeMap<String, String>,
    /// Upper bounds in seconds of its latency histogram, where it has its own.
    pub duration_buckets: Option<Arc<[f64]>>,
    /// The latency beyond which a check that is good otherwise has failed.
    pub fail_if_slower_than: Option<Duration>,
    /// Which of several daemons that run it this is.
    pub replica: Replica,
    /// By which a change of what was configured is known.
    pub version: Version,
    pub(crate) monitor: Arc<dyn AnyMonitor>,
}

/// One of several daemons that run the same monitor, and check it in turn at evenly spaced times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Which one, from 0.
    pub rank: u32,
    /// How many there are.
    pub of: u32,
}

impl Default for Replica {
    fn default() -> Self {
        Self { rank: 0, of: 1 }
    }
}

/// What a job was made from: those with equal ones check the same, in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Of the settings.
    pub settings: u64,
    /// Of the contents of the files that the settings name.
    pub files: u64,
}

/// A year: the longest interval and timeout that is kept to.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Job {
    /// `monitor` under `name`, checked every 60 s with a timeout of 5 s.
    pub fn new(name: impl Into<Arc<str>>, monitor: impl Monitor) -> Self {
        Self {
            name: name.into(),
            check_every: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            labels: BTreeMap::new(),
            duration_buckets: None,
            fail_if_slower_than: None,
            replica: Replica::default(),
            version: Version::default(),
            monitor: Arc::new(monitor),
        }
    }

    /// The word for the `type` label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.monitor.kind()
    }

    /// What is checked, without secrets.
    #[must_use]
    pub fn target(&self) -> String {
        self.monitor.target()
    }

    /// The host that its connections go to, if it has one.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.monitor.host()
    }

    /// The phases that a check reaches where all is well, as far as they are known beforehand.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase> {
        self.monitor.phases()
    }

    /// The most memory that the body of a response can take in one check, in bytes.
    #[must_use]
    pub fn max_body_memory(&self) -> u64 {
        self.monitor.max_body_memory()
    }

    /// What on this machine keeps every check from succeeding, if anything is known to.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        self.monitor.obstacle()
    }

    /// Whether its checks speak TLS.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.phases().contains(&Phase::Tls)
    }

    /// Runs one check at once, and gives it no longer than its timeout.
    pub async fn check_once(&self) -> Report {
        let deadline = Instant::now() + self.timeout.min(LONGEST);
        Attempt::run(self, deadline).await
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

super::words::words! {
    /// Why a slot was not run.
    Skip {
        /// Its monitor's last check was still running.
        Overrun => "overrun",
        /// No place among the concurrent checks became free in time.
        Saturated => "saturated",
        /// The daemon itself was stopped or starved.
        Stalled => "stalled",
        /// The daemon was told to stop.
        Shutdown => "shutdown",
    }
}

/// Which checks write a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckLog {
    /// Every check.
    #[default]
    All,
    /// The first check of a monitor, and each whose outcome is not that of the one before.
    Changes,
    /// Failed ones.
    Failures,
    /// None.
    None,
}

/// Is told what becomes of the slots of one monitor; each call must return without waiting.
///
/// A slot is either skipped, or it begins and then either completes or is cancelled.
pub trait Observer: Send + Sync {
    /// The next slot comes due at `next`.
    fn due(&self, _next: Instant) {}
    /// A slot's check begins, `lag` after the slot came due.
    fn begun(&self, lag: Duration);
    /// The check that is about to be reported as completed ran while the daemon itself was starved
    /// or stood still, so that its times may say more of the daemon than of the target.
    ///
    /// For the counter `monitoringdaemon_checks_tainted_total`.
    fn tainted(&self) {}
    /// The check that began has ended.
    fn completed(&self, report: &Report);
    /// The check that began is given up because of a shutdown.
    fn cancelled(&self);
    /// So many slots came due and were not run.
    fn skipped(&self, slots: u64, why: Skip);
}

/// Gives every monitor that the dispatcher runs its [`Observer`], and is told how the daemon fares.
pub trait Overseer: Send + Sync + 'static {
    /// The observer of `job`, which starts to run.
    fn observe(&self, job: &Job) -> Arc<dyn Observer>;
    /// `job` has stopped for good.
    fn stopped(&self, job: &Job);
    /// How late the runtime that runs checks just did what was due: measured ten times a second,
    /// about zero where it keeps up. Must return without waiting.
    ///
    /// For the histogram `monitoringdaemon_runtime_delay_seconds`.
    fn runtime_delay(&self, _delay: Duration) {}
}
