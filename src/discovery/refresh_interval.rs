//! `refresh_interval`, which all sources have.

use std::time::Duration;

use crate::value::Fields;

/// A shorter interval is a mistake, and a burden for whoever is asked.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// `refresh_interval`, which is at least a second.
pub(super) fn read(fields: &mut Fields<'_>, default: Duration) -> Duration {
    let interval: Duration = fields.optional("refresh_interval").unwrap_or(default);
    if interval < MIN_INTERVAL {
        fields.add_value_problem("refresh_interval", "too short", "1s or more");
    }
    interval
}
