//! The time for which a page is rendered, on the wall clock and the monotonic clock.

use std::time::SystemTime;

use tokio::time::Instant;

use super::format;

/// The time for which a page is rendered.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub clock: SystemTime,
    instant: Instant,
}

impl Now {
    /// The current time.
    pub(super) fn read() -> Self {
        Self {
            clock: SystemTime::now(),
            instant: Instant::now(),
        }
    }

    /// The time that the clock will show at `due`; `None` if that is past.
    pub(super) fn to_wall_clock(self, due: Instant) -> Option<SystemTime> {
        let until = due.checked_duration_since(self.instant)?;
        self.clock.checked_add(until).filter(|_| !until.is_zero())
    }

    /// Seconds from now until `moment`, in Unix seconds; negative once it is past.
    pub(super) fn seconds_until(self, moment: i64) -> i64 {
        moment.saturating_sub(format::unix(self.clock))
    }

    /// Whole days from now until `moment`, in Unix seconds; negative once it is past.
    pub(super) fn days_until(self, moment: i64) -> i64 {
        self.seconds_until(moment).div_euclid(86_400)
    }
}
