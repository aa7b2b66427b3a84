//! Folds the journal into hours, days and last checks.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rusqlite::{OptionalExtension, Statement, Transaction, params};

use super::{
    codes::Account,
    journal::{self, ErrorNote, Event},
    recent,
    rollup::Rollup,
    time::{HOUR, day, hour},
};
use crate::{
    check::{Phase, Reason},
    history::{MAX_FAILURES, MAX_RECENT_CHECKS, RecentChecks, Record},
};

/// The most time that one batch is believed to cover.
const MAX_BATCH_MILLIS: i64 = 7 * 24 * HOUR;

/// Folds the whole journal, and empties it.
pub(super) fn fold(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut fold = Fold::new(transaction)?;
    let mut batches =
        transaction.prepare("SELECT ended, millis, events FROM journal ORDER BY id")?;
    let mut rows = batches.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let events = row.get_ref(2)?.as_blob()?;
        fold.add_batch(row.get(0)?, row.get(1)?, events);
        count += 1;
    }
    if count == 0 {
        return Ok(());
    }
    fold.end_hour();
    fold.write(transaction)?;
    transaction.execute("DELETE FROM journal", [])?;
    Ok(())
}

/// Ends the accounts of all monitors, as the daemon that ran them has stopped.
pub(super) fn end_accounts(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE monitor SET account = NULL WHERE account IS NOT NULL",
        [],
    )?;
    Ok(())
}

/// A journal up to some moment.
#[derive(Default)]
struct Fold {
    running: HashMap<u32, Running>,
    changes: BTreeMap<u32, Change>,
    /// The moment, in Unix milliseconds.
    now: Option<i64>,
    /// Milliseconds that were covered of the hour of that moment.
    elapsed: u64,
}

/// A monitor whose time is booked.
struct Running {
    account: Account,
    /// The part of the elapsed time that is booked already.
    booked: u64,
    is_changed: bool,
}

/// A change of a monitor, folded from the journal.
#[derive(Default)]
struct Change {
    hours: BTreeMap<i64, Rollup>,
    checks: PastChecks,
    /// True if earlier checks are of another target.
    forgets_checks: bool,
    is_gone: bool,
}

impl Fold {
    fn new(transaction: &Transaction<'_>) -> rusqlite::Result<Self> {
        let mut accounts =
            transaction.prepare("SELECT id, account FROM monitor WHERE account IS NOT NULL")?;
        let mut rows = accounts.query([])?;
        let mut fold = Self::default();
        while let Some(row) = rows.next()? {
            if let Some(account) = Account::from_code(row.get(1)?) {
                let running = Running {
                    account,
                    booked: 0,
                    is_changed: false,
                };
                fold.running.insert(row.get(0)?, running);
            }
        }
        Ok(fold)
    }

    /// Adds a batch that covers `millis` and ended at `ended`.
    fn add_batch(&mut self, ended: i64, millis: i64, events: &[u8]) {
        let is_plausible = (0..=MAX_BATCH_MILLIS).contains(&millis);
        let began = ended.saturating_sub(if is_plausible { millis } else { 0 });
        // Batches do not follow each other if the clock was set.
        if self.now.is_some_and(|now| hour(now) != hour(began)) {
            self.end_hour();
        }
        self.now = Some(began);
        for entry in journal::decode(events, began) {
            let at = began.saturating_add_unsigned(entry.offset).min(ended);
            self.advance(at);
            self.add(entry.monitor, entry.event, at);
        }
        self.advance(ended);
    }

    /// Lets the time pass until `to`.
    fn advance(&mut self, to: i64) {
        let Some(mut now) = self.now else { return };
        while hour(now) < hour(to) {
            let end = (hour(now) + 1) * HOUR;
            self.elapsed += end.abs_diff(now);
            self.end_hour();
            now = end;
            self.now = Some(now);
        }
        if now < to {
            self.elapsed += to.abs_diff(now);
            self.now = Some(to);
        }
    }

    /// Books the elapsed time of every monitor.
    fn end_hour(&mut self) {
        let hour = hour(self.now.unwrap_or_default());
        for (monitor, running) in &mut self.running {
            let millis = self.elapsed - running.booked;
            running.booked = 0;
            if millis > 0 {
                let change = self.changes.entry(*monitor).or_default();
                change.book(hour, running.account, millis);
            }
        }
        self.elapsed = 0;
    }

    /// Books the elapsed time of `monitor`, which has no account from now on.
    fn end_account(&mut self, monitor: u32, hour: i64) {
        if let Some(running) = self.running.remove(&monitor) {
            let change = self.changes.entry(monitor).or_default();
            change.book(hour, running.account, self.elapsed - running.booked);
        }
    }

    fn add(&mut self, monitor: u32, event: Event, at: i64) {
        let hour = hour(at);
        match event {
            Event::Account(account) => {
                self.end_account(monitor, hour);
                let running = Running {
                    account,
                    booked: self.elapsed,
                    is_changed: true,
                };
                self.running.insert(monitor, running);
                self.changes.entry(monitor).or_default().is_gone = false;
            }
            Event::Stopped => {
                self.end_account(monitor, hour);
                let change = self.changes.entry(monitor).or_default();
                change.forgets_checks = true;
                change.checks.clear();
                change.is_gone = true;
            }
            Event::Retargeted => {
                let change = self.changes.entry(monitor).or_default();
                change.forgets_checks = true;
                change.checks.clear();
            }
            Event::Checked { record, error } => {
                let change = self.changes.entry(monitor).or_default();
                let rollup = change.hours.entry(hour).or_default();
                rollup.checks += 1;
                match record.failure() {
                    Some(_) => rollup.failures += 1,
                    None => rollup.latency.add(record.seconds().into()),
                }
                change.checks.push(record, error);
            }
        }
    }

    /// Writes all changes.
    fn write(self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let hour = hour(self.now.unwrap_or_default());
        let mut tables = Tables::new(transaction)?;
        let mut set_account =
            transaction.prepare("UPDATE monitor SET account = ?2 WHERE id = ?1")?;
        for (monitor, running) in &self.running {
            if running.is_changed {
                set_account.execute(params![monitor, running.account.code()])?;
            }
        }
        for (monitor, change) in self.changes {
            if change.is_gone {
                set_account.execute(params![monitor, None::<u8>])?;
            }
            tables.add(monitor, change, hour)?;
        }
        tables.end_hours_before(hour)
    }
}

impl Change {
    fn book(&mut self, hour: i64, account: Account, millis: u64) {
        let rollup = self.hours.entry(hour).or_default();
        rollup.millis[account.index()] += millis;
    }
}

/// The checks of a monitor in the journal, as far as they can be among its last ones.
#[derive(Default)]
struct PastChecks(VecDeque<(Record, ErrorNote)>);

impl PastChecks {
    fn push(&mut self, record: Record, error: ErrorNote) {
        self.0.push_back((record, error));
        if self.0.len() <= MAX_RECENT_CHECKS + MAX_FAILURES {
            return;
        }
        let older = self.0.iter().take(MAX_FAILURES + 1);
        let success = older
            .map(|(record, _)| record.failure())
            .position(|failure| failure.is_none());
        let oldest = self.0.remove(success.unwrap_or_default());
        // The text goes to the next failure, which may have the same one.
        if let Some((_, error @ ErrorNote::Text(_))) = oldest {
            let mut next = self.0.iter_mut().map(|(_, error)| error);
            let next = next.find(|error| **error != ErrorNote::None);
            if let Some(next) = next.filter(|next| **next == ErrorNote::Same) {
                *next = error;
            }
        }
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// The tables that the journal is folded into.
struct Tables<'t> {
    unfinished: Statement<'t>,
    set_unfinished: Statement<'t>,
    forget_unfinished: Statement<'t>,
    finished: Statement<'t>,
    hours: Finished<'t>,
    days: Finished<'t>,
    seen: Statement<'t>,
    recent: Statement<'t>,
    set_recent: Statement<'t>,
    forget_recent: Statement<'t>,
}

/// The table of hours or days that have ended.
struct Finished<'t> {
    get: Statement<'t>,
    set: Statement<'t>,
}

impl Finished<'_> {
    fn add(&mut self, period: i64, monitor: u32, mut rollup: Rollup) -> rusqlite::Result<()> {
        let known: Option<Vec<u8>> = self
            .get
            .query_row(params![period, monitor], |row| row.get(0))
            .optional()?;
        // There is one if the clock was set back.
        if let Some(known) = known.and_then(|bytes| Rollup::decode(&bytes)) {
            rollup.merge(known);
        }
        self.set
            .execute(params![period, monitor, rollup.encode()])?;
        Ok(())
    }
}

/// The hour and the day of a monitor that have not ended.
pub(super) struct Unfinished {
    pub(crate) hour: i64,
    pub(crate) of_hour: Rollup,
    pub day: i64,
    /// The day without the hour.
    pub(crate) of_day: Rollup,
}

impl Unfinished {
    fn begin(hour: i64) -> Self {
        Self {
            hour,
            of_hour: Rollup::default(),
            day: day(hour),
            of_day: Rollup::default(),
        }
    }

    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let rollup = |column: &str| {
            let bytes = row.get_ref(column)?.as_blob()?;
            Ok::<_, rusqlite::Error>(Rollup::decode(bytes).unwrap_or_default())
        };
        Ok(Self {
            hour: row.get("hour")?,
            of_hour: rollup("hour_rollup")?,
            day: row.get("day")?,
            of_day: rollup("day_rollup")?,
        })
    }
}

impl<'t> Tables<'t> {
    fn new(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        let sql = |text| transaction.prepare(text);
        Ok(Self {
            unfinished: sql("SELECT * FROM unfinished WHERE monitor = ?1")?,
            set_unfinished: sql("REPLACE INTO unfinished VALUES (?1, ?2, ?3, ?4, ?5)")?,
            forget_unfinished: sql("DELETE FROM unfinished WHERE monitor = ?1")?,
            finished: sql("SELECT monitor FROM unfinished WHERE hour < ?1 ORDER BY monitor")?,
            hours: Finished {
                get: sql("SELECT rollup FROM hour WHERE hour = ?1 AND monitor = ?2")?,
                set: sql("REPLACE INTO hour VALUES (?1, ?2, ?3)")?,
            },
            days: Finished {
                get: sql("SELECT rollup FROM day WHERE day = ?1 AND monitor = ?2")?,
                set: sql("REPLACE INTO day VALUES (?1, ?2, ?3)")?,
            },
            seen: sql("UPDATE monitor SET seen = max(seen, ?2) WHERE id = ?1")?,
            recent: sql("SELECT checks FROM recent WHERE monitor = ?1")?,
            set_recent: sql("REPLACE INTO recent VALUES (?1, ?2)")?,
            forget_recent: sql("DELETE FROM recent WHERE monitor = ?1")?,
        })
    }

    /// Adds `change` of `monitor`, made until `now`, an hour.
    fn add(&mut self, monitor: u32, change: Change, now: i64) -> rusqlite::Result<()> {
        if let Some(first) = change.hours.keys().next() {
            let first = *first;
            let known = self
                .unfinished
                .query_row([monitor], Unfinished::read)
                .optional()?;
            let mut unfinished = known.unwrap_or_else(|| Unfinished::begin(first));
            for (hour, rollup) in change.hours {
                if hour > unfinished.hour {
                    self.end_hour(monitor, &mut unfinished, hour)?;
                }
                if hour == unfinished.hour {
                    unfinished.of_hour.merge(rollup);
                } else {
                    // The clock was set back.
                    self.hours.add(hour, monitor, rollup.clone())?;
                    if day(hour) == unfinished.day {
                        unfinished.of_day.merge(rollup);
                    } else {
                        self.days.add(day(hour), monitor, rollup)?;
                    }
                }
            }
            if unfinished.hour < now {
                self.end_hour(monitor, &mut unfinished, now)?;
            }
            self.set_unfinished(monitor, unfinished)?;
        }
        if change.forgets_checks {
            self.forget_recent.execute([monitor])?;
        }
        if !change.checks.0.is_empty() {
            self.add_checks(monitor, change.checks)?;
        }
        Ok(())
    }

    /// Ends the hour of `unfinished` and begins the hour `next`.
    fn end_hour(
        &mut self,
        monitor: u32,
        unfinished: &mut Unfinished,
        next: i64,
    ) -> rusqlite::Result<()> {
        let Unfinished {
            hour,
            of_hour,
            day: current,
            mut of_day,
        } = std::mem::replace(unfinished, Unfinished::begin(next));
        if of_hour != Rollup::default() {
            self.hours.add(hour, monitor, of_hour.clone())?;
            of_day.merge(of_hour);
            self.seen.execute(params![monitor, hour])?;
        }
        if day(next) == current {
            unfinished.of_day = of_day;
        } else if of_day != Rollup::default() {
            self.days.add(current, monitor, of_day)?;
        }
        Ok(())
    }

    fn set_unfinished(&mut self, monitor: u32, unfinished: Unfinished) -> rusqlite::Result<()> {
        self.set_unfinished.execute(params![
            monitor,
            unfinished.hour,
            unfinished.of_hour.encode(),
            unfinished.day,
            unfinished.of_day.encode(),
        ])?;
        Ok(())
    }

    /// Ends the hours of monitors that do not run any more.
    fn end_hours_before(&mut self, now: i64) -> rusqlite::Result<()> {
        let monitors = self.finished.query_map([now], |row| row.get(0))?;
        let monitors: Vec<u32> = monitors.collect::<Result<_, _>>()?;
        for monitor in monitors {
            let mut unfinished = self.unfinished.query_row([monitor], Unfinished::read)?;
            self.end_hour(monitor, &mut unfinished, now)?;
            if unfinished.of_day == Rollup::default() {
                self.forget_unfinished.execute([monitor])?;
            } else {
                self.set_unfinished(monitor, unfinished)?;
            }
        }
        Ok(())
    }

    fn add_checks(&mut self, monitor: u32, checks: PastChecks) -> rusqlite::Result<()> {
        let known: Option<Vec<u8>> = self
            .recent
            .query_row([monitor], |row| row.get(0))
            .optional()?;
        let known = known.and_then(|bytes| recent::decode(&bytes));
        let mut recent = known.unwrap_or_default();
        for (record, error) in checks.0 {
            add_check(&mut recent, record, &error);
        }
        self.set_recent
            .execute(params![monitor, recent::encode(&recent)])?;
        Ok(())
    }
}

fn add_check(recent: &mut RecentChecks, record: Record, error: &ErrorNote) {
    match error {
        ErrorNote::Text(text) => recent.push(record, Some(text)),
        ErrorNote::Same => {
            let last = recent
                .failures()
                .back()
                .map(|failure| failure.error.clone());
            recent.push(record, Some(last.as_deref().unwrap_or_default()));
        }
        ErrorNote::None => {
            let failure: Option<(Phase, Reason)> = record.failure();
            recent.push(record, failure.map(|_| ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_checks_and_failures_of_a_long_journal_are_kept() {
        let (mut checks, mut expected) = (PastChecks::default(), RecentChecks::default());
        for second in 0..500 {
            let record = Record::from_compact(second, 0.5, &[]);
            // 30 failures with three texts, and successes afterwards.
            if second % 10 == 0 && second < 300 {
                let record = record.with_failure((Phase::Connect, Reason::Timeout));
                let text = format!("error {}", second / 100);
                let error = if second % 100 == 0 {
                    ErrorNote::Text(text.as_str().into())
                } else {
                    ErrorNote::Same
                };
                checks.push(record, error);
                expected.push(record, Some(&text));
            } else {
                checks.push(record, ErrorNote::None);
                expected.push(record, None);
            }
        }
        assert!(checks.0.len() <= MAX_RECENT_CHECKS + MAX_FAILURES);
        let mut kept = RecentChecks::default();
        for (record, error) in checks.0 {
            add_check(&mut kept, record, &error);
        }
        assert_eq!(kept.recent(), expected.recent());
        let texts = |checks: &RecentChecks| -> Vec<_> {
            let failures = checks.failures().iter();
            failures
                .map(|failure| (failure.record, failure.error.clone()))
                .collect()
        };
        assert_eq!(texts(&kept), texts(&expected));
    }
}
