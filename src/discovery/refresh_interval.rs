//! `refresh_interval`, a key of all sources.

use std::time::Duration;

use crate::value::Fields;

/// Minimum interval, to protect servers.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Reads `refresh_interval`.
pub(super) fn read(fields: &mut Fields<'_>, default: Duration) -> Duration {
    let interval: Duration = fields.optional("refresh_interval").unwrap_or(default);
    if interval < MIN_INTERVAL {
        fields.add_value_problem("refresh_interval", "too short", "1s or more");
    }
    interval
}
