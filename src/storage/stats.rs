//! Numbers about the store, for metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{IntCounter, IntGauge};

use crate::counter::{counter, gauge};

/// Numbers about the store.
#[derive(Debug)]
pub(crate) struct Stats {
    errors: IntCounter,
    bytes: IntGauge,
    /// Unix milliseconds; 0 before the first write.
    last_write: IntGauge,
    /// Number of times that the file has been replaced by a new one.
    replaced: IntCounter,
    /// Number of times that the journal has been folded.
    folds: IntCounter,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            errors: counter(),
            bytes: gauge(),
            last_write: gauge(),
            replaced: counter(),
            folds: counter(),
        }
    }
}

impl Stats {
    /// Number of failed attempts to open, read or write the store.
    #[must_use]
    pub(crate) fn errors(&self) -> u64 {
        self.errors.get()
    }

    /// Bytes of its files; `None` while nothing has been written.
    #[must_use]
    pub(crate) fn bytes(&self) -> Option<u64> {
        let bytes = u64::try_from(self.bytes.get()).ok();
        bytes.filter(|bytes| *bytes > 0)
    }

    /// The time of the last write.
    #[must_use]
    pub(crate) fn last_write(&self) -> Option<SystemTime> {
        let millis = u64::try_from(self.last_write.get()).ok()?;
        (millis > 0).then(|| UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Notes a write.
    #[cfg(test)]
    pub(crate) fn fill_for_tests(&self) {
        self.set_written(1_790_000_000_000, 4096);
    }

    pub(super) fn count_error(&self) {
        self.errors.inc();
    }

    pub(super) fn set_written(&self, at: i64, bytes: u64) {
        self.last_write.set(at);
        self.bytes.set(bytes.try_into().unwrap_or(i64::MAX));
    }

    pub(super) fn count_replaced(&self) {
        self.replaced.inc();
    }

    pub(super) fn count_fold(&self) {
        self.folds.inc();
    }

    pub(super) fn folds(&self) -> u64 {
        self.folds.get()
    }

    pub(super) fn replaced(&self) -> u64 {
        self.replaced.get()
    }
}
