//! Writes times as seconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix time to the millisecond; further digits would be noise of the conversion to a float.
pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}
