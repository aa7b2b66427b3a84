//! Imports a database or a backup of Uptime Kuma.

use std::{fs::File, io::Read, path::Path};

use super::{backup, database, maintenance, monitors, tables::Tables};
use crate::commands::import::{context::Context, sources::ImportError};

/// The bytes that each database of SQLite starts with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Imports the database or the backup at `path`.
///
/// # Errors
/// Where it is neither, or cannot be read.
pub(crate) fn import(path: &Path, context: &mut Context) -> Result<(), ImportError> {
    let tables = read(path, context)?;
    let report = context.report.clone();
    let names = monitors::read(&tables, context);
    for notification in &tables.notifications {
        report.begin(&notification.path);
        report.left_out(
            &notification.path,
            "alerts are sent by Alertmanager; the repository has rules and an example configuration",
        );
        let name = notification.text("name").unwrap_or_default();
        context.add_remarks(&format!("Notification {name}"));
    }
    maintenance::read(&tables, &names, context);
    Ok(())
}

fn read(path: &Path, context: &Context) -> Result<Tables, ImportError> {
    let mut start = Vec::new();
    if path.is_file() {
        let failed = |error: std::io::Error| {
            ImportError(format!("{}: cannot be read: {error}", path.display()))
        };
        let file = File::open(path).map_err(failed)?;
        file.take(MAGIC.len() as u64)
            .read_to_end(&mut start)
            .map_err(failed)?;
    }
    if start == MAGIC {
        let top = context.sources.add_without_positions(path);
        return database::read(path, &top);
    }
    let is_text = |byte: &u8| b"{ \t\r\n".contains(byte);
    if path.is_file() && !start.first().is_some_and(is_text) {
        let path = path.display();
        return Err(ImportError(format!(
            "{path}: neither a database of SQLite nor a backup in JSON: expected kuma.db of Uptime Kuma"
        )));
    }
    let text = context.sources.read_text(path)?;
    let top = context.sources.add_without_positions(path);
    backup::read(&text, path, &top)
}
