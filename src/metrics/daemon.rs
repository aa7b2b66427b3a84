//! Metrics of the daemon itself.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;

use super::{buckets::Buckets, histogram::Histogram, process::ProcessStats};
use crate::{
    counter::counter,
    discovery::{BlockCounts, SourceStatus, Stats},
    heartbeat::HeartbeatStats,
    probe::ProbeStats,
    storage,
    telemetry::ExportStats,
};

/// Values that the daemon keeps about itself. Clones share them.
#[derive(Clone)]
pub(super) struct DaemonMetrics {
    /// The time since which its counters count.
    pub since: SystemTime,
    pub checks: CheckCounters,
    pub(crate) runtime_delay: Arc<Mutex<Histogram>>,
    pub reloads: Arc<ReloadStatus>,
    pub(crate) dropped_log_lines: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub limits: Option<Limits>,
    pub discovery: Option<Arc<Stats>>,
    pub probes: Option<Arc<ProbeStats>>,
    pub storage: Option<Arc<storage::Stats>>,
    pub telemetry: Arc<ExportStats>,
    pub heartbeats: Arc<HeartbeatStats>,
    /// True if the daemon has a network; `None` without a `self_check`.
    pub connected: Arc<Mutex<Option<bool>>>,
}

/// Counters over the checks of all monitors. Clones share them.
#[derive(Clone)]
pub(super) struct CheckCounters {
    start_lag: Arc<Mutex<Histogram>>,
    tainted: IntCounter,
}

impl CheckCounters {
    /// Records a check that started so late.
    pub(super) fn started(&self, lag: Duration) {
        observe(&self.start_lag, lag);
    }

    /// Counts a check whose result is unreliable because of the daemon.
    pub(super) fn count_tainted(&self) {
        self.tainted.inc();
    }

    /// Delays of the starts of checks.
    pub(super) fn start_lag(&self) -> MutexGuard<'_, Histogram> {
        self.start_lag.lock()
    }

    /// Number of checks whose result is unreliable because of the daemon.
    pub(super) fn tainted(&self) -> u64 {
        self.tainted.get()
    }
}

/// Adds a delay to a histogram.
fn observe(histogram: &Mutex<Histogram>, delay: Duration) {
    // Delays are counted since the start of the daemon.
    histogram
        .lock()
        .observe(delay.as_secs_f64(), SystemTime::UNIX_EPOCH, None);
}

/// Limits of checks in flight.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub checks: u64,
    pub(crate) per_host: Option<u64>,
}

impl DaemonMetrics {
    /// The values of a daemon that has just started, with these `buckets` for delays. `dropped_log_lines` is called
    /// at each scrape.
    pub(super) fn new(
        buckets: &Arc<Buckets>,
        dropped_log_lines: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let since = SystemTime::now();
        let delays = || {
            let histogram = Histogram::empty_since(since, buckets.clone());
            Arc::new(Mutex::new(histogram))
        };
        Self {
            since,
            checks: CheckCounters {
                start_lag: delays(),
                tainted: counter(),
            },
            runtime_delay: delays(),
            reloads: Arc::default(),
            dropped_log_lines: Arc::new(dropped_log_lines),
            limits: None,
            discovery: None,
            probes: None,
            storage: None,
            telemetry: Arc::default(),
            heartbeats: Arc::default(),
            connected: Arc::default(),
        }
    }

    /// Records how late a task of the runtime ran.
    pub(super) fn on_runtime_delay(&self, delay: Duration) {
        observe(&self.runtime_delay, delay);
    }
}

/// Results of reading the configuration.
pub(super) struct ReloadStatus(Mutex<LastReload>);

#[derive(Clone, Copy)]
pub(super) struct LastReload {
    pub successful: bool,
    /// Time of the last successful one.
    pub(crate) success_at: SystemTime,
    /// True if it has changes that take effect after a restart only.
    pub(crate) restart_required: bool,
}

impl Default for ReloadStatus {
    /// The daemon starts by reading a valid configuration.
    fn default() -> Self {
        Self(Mutex::new(LastReload {
            successful: true,
            success_at: SystemTime::now(),
            restart_required: false,
        }))
    }
}

impl ReloadStatus {
    /// Records a reload that has ended.
    pub(super) fn record(&self, successful: bool) {
        let mut last = self.0.lock();
        last.successful = successful;
        if successful {
            last.success_at = SystemTime::now();
        }
    }

    /// Records whether the last successful reload has changes that take effect after a restart only.
    pub(super) fn record_restart_required(&self, required: bool) {
        let mut last = self.0.lock();
        last.restart_required = required;
    }

    /// The last reload.
    pub(super) fn last(&self) -> LastReload {
        *self.0.lock()
    }
}

/// The values behind the metrics of the daemon itself.
pub(super) struct DaemonState<'m> {
    pub metrics: &'m DaemonMetrics,
    /// Monitors by type.
    pub monitors: BTreeMap<&'static str, u64>,
    pub checks_in_flight: u64,
    pub process: ProcessStats,
}

impl DaemonState<'_> {
    /// The counters of telemetry.
    pub(super) fn telemetry(&self) -> &ExportStats {
        &self.metrics.telemetry
    }

    /// The counters of heartbeats, if they are configured.
    pub(super) fn heartbeats(&self) -> Option<&HeartbeatStats> {
        let heartbeats = &*self.metrics.heartbeats;
        heartbeats.is_enabled().then_some(heartbeats)
    }

    /// Every source of discovery, with its block and what it has found.
    pub(super) fn discovery_sources(
        &self,
    ) -> impl Iterator<Item = (Arc<str>, String, SourceStatus)> {
        let stats = self.metrics.discovery.iter();
        stats.flat_map(|stats| stats.sources())
    }

    /// The counters of probes, if there are modules.
    pub(super) fn probes(&self) -> Option<&ProbeStats> {
        let probes = self.metrics.probes.as_deref();
        probes.filter(|probes| probes.is_enabled())
    }

    /// Every block of discovery, with the results of its targets.
    pub(super) fn discovery_blocks(&self) -> impl Iterator<Item = (Arc<str>, BlockCounts)> {
        let stats = self.metrics.discovery.iter();
        stats.flat_map(|stats| stats.blocks())
    }
}
