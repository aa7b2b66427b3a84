//! Writes times as seconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix time to the millisecond; further digits would be noise of the conversion to a float.
pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    Duration::from_millis(unix_millis(time)).as_secs_f64()
}

/// Unix time in milliseconds.
pub(super) fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
