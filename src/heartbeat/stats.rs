//! Counters of heartbeats, for `/metrics`.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntCounter;

use crate::counter::counter;

/// The outcome of a heartbeat that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeartbeatOutcome {
    /// The watcher accepted it.
    Sent,
    /// The watcher did not accept it, or was not reached.
    Failed,
    /// It was not sent, because the daemon did not do its work.
    Withheld,
}

impl HeartbeatOutcome {
    /// All outcomes.
    pub(crate) const ALL: [Self; 3] = [Self::Sent, Self::Failed, Self::Withheld];

    /// The value of the label `outcome`.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Withheld => "withheld",
        }
    }
}

/// The counters. They outlive a change of the configuration.
#[derive(Debug)]
pub(crate) struct HeartbeatStats {
    is_enabled: AtomicBool,
    counts: [IntCounter; HeartbeatOutcome::ALL.len()],
}

impl Default for HeartbeatStats {
    fn default() -> Self {
        Self {
            is_enabled: AtomicBool::default(),
            counts: HeartbeatOutcome::ALL.map(|_| counter()),
        }
    }
}

impl HeartbeatStats {
    /// True if heartbeats are configured.
    #[must_use]
    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Number of heartbeats with this outcome.
    #[must_use]
    pub(crate) fn count(&self, outcome: HeartbeatOutcome) -> u64 {
        self.counts[outcome as usize].get()
    }

    /// Exports the counters, or no longer.
    pub(crate) fn set_enabled(&self, is_enabled: bool) {
        self.is_enabled.store(is_enabled, Ordering::Relaxed);
    }

    pub(super) fn add(&self, outcome: HeartbeatOutcome) {
        self.counts[outcome as usize].inc();
    }
}
