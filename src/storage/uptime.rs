//! The uptime of a monitor over the last day, week, month, quarter and year.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    LOG_TARGET,
    database::{describe, open_read_only},
    fold::Unfinished,
    retention::now,
    rollup::Rollup,
    stats::Stats,
    time::{HOURS_OF_DAY, day, hour},
};

/// A time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name: `24h`, `7d`, …
    pub name: &'static str,
    /// Its length in days.
    pub days: u32,
}

/// The times over which uptimes are known: the current hour and the 23 hours before it, or the current day and the
/// days before it, in UTC.
pub(crate) const SPANS: [Span; 5] = [
    Span {
        name: "24h",
        days: 1,
    },
    Span {
        name: "7d",
        days: 7,
    },
    Span {
        name: "30d",
        days: 30,
    },
    Span {
        name: "90d",
        days: 90,
    },
    Span {
        name: "365d",
        days: 365,
    },
];

/// The uptime of a monitor over a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Uptime {
    /// The span.
    pub span: Span,
    /// Time in which the confirmed state was up.
    pub up: Duration,
    /// Time in which it was up or down; less than the span if the daemon was away, or the state was another one.
    pub known: Duration,
    /// Number of checks.
    pub checks: u64,
    /// Number of failed checks.
    pub failures: u64,
    /// The latencies of checks that succeeded; `None` without any.
    pub latency: Option<Latency>,
}

/// Latencies in seconds, with an error of usually 2 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of all are at most as long.
    pub p50: f64,
    /// 90 % are at most as long.
    pub(crate) p90: f64,
    /// 99 % are at most as long.
    pub(crate) p99: f64,
}

impl Latency {
    /// The latencies of `rollup`.
    pub(super) fn new(rollup: &Rollup) -> Option<Self> {
        let quantile = |quantile| rollup.latency.quantile(quantile);
        Some(Self {
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
        })
    }
}

impl Uptime {
    /// The share of the known time in which the monitor was up; `None` without any.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (!self.known.is_zero()).then(|| self.up.as_secs_f64() / self.known.as_secs_f64())
    }

    fn new(span: Span, rollup: &Rollup) -> Self {
        let (up, known) = rollup.uptime();
        Self {
            span,
            up: Duration::from_millis(up),
            known: Duration::from_millis(known),
            checks: rollup.checks,
            failures: rollup.failures,
            latency: Latency::new(rollup),
        }
    }
}

/// Reads uptimes from the store, beside the thread that writes to it.
pub struct Uptimes {
    directory: PathBuf,
    stats: Arc<Stats>,
    reader: Mutex<Option<Reader>>,
}

struct Reader {
    connection: Connection,
    /// Number of times that the file had been replaced when it was opened.
    replaced: u64,
    /// The uptimes that have been read since the journal was folded for the `folds`-th time: until the next time, they
    /// stay the same.
    known: HashMap<Box<str>, Vec<Uptime>>,
    folds: u64,
}

impl Uptimes {
    pub(super) fn new(directory: &Path, stats: Arc<Stats>) -> Self {
        Self {
            directory: directory.to_owned(),
            stats,
            reader: Mutex::default(),
        }
    }

    /// The uptimes of the monitor `name`, over the spans that begin before the store knows of it, and the first one
    /// that begins after. They are a few minutes old at most.
    ///
    /// Reads from the disk, so it must not run on a worker thread.
    #[must_use]
    pub fn of(&self, name: &str) -> Vec<Uptime> {
        let mut reader = self.reader.lock();
        let replaced = self.stats.replaced();
        if reader
            .as_ref()
            .is_none_or(|reader| reader.replaced != replaced)
        {
            *reader = open_read_only(&self.directory)
                .inspect_err(|error| self.log(error))
                .ok()
                .map(|connection| Reader {
                    connection,
                    replaced,
                    known: HashMap::new(),
                    folds: 0,
                });
        }
        let Some(opened) = reader.as_mut() else {
            return Vec::new();
        };
        let folds = self.stats.folds();
        if opened.folds != folds {
            opened.known.clear();
            opened.folds = folds;
        }
        if let Some(known) = opened.known.get(name) {
            return known.clone();
        }
        match read(&opened.connection, name, now()) {
            Ok(uptimes) => {
                opened.known.insert(name.into(), uptimes.clone());
                uptimes
            }
            Err(error) => {
                self.log(&describe(&error));
                *reader = None;
                Vec::new()
            }
        }
    }

    fn log(&self, error: &dyn std::fmt::Display) {
        self.stats.count_error();
        tracing::debug!(target: LOG_TARGET, %error, "Uptimes could not be read");
    }
}

/// The uptimes of the monitor `name` at `now`.
pub(super) fn read(connection: &Connection, name: &str, now: i64) -> rusqlite::Result<Vec<Uptime>> {
    let id: Option<u32> = connection
        .query_row("SELECT id FROM monitor WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(id) = id else { return Ok(Vec::new()) };
    let unfinished = connection
        .query_row(
            "SELECT * FROM unfinished WHERE monitor = ?1",
            [id],
            Unfinished::read,
        )
        .optional()?;
    let hours = hour(now) - HOURS_OF_DAY + 1..=hour(now);
    let days = |days: u32| day(hour(now)) - i64::from(days) + 1;
    let today = day(hour(now));

    let mut last_day = Rollup::default();
    let mut all = Rollup::default();
    if let Some(unfinished) = unfinished {
        if hours.contains(&unfinished.hour) {
            last_day.merge(unfinished.of_hour.clone());
        }
        if (days(365)..=today).contains(&unfinished.day) {
            all.merge(unfinished.of_hour);
            all.merge(unfinished.of_day);
        }
    }
    let mut statement =
        connection.prepare("SELECT rollup FROM hour WHERE hour = ?1 AND monitor = ?2")?;
    for hour in hours {
        if let Some(rollup) = find(&mut statement, hour, id)? {
            last_day.merge(rollup);
        }
    }
    let mut uptimes = Vec::new();
    if last_day != Rollup::default() {
        uptimes.push(Uptime::new(SPANS[0], &last_day));
    }
    let mut statement =
        connection.prepare("SELECT rollup FROM day WHERE day = ?1 AND monitor = ?2")?;
    let mut next = today;
    for span in &SPANS[1..] {
        let mut is_longer = false;
        while next >= days(span.days) {
            if let Some(rollup) = find(&mut statement, next, id)? {
                all.merge(rollup);
                is_longer = true;
            }
            next -= 1;
        }
        if is_longer {
            uptimes.push(Uptime::new(*span, &all));
        }
    }
    Ok(uptimes)
}

fn find(
    statement: &mut rusqlite::Statement<'_>,
    period: i64,
    monitor: u32,
) -> rusqlite::Result<Option<Rollup>> {
    let bytes: Option<Vec<u8>> = statement
        .query_row(params![period, monitor], |row| row.get(0))
        .optional()?;
    Ok(bytes.and_then(|bytes| Rollup::decode(&bytes)))
}
