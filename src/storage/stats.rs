//! Numbers about the store, for metrics.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Numbers about the store.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    errors: AtomicU64,
    bytes: AtomicU64,
    /// Unix milliseconds; 0 before the first write.
    last_write: AtomicI64,
    /// Number of times that the file has been replaced by a new one.
    replaced: AtomicU64,
}

impl Stats {
    /// Number of failed attempts to open, read or write the store.
    #[must_use]
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Bytes of its files; `None` while nothing has been written.
    #[must_use]
    pub(crate) fn bytes(&self) -> Option<u64> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        (bytes > 0).then_some(bytes)
    }

    /// The time of the last write.
    #[must_use]
    pub(crate) fn last_write(&self) -> Option<SystemTime> {
        let millis = u64::try_from(self.last_write.load(Ordering::Relaxed)).ok()?;
        (millis > 0).then(|| UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Notes a write.
    #[cfg(test)]
    pub(crate) fn fill_for_tests(&self) {
        self.set_written(1_790_000_000_000, 4096);
    }

    pub(super) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_written(&self, at: i64, bytes: u64) {
        self.last_write.store(at, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_replaced(&self) {
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }
}
