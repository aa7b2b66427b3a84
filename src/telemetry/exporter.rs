//! The task that sends the queue of one signal to its collector.

use std::{sync::Arc, time::Duration};

use scopeguard::{ScopeGuard, guard};
use tokio_util::sync::CancellationToken;

use super::{delivery::Delivery, queue::Queue};

/// Time after which a request is given up.
pub(super) const MAX_BATCH_AGE: Duration = Duration::from_secs(300);

/// Sends what is in a queue until it is stopped.
pub(super) struct Exporter {
    pub delivery: Delivery,
    pub queue: Arc<Queue>,
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
            let items = batch.len() as u64;
            let deliver = self.delivery.deliver(&batch, items, MAX_BATCH_AGE);
            if stop.run_until_cancelled(deliver).await.is_none() {
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
            if !self.delivery.deliver_once(&batch, batch.len() as u64).await {
                return;
            }
            ScopeGuard::into_inner(batch);
        }
    }
}
