//! Reports become Prometheus series: the one place where metrics have names.

mod daemon;
mod discovery;
mod families;
mod histogram;
mod page;
mod process;
mod series;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use prometheus::{HistogramOpts, IntCounter, IntGauge, Registry};

use crate::{
    check::{Job, Observer, Overseer},
    discovery::Stats,
};
use daemon::{Daemon, Reloads};
use families::Id;
use histogram::Buckets;
use series::{MonitorBuckets, Series, Shared};

pub use families::{FAMILIES, Family};
pub use page::Page;

/// Upper bounds of `monitor_check_duration_seconds` where none are configured.
pub const DURATION_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of `monitor_response_size_bytes` where none are configured.
pub const RESPONSE_SIZE_BUCKETS: [f64; 6] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// Upper bounds of the histograms of our own lateness: a timer's granularity is 0.001.
pub(crate) const LATENESS_BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// What is exposed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Upper bounds in seconds of the latency histogram, where they are not [`DURATION_BUCKETS`].
    pub duration_buckets: Option<Arc<[f64]>>,
    /// Upper bounds in bytes, where they are not [`RESPONSE_SIZE_BUCKETS`].
    pub response_size_buckets: Option<Arc<[f64]>>,
    /// Families that monitors do not have.
    pub disabled: Vec<&'static str>,
}

impl Settings {
    /// Whether monitors have series of `family`.
    pub(crate) fn gives_monitors(&self, family: &Family) -> bool {
        family.is_of_monitors() && !self.disabled.contains(&family.name)
    }
}

/// Everything that `/metrics` tells.
pub struct Metrics {
    /// What the daemon tells of itself.
    registry: Registry,
    /// What it tells of monitors, each of which owns its values. The prometheus crate's vectors
    /// would take two of them for one where their label values are the same bytes when joined.
    monitors: RwLock<BTreeMap<Arc<str>, Arc<Series>>>,
    families: Vec<Id>,
    buckets: MonitorBuckets,
    shared: Shared,
    runtime_delay: prometheus::Histogram,
    reloads: Arc<Reloads>,
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
        let buckets = |given: &Option<Arc<[f64]>>, default| {
            Arc::new(Buckets::new(given.as_deref().unwrap_or(default)))
        };
        let tainted = Id::Tainted.family();
        let metrics = Self {
            registry: Registry::new(),
            monitors: RwLock::default(),
            families: Id::of_monitors(settings),
            buckets: MonitorBuckets {
                durations: buckets(&settings.duration_buckets, &DURATION_BUCKETS),
                response_sizes: buckets(&settings.response_size_buckets, &RESPONSE_SIZE_BUCKETS),
            },
            shared: Shared {
                start_lag: lateness(Id::StartLag),
                tainted: IntCounter::new(tainted.name, tainted.help).expect(VALID),
            },
            runtime_delay: lateness(Id::RuntimeDelay),
            reloads: Arc::default(),
        };
        metrics.register(metrics.shared.start_lag.clone());
        metrics.register(metrics.shared.tainted.clone());
        metrics.register(metrics.runtime_delay.clone());
        let reloads = metrics.reloads.clone();
        metrics.register(Daemon::new(reloads, Box::new(dropped_log_lines)));
        metrics
    }

    /// Notes whether the configuration could be read again.
    pub fn reloaded(&self, successful: bool) {
        self.reloads.ended(successful);
    }

    /// Tells of the limits of concurrent checks.
    #[must_use]
    pub fn with_limits(self, checks: usize, per_host: Option<usize>) -> Self {
        self.register_limit(Id::MaxConcurrentChecks, checks);
        if let Some(per_host) = per_host {
            self.register_limit(Id::MaxConcurrentChecksPerHost, per_host);
        }
        self
    }

    /// Tells of discovery.
    #[must_use]
    pub fn with_discovery(self, stats: Arc<Stats>) -> Self {
        self.register(discovery::Discovery::new(stats));
        self
    }

    fn register_limit(&self, id: Id, limit: usize) {
        let gauge = IntGauge::new(id.family().name, id.family().help).expect(VALID);
        gauge.set(i64::try_from(limit).unwrap_or(i64::MAX));
        self.register(gauge);
    }

    fn register(&self, collector: impl prometheus::core::Collector + 'static) {
        let registered = self.registry.register(Box::new(collector));
        registered.expect("each name stands in one line of the list of families");
    }

    /// A page of `/metrics` in the text format 0.0.4, to be written piece by piece.
    ///
    /// Takes long where there are many monitors: for a thread that runs no checks.
    #[must_use]
    pub fn page(&self) -> Page {
        let monitors = self.monitors.read().unwrap_or_else(PoisonError::into_inner);
        // Its lock is let go before the page is written.
        Page::new(
            monitors.values().cloned(),
            &self.families,
            self.registry.clone(),
        )
    }
}

const VALID: &str = "names in the list of families are valid, and buckets are in order";

fn lateness(id: Id) -> prometheus::Histogram {
    let family = id.family();
    let options = HistogramOpts::new(family.name, family.help).buckets(LATENESS_BUCKETS.into());
    prometheus::Histogram::with_opts(options).expect(VALID)
}

impl Overseer for Metrics {
    fn observe(&self, job: &Job) -> Arc<dyn Observer> {
        let series = Arc::new(Series::new(job, self.buckets.clone(), self.shared.clone()));
        let mut monitors = self
            .monitors
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        monitors.insert(job.name.clone(), series.clone());
        series
    }

    fn stopped(&self, job: &Job) {
        self.monitors
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&job.name);
    }

    fn runtime_delay(&self, delay: Duration) {
        self.runtime_delay.observe(delay.as_secs_f64());
    }
}
