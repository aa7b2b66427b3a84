//! Times in the store: Unix milliseconds, and hours and days since 1970 in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const HOUR: i64 = 3_600_000;
pub(super) const HOURS_OF_DAY: i64 = 24;

/// Unix milliseconds.
pub(super) fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |n| -n),
    }
}

/// The time at `millis`.
pub(super) fn time(millis: i64) -> SystemTime {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time = if millis < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// The hour that `millis` is in.
pub(super) fn hour(millis: i64) -> i64 {
    millis.div_euclid(HOUR)
}

/// The day that `hour` is in.
pub(super) fn day(hour: i64) -> i64 {
    hour.div_euclid(HOURS_OF_DAY)
}
