//! The exporters that run, and how they change.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::Mutex, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    LOG_TARGET, LogLayer, Settings,
    client::Client,
    delivery::Delivery,
    exporter::Exporter,
    metric_exporter::MetricExporter,
    metric_source::MetricSource,
    queue::Queue,
    resource,
    stats::{ExportStats, Signal},
    tracer::CheckTracer,
};
use crate::net::Net;

/// The signals that are queued, in the order of [`Signal::ALL`].
const QUEUED: [Signal; 2] = [Signal::Traces, Signal::Logs];

/// The telemetry of a daemon: it owns the exporters.
pub(crate) struct Telemetry {
    instance_id: String,
    stats: Arc<ExportStats>,
    /// The queues of traces and log lines. Metrics have none.
    queues: [Arc<Queue>; QUEUED.len()],
    tracer: Arc<CheckTracer>,
    running: Mutex<Vec<RunningExporter>>,
}

/// The queue of `signal`.
#[cfg(test)]
pub(super) fn queue_of(telemetry: &Telemetry, signal: Signal) -> &Queue {
    &telemetry.queues[signal as usize]
}

struct RunningExporter {
    stop: CancellationToken,
    task: AbortOnDropHandle<AnyExporter>,
}

/// The exporter of any signal.
enum AnyExporter {
    Queue(Exporter),
    Metrics(MetricExporter),
}

impl AnyExporter {
    async fn run(self, stop: CancellationToken) -> Self {
        match self {
            Self::Queue(exporter) => Self::Queue(exporter.run(stop).await),
            Self::Metrics(exporter) => Self::Metrics(exporter.run(stop).await),
        }
    }

    async fn flush(&self) {
        match self {
            Self::Queue(exporter) => exporter.flush().await,
            Self::Metrics(exporter) => exporter.flush().await,
        }
    }
}

impl Telemetry {
    /// Queues what `settings` export. It is sent from [`configure`](Self::configure) on.
    #[must_use]
    pub(crate) fn new(settings: &Settings) -> Self {
        let stats = Arc::new(ExportStats::default());
        let queues = QUEUED.map(|signal| {
            let queue = Queue::new(signal, stats.clone());
            queue.set_open(settings.exporter(signal).is_some());
            Arc::new(queue)
        });
        let tracer = CheckTracer::new(queues[Signal::Traces as usize].clone());
        tracer.configure(settings.traces.as_ref());
        Self {
            instance_id: resource::random_instance_id(),
            tracer: Arc::new(tracer),
            stats,
            queues,
            running: Mutex::default(),
        }
    }

    /// The counters.
    #[must_use]
    pub(crate) fn stats(&self) -> Arc<ExportStats> {
        self.stats.clone()
    }

    /// The tracer of checks.
    #[must_use]
    pub(crate) fn tracer(&self) -> Arc<CheckTracer> {
        self.tracer.clone()
    }

    /// The layer that queues log lines.
    #[must_use]
    pub(crate) fn log_layer(&self) -> LogLayer {
        LogLayer::new(self.queues[Signal::Logs as usize].clone())
    }

    /// Exports as `settings` say from now on, with the metrics of `source`. What is queued goes to the new collector.
    ///
    /// Must be called within a tokio runtime.
    pub(crate) async fn configure(
        &self,
        settings: &Settings,
        net: &Net,
        source: Arc<dyn MetricSource>,
    ) {
        let mut running = self.running.lock().await;
        for exporter in running.drain(..) {
            exporter.stop().await;
        }
        let resource = resource::encode_resource(&self.instance_id, &settings.resource);
        let resource: Arc<[u8]> = resource.into();
        for signal in Signal::ALL {
            let exporter = settings.exporter(signal);
            self.stats.set_enabled(signal, exporter.is_some());
            let queue = self.queues.get(signal as usize);
            if let Some(queue) = queue {
                queue.set_open(exporter.is_some());
            }
            let Some(exporter) = exporter else {
                continue;
            };
            let scope = resource::encode_scope();
            let client = Client::new(signal, exporter, resource.clone(), scope, net);
            let delivery = Delivery::new(signal, client, self.stats.clone());
            let exporter = match (queue, &settings.metrics) {
                (Some(queue), _) => AnyExporter::Queue(Exporter {
                    delivery,
                    queue: queue.clone(),
                }),
                (None, Some(metrics)) => AnyExporter::Metrics(MetricExporter {
                    delivery,
                    source: source.clone(),
                    every: metrics.every,
                    temporality: metrics.temporality,
                }),
                (None, None) => continue,
            };
            let stop = CancellationToken::new();
            let task = AbortOnDropHandle::new(tokio::spawn(exporter.run(stop.clone())));
            running.push(RunningExporter { stop, task });
        }
        if settings.metrics.is_none() {
            source.forget();
        }
        self.tracer.configure(settings.traces.as_ref());
    }

    /// Stops exporting, after sending what is queued for at most `patience`.
    pub(crate) async fn finish(&self, patience: Duration) {
        let mut running = self.running.lock().await;
        let flushes = running.drain(..).map(|exporter| async {
            if let Some(exporter) = exporter.stop().await {
                exporter.flush().await;
            }
        });
        // What is left then is lost.
        let _ = timeout(patience, join_all(flushes)).await;
        for (signal, queue) in QUEUED.iter().zip(&self.queues) {
            let items = queue.len();
            if items > 0 {
                let signal = signal.as_str();
                tracing::warn!(target: LOG_TARGET, signal, items, "Telemetry was not exported");
            }
            queue.set_open(false);
        }
    }
}

impl RunningExporter {
    /// Stops the task and returns the exporter.
    async fn stop(self) -> Option<AnyExporter> {
        self.stop.cancel();
        match self.task.await {
            Ok(exporter) => Some(exporter),
            Err(error) => {
                tracing::error!(target: LOG_TARGET, %error, "Telemetry exporter ended unexpectedly");
                None
            }
        }
    }
}
