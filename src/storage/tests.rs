//! The store as a whole: journals that are folded, what is deleted, and files that cannot be used.

use std::{fs, path::Path, time::Duration};

use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    codes::Account,
    database::{Database, OpenError},
    fold::{end_accounts, fold},
    inspect,
    journal::{self, Entry, ErrorNote, Event},
    retention,
    rollup::Rollup,
    store::{self, Storage},
    time::{HOUR, HOURS_OF_DAY, day, hour},
    uptime,
};
use crate::{
    check::{Phase, Reason},
    history::Record,
};

/// A whole day in Unix milliseconds.
const MIDNIGHT: i64 = 20_000 * HOURS_OF_DAY * HOUR;
const SECOND: i64 = 1000;

const UP: u8 = 1;
const DOWN: u8 = 4;

/// A store with monitors called `m1`, `m2`, ….
struct Store {
    folder: TempDir,
    database: Database,
}

impl Store {
    fn new(monitors: u32) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut database = Database::open(folder.path()).expect("a new store");
        let transaction = database.write().expect("it can be written");
        for id in 1..=monitors {
            transaction
                .execute(
                    "INSERT INTO monitor VALUES (?1, ?2, 'http', 'http://a/', ?3, NULL)",
                    params![id, format!("m{id}"), hour(MIDNIGHT)],
                )
                .expect("a row");
        }
        transaction.commit().expect("room");
        Self { folder, database }
    }

    /// Adds a batch of `seconds` that ends at `ended`, with the second of each event.
    fn batch(&self, ended: i64, seconds: u32, events: &[(u32, u32, Event)]) {
        let began = Instant::now();
        let entries: Vec<_> = events
            .iter()
            .map(|(second, monitor, event)| Entry {
                monitor: *monitor,
                at: began + Duration::from_secs((*second).into()),
                event: event.clone(),
            })
            .collect();
        let row = params![
            ended,
            i64::from(seconds) * SECOND,
            journal::encode(&entries, began)
        ];
        let sql = "INSERT INTO journal (ended, millis, events) VALUES (?1, ?2, ?3)";
        self.database.connection.execute(sql, row).expect("room");
    }

    fn fold(&mut self) {
        let transaction = self.database.write().expect("it can be written");
        fold(&transaction).expect("a good journal");
        transaction.commit().expect("room");
    }

    /// The period `period` in the table `table` of the monitor `m1`.
    fn rollup(&self, table: &str, period: i64) -> Option<Rollup> {
        let sql = format!("SELECT rollup FROM {table} WHERE {table} = ?1 AND monitor = 1");
        let row: Result<Vec<u8>, _> = self
            .database
            .connection
            .query_row(&sql, [period], |row| row.get(0));
        Rollup::decode(&row.ok()?)
    }

    /// Milliseconds that were up and down in the period.
    fn times(&self, table: &str, period: i64) -> Option<(u64, u64)> {
        let rollup = self.rollup(table, period)?;
        Some((
            rollup.millis[usize::from(UP)],
            rollup.millis[usize::from(DOWN)],
        ))
    }

    #[track_caller]
    fn check(&self) {
        let summary = inspect::check(self.folder.path()).expect("it can be read");
        assert_eq!(summary.findings, [], "{summary:?}");
    }
}

fn account(code: u8) -> Event {
    Event::Account(Account::from_code(code).expect("a code"))
}

fn success(seconds: f32) -> Event {
    Event::Checked {
        record: Record::from_compact(0, seconds, &[]),
        error: ErrorNote::None,
    }
}

fn failure(text: Option<&str>) -> Event {
    let record = Record::from_compact(0, 1.0, &[]);
    Event::Checked {
        record: record.with_failure((Phase::Connect, Reason::Timeout)),
        error: text.map_or(ErrorNote::Same, |text| ErrorNote::Text(text.into())),
    }
}

#[test]
fn time_and_checks_are_booked_to_hours_and_days() {
    let mut store = Store::new(1);
    let noon = MIDNIGHT + 12 * HOUR;
    // Half an hour before and after noon; down for ten minutes from 12:05 on.
    store.batch(
        noon + HOUR / 2,
        3600,
        &[
            (0, 1, account(UP)),
            (60, 1, success(0.1)),
            (2100, 1, account(DOWN)),
            (2100, 1, failure(Some("late"))),
            (2400, 1, failure(None)),
            (2700, 1, account(UP)),
            (2700, 1, success(0.2)),
        ],
    );
    store.fold();
    assert_eq!(store.times("hour", hour(noon) - 1), Some((1_800_000, 0)));
    assert_eq!(store.times("hour", hour(noon)), None, "it has not ended");
    // The rest of the hour, in which nothing happened, and the next day.
    store.batch(noon + HOUR, 1800, &[]);
    store.batch(MIDNIGHT + 24 * HOUR + SECOND, 1, &[]);
    store.fold();
    assert_eq!(store.times("hour", hour(noon)), Some((3_000_000, 600_000)));
    let day = store.rollup("day", day(hour(noon))).expect("it has ended");
    assert_eq!((day.checks, day.failures), (4, 2));
    assert_eq!(day.uptime(), (4_800_000, 5_400_000));
    assert_eq!(day.latency.count(), 2);
    store.check();
}

#[test]
fn time_in_which_the_daemon_was_away_is_unknown() {
    let mut store = Store::new(1);
    store.batch(MIDNIGHT + 10 * SECOND, 10, &[(0, 1, account(UP))]);
    store.fold();
    let transaction = store.database.write().expect("it can be written");
    end_accounts(&transaction).expect("a good store");
    transaction.commit().expect("room");
    // It is back after half an hour, and says nothing of the monitor for a minute.
    store.batch(MIDNIGHT + 1860 * SECOND, 60, &[]);
    store.batch(MIDNIGHT + 1890 * SECOND, 30, &[(10, 1, account(DOWN))]);
    store.batch(MIDNIGHT + HOUR + SECOND, 1, &[]);
    store.fold();
    let times = store.times("hour", hour(MIDNIGHT));
    assert_eq!(times, Some((10_000, 20_000)));
}

#[test]
fn a_clock_that_is_set_loses_nothing() {
    let mut store = Store::new(1);
    let at = MIDNIGHT + 5 * HOUR;
    store.batch(at, 10, &[(0, 1, account(UP)), (1, 1, success(0.1))]);
    // Two hours back, and two days forward.
    store.batch(at - 2 * HOUR, 10, &[(1, 1, success(0.1))]);
    store.fold();
    store.batch(at + 48 * HOUR, 10, &[(1, 1, success(0.1))]);
    store.batch(at + SECOND, 10, &[(1, 1, success(0.1))]);
    store.fold();
    store.batch(at + 72 * HOUR, 1, &[]);
    store.fold();
    let connection = &store.database.connection;
    let rows = |table: &str| -> Vec<Rollup> {
        let mut rows = connection
            .prepare(&format!("SELECT rollup FROM {table}"))
            .expect("a table");
        let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0));
        let rows = rows.expect("rows").map(|row| row.expect("a row"));
        rows.map(|row| Rollup::decode(&row).expect("a rollup"))
            .collect()
    };
    // The day of the last second has not ended.
    for (table, expected) in [("hour", 41_000), ("day", 40_000)] {
        let all = rows(table);
        let (checks, up) = all.iter().fold((0, 0), |(checks, up), rollup| {
            (checks + rollup.checks, up + rollup.uptime().0)
        });
        assert_eq!(checks, 4, "{table} {all:?}");
        assert_eq!(up, expected, "{table} {all:?}");
    }
    store.check();
}

#[test]
fn a_monitor_that_is_gone_has_no_more_time() {
    let mut store = Store::new(2);
    store.batch(
        MIDNIGHT + 100 * SECOND,
        100,
        &[
            (0, 1, account(UP)),
            (0, 2, account(UP)),
            (10, 1, success(0.1)),
            (40, 1, Event::Stopped),
        ],
    );
    store.fold();
    store.batch(MIDNIGHT + HOUR + SECOND, 1, &[]);
    store.fold();
    assert_eq!(store.times("hour", hour(MIDNIGHT)), Some((40_000, 0)));
    let connection = &store.database.connection;
    let left: i64 = connection
        .query_row("SELECT count(*) FROM recent WHERE monitor = 1", [], |row| {
            row.get(0)
        })
        .expect("a number");
    assert_eq!(left, 0);
    store.batch(MIDNIGHT + 48 * HOUR, 1, &[]);
    store.fold();
    let left: i64 = connection_count(&store, "unfinished");
    assert_eq!(left, 1, "that of the one that runs");
}

fn connection_count(store: &Store, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    let connection = &store.database.connection;
    connection
        .query_row(&sql, [], |row| row.get(0))
        .expect("a number")
}

#[test]
fn an_hour_of_a_monitor_takes_less_than_a_hundred_bytes() {
    const MONITORS: u32 = 50;
    const HOURS: i64 = 24;
    let mut store = Store::new(MONITORS);
    let accounts: Vec<_> = (1..=MONITORS).map(|id| (0, id, account(UP))).collect();
    store.batch(MIDNIGHT + SECOND, 1, &accounts);
    let mut random = 1_u32;
    for hour in 0..HOURS {
        // Each checked every 10 s, with latencies that spread over a factor of two, and some failures.
        let mut checks = Vec::new();
        for second in (0..3600).step_by(10) {
            for id in 1..=MONITORS {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                #[expect(clippy::cast_precision_loss, reason = "a made-up latency")]
                let latency = 0.05 * 2_f32.powf((random >> 8) as f32 / (1 << 24) as f32);
                let check = if random.is_multiple_of(1000) {
                    failure(Some("late"))
                } else {
                    success(latency)
                };
                checks.push((second, id, check));
            }
        }
        store.batch(MIDNIGHT + (hour + 1) * HOUR, 3600, &checks);
        store.fold();
    }
    store.batch(MIDNIGHT + HOURS * HOUR, 0, &[]);
    store.fold();
    assert_eq!(
        connection_count(&store, "hour"),
        HOURS * i64::from(MONITORS)
    );
    let connection = &store.database.connection;
    let size = || {
        connection
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
            .expect("room");
        let file = fs::metadata(store.folder.path().join("history.db"));
        file.expect("a file").len()
    };
    let before = size();
    connection.execute_batch("DROP TABLE hour").expect("room");
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let each = (before - size()) as f64 / f64::from(MONITORS) / HOURS as f64;
    assert!(each <= 100.0, "{each} bytes for an hour");
    let longest: u32 = connection
        .query_row("SELECT max(length(rollup)) FROM day", [], |row| row.get(0))
        .expect("a day");
    // Its key takes some ten bytes.
    assert!(longest <= 88, "{longest} bytes for a day");
}

#[test]
fn uptimes_are_those_of_spans_with_data() {
    let mut store = Store::new(1);
    let now = MIDNIGHT + 12 * HOUR;
    // Down all of the day before yesterday, up since.
    store.batch(MIDNIGHT - 24 * HOUR, 86_400, &[(0, 1, account(DOWN))]);
    store.batch(
        MIDNIGHT,
        86_400,
        &[(0, 1, account(UP)), (100, 1, success(0.25))],
    );
    store.batch(now, 12 * 3600, &[]);
    store.fold();
    let uptimes = uptime::read(&store.database.connection, "m1", now).expect("a good store");
    let names: Vec<_> = uptimes.iter().map(|uptime| uptime.span.name).collect();
    assert_eq!(names, ["24h", "7d"], "nothing is older than that");
    assert_eq!(uptimes[0].share(), Some(1.0));
    assert_eq!(uptimes[0].known, Duration::from_hours(23));
    assert_eq!(uptimes[1].known, Duration::from_hours(60));
    assert_eq!(uptimes[1].up, Duration::from_hours(36));
    let latency = uptimes[1].latency.expect("a check succeeded");
    assert!((latency.p50 / 0.25 - 1.0).abs() < 0.02, "{latency:?}");
    let nothing = uptime::read(&store.database.connection, "other", now);
    assert_eq!(nothing.expect("a good store"), []);
}

#[test]
fn old_data_is_deleted_and_incidents_of_lost_monitors_end() {
    let mut store = Store::new(2);
    let now = MIDNIGHT + 100 * 24 * HOUR;
    for days in [0, 50, 90] {
        store.batch(MIDNIGHT + days * 24 * HOUR, 3600, &[(0, 1, account(UP))]);
    }
    store.batch(now, 1, &[]);
    store.fold();
    let incident = "INSERT INTO incident VALUES (?1, ?2, NULL, ?3, ?4, 1, 1, '', 0, x'')";
    let connection = &store.database.connection;
    for (monitor, began, ended, reason) in [
        (1, MIDNIGHT, Some(MIDNIGHT + HOUR), Some(0)),
        (1, now - HOUR, None, None),
        (2, MIDNIGHT, None::<i64>, None::<u8>),
    ] {
        let row = params![monitor, began, ended, reason];
        connection.execute(incident, row).expect("room");
    }
    let month = Duration::from_hours(24 * 60);
    let mut prune = || {
        let transaction = store.database.write().expect("it can be written");
        let pruned = retention::prune(&transaction, now, month).expect("a good store");
        transaction.commit().expect("room");
        pruned
    };
    let first = prune();
    assert_eq!((first.hours, first.days), (1, 1), "a part at a time");
    assert_eq!(first.incidents, 2, "{first:?}");
    assert_eq!(first.monitors, ["m2"]);
    let second = prune();
    assert_eq!((second.hours, second.days), (1, 0));
    assert_eq!(prune(), retention::Pruned::default());
    assert_eq!(connection_count(&store, "hour"), 2);
    assert_eq!(connection_count(&store, "day"), 3);
    assert_eq!(connection_count(&store, "incident"), 1);
}

fn open(folder: &Path) -> Result<(Storage, usize), store::StartError> {
    let day = Duration::from_hours(24);
    let interval = Duration::from_millis(10);
    let opened = Storage::open(folder, day, interval, CancellationToken::new());
    opened.map(|(storage, past)| (storage, past.states.len()))
}

/// The names of files in `folder`, sorted, without the lock.
fn files(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .filter(|name| name != "history.lock")
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_is_no_store_is_set_aside() {
    let other = || {
        let folder = TempDir::new().expect("a temporary folder");
        let connection = Connection::open(folder.path().join("other.db")).expect("room");
        connection
            .execute_batch("CREATE TABLE a (b)")
            .expect("room");
        fs::read(folder.path().join("other.db")).expect("it was written")
    };
    for contents in [Vec::new(), b"hello".to_vec(), vec![7; 10_000], other()] {
        let folder = TempDir::new().expect("a temporary folder");
        fs::write(folder.path().join("history.db"), &contents).expect("room");
        let (storage, _) = open(folder.path()).expect("it starts");
        assert!(storage.observer().is_some(), "a new store has begun");
        storage.finish(Duration::from_secs(10));
        let files = files(folder.path());
        let aside = files
            .iter()
            .find(|name| name.starts_with("history.db.set-aside-"));
        let aside = aside.unwrap_or_else(|| panic!("{files:?}"));
        let kept = fs::read(folder.path().join(aside)).expect("it is kept");
        assert_eq!(kept, contents);
        assert_eq!(
            inspect::check(folder.path())
                .expect("it can be read")
                .findings,
            []
        );
    }
}

#[test]
fn a_damaged_store_is_set_aside() {
    let mut store = Store::new(300);
    let checks: Vec<_> = (1..=300)
        .flat_map(|id| [(0, id, account(UP)), (1, id, success(0.1))])
        .collect();
    store.batch(MIDNIGHT, 10, &checks);
    store.fold();
    let Store { folder, database } = store;
    drop(database);
    let path = folder.path().join("history.db");
    let mut bytes = fs::read(&path).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(0xAB);
    fs::write(&path, bytes).expect("room");
    let (storage, monitors) = open(folder.path()).expect("it starts");
    assert!(storage.observer().is_some());
    assert_eq!(monitors, 0);
    storage.finish(Duration::from_secs(10));
    let files = files(folder.path());
    assert!(
        files
            .iter()
            .any(|name| name.starts_with("history.db.set-aside-")),
        "{files:?}"
    );
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let Store { folder, database } = Store::new(1);
    database
        .connection
        .pragma_update(None, "user_version", 999)
        .expect("room");
    drop(database);
    let path = folder.path().join("history.db");
    let before = fs::read(&path).expect("it was written");
    let (storage, _) = open(folder.path()).expect("it starts");
    assert!(storage.observer().is_none(), "nothing is stored");
    assert_eq!(storage.stats().errors(), 1);
    storage.finish(Duration::from_secs(10));
    assert_eq!(files(folder.path()), ["history.db"]);
    assert_eq!(fs::read(&path).expect("it is there"), before);
    let error = inspect::check(folder.path()).expect_err("it is newer");
    assert!(matches!(error, OpenError::Newer { version: 999, .. }));
}

#[test]
fn a_store_belongs_to_one_daemon() {
    let folder = TempDir::new().expect("a temporary folder");
    let (storage, _) = open(folder.path()).expect("the first");
    let error = open(folder.path()).err().expect("the second");
    let text = error.to_string();
    assert!(
        text.starts_with("another daemon uses the store in "),
        "{text}"
    );
    let month = Duration::from_hours(720);
    store::prune(folder.path(), month).expect_err("it is in use");
    inspect::check(folder.path()).expect("reading is allowed");
    storage.finish(Duration::from_secs(10));
    let (storage, _) = open(folder.path()).expect("it is free again");
    storage.finish(Duration::from_secs(10));
    store::prune(folder.path(), month).expect("now");
}
