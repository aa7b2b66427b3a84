//! The states and the history of monitors in the store when the daemon starts.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension};

use super::{
    recent,
    recorder::Known,
    rows::{read_incident, read_status},
};
use crate::{
    check::{MonitorStatus, PastState},
    history::{PastChecks, RecentChecks},
};

/// The states and last checks of monitors before the daemon started.
#[derive(Default)]
pub(crate) struct Past {
    /// The states.
    pub states: Vec<(Arc<str>, PastState)>,
    /// The last checks.
    pub checks: Vec<(Arc<str>, PastChecks)>,
}

/// Reads all monitors, and the past of those that were running.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<(Past, HashMap<Arc<str>, Known>)> {
    let mut monitors = connection.prepare(
        "SELECT id, name, type, target, state.*, recent.checks AS checks FROM monitor
        LEFT JOIN state ON state.monitor = id
        LEFT JOIN recent ON recent.monitor = id AND state.monitor IS NOT NULL",
    )?;
    let mut incidents = connection.prepare(
        "SELECT * FROM incident WHERE monitor = ?1 ORDER BY ended IS NULL DESC, began DESC LIMIT 1",
    )?;
    let mut past = Past::default();
    let mut all = HashMap::new();
    let mut rows = monitors.query([])?;
    while let Some(row) = rows.next()? {
        let known = Known {
            id: row.get("id")?,
            kind: row.get("type")?,
            target: row.get("target")?,
        };
        let name: Arc<str> = row.get::<_, String>("name")?.into();
        let state: Option<u8> = row.get("state")?;
        if state.is_some() {
            let incident = incidents.query_row([known.id], read_incident).optional()?;
            let status = MonitorStatus {
                incident: incident.map(Arc::new),
                ..read_status(row)?
            };
            let state = PastState {
                kind: known.kind.clone(),
                target: known.target.clone(),
                status,
            };
            past.states.push((name.clone(), state));
        }
        if let Some(checks) = read_checks(row)? {
            let checks = PastChecks {
                kind: known.kind.clone(),
                target: known.target.clone(),
                checks,
            };
            past.checks.push((name.clone(), checks));
        }
        all.insert(name, known);
    }
    Ok((past, all))
}

fn read_checks(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<RecentChecks>> {
    let bytes = row.get_ref("checks")?.as_blob_or_null()?;
    Ok(bytes.and_then(recent::decode))
}
