//! What the daemon tells of itself, put together anew at each scrape.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use prometheus::{
    core::{Collector, Desc},
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

use super::{
    families::{Family, Id},
    process,
    series::unix_seconds,
};

/// Collects what is not kept in types of the prometheus crate.
pub(super) struct Daemon {
    descs: Vec<Desc>,
    reloads: Arc<Reloads>,
    dropped_log_lines: Box<dyn Fn() -> u64 + Send + Sync>,
}

const COLLECTED: [Id; 12] = [
    Id::BuildInfo,
    Id::ReloadSuccessful,
    Id::ReloadTime,
    Id::LogLinesDropped,
    Id::ProcessCpu,
    Id::ProcessOpenFds,
    Id::ProcessMaxFds,
    Id::ProcessVirtualMemory,
    Id::ProcessMaxVirtualMemory,
    Id::ProcessResidentMemory,
    Id::ProcessStartTime,
    Id::ProcessThreads,
];

/// What became of reading the configuration.
pub(super) struct Reloads(Mutex<LastReload>);

#[derive(Clone, Copy)]
struct LastReload {
    successful: bool,
    /// When one was last successful.
    success_at: SystemTime,
}

impl Default for Reloads {
    /// The start is the first.
    fn default() -> Self {
        Self(Mutex::new(LastReload {
            successful: true,
            success_at: SystemTime::now(),
        }))
    }
}

impl Reloads {
    pub fn ended(&self, successful: bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.successful = successful;
        if successful {
            last.success_at = SystemTime::now();
        }
    }

    fn last(&self) -> LastReload {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Of a daemon that tells of its `reloads`.
    pub fn new(
        reloads: Arc<Reloads>,
        dropped_log_lines: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        Self {
            descs: COLLECTED.map(|id| describe(id.family())).into(),
            reloads,
            dropped_log_lines,
        }
    }
}

impl Collector for Daemon {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", env!("MONITORINGDAEMON_REVISION")),
            ("rustc", env!("MONITORINGDAEMON_RUSTC")),
        ];
        families.add(Id::BuildInfo, &build, 1.0);
        let last = self.reloads.last();
        families.add(Id::ReloadSuccessful, &[], f64::from(last.successful));
        families.add(Id::ReloadTime, &[], unix_seconds(last.success_at));
        families.count(Id::LogLinesDropped, (self.dropped_log_lines)());
        process::collect(&mut families);
        families.0
    }
}

/// Families of one sample each, in the prometheus crate's own types.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// Adds the family `id` with one sample.
    pub fn add(&mut self, id: Id, labels: &[(&str, &str)], value: f64) {
        let family = id.family();
        let mut metric = Metric::from_label(label_pairs(labels));
        if family.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        let mut proto = MetricFamily::default();
        proto.set_name(family.name.to_owned());
        proto.set_help(family.help.to_owned());
        proto.set_field_type(family.kind);
        proto.set_metric(vec![metric]);
        self.0.push(proto);
    }

    /// The families, those of one name put together.
    pub fn merged(self) -> Vec<MetricFamily> {
        let mut merged: Vec<MetricFamily> = Vec::new();
        for family in self.0 {
            match merged
                .iter_mut()
                .find(|known| known.name() == family.name())
            {
                Some(known) => known.mut_metric().extend_from_slice(family.get_metric()),
                None => merged.push(family),
            }
        }
        merged
    }

    /// Adds the family `id` with one sample of what counts whole things.
    pub fn count(&mut self, id: Id, count: u64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "samples are floats; exact up to 2^53"
        )]
        self.add(id, &[], count as f64);
    }
}

/// Labels sorted by name, as Prometheus' clients have them.
fn label_pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let mut pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect();
    pairs.sort();
    pairs
}

pub(super) fn describe(family: &Family) -> Desc {
    let labels = family.labels.iter().map(ToString::to_string).collect();
    Desc::new(
        family.name.to_owned(),
        family.help.to_owned(),
        labels,
        HashMap::new(),
    )
    .expect("names and labels in the list of families are valid")
}
