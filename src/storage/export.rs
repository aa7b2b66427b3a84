//! Prints the store as JSON Lines.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
    path::Path,
    time::SystemTime,
};

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::{
    codes::Account,
    database::{Database, OpenError, describe, open_read_only},
    fold::{Unfinished, end_accounts, fold},
    recent,
    rollup::Rollup,
    rows::{read_incident, read_status},
    time::{HOUR, HOURS_OF_DAY, hour, millis, time},
    uptime::Latency,
};
use crate::check::{Incident, IncidentEnd, MonitorStatus, Phase};

/// The rows to print.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// The monitors, by name; all if empty.
    pub monitors: Vec<String>,
    /// Only what is newer than this.
    pub since: Option<SystemTime>,
}

/// Why the store cannot be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error("failed to read the store: {}", describe(.0))]
    Read(#[from] rusqlite::Error),
    /// There is no such monitor.
    #[error("the store has no monitor {0:?}")]
    UnknownMonitor(String),
    /// Writing failed.
    #[error("failed to print the history: {0}")]
    Print(#[from] io::Error),
}

/// Prints the store in `directory` to `out`, one JSON object a line.
///
/// # Errors
/// If it cannot be read, or `out` cannot be written.
pub(crate) fn export(
    directory: &Path,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    // Without a daemon, what it has left in the journal is folded first.
    match Database::open_existing(directory) {
        Ok(mut database) => {
            let transaction = database.write()?;
            fold(&transaction)?;
            end_accounts(&transaction)?;
            transaction.commit()?;
        }
        Err(OpenError::Locked(_) | OpenError::Io { .. } | OpenError::Sqlite { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut connection = open_read_only(directory)?;
    // All of it as of one moment.
    let connection = connection.transaction()?;
    let mut monitors =
        connection.prepare("SELECT id, name, type, target FROM monitor ORDER BY name")?;
    let mut rows = monitors.query([])?;
    let mut missing = filter.monitors.clone();
    while let Some(row) = rows.next()? {
        let name: String = row.get("name")?;
        if !filter.monitors.is_empty() && !filter.monitors.contains(&name) {
            continue;
        }
        missing.retain(|wanted| *wanted != name);
        let mut printer = Printer {
            connection: &connection,
            id: row.get("id")?,
            monitor: &name,
            since: filter.since.map_or(i64::MIN, millis),
            out,
        };
        printer.print(&Line::Monitor {
            monitor: &name,
            r#type: row.get("type")?,
            target: row.get("target")?,
        })?;
        printer.print_all()?;
    }
    match missing.pop() {
        Some(name) => Err(ExportError::UnknownMonitor(name)),
        None => Ok(()),
    }
}

/// Prints one monitor.
struct Printer<'p> {
    connection: &'p Connection,
    id: u32,
    monitor: &'p str,
    since: i64,
    out: &'p mut dyn Write,
}

impl Printer<'_> {
    fn print(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    fn print_all(&mut self) -> Result<(), ExportError> {
        let connection = self.connection;
        let mut states = connection.prepare("SELECT * FROM state WHERE monitor = ?1")?;
        let mut rows = states.query([self.id])?;
        while let Some(row) = rows.next()? {
            let MonitorStatus {
                state,
                since,
                is_up,
                ..
            } = read_status(row)?;
            self.print(&Line::State {
                monitor: self.monitor,
                state: state.as_str(),
                since: iso(since),
                up: is_up,
            })?;
        }
        let mut incidents = connection.prepare(
            "SELECT * FROM incident WHERE monitor = ?1 AND coalesce(ended, ?2) >= ?2 ORDER BY began",
        )?;
        let mut rows = incidents.query(params![self.id, self.since])?;
        while let Some(row) = rows.next()? {
            let incident = read_incident(row)?;
            self.print(&Line::incident(self.monitor, &incident))?;
        }
        self.print_periods()?;
        self.print_checks()
    }

    fn print_periods(&mut self) -> Result<(), ExportError> {
        let connection = self.connection;
        let since = hour(self.since);
        let mut unfinished = connection.prepare("SELECT * FROM unfinished WHERE monitor = ?1")?;
        let mut unfinished = unfinished.query_map([self.id], Unfinished::read)?;
        let unfinished = unfinished.next().transpose()?;
        let mut days = connection
            .prepare("SELECT day, rollup FROM day WHERE monitor = ?1 AND day >= ?2 ORDER BY day")?;
        let mut rows = days.query(params![self.id, since.div_euclid(HOURS_OF_DAY)])?;
        while let Some(row) = rows.next()? {
            let day: i64 = row.get(0)?;
            self.print_period(Length::Day, day.saturating_mul(HOURS_OF_DAY), &rollup(row)?)?;
        }
        if let Some(unfinished) = &unfinished {
            let mut rollup = unfinished.of_day.clone();
            rollup.merge(unfinished.of_hour.clone());
            self.print_period(
                Length::Day,
                unfinished.day.saturating_mul(HOURS_OF_DAY),
                &rollup,
            )?;
        }
        let mut hours = connection.prepare(
            "SELECT hour, rollup FROM hour WHERE monitor = ?1 AND hour >= ?2 ORDER BY hour",
        )?;
        let mut rows = hours.query(params![self.id, since])?;
        while let Some(row) = rows.next()? {
            self.print_period(Length::Hour, row.get(0)?, &rollup(row)?)?;
        }
        if let Some(unfinished) = &unfinished {
            self.print_period(Length::Hour, unfinished.hour, &unfinished.of_hour)?;
        }
        Ok(())
    }

    fn print_period(
        &mut self,
        length: Length,
        hour: i64,
        rollup: &Rollup,
    ) -> Result<(), ExportError> {
        if *rollup == Rollup::default() {
            return Ok(());
        }
        let mut seconds = BTreeMap::new();
        for account in Account::all() {
            let millis = rollup.millis[account.index()];
            if millis > 0 {
                #[expect(clippy::cast_precision_loss, reason = "at most a day")]
                let time = millis as f64 / 1000.0;
                *seconds.entry(account.state().as_str()).or_default() += time;
            }
        }
        let (up, known) = rollup.uptime();
        #[expect(clippy::cast_precision_loss, reason = "at most a day")]
        let uptime = (known > 0).then(|| up as f64 / known as f64);
        let period = Period {
            monitor: self.monitor,
            began: iso(time(hour.saturating_mul(HOUR))),
            checks: rollup.checks,
            failures: rollup.failures,
            seconds,
            uptime,
            latency_seconds: Latency::new(rollup).map(Quantiles::new),
        };
        self.print(&match length {
            Length::Hour => Line::Hour(period),
            Length::Day => Line::Day(period),
        })?;
        Ok(())
    }

    fn print_checks(&mut self) -> Result<(), ExportError> {
        let mut recents = self
            .connection
            .prepare("SELECT checks FROM recent WHERE monitor = ?1")?;
        let mut rows = recents.query([self.id])?;
        while let Some(row) = rows.next()? {
            let Some(checks) = recent::decode(row.get_ref(0)?.as_blob().unwrap_or_default()) else {
                continue;
            };
            let mut failures = checks.failures().iter().peekable();
            let recent = u32::try_from(checks.recent().len()).unwrap_or_default();
            let first = checks.count().saturating_sub(recent) + 1;
            let mut all: Vec<_> =
                std::iter::from_fn(|| failures.next_if(|past| past.number < first))
                    .map(|past| (past.record, Some(&*past.error)))
                    .collect();
            for (number, record) in (first..).zip(checks.recent()) {
                let failed = failures.next_if(|past| past.number == number);
                all.push((*record, failed.map(|past| &*past.error)));
            }
            for (record, error) in all {
                if millis(record.ended_at()) < self.since {
                    continue;
                }
                let failure = record.failure();
                let phases = record.phases();
                let phases = phases.map(|(phase, spent)| (phase.as_str(), spent.as_secs_f32()));
                self.print(&Line::Check {
                    monitor: self.monitor,
                    ended: iso(record.ended_at()),
                    outcome: record.outcome().as_str(),
                    seconds: record.seconds(),
                    phases: phases.collect(),
                    reason: failure.map(|(_, reason)| reason.as_str()),
                    phase: failure.map(|(phase, _)| phase.as_str()),
                    error,
                })?;
            }
        }
        Ok(())
    }
}

fn rollup(row: &Row<'_>) -> rusqlite::Result<Rollup> {
    let bytes = row.get_ref("rollup")?.as_blob()?;
    Ok(Rollup::decode(bytes).unwrap_or_default())
}

fn iso(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A line of the export.
#[derive(Serialize)]
#[serde(tag = "record", rename_all = "lowercase")]
enum Line<'l> {
    Monitor {
        monitor: &'l str,
        r#type: String,
        target: String,
    },
    State {
        monitor: &'l str,
        state: &'static str,
        since: String,
        up: Option<bool>,
    },
    Incident {
        monitor: &'l str,
        began: String,
        reported: Option<String>,
        ended: Option<String>,
        end_reason: Option<&'static str>,
        reason: &'static str,
        phase: &'static str,
        error: String,
        relapses: u32,
        checks: Vec<FailedCheck>,
    },
    Day(Period<'l>),
    Hour(Period<'l>),
    Check {
        monitor: &'l str,
        ended: String,
        outcome: &'static str,
        seconds: f32,
        phases: BTreeMap<&'static str, f32>,
        reason: Option<&'static str>,
        phase: Option<&'static str>,
        error: Option<&'l str>,
    },
}

/// The length of a period.
#[derive(Clone, Copy)]
enum Length {
    Hour,
    Day,
}

/// An hour or a day.
#[derive(Serialize)]
struct Period<'l> {
    monitor: &'l str,
    began: String,
    checks: u64,
    failures: u64,
    /// Seconds in each state.
    seconds: BTreeMap<&'static str, f64>,
    uptime: Option<f64>,
    latency_seconds: Option<Quantiles>,
}

#[derive(Serialize)]
struct Quantiles {
    p50: f64,
    p90: f64,
    p99: f64,
}

#[derive(Serialize)]
struct FailedCheck {
    ended: String,
    reason: &'static str,
    phase: &'static str,
    address: Option<IpAddr>,
}

impl Quantiles {
    fn new(latency: Latency) -> Self {
        let Latency { p50, p90, p99 } = latency;
        Self { p50, p90, p99 }
    }
}

impl<'l> Line<'l> {
    fn incident(monitor: &'l str, incident: &Incident) -> Self {
        let checks = incident.checks.iter().map(|check| FailedCheck {
            ended: iso(check.ended_at),
            reason: check.reason.as_str(),
            phase: check.phase.as_str(),
            address: check.address,
        });
        Self::Incident {
            monitor,
            began: iso(incident.began),
            reported: incident.reported.map(iso),
            ended: incident.ended.map(iso),
            end_reason: incident.end_reason.map(IncidentEnd::as_str),
            reason: incident.reason.as_str(),
            phase: Phase::as_str(incident.phase),
            error: incident.error.to_string(),
            relapses: incident.relapses,
            checks: checks.collect(),
        }
    }
}
