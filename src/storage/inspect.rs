//! Checks the integrity of the store.

use std::{collections::HashSet, fmt, path::Path};

use rusqlite::Connection;

use super::{
    codes::{Account, Coded},
    database::{self, OpenError, open_read_only},
    journal, recent,
    rollup::Rollup,
};
use crate::check::{IncidentEnd, Phase, Reason, State};

/// The most problems that are listed.
const MAX_FINDINGS: usize = 100;

/// The contents of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Bytes of its files.
    pub bytes: u64,
    /// Number of monitors.
    pub monitors: u64,
    /// Number of incidents.
    pub incidents: u64,
    /// Number of hours of monitors.
    pub hours: u64,
    /// Number of days of monitors.
    pub days: u64,
    /// The problems.
    pub findings: Vec<Finding>,
}

/// A problem of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding(String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the store in `directory`, which a daemon may be using.
///
/// # Errors
/// If it cannot be read at all.
pub(crate) fn check(directory: &Path) -> Result<Summary, OpenError> {
    let connection = open_read_only(directory)?;
    let mut checker = Checker {
        connection: &connection,
        monitors: HashSet::new(),
        summary: Summary {
            bytes: database::bytes(directory),
            ..Summary::default()
        },
    };
    // A damaged file can fail at any row.
    if let Err(error) = checker.check() {
        checker.find(database::describe(&error));
    }
    Ok(checker.summary)
}

struct Checker<'c> {
    connection: &'c Connection,
    monitors: HashSet<u32>,
    summary: Summary,
}

impl Checker<'_> {
    fn find(&mut self, problem: impl Into<String>) {
        if self.summary.findings.len() < MAX_FINDINGS {
            self.summary.findings.push(Finding(problem.into()));
        }
    }

    fn check(&mut self) -> rusqlite::Result<()> {
        // All of it as of one moment.
        self.connection.execute_batch("BEGIN")?;
        let mut integrity = self.connection.prepare("PRAGMA integrity_check")?;
        let mut rows = integrity.query([])?;
        while let Some(row) = rows.next()? {
            let verdict: String = row.get(0)?;
            if verdict != "ok" {
                self.find(verdict);
            }
        }
        self.check_monitors()?;
        self.check_states()?;
        self.check_incidents()?;
        self.summary.hours = self.check_periods("hour", 3_600_000)?;
        self.summary.days = self.check_periods("day", 86_400_000)?;
        self.check_unfinished()?;
        self.check_recent()?;
        self.check_journal()
    }

    fn check_monitors(&mut self) -> rusqlite::Result<()> {
        let mut monitors = self
            .connection
            .prepare("SELECT id, name, account FROM monitor")?;
        let mut rows = monitors.query([])?;
        while let Some(row) = rows.next()? {
            let (name, account): (String, Option<u8>) = (row.get(1)?, row.get(2)?);
            if account.is_some_and(|account| Account::from_code(account).is_none()) {
                self.find(format!("monitor {name:?}: unknown account"));
            }
            self.monitors.insert(row.get(0)?);
            self.summary.monitors += 1;
        }
        Ok(())
    }

    /// Reports a row of `table` about a monitor that is not there.
    fn check_owner(&mut self, table: &str, monitor: u32) {
        if !self.monitors.contains(&monitor) {
            self.find(format!("{table}: unknown monitor {monitor}"));
        }
    }

    fn check_states(&mut self) -> rusqlite::Result<()> {
        let mut states = self
            .connection
            .prepare("SELECT monitor, state, up FROM state")?;
        let mut rows = states.query([])?;
        while let Some(row) = rows.next()? {
            let monitor = row.get(0)?;
            self.check_owner("state", monitor);
            let state = State::from_code(row.get(1)?);
            let is_up: Option<bool> = row.get(2)?;
            let is_plausible = match state {
                None => false,
                Some(State::Up | State::Degraded) => is_up == Some(true),
                Some(State::Down) => is_up == Some(false),
                Some(State::Paused) => is_up.is_none(),
                Some(_) => true,
            };
            if !is_plausible {
                self.find(format!("state: monitor {monitor} contradicts itself"));
            }
        }
        Ok(())
    }

    fn check_incidents(&mut self) -> rusqlite::Result<()> {
        let mut incidents = self
            .connection
            .prepare("SELECT monitor, ended, end_reason, phase, reason FROM incident")?;
        let mut rows = incidents.query([])?;
        while let Some(row) = rows.next()? {
            let monitor = row.get(0)?;
            self.check_owner("incident", monitor);
            self.summary.incidents += 1;
            let ended: Option<i64> = row.get(1)?;
            let end_reason: Option<u8> = row.get(2)?;
            let is_known = Phase::from_code(row.get(3)?).is_some()
                && Reason::from_code(row.get(4)?).is_some()
                && end_reason.is_none_or(|code| IncidentEnd::from_code(code).is_some());
            if !is_known || ended.is_some() != end_reason.is_some() {
                self.find(format!(
                    "incident: one of monitor {monitor} contradicts itself"
                ));
            }
        }
        // A monitor that is down, and no other one, has one that is open.
        let mut states = self.connection.prepare(
            "SELECT monitor, state.up, (
                SELECT count(*) FROM incident WHERE monitor = state.monitor AND ended IS NULL
            ) FROM state",
        )?;
        let mut rows = states.query([])?;
        while let Some(row) = rows.next()? {
            let (monitor, is_up, open): (u32, Option<bool>, u32) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if open != u32::from(is_up == Some(false)) {
                self.find(format!(
                    "incident: {open} are open of monitor {monitor}, which is {}",
                    match is_up {
                        Some(true) => "up",
                        Some(false) => "down",
                        None => "neither up nor down",
                    }
                ));
            }
        }
        Ok(())
    }

    /// Checks the rows of `table`, which are of `limit` milliseconds each, and returns their number.
    fn check_periods(&mut self, table: &str, limit: u64) -> rusqlite::Result<u64> {
        let mut periods = self
            .connection
            .prepare(&format!("SELECT monitor, rollup, {table} FROM {table}"))?;
        let mut rows = periods.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let monitor = row.get(0)?;
            self.check_owner(table, monitor);
            let period: i64 = row.get(2)?;
            let rollup = Rollup::decode(row.get_ref(1)?.as_blob()?);
            self.check_rollup(&format!("{table} {period}"), monitor, rollup, limit);
            count += 1;
        }
        Ok(count)
    }

    fn check_rollup(&mut self, place: &str, monitor: u32, rollup: Option<Rollup>, limit: u64) {
        let Some(rollup) = rollup else {
            return self.find(format!("{place}: monitor {monitor} cannot be read"));
        };
        let time: u64 = rollup.millis.iter().sum();
        // A clock that was set back has some of it twice.
        if time > 3 * limit {
            self.find(format!(
                "{place}: monitor {monitor} has more time than there is"
            ));
        }
        if rollup.failures > rollup.checks
            || rollup.latency.count() != rollup.checks - rollup.failures
        {
            self.find(format!(
                "{place}: checks of monitor {monitor} do not add up"
            ));
        }
    }

    fn check_unfinished(&mut self) -> rusqlite::Result<()> {
        let mut unfinished = self
            .connection
            .prepare("SELECT monitor, hour_rollup, day_rollup FROM unfinished")?;
        let mut rows = unfinished.query([])?;
        while let Some(row) = rows.next()? {
            let monitor = row.get(0)?;
            self.check_owner("unfinished", monitor);
            let rollup =
                |index| Ok::<_, rusqlite::Error>(Rollup::decode(row.get_ref(index)?.as_blob()?));
            self.check_rollup("unfinished hour", monitor, rollup(1)?, 3_600_000);
            self.check_rollup("unfinished day", monitor, rollup(2)?, 86_400_000);
        }
        Ok(())
    }

    fn check_recent(&mut self) -> rusqlite::Result<()> {
        let mut recents = self
            .connection
            .prepare("SELECT monitor, checks FROM recent")?;
        let mut rows = recents.query([])?;
        while let Some(row) = rows.next()? {
            let monitor = row.get(0)?;
            self.check_owner("recent", monitor);
            if recent::decode(row.get_ref(1)?.as_blob()?).is_none() {
                self.find(format!(
                    "recent: checks of monitor {monitor} cannot be read"
                ));
            }
        }
        Ok(())
    }

    fn check_journal(&mut self) -> rusqlite::Result<()> {
        let mut journal = self
            .connection
            .prepare("SELECT ended, millis, events FROM journal")?;
        let mut rows = journal.query([])?;
        while let Some(row) = rows.next()? {
            let (ended, millis): (i64, i64) = (row.get(0)?, row.get(1)?);
            let events = row.get_ref(2)?.as_blob()?;
            for entry in journal::decode(events, ended.saturating_sub(millis)) {
                self.check_owner("journal", entry.monitor);
            }
        }
        Ok(())
    }
}
