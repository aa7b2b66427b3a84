//! The rows of states and incidents.

use std::{sync::Arc, time::SystemTime};

use rusqlite::{Row, Statement, Transaction, params};

use super::{
    bytes::{Reader, Writer},
    codes::Coded,
    recorder::{Change, Monitor},
    time::{hour, millis, time},
};
use crate::check::{
    ErrorText, FailedCheck, Incident, IncidentEnd, MonitorStatus, Phase, Reason, State,
};

/// Writes rows of monitors, states and incidents.
pub(super) struct Rows<'t> {
    monitor: Statement<'t>,
    state: Statement<'t>,
    forget_state: Statement<'t>,
    incident: Statement<'t>,
    forget_incidents: Statement<'t>,
}

impl<'t> Rows<'t> {
    pub(super) fn new(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        let sql = |text| transaction.prepare(text);
        Ok(Self {
            monitor: sql(
                "INSERT INTO monitor (id, name, type, target, seen) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (id) DO UPDATE
                SET type = ?3, target = ?4 WHERE type != ?3 OR target != ?4",
            )?,
            state: sql("REPLACE INTO state VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?,
            forget_state: sql("DELETE FROM state WHERE monitor = ?1")?,
            incident: sql(
                "REPLACE INTO incident VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
            forget_incidents: sql(
                "DELETE FROM incident WHERE monitor = ?1 AND ended IS NULL AND began IS NOT ?2",
            )?,
        })
    }

    /// Writes `change`, made by `now`.
    pub(super) fn write(&mut self, change: &Change, now: i64) -> rusqlite::Result<()> {
        let Monitor {
            id,
            name,
            kind,
            target,
            ..
        } = &*change.monitor;
        self.monitor
            .execute(params![id, &**name, kind, target, hour(now)])?;
        match &change.status {
            Some(status) => {
                self.state.execute(params![
                    id,
                    status.state.code(),
                    millis(status.since),
                    status.is_up,
                    status.is_degraded,
                    status.in_maintenance,
                ])?;
            }
            None if change.is_gone => {
                self.forget_state.execute([id])?;
            }
            None => {}
        }
        for incident in &change.incidents {
            let optional = |time: Option<SystemTime>| time.map(millis);
            self.incident.execute(params![
                id,
                millis(incident.began),
                optional(incident.reported),
                optional(incident.ended),
                incident.end_reason.map(Coded::code),
                incident.phase.code(),
                incident.reason.code(),
                &*incident.error,
                incident.relapses,
                encode_checks(&incident.checks),
            ])?;
        }
        // One that ended in a maintenance window is none.
        let current = change.status.as_ref();
        let current = current.and_then(|status| status.incident.as_ref());
        let open = current.filter(|incident| incident.ended.is_none());
        let began = open.map(|incident| millis(incident.began));
        if change.status.is_some() || change.is_gone {
            self.forget_incidents.execute(params![id, began])?;
        }
        Ok(())
    }
}

/// Reads the state in `row`, without the incident.
pub(super) fn read_status(row: &Row<'_>) -> rusqlite::Result<MonitorStatus> {
    Ok(MonitorStatus {
        state: State::from_code(row.get("state")?).unwrap_or(State::Unknown),
        since: time(row.get("since")?),
        is_up: row.get("up")?,
        is_degraded: row.get("degraded")?,
        in_maintenance: row.get("maintenance")?,
        depends_on: Arc::default(),
        unreachable_through: Arc::default(),
        incident: None,
    })
}

/// Reads the incident in `row`.
pub(super) fn read_incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    let optional = |column: &str| {
        let millis: Option<i64> = row.get(column)?;
        Ok::<_, rusqlite::Error>(millis.map(time))
    };
    let end_reason: Option<u8> = row.get("end_reason")?;
    let error: String = row.get("error")?;
    Ok(Incident {
        began: time(row.get("began")?),
        reported: optional("reported")?,
        ended: optional("ended")?,
        phase: Phase::from_code(row.get("phase")?).unwrap_or(Phase::Processing),
        reason: Reason::from_code(row.get("reason")?).unwrap_or(Reason::AgentError),
        error: ErrorText::from(error),
        checks: decode_checks(row.get_ref("checks")?.as_blob()?),
        relapses: row.get("relapses")?,
        end_reason: end_reason.and_then(IncidentEnd::from_code),
    })
}

fn encode_checks(checks: &[FailedCheck]) -> Vec<u8> {
    let mut out = Writer::default();
    for check in checks {
        out.number(millis(check.ended_at).try_into().unwrap_or_default());
        out.byte(check.phase.code());
        out.byte(check.reason.code());
        let address = check.address.map(|address| address.to_string());
        out.text(&address.unwrap_or_default());
    }
    out.0
}

/// The checks in `bytes`, to the end or to where they make no sense.
fn decode_checks(bytes: &[u8]) -> Vec<FailedCheck> {
    let mut reader = Reader::new(bytes);
    let checks = std::iter::from_fn(|| {
        Some(FailedCheck {
            ended_at: time(reader.small()?),
            phase: Phase::from_code(reader.byte()?)?,
            reason: Reason::from_code(reader.byte()?)?,
            address: reader.text()?.parse().ok(),
        })
    });
    checks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_are_read_as_they_were_written() {
        let check = |address: Option<&str>| FailedCheck {
            ended_at: time(1_790_000_000_123),
            phase: Phase::Tls,
            reason: Reason::TlsExpired,
            address: address.map(|address| address.parse().expect("an address")),
        };
        let checks = vec![check(None), check(Some("192.0.2.1")), check(Some("::1"))];
        assert_eq!(decode_checks(&encode_checks(&checks)), checks);
        assert_eq!(decode_checks(&[1]), []);
    }
}
