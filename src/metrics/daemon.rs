//! Metrics of the daemon itself.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use prometheus::{HistogramOpts, IntCounter};

use super::{buckets::LAG_BUCKETS, process::ProcessStats};
use crate::{
    discovery::{BlockCounts, SourceStatus, Stats},
    probe::ProbeStats,
    storage,
    telemetry::ExportStats,
};

/// Values that the daemon keeps about itself. Clones share them.
#[derive(Clone)]
pub(super) struct DaemonMetrics {
    pub checks: CheckCounters,
    pub runtime_delay: prometheus::Histogram,
    pub reloads: Arc<ReloadStatus>,
    pub dropped_log_lines: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub limits: Option<Limits>,
    pub discovery: Option<Arc<Stats>>,
    pub probes: Option<Arc<ProbeStats>>,
    pub storage: Option<Arc<storage::Stats>>,
    pub telemetry: Arc<ExportStats>,
    /// True if the daemon has a network; `None` without a `self_check`.
    pub connected: Arc<Mutex<Option<bool>>>,
}

/// Counters over the checks of all monitors. Clones share them.
#[derive(Clone)]
pub(super) struct CheckCounters {
    pub start_lag: prometheus::Histogram,
    pub tainted: IntCounter,
}

/// Limits of checks in flight.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub checks: u64,
    pub per_host: Option<u64>,
}

impl DaemonMetrics {
    /// The values of a daemon that has just started. `dropped_log_lines` is called at each scrape.
    pub fn new(dropped_log_lines: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            checks: CheckCounters {
                start_lag: lag_histogram(),
                tainted: IntCounter::new("tainted", "-").expect(VALID),
            },
            runtime_delay: lag_histogram(),
            reloads: Arc::default(),
            dropped_log_lines: Arc::new(dropped_log_lines),
            limits: None,
            discovery: None,
            probes: None,
            storage: None,
            telemetry: Arc::default(),
            connected: Arc::default(),
        }
    }
}

/// The prometheus crate requires a name. The exported names are in the table of families.
const VALID: &str = "the name is valid, and the buckets are in order";

fn lag_histogram() -> prometheus::Histogram {
    let options = HistogramOpts::new("lag", "-").buckets(LAG_BUCKETS.into());
    prometheus::Histogram::with_opts(options).expect(VALID)
}

/// Results of reading the configuration.
pub(super) struct ReloadStatus(Mutex<LastReload>);

#[derive(Clone, Copy)]
pub(super) struct LastReload {
    pub successful: bool,
    /// Time of the last successful one.
    pub success_at: SystemTime,
    /// True if it has changes that take effect after a restart only.
    pub restart_required: bool,
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
    pub fn record(&self, successful: bool) {
        let mut last = self.0.lock();
        last.successful = successful;
        if successful {
            last.success_at = SystemTime::now();
        }
    }

    /// Records whether the last successful reload has changes that take effect after a restart only.
    pub fn record_restart_required(&self, required: bool) {
        let mut last = self.0.lock();
        last.restart_required = required;
    }

    /// The last reload.
    pub fn last(&self) -> LastReload {
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
    pub fn telemetry(&self) -> &ExportStats {
        &self.metrics.telemetry
    }

    /// Every source of discovery, with its block and what it has found.
    pub fn discovery_sources(&self) -> impl Iterator<Item = (Arc<str>, String, SourceStatus)> {
        let stats = self.metrics.discovery.iter();
        stats.flat_map(|stats| stats.sources())
    }

    /// The counters of probes, if there are modules.
    pub fn probes(&self) -> Option<&ProbeStats> {
        let probes = self.metrics.probes.as_deref();
        probes.filter(|probes| probes.is_enabled())
    }

    /// Every block of discovery, with the results of its targets.
    pub fn discovery_blocks(&self) -> impl Iterator<Item = (Arc<str>, BlockCounts)> {
        let stats = self.metrics.discovery.iter();
        stats.flat_map(|stats| stats.blocks())
    }
}
