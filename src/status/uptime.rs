//! The uptime of a monitor.

use crate::{check::State, history::CheckEntry};

/// The share of `checks` that found the target up, without those that failed with `agent_error`; `None` without any.
pub(super) fn uptime(checks: &[CheckEntry]) -> Option<f64> {
    let count = |state| checks.iter().filter(|check| check.state() == state).count();
    let (up, down) = (count(State::Up), count(State::Down));
    #[expect(clippy::cast_precision_loss, reason = "there are a few dozen")]
    (up + down > 0).then(|| up as f64 / (up + down) as f64)
}
