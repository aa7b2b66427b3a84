//! Sends requests of one signal, again if that fails, and counts what became of them.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    LOG_TARGET,
    client::{Client, Outcome},
    queue::Item,
    stats::{DropReason, ExportStats, Signal},
};

/// The wait after the first failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Minimum time between two log lines about rejected items.
const REJECTION_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// The collector has it.
    Accepted,
    /// The collector will never take it.
    Rejected,
    /// It was sent again and again without success.
    GivenUp,
}

/// Delivers requests of one signal.
pub(super) struct Delivery {
    signal: Signal,
    client: Client,
    stats: Arc<ExportStats>,
    /// True if the last request failed, which was logged.
    is_failing: bool,
    last_rejection: Option<Instant>,
}

impl Delivery {
    pub(super) fn new(signal: Signal, client: Client, stats: Arc<ExportStats>) -> Self {
        Self {
            signal,
            client,
            stats,
            is_failing: false,
            last_rejection: None,
        }
    }

    /// Sends `batch`, of so many `items`, until it is delivered, or given up after `patience`.
    pub(super) async fn deliver(
        &mut self,
        batch: &[Item],
        items: u64,
        patience: Duration,
    ) -> Delivered {
        let began = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        loop {
            match self.client.send(batch).await {
                Outcome::Accepted { rejected } => {
                    let rejected = rejected.min(items);
                    self.log_recovery();
                    self.stats.add_exported(self.signal, items - rejected);
                    if rejected > 0 {
                        self.reject(rejected, "partial success");
                    }
                    return Delivered::Accepted;
                }
                Outcome::Rejected(error) => {
                    self.log_recovery();
                    self.reject(items, &error);
                    return Delivered::Rejected;
                }
                Outcome::Failed(error, wait) => {
                    self.log_failure(&error);
                    // Not all at once, if many daemons lose their collector.
                    let jitter = rand::random_range(0.8..1.2);
                    let wait = wait.unwrap_or_else(|| backoff.mul_f64(jitter));
                    sleep(wait).await;
                    if began.elapsed() >= patience {
                        self.give_up(items);
                        return Delivered::GivenUp;
                    }
                    backoff = MAX_BACKOFF.min(2 * backoff);
                }
            }
        }
    }

    /// Sends `batch` once; returns whether the collector has it.
    pub(super) async fn deliver_once(&self, batch: &[Item], items: u64) -> bool {
        let outcome = self.client.send(batch).await;
        let is_accepted = matches!(outcome, Outcome::Accepted { .. });
        if is_accepted {
            self.stats.add_exported(self.signal, items);
        }
        is_accepted
    }

    /// Counts items that are given up.
    pub(super) fn give_up(&self, items: u64) {
        self.stats
            .add_dropped(self.signal, DropReason::Undelivered, items);
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
                "Telemetry is exported again"
            );
        }
    }
}
