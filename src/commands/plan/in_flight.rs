//! Estimates the number of checks in flight.

use std::time::Duration;

use crate::dispatcher::START_SPACING;

/// The times at which a monitor has a check in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct MonitorLoad {
    /// Earliest start of the first check, relative to the start of the daemon.
    first: Duration,
    every: Duration,
    /// Duration of each check, at most until the next one.
    lasts: Duration,
}

impl MonitorLoad {
    /// The load of the monitor at `index` in the file.
    pub(super) fn new(index: usize, every: Duration, lasts: Duration) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Self {
            first: START_SPACING.saturating_mul(index),
            every,
            lasts: lasts.min(every),
        }
    }
}

/// Number of checks in flight without a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct InFlight {
    /// The average.
    pub mean: f64,
    /// An upper bound that is rarely exceeded.
    ///
    /// At most the number of monitors, because each has at most one check in flight. Otherwise the
    /// mean plus four standard deviations, because the hashes of names spread monitors randomly over
    /// their intervals, plus the burst of first checks, which start right away.
    pub peak: usize,
}

impl InFlight {
    pub(super) fn estimate(loads: impl IntoIterator<Item = MonitorLoad>) -> Self {
        const STANDARD_DEVIATIONS: f64 = 4.0;
        let (mut mean, mut variance) = (0.0, 0.0);
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        for load in loads {
            let share = load.lasts.as_secs_f64() / load.every.as_secs_f64();
            mean += share;
            variance += share * (1.0 - share);
            begins.push(load.first);
            ends.push(load.first + load.lasts);
        }
        let later = round_up(mean + STANDARD_DEVIATIONS * variance.sqrt());
        let monitors = begins.len();
        Self {
            mean,
            peak: monitors.min(max_overlap(begins, ends) + later),
        }
    }
}

/// The maximum number of spans that overlap, given their begins and ends.
fn max_overlap(mut begins: Vec<Duration>, mut ends: Vec<Duration>) -> usize {
    begins.sort_unstable();
    ends.sort_unstable();
    let mut over = 0;
    let open = begins.iter().enumerate().map(|(index, begin)| {
        while ends[over] <= *begin {
            over += 1;
        }
        index + 1 - over
    });
    open.max().unwrap_or(0)
}

/// The ratio of slots that are skipped if `mean` checks would be in flight and `limit` are allowed.
///
/// A slot waits for a permit until the next slot, so in the long run no permit is ever free. A check
/// that waited may run into the next slot, so the reason is either `saturated` or `overrun`.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(super) fn skipped(mean: f64, limit: usize) -> f64 {
    (1.0 - limit as f64 / mean).max(0.0)
}

/// Rounds `number` up, ignoring rounding errors of float sums.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "no configuration has that many monitors; none is below 0"
)]
pub(super) fn round_up(number: f64) -> usize {
    (number - 1e-9 * number.max(1.0)).ceil() as usize
}
