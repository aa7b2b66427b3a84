//! The thread that writes to the store, in batches.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, SystemTime},
};

use rusqlite::params;
use tokio::time::Instant;

use super::{
    LOG_TARGET,
    database::{Database, OpenError, describe, is_corruption},
    fold::fold,
    journal::{self, Entry},
    recorder::{Change, Recorder},
    retention::{self, Pruned},
    rows::Rows,
    stats::Stats,
    time::millis,
};

/// Bytes of batches that wait to be written while that fails. The oldest are given up.
const MAX_PENDING_BYTES: usize = 16 << 20;

/// The least time between two folds, in batches.
const BATCHES_BETWEEN_FOLDS: u32 = 8;
/// The time between two folds for each monitor that runs.
const FOLD_TIME_OF_MONITOR: Duration = Duration::from_millis(60);
/// The most time between two folds.
const MAX_FOLD_INTERVAL: Duration = Duration::from_secs(600);

/// Writes what the recorder has collected.
pub(super) struct Writer {
    /// `None` after the file could not be replaced by a new one.
    database: Option<Database>,
    recorder: Arc<Recorder>,
    stats: Arc<Stats>,
    /// Seconds.
    retention: Arc<AtomicU64>,
    interval: Duration,
    /// The end of the last batch.
    last: Instant,
    pending: VecDeque<Batch>,
    /// Changes that are not written yet, by the ids of monitors.
    changes: BTreeMap<u32, Change>,
    next_fold: Instant,
    timer: retention::Timer,
    failure: Option<Failure>,
}

/// Part of the journal.
struct Batch {
    ended: i64,
    millis: i64,
    events: Vec<u8>,
}

/// Attempts to write that failed since the last one that did not.
struct Failure {
    since: Instant,
    /// Number of batches that were given up.
    lost: u64,
}

impl Writer {
    pub(super) fn new(
        database: Database,
        recorder: Arc<Recorder>,
        stats: Arc<Stats>,
        retention: Arc<AtomicU64>,
        interval: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            database: Some(database),
            recorder,
            stats,
            retention,
            interval,
            last: now,
            pending: VecDeque::new(),
            changes: BTreeMap::new(),
            next_fold: now + interval * BATCHES_BETWEEN_FOLDS,
            timer: retention::Timer::new(SystemTime::now(), now),
            failure: None,
        }
    }

    /// Writes a batch in each interval until the sender of `stop` is dropped, and a last one then.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        let mut next = self.last + self.interval;
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            let is_stopped = !matches!(stop.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
            self.collect();
            self.write();
            if is_stopped {
                return;
            }
            next = Instant::now() + self.interval;
        }
    }

    /// Takes what the recorder has collected.
    fn collect(&mut self) {
        let (entries, changes, dropped) = self.recorder.queue().take();
        if dropped > 0 {
            self.stats.count_error();
            tracing::warn!(
                target: LOG_TARGET,
                checks = dropped,
                "Checks were not stored: the disk is too slow"
            );
        }
        self.add_batch(&entries);
        for mut change in changes {
            let id = change.monitor.id;
            if let Some(before) = self.changes.remove(&id) {
                let newer = std::mem::take(&mut change.incidents);
                let mut incidents = before.incidents;
                incidents.retain(|old| newer.iter().all(|new| new.began != old.began));
                incidents.extend(newer);
                change.incidents = incidents;
            }
            self.changes.insert(id, change);
        }
    }

    fn add_batch(&mut self, entries: &[Entry]) {
        let (clock, now) = (millis(SystemTime::now()), Instant::now());
        let covered = journal::millis(now.saturating_duration_since(self.last));
        self.pending.push_back(Batch {
            ended: clock,
            millis: i64::try_from(covered).unwrap_or(i64::MAX),
            events: journal::encode(entries, self.last),
        });
        self.last = now;
        while self.pending.len() > 1 && self.pending_bytes() > MAX_PENDING_BYTES {
            self.pending.pop_front();
            if let Some(failure) = &mut self.failure {
                failure.lost += 1;
            }
        }
    }

    fn pending_bytes(&self) -> usize {
        let bytes = self.pending.iter();
        bytes
            .map(|batch| size_of::<Batch>() + batch.events.len())
            .sum()
    }

    /// Writes what waits, and folds and prunes if that is due.
    fn write(&mut self) {
        let Some(mut database) = self.database.take() else {
            return self.give_up();
        };
        let result = self.write_to(&mut database);
        match result {
            Ok(()) => {
                self.stats
                    .set_written(millis(SystemTime::now()), database.bytes());
                if let Some(failure) = self.failure.take() {
                    tracing::info!(
                        target: LOG_TARGET,
                        seconds = failure.since.elapsed().as_secs_f64(),
                        batches_lost = failure.lost,
                        "The store is written again"
                    );
                }
                self.database = Some(database);
            }
            Err(error) if is_corruption(&error) => {
                self.stats.count_error();
                self.replace(database, &describe(&error));
            }
            Err(error) => {
                self.stats.count_error();
                if self.failure.is_none() {
                    tracing::error!(
                        target: LOG_TARGET,
                        error = describe(&error),
                        "The store cannot be written; checks go on, and writing is tried again"
                    );
                    self.failure = Some(Failure {
                        since: Instant::now(),
                        lost: 0,
                    });
                }
                self.database = Some(database);
            }
        }
    }

    /// Sets a corrupt file aside and begins a new one.
    fn replace(&mut self, database: Database, why: &str) {
        match database.replace(why) {
            Ok(database) => {
                self.database = Some(database);
                self.stats.count_replaced();
                self.recorder.write_all_again();
            }
            Err(error) => self.log_end(&error),
        }
    }

    fn log_end(&self, error: &OpenError) {
        self.stats.count_error();
        tracing::error!(
            target: LOG_TARGET,
            %error,
            "The store cannot be used; nothing is stored until the daemon is restarted"
        );
    }

    /// Forgets what waits, as it will never be written.
    fn give_up(&mut self) {
        self.pending.clear();
        self.changes.clear();
    }

    fn write_to(&mut self, database: &mut Database) -> rusqlite::Result<()> {
        let now = Instant::now();
        let transaction = database.write()?;
        {
            let mut journal = transaction
                .prepare("INSERT INTO journal (ended, millis, events) VALUES (?1, ?2, ?3)")?;
            for batch in &self.pending {
                journal.execute(params![batch.ended, batch.millis, batch.events])?;
            }
            if !self.changes.is_empty() {
                let mut rows = Rows::new(&transaction)?;
                for change in self.changes.values() {
                    rows.write(change, retention::now())?;
                }
            }
        }
        transaction.commit()?;
        self.pending.clear();
        self.changes.clear();
        if now >= self.next_fold {
            let transaction = database.write()?;
            fold(&transaction)?;
            let running = "SELECT count(*) FROM monitor WHERE account IS NOT NULL";
            let monitors: u32 = transaction.query_row(running, [], |row| row.get(0))?;
            transaction.commit()?;
            self.stats.count_fold();
            let interval = (FOLD_TIME_OF_MONITOR * monitors).min(MAX_FOLD_INTERVAL);
            self.next_fold = now + interval.max(self.interval * BATCHES_BETWEEN_FOLDS);
        }
        if self.timer.is_due(SystemTime::now(), now) {
            self.prune(database)?;
        }
        Ok(())
    }

    fn prune(&self, database: &mut Database) -> rusqlite::Result<()> {
        let retention = Duration::from_secs(self.retention.load(Ordering::Relaxed));
        loop {
            let transaction = database.write()?;
            let pruned = retention::prune(&transaction, retention::now(), retention)?;
            transaction.commit()?;
            for name in &pruned.monitors {
                self.recorder.forget(name);
            }
            if pruned == Pruned::default() {
                return Ok(());
            }
        }
    }
}
