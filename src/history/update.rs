//! Notifies listeners of monitors that changed.

/// An update of a monitor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MonitorUpdate {
    /// The monitor's [`id`](super::MonitorHistory::id).
    pub id: u32,
    /// True if its state changed, or it was added or removed; false after a check with the same result.
    pub(crate) state_changed: bool,
}
