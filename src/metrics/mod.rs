//! Reports become Prometheus series: the one place where metrics have names.

mod families;
mod page;
mod process;
mod series;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use prometheus::{
    Encoder, HistogramOpts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::check::{Job, Observer, Overseer};
use families::Id;
use page::Page;
use series::Series;

pub use families::{FAMILIES, Family};

/// Upper bounds of `monitor_check_duration_seconds` where none are configured.
pub const DURATION_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of `monitoringdaemon_check_start_lag_seconds`: a timer's granularity is 0.001.
const START_LAG_BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// Everything that `/metrics` tells.
pub struct Metrics {
    registry: Registry,
    monitors: Arc<RwLock<Monitors>>,
    duration_buckets: Arc<[f64]>,
    start_lag: prometheus::Histogram,
}

type Monitors = BTreeMap<Arc<str>, Arc<Series>>;

impl Metrics {
    /// Metrics of a daemon without monitors, with these bounds for their latency.
    ///
    /// `dropped_log_lines` is asked at each scrape.
    #[must_use]
    pub fn new(
        duration_buckets: Option<Arc<[f64]>>,
        dropped_log_lines: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let family = Id::StartLag.family();
        let options =
            HistogramOpts::new(family.name, family.help).buckets(START_LAG_BUCKETS.into());
        let start_lag =
            prometheus::Histogram::with_opts(options).expect("the buckets are in order");
        let metrics = Self {
            registry: Registry::new(),
            monitors: Arc::default(),
            duration_buckets: duration_buckets.unwrap_or_else(|| Arc::from(DURATION_BUCKETS)),
            start_lag,
        };
        let collected = Collected {
            descs: FAMILIES
                .iter()
                .filter(|family| family.name != Id::StartLag.family().name)
                .map(describe)
                .collect(),
            monitors: metrics.monitors.clone(),
            read_at: SystemTime::now(),
            dropped_log_lines: Box::new(dropped_log_lines),
        };
        let registered = metrics
            .registry
            .register(Box::new(metrics.start_lag.clone()))
            .and_then(|()| metrics.registry.register(Box::new(collected)));
        registered.expect("each name stands in one line of the list of families");
        metrics
    }

    /// The page of `/metrics`, in the text format 0.0.4.
    ///
    /// Takes long where there are many monitors: for a thread that runs no checks.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut page = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut page)
            .expect("a Vec takes all bytes, and no family is empty");
        page
    }
}

impl Overseer for Metrics {
    fn observe(&self, job: &Job) -> Arc<dyn Observer> {
        let series = Arc::new(Series::new(
            job,
            &self.duration_buckets,
            self.start_lag.clone(),
        ));
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
}

fn describe(family: &Family) -> Desc {
    let labels = family.labels.iter().map(ToString::to_string).collect();
    Desc::new(
        family.name.to_owned(),
        family.help.to_owned(),
        labels,
        HashMap::new(),
    )
    .expect("names and labels in the list of families are valid")
}

/// What is put together anew at each scrape: all but the histogram that checks write to directly.
///
/// Monitors own their values, and no `*Vec` of the prometheus crate holds them: that would take
/// two monitors for one whose label values are the same bytes when they are joined.
struct Collected {
    descs: Vec<Desc>,
    monitors: Arc<RwLock<Monitors>>,
    /// When the configuration was read.
    read_at: SystemTime,
    dropped_log_lines: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::new();
        let monitors = self
            .monitors
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut in_flight = 0;
        let mut types = BTreeMap::<_, u64>::new();
        for series in monitors.values() {
            in_flight += series.collect(&mut page);
            *types.entry(series.kind).or_default() += 1;
        }
        // Counted from the same moments as the series, so that they add up on every page.
        page.count(Id::InFlight, &[], in_flight);
        for (kind, count) in types {
            page.count(Id::Monitors, &[("type", kind)], count);
        }
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", env!("MONITORINGDAEMON_REVISION")),
            ("rustc", env!("MONITORINGDAEMON_RUSTC")),
        ];
        page.add(Id::BuildInfo, &build, 1.0);
        page.add(Id::ReloadSuccessful, &[], 1.0);
        page.add(Id::ReloadTime, &[], series::unix_seconds(self.read_at));
        page.count(Id::LogLinesDropped, &[], (self.dropped_log_lines)());
        process::collect(&mut page);
        page.into_families()
    }
}
