//! The metrics of all monitors and of the daemon.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::RwLock;

use super::{
    Settings,
    buckets::{BucketSet, Buckets},
    daemon::{DaemonMetrics, Limits},
    monitor::{MonitorBuckets, MonitorMetrics},
    page::Page,
};
use crate::{
    check::{Job, Observer, Overseer},
    discovery::Stats,
};

/// Everything on a page of `/metrics`.
pub struct Metrics {
    settings: Settings,
    /// Each monitor owns its values. The prometheus crate's vectors would mistake two monitors for one if
    /// their label values are the same bytes when joined.
    monitors: RwLock<BTreeMap<Arc<str>, Arc<MonitorMetrics>>>,
    buckets: MonitorBuckets,
    daemon: DaemonMetrics,
}

impl Metrics {
    /// Metrics of a daemon without monitors.
    ///
    /// `dropped_log_lines` is asked at each scrape.
    #[must_use]
    pub fn new(
        settings: &Settings,
        dropped_log_lines: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let buckets = |set| Arc::new(Buckets::new(settings.bounds(set)));
        Self {
            settings: settings.clone(),
            monitors: RwLock::default(),
            buckets: MonitorBuckets {
                durations: buckets(BucketSet::Duration),
                response_sizes: buckets(BucketSet::ResponseSize),
            },
            daemon: DaemonMetrics::new(dropped_log_lines),
        }
    }

    /// Exports the limits of concurrent checks.
    #[must_use]
    pub fn with_limits(mut self, checks: usize, per_host: Option<usize>) -> Self {
        self.daemon.limits = Some(Limits {
            checks: checks as u64,
            per_host: per_host.map(|limit| limit as u64),
        });
        self
    }

    /// Exports the statistics of discovery.
    #[must_use]
    pub fn with_discovery(mut self, stats: Arc<Stats>) -> Self {
        self.daemon.discovery = Some(stats);
        self
    }

    /// Records whether the configuration could be read again.
    pub fn reloaded(&self, successful: bool) {
        self.daemon.reloads.record(successful);
    }

    /// Notes whether the configuration that was last read has changes that need a restart.
    pub fn restart_required(&self, required: bool) {
        self.daemon.reloads.record_restart_required(required);
    }

    /// A page of `/metrics` in the text format 0.0.4, to be written piece by piece.
    ///
    /// Takes long with many monitors: for a thread that runs no checks.
    #[must_use]
    pub fn page(&self) -> Page {
        let monitors = self.monitors.read();
        // The lock is released before the page is written.
        Page::new(
            monitors.values().cloned(),
            |family| self.settings.exports(family),
            self.daemon.clone(),
        )
    }
}

impl Overseer for Metrics {
    fn observe(&self, job: &Job) -> Arc<dyn Observer> {
        let counters = self.daemon.checks.clone();
        let monitor = Arc::new(MonitorMetrics::new(job, self.buckets.clone(), counters));
        let mut monitors = self.monitors.write();
        monitors.insert(job.name.clone(), monitor.clone());
        monitor
    }

    fn stopped(&self, job: &Job) {
        self.monitors.write().remove(&job.name);
    }

    fn runtime_delay(&self, delay: Duration) {
        self.daemon.runtime_delay.observe(delay.as_secs_f64());
    }
}
