//! Deletes data that is older than `storage` says.

use std::time::{Duration, SystemTime};

use rusqlite::{Transaction, params};
use tokio::time::Instant;

use super::{
    codes::Coded,
    time::{HOUR, HOURS_OF_DAY, day, hour, millis},
};
use crate::check::IncidentEnd;

/// The longest time that hours are kept.
pub(crate) const HOURS_RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Interval at which old data is deleted.
const INTERVAL: Duration = Duration::from_secs(3600);

/// The difference between the two clocks that is taken for a wall clock that was set wrong, or right.
const MAX_CLOCK_STEP: Duration = Duration::from_secs(86_400);

/// The most periods that are deleted at once, so that writing does not wait long.
const MAX_PERIODS: i64 = 24;

/// Number of rows that were deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Hours of monitors.
    pub hours: usize,
    /// Days of monitors.
    pub days: usize,
    /// Incidents.
    pub incidents: usize,
    /// Names of monitors that ran last before that time.
    pub monitors: Vec<String>,
}

/// Knows when old data is deleted next.
pub(super) struct Timer {
    next: Instant,
    /// A moment on both clocks.
    moment: (SystemTime, Instant),
}

impl Timer {
    /// Begins `now`; nothing is due before the clock of a machine that has just started had time to be set.
    pub(super) fn new(clock: SystemTime, now: Instant) -> Self {
        Self {
            next: now + INTERVAL,
            moment: (clock, now),
        }
    }

    /// True if old data must be deleted `now`, while the wall clock shows `clock`.
    pub(super) fn is_due(&mut self, clock: SystemTime, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + INTERVAL;
        let (before, since) = std::mem::replace(&mut self.moment, (clock, now));
        let expected = before + now.saturating_duration_since(since);
        let step = clock
            .duration_since(expected)
            .unwrap_or_else(|error| error.duration());
        // Nothing is old only because the clock says so since a moment ago.
        step < MAX_CLOCK_STEP
    }
}

/// Deletes what is older than `retention`, hours after [`HOURS_RETENTION`] at the latest; a part of it if it is much.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    now: i64,
    retention: Duration,
) -> rusqlite::Result<Pruned> {
    let before = |retention: Duration| {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        hour(now.saturating_sub(retention))
    };
    let (first_hour, oldest) = (before(retention.min(HOURS_RETENTION)), before(retention));
    let hours = delete_periods(transaction, "hour", first_hour)?;
    let days = delete_periods(transaction, "day", day(oldest))?;
    end_left_incidents(transaction, now)?;
    let cutoff = oldest.saturating_mul(HOUR);
    let incidents = transaction.execute("DELETE FROM incident WHERE ended < ?1", [cutoff])?;
    let gone = "seen < ?1 AND account IS NULL";
    for table in ["state", "recent", "unfinished"] {
        transaction.execute(
            &format!("DELETE FROM {table} WHERE monitor IN (SELECT id FROM monitor WHERE {gone})"),
            [oldest],
        )?;
    }
    let mut monitors = transaction.prepare(&format!(
        "DELETE FROM monitor WHERE {gone}
        AND NOT EXISTS (SELECT 1 FROM incident WHERE monitor = id) RETURNING name"
    ))?;
    let monitors = monitors.query_map([oldest], |row| row.get(0))?;
    Ok(Pruned {
        hours,
        days,
        incidents,
        monitors: monitors.collect::<Result<_, _>>()?,
    })
}

/// Deletes the oldest rows of `table` before the period `end`.
fn delete_periods(transaction: &Transaction<'_>, table: &str, end: i64) -> rusqlite::Result<usize> {
    let oldest: Option<i64> =
        transaction.query_row(&format!("SELECT min({table}) FROM {table}"), [], |row| {
            row.get(0)
        })?;
    let Some(oldest) = oldest.filter(|oldest| *oldest < end) else {
        return Ok(0);
    };
    let end = end.min(oldest + MAX_PERIODS);
    transaction.execute(&format!("DELETE FROM {table} WHERE {table} < ?1"), [end])
}

/// Ends open incidents of monitors that have not run for a day: they were removed while the daemon was away.
fn end_left_incidents(transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    let yesterday = hour(now) - HOURS_OF_DAY;
    transaction.execute(
        "UPDATE incident SET end_reason = ?2, ended = (
            SELECT max(began, (seen + 1) * ?3) FROM monitor WHERE id = monitor
        )
        WHERE ended IS NULL
        AND monitor IN (SELECT id FROM monitor WHERE account IS NULL AND seen < ?1)",
        params![yesterday, IncidentEnd::Removed.code(), HOUR],
    )?;
    Ok(())
}

/// The time now, in Unix milliseconds.
pub(super) fn now() -> i64 {
    millis(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_makes_nothing_old() {
        let (clock, began) = (SystemTime::now(), Instant::now());
        let mut timer = Timer::new(clock, began);
        let hours = |hours: u32| hours * INTERVAL;
        assert!(!timer.is_due(clock, began), "not at the start");
        assert!(timer.is_due(clock + hours(1), began + hours(1)));
        assert!(!timer.is_due(clock + hours(1), began + hours(1)), "once");
        let years = 1000 * MAX_CLOCK_STEP;
        assert!(!timer.is_due(clock + years + hours(2), began + hours(2)));
        assert!(timer.is_due(clock + years + hours(3), began + hours(3)));
        assert!(
            !timer.is_due(clock + hours(4), began + hours(4)),
            "set back"
        );
        assert!(timer.is_due(clock + hours(5), began + hours(5)));
    }
}
