//! The task that reads all metrics at an interval and sends them to a collector.
//!
//! Nothing is queued: a part is read when the one before has been sent.

use std::{sync::Arc, time::Duration};

use scopeguard::{ScopeGuard, guard};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    LOG_TARGET,
    delivery::{Delivered, Delivery},
    exporter::MAX_BATCH_AGE,
    metric_source::{MetricCollection, MetricPart, MetricSource, Temporality},
    stats::Signal,
};
use crate::offload;

/// Exports all metrics until it is stopped.
pub(super) struct MetricExporter {
    pub delivery: Delivery,
    pub source: Arc<dyn MetricSource>,
    pub every: Duration,
    pub temporality: Temporality,
}

impl MetricExporter {
    /// Exports until `stop`, and returns itself for the last time.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Self {
        let mut due = Instant::now() + self.every;
        loop {
            let export = async {
                sleep_until(due).await;
                self.export().await;
            };
            if stop.run_until_cancelled(export).await.is_none() {
                return self;
            }
            // A slow collector gets the next metrics at once, and no more often than it takes them.
            due = Instant::now().max(due + self.every);
        }
    }

    /// Sends all metrics; if a part cannot be delivered until the next ones are due, the rest is given up.
    async fn export(&mut self) {
        let patience = self.every.min(MAX_BATCH_AGE);
        let mut collection = self.collect().await;
        let mut has_all = true;
        loop {
            let (rest, part) = read_part(collection).await;
            collection = rest;
            let Some(part) = part else { break };
            let (metrics, points) = ([part.metrics], part.points);
            let delivered = self.delivery.deliver(&metrics, points, patience).await;
            collection.end_part(delivered == Delivered::Accepted);
            has_all &= delivered == Delivered::Accepted;
            if delivered == Delivered::GivenUp {
                return self.give_up(collection).await;
            }
        }
        if has_all {
            collection.complete();
        }
    }

    /// Counts what is left of `collection` as lost.
    async fn give_up(&self, mut collection: Box<dyn MetricCollection>) {
        loop {
            let (rest, part) = read_part(collection).await;
            collection = rest;
            let Some(part) = part else { return };
            collection.end_part(false);
            self.delivery.give_up(part.points);
        }
    }

    /// Sends all metrics once.
    pub(super) async fn flush(&self) {
        // Also if the caller loses its patience.
        let incomplete = guard((), |()| {
            let signal = Signal::Metrics.as_str();
            tracing::warn!(target: LOG_TARGET, signal, "Telemetry was not exported");
        });
        let mut collection = self.collect().await;
        loop {
            let (rest, part) = read_part(collection).await;
            collection = rest;
            let Some(part) = part else { break };
            if !self
                .delivery
                .deliver_once(&[part.metrics], part.points)
                .await
            {
                return;
            }
            collection.end_part(true);
        }
        ScopeGuard::into_inner(incomplete);
    }

    async fn collect(&self) -> Box<dyn MetricCollection> {
        let (source, temporality) = (self.source.clone(), self.temporality);
        offload::run(false, move |_| source.collect(temporality)).await
    }
}

/// Reads the next part on a blocking thread.
async fn read_part(
    mut collection: Box<dyn MetricCollection>,
) -> (Box<dyn MetricCollection>, Option<MetricPart>) {
    offload::run(false, move |_| {
        let part = collection.next_part();
        (collection, part)
    })
    .await
}
