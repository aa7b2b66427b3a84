//! Reads Uptime Kuma's SQLite database. It may be hostile, so nothing in it is trusted.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, limits::Limit, types::ValueRef};

use super::tables::{Row, Tables};
use tokio::time::Instant;

use crate::{
    commands::import::sources::ImportError,
    value::{self, Node},
};

/// Time for all queries together.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Instructions of SQLite between two looks at the clock.
const INSTRUCTIONS: i32 = 10_000;

/// Bytes of a value, and of all values together.
const MAX_VALUE: i32 = 1 << 20;
const MAX_BYTES: usize = 64 << 20;

/// Rows of a table.
const MAX_ROWS: usize = 100_000;

/// Reads the tables of the database at `path`; `top` is its place in the report.
///
/// # Errors
/// Where it is not a database of Uptime Kuma.
pub(super) fn read(path: &Path, top: &value::Path) -> Result<Tables, ImportError> {
    let failed =
        |failure: Failure| ImportError(format!("{}: cannot be read: {failure}", path.display()));
    let connection = open(path).map_err(|error| failed(error.into()))?;
    let mut reader = Reader {
        connection,
        top,
        bytes: 0,
    };
    reader.tables().map_err(failed)?.ok_or_else(|| {
        let path = path.display();
        ImportError(format!(
            "{path}: has no table monitor: expected the database of Uptime Kuma, kuma.db"
        ))
    })
}

/// Why the database cannot be read.
enum Failure {
    Sqlite(rusqlite::Error),
    TooLarge,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "more than {MAX_BYTES} bytes of monitors"),
            Self::Sqlite(error)
                if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
            {
                write!(f, "it took longer than {} s", TIME_LIMIT.as_secs())
            }
            Self::Sqlite(error) => {
                f.write_str(error.to_string().lines().next().unwrap_or_default())
            }
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    let started = Instant::now();
    connection.progress_handler(INSTRUCTIONS, Some(move || started.elapsed() > TIME_LIMIT))?;
    // A daemon that writes holds its lock for a moment only.
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

struct Reader<'t> {
    connection: Connection,
    top: &'t value::Path,
    /// Bytes of values up to now.
    bytes: usize,
}

impl Reader<'_> {
    /// All tables; `None` if there are no monitors in them.
    fn tables(&mut self) -> Result<Option<Tables>, Failure> {
        if !self.has_table("monitor")? {
            return Ok(None);
        }
        let mut tables = Tables {
            monitors: self.rows("monitor")?,
            notifications: self.rows("notification")?,
            maintenance: self.rows("maintenance")?,
            ..Tables::default()
        };
        for row in self.rows("proxy")? {
            if let Some(id) = row.integer("id") {
                tables.proxies.insert(id, row);
            }
        }
        let names: BTreeMap<_, _> = self
            .rows("tag")?
            .iter()
            .filter_map(|row| Some((row.integer("id")?, row.text("name")?)))
            .collect();
        for row in self.rows("monitor_tag")? {
            let name = row.integer("tag_id").and_then(|id| names.get(&id));
            if let (Some(monitor), Some(name)) = (row.integer("monitor_id"), name) {
                let value = row.text("value").unwrap_or_default();
                tables
                    .tags
                    .entry(monitor)
                    .or_default()
                    .push((name.clone(), value));
            }
        }
        for row in self.rows("monitor_maintenance")? {
            if let (Some(maintenance), Some(monitor)) =
                (row.integer("maintenance_id"), row.integer("monitor_id"))
            {
                tables
                    .maintained
                    .entry(maintenance)
                    .or_default()
                    .push(monitor);
            }
        }
        Ok(Some(tables))
    }

    fn has_table(&self, name: &str) -> rusqlite::Result<bool> {
        let query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
        let count: i64 = self.connection.query_row(query, [name], |row| row.get(0))?;
        Ok(count > 0)
    }

    /// The rows of `table`, which is a name of ours; none if it is not there.
    fn rows(&mut self, table: &'static str) -> Result<Vec<Row>, Failure> {
        if !self.has_table(table)? {
            return Ok(Vec::new());
        }
        // A table without an id is in the order of SQLite's own.
        let query = format!("SELECT * FROM \"{table}\" ORDER BY rowid LIMIT {MAX_ROWS}");
        let mut statement = self.connection.prepare(&query)?;
        let columns: Vec<String> = statement.column_names().map(str::to_lowercase).collect();
        let mut found = statement.query([])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let mut entries = Vec::with_capacity(columns.len());
            for (index, name) in columns.iter().enumerate() {
                let node = match row.get_ref(index)? {
                    ValueRef::Null => continue,
                    ValueRef::Integer(number) => Node::Int(number.into()),
                    ValueRef::Real(number) => Node::Float(number),
                    ValueRef::Text(bytes) => {
                        self.bytes += bytes.len();
                        Node::Text(String::from_utf8_lossy(bytes).into_owned())
                    }
                    ValueRef::Blob(bytes) => {
                        self.bytes += bytes.len();
                        Node::Binary(bytes.to_owned())
                    }
                };
                self.bytes += name.len() + size_of::<(String, Node)>();
                entries.push((name.clone(), node));
            }
            if self.bytes > MAX_BYTES {
                return Err(Failure::TooLarge);
            }
            rows.push(Row::new(self.top, table, rows.len(), entries));
        }
        Ok(rows)
    }
}
