//! Holds the metrics of all monitors and of the daemon, and renders them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use super::{
    Settings,
    buckets::{BucketSet, Buckets},
    daemon::{DaemonMetrics, Limits},
    exposition::{Exposition, Form},
    family_writer::PageStyle,
    format::{Format, Syntax},
    label_name::LabelNames,
    monitor::{MonitorBuckets, MonitorMetrics},
    otlp::{Exported, Points},
};
use crate::{
    check::{DispatcherObserver, Job, MonitorObserver},
    discovery::Stats,
    heartbeat::HeartbeatStats,
    probe::ProbeStats,
    storage,
    telemetry::{ExportStats, MetricCollection, MetricSource, Temporality},
    value::is_plain_label_name,
};

type MonitorsByName = BTreeMap<Arc<str>, Arc<MonitorMetrics>>;

/// Number of monitors that may end between two collections and are in the next one.
const MAX_ENDED: usize = 100_000;

/// Everything on a page of `/metrics`.
pub struct Metrics {
    settings: Settings,
    /// Each monitor owns its values. The prometheus crate's vectors would mistake two monitors for one if
    /// their label values are the same bytes when joined.
    monitors: RwLock<MonitorsByName>,
    buckets: MonitorBuckets,
    daemon: DaemonMetrics,
    /// The values that a collector has; empty unless deltas are exported.
    exported: Arc<Mutex<Exported>>,
    /// The monitors that have ended since the last collection, so that the next one has their last values; `None` if
    /// nothing is collected.
    ended: Mutex<Option<MonitorsByName>>,
    /// A label that not every scraper can read.
    utf8_label: OnceLock<String>,
    has_warned_of_label: AtomicBool,
}

impl Metrics {
    /// Metrics of a daemon without monitors.
    ///
    /// `dropped_log_lines` is called at each scrape.
    #[must_use]
    pub fn new(
        settings: &Settings,
        dropped_log_lines: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let buckets = |set| {
            let (native, has_classic) = (settings.native(), settings.has_classic());
            Arc::new(Buckets::new(settings.bounds(set), native, has_classic))
        };
        Self {
            settings: settings.clone(),
            monitors: RwLock::default(),
            buckets: MonitorBuckets {
                durations: buckets(BucketSet::Duration),
                response_sizes: buckets(BucketSet::ResponseSize),
            },
            daemon: DaemonMetrics::new(&buckets(BucketSet::Lag), dropped_log_lines),
            exported: Arc::default(),
            ended: Mutex::default(),
            utf8_label: OnceLock::new(),
            has_warned_of_label: AtomicBool::new(false),
        }
    }

    /// Exports the limits of concurrent checks.
    #[must_use]
    pub(crate) fn with_limits(mut self, checks: usize, per_host: Option<usize>) -> Self {
        self.daemon.limits = Some(Limits {
            checks: checks as u64,
            per_host: per_host.map(|limit| limit as u64),
        });
        self
    }

    /// Exports the statistics of discovery.
    #[must_use]
    pub(crate) fn with_discovery(mut self, stats: Arc<Stats>) -> Self {
        self.daemon.discovery = Some(stats);
        self
    }

    /// Exports the counters of probes.
    #[must_use]
    pub(crate) fn with_probes(mut self, stats: Arc<ProbeStats>) -> Self {
        self.daemon.probes = Some(stats);
        self
    }

    /// Exports the numbers of the store.
    #[must_use]
    pub(crate) fn with_storage(mut self, stats: Arc<storage::Stats>) -> Self {
        self.daemon.storage = Some(stats);
        self
    }

    /// Exports the counters of telemetry.
    #[must_use]
    pub(crate) fn with_telemetry(mut self, stats: Arc<ExportStats>) -> Self {
        self.daemon.telemetry = stats;
        self
    }

    /// Exports the counters of heartbeats.
    #[must_use]
    pub(crate) fn with_heartbeats(mut self, stats: Arc<HeartbeatStats>) -> Self {
        self.daemon.heartbeats = stats;
        self
    }

    /// Records the result of a reload.
    pub fn reloaded(&self, successful: bool) {
        self.daemon.reloads.record(successful);
    }

    /// Records whether the last configuration has changes that need a restart.
    pub(crate) fn restart_required(&self, required: bool) {
        self.daemon.reloads.record_restart_required(required);
    }

    /// A page of `/metrics` in `format`, to be written piece by piece.
    ///
    /// Takes long with many monitors, so it must not run on a worker thread.
    #[must_use]
    pub(crate) fn exposition(&self, format: Format) -> Exposition {
        if format.names == LabelNames::Plain {
            self.warn_of_labels();
        }
        let form = match format.syntax {
            Syntax::Text | Syntax::OpenMetrics => Form::Text {
                syntax: format.syntax,
                has_created_samples: self.settings.has_created_samples,
            },
            Syntax::Protobuf => Form::Protobuf,
        };
        self.exposition_as(form, format.names, MonitorsByName::new())
    }

    /// The page of all monitors, and of those that have `ended` unless others have their names.
    fn exposition_as(
        &self,
        form: Form,
        names: LabelNames,
        mut ended: MonitorsByName,
    ) -> Exposition {
        let style = PageStyle {
            profile: self.settings.profile,
            names,
        };
        let monitors = self.monitors.read();
        ended.retain(|name, _| !monitors.contains_key(name));
        // The lock is released before the page is written.
        Exposition::new(
            monitors.values().cloned(),
            ended.into_values(),
            |family| self.settings.exports(family),
            self.daemon.clone(),
            style,
            form,
        )
    }

    /// Warns once that a page lacks labels.
    fn warn_of_labels(&self) {
        let Some(label) = self.utf8_label.get() else {
            return;
        };
        if !self.has_warned_of_label.swap(true, Ordering::Relaxed) {
            let shown: String = label.chars().take(50).collect();
            tracing::warn!(
                label = format!("{shown:?}"),
                "Labels left out of /metrics: the scraper does not read UTF-8 names (escaping=allow-utf-8)"
            );
        }
    }
}

impl MetricSource for Metrics {
    fn collect(&self, temporality: Temporality) -> Box<dyn MetricCollection> {
        let points = Points::new(temporality, self.exported.clone());
        let ended = self.ended.lock().replace(MonitorsByName::new());
        Box::new(self.exposition_as(
            Form::Otlp(points),
            LabelNames::Utf8,
            ended.unwrap_or_default(),
        ))
    }

    fn forget(&self) {
        *self.exported.lock() = Exported::default();
        *self.ended.lock() = None;
    }
}

impl DispatcherObserver for Metrics {
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver> {
        if let Some(name) = job.labels.keys().find(|name| !is_plain_label_name(name)) {
            self.utf8_label.get_or_init(|| name.clone());
        }
        let counters = self.daemon.checks.clone();
        let monitor = Arc::new(MonitorMetrics::new(job, self.buckets.clone(), counters));
        let mut monitors = self.monitors.write();
        monitors.insert(job.name.clone(), monitor.clone());
        monitor
    }

    fn on_stopped(&self, job: &Job) {
        let Some(monitor) = self.monitors.write().remove(&job.name) else {
            return;
        };
        if let Some(ended) = &mut *self.ended.lock()
            && ended.len() < MAX_ENDED
        {
            ended.insert(job.name.clone(), monitor);
        }
    }

    fn on_connected(&self, is_connected: Option<bool>) {
        *self.daemon.connected.lock() = is_connected;
    }

    fn on_runtime_delay(&self, delay: Duration) {
        self.daemon.on_runtime_delay(delay);
    }
}
