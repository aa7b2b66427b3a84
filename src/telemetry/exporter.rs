//! The task that sends the queue of one signal to its collector, and again if that fails.

use std::{sync::Arc, time::Duration};

use scopeguard::{ScopeGuard, guard};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    LOG_TARGET,
    client::{Client, Outcome},
    queue::{Item, Queue},
    stats::{DropReason, ExportStats, Signal},
};

/// The wait after the first failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Time after which a batch is given up.
const MAX_BATCH_AGE: Duration = Duration::from_secs(300);

/// Minimum time between two log lines about rejected items.
const REJECTION_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends what is in a queue until it is stopped.
pub(super) struct Exporter {
    pub signal: Signal,
    pub client: Client,
    pub queue: Arc<Queue>,
    pub stats: Arc<ExportStats>,
    /// True if the last request failed, which was logged.
    pub(crate) is_failing: bool,
    pub(crate) last_rejection: Option<Instant>,
}

impl Exporter {
    /// Exports until `stop`, and returns itself for the rest.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Self {
        loop {
            if stop
                .run_until_cancelled(self.queue.wait_for_batch())
                .await
                .is_none()
            {
                return self;
            }
            let batch = self.queue.take_batch();
            let delivered = stop.run_until_cancelled(self.deliver(&batch)).await;
            if delivered.is_none() {
                self.queue.put_back(batch);
                return self;
            }
        }
    }

    /// Sends each batch of the rest once.
    pub(super) async fn flush(&self) {
        while self.queue.len() > 0 {
            // The caller may lose its patience.
            let batch = guard(self.queue.take_batch(), |batch| self.queue.put_back(batch));
            match self.client.send(&batch).await {
                Outcome::Accepted { .. } => {
                    let items = ScopeGuard::into_inner(batch).len();
                    self.stats.add_exported(self.signal, items as u64);
                }
                Outcome::Rejected(_) | Outcome::Failed(..) => return,
            }
        }
    }

    /// Sends `batch` until it is delivered or given up.
    async fn deliver(&mut self, batch: &[Item]) {
        let began = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        let items = batch.len() as u64;
        loop {
            match self.client.send(batch).await {
                Outcome::Accepted { rejected } => {
                    let rejected = rejected.min(items);
                    self.log_recovery();
                    self.stats.add_exported(self.signal, items - rejected);
                    if rejected > 0 {
                        self.reject(rejected, "partial success");
                    }
                    return;
                }
                Outcome::Rejected(error) => {
                    self.log_recovery();
                    self.reject(items, &error);
                    return;
                }
                Outcome::Failed(error, wait) => {
                    self.log_failure(&error);
                    // Not all at once, if many daemons lose their collector.
                    let jitter = rand::random_range(0.8..1.2);
                    let wait = wait.unwrap_or_else(|| backoff.mul_f64(jitter));
                    sleep(wait).await;
                    if began.elapsed() >= MAX_BATCH_AGE {
                        self.queue.count_undelivered(batch.len());
                        return;
                    }
                    backoff = MAX_BACKOFF.min(2 * backoff);
                }
            }
        }
    }

    fn reject(&mut self, items: u64, error: &str) {
        self.stats
            .add_dropped(self.signal, DropReason::Rejected, items);
        let now = Instant::now();
        let is_recent = |last| now - last < REJECTION_LOG_INTERVAL;
        if self.last_rejection.is_some_and(is_recent) {
            return;
        }
        self.last_rejection = Some(now);
        tracing::warn!(
            target: LOG_TARGET,
            signal = self.signal.as_str(),
            items,
            error,
            "Collector rejected telemetry"
        );
    }

    fn log_failure(&mut self, error: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                target: LOG_TARGET,
                signal = self.signal.as_str(),
                error,
                "Failed to export telemetry; retrying"
            );
        }
    }

    fn log_recovery(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(
                target: LOG_TARGET,
                signal = self.signal.as_str(),
                queued = self.queue.len(),
                "Telemetry is exported again"
            );
        }
    }
}
