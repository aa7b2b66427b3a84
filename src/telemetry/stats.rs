//! Counters of what was exported and what was lost, for `/metrics`.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntCounter;

use crate::counter::counter;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Traces of checks; counted by check.
    Traces,
    /// Log lines.
    Logs,
    /// Metrics; counted by data point.
    Metrics,
}

impl Signal {
    /// All signals.
    pub(crate) const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// The value of the label `signal`.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// The path below the address of a collector (OTLP/HTTP request).
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
        }
    }
}

/// Why something was not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The queue was full: the collector was slow or gone.
    QueueFull,
    /// The collector refused it.
    Rejected,
    /// It was sent for five minutes without success, or until the daemon stopped; of metrics, until the next were due.
    Undelivered,
}

impl DropReason {
    /// All reasons.
    pub(crate) const ALL: [Self; 3] = [Self::QueueFull, Self::Rejected, Self::Undelivered];

    /// The value of the label `reason`.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Undelivered => "undelivered",
        }
    }
}

/// The counters of all signals. They outlive a change of the configuration.
#[derive(Debug, Default)]
pub(crate) struct ExportStats([SignalStats; Signal::ALL.len()]);

#[derive(Debug)]
struct SignalStats {
    is_enabled: AtomicBool,
    exported: IntCounter,
    dropped: [IntCounter; DropReason::ALL.len()],
}

impl Default for SignalStats {
    fn default() -> Self {
        Self {
            is_enabled: AtomicBool::default(),
            exported: counter(),
            dropped: DropReason::ALL.map(|_| counter()),
        }
    }
}

impl ExportStats {
    /// The signals that are exported.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = Signal> {
        let signals = Signal::ALL.into_iter();
        signals.filter(|signal| self.of(*signal).is_enabled.load(Ordering::Relaxed))
    }

    /// Number of items that a collector accepted.
    #[must_use]
    pub(crate) fn exported(&self, signal: Signal) -> u64 {
        self.of(signal).exported.get()
    }

    /// Number of items that were lost because of `reason`.
    #[must_use]
    pub(crate) fn dropped(&self, signal: Signal, reason: DropReason) -> u64 {
        self.of(signal).dropped[reason as usize].get()
    }

    /// Exports the counters of `signal`, or no longer.
    pub(crate) fn set_enabled(&self, signal: Signal, is_enabled: bool) {
        let enabled = &self.of(signal).is_enabled;
        enabled.store(is_enabled, Ordering::Relaxed);
    }

    pub(super) fn add_exported(&self, signal: Signal, items: u64) {
        self.of(signal).exported.inc_by(items);
    }

    pub(super) fn add_dropped(&self, signal: Signal, reason: DropReason, items: u64) {
        self.of(signal).dropped[reason as usize].inc_by(items);
    }

    fn of(&self, signal: Signal) -> &SignalStats {
        &self.0[signal as usize]
    }
}
