//! How many checks are in flight at once.

use std::time::Duration;

use crate::dispatcher::START_SPACING;

/// A monitor as one that takes up places among the concurrent checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct MonitorLoad {
    /// When its first check may begin, after the start.
    first: Duration,
    every: Duration,
    /// How long each check holds its place: at most until the next one.
    lasts: Duration,
}

impl MonitorLoad {
    /// The monitor that stands at `index` in the file.
    pub fn new(index: usize, every: Duration, lasts: Duration) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Self {
            first: START_SPACING.saturating_mul(index),
            every,
            lasts: lasts.min(every),
        }
    }
}

/// Checks in flight, were there no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct InFlight {
    /// On average.
    pub mean: f64,
    /// At most.
    ///
    /// No more than there are monitors, as each has at most one check in flight. Names spread the
    /// monitors over their intervals as dice would, so that their number hardly ever gets further
    /// above its mean than four standard deviations. The first checks, which do not wait for
    /// their places in the interval, may come on top.
    pub peak: usize,
}

impl InFlight {
    pub fn estimate(loads: impl IntoIterator<Item = MonitorLoad>) -> Self {
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

/// The most spans that overlap, given where they begin and where they end.
fn max_overlap(mut begins: Vec<Duration>, mut ends: Vec<Duration>) -> usize {
    begins.sort_unstable();
    ends.sort_unstable();
    let mut over = 0;
    let begun = begins.iter().enumerate().map(|(index, begin)| {
        while ends[over] <= *begin {
            over += 1;
        }
        index + 1 - over
    });
    begun.max().unwrap_or(0)
}

/// The share of slots that are skipped where `mean` checks would be in flight, and `limit` may be.
///
/// A slot waits for its place until the next one, so that in the long run no place is ever free. A
/// check that waited may run into the slot behind its own: what is skipped is saturated or overrun.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
pub(super) fn skipped(mean: f64, limit: usize) -> f64 {
    (1.0 - limit as f64 / mean).max(0.0)
}

/// `number` as a whole one; sums of floats that are a hair above one count as that one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "no configuration has that many monitors; none is below 0"
)]
pub(super) fn round_up(number: f64) -> usize {
    (number - 1e-9 * number.max(1.0)).ceil() as usize
}
