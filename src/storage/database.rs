//! The file of the store: its lock, its schema, and what happens if it cannot be used.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::time::Instant;

use super::LOG_TARGET;

/// The file of the store in its directory.
const FILE: &str = "history.db";
/// The file that a daemon locks while it uses the store.
const LOCK: &str = "history.lock";
/// A new store until it is complete.
const NEW_FILE: &str = "history.db.new";
/// The files that SQLite puts beside one.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Marks the files of this program (`PRAGMA application_id`): `mond`.
const APPLICATION_ID: i32 = 0x6D6F_6E64;

/// The statements that lead from each version of the schema to the next one.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// The largest file that is checked for corruption at each start.
const MAX_CHECKED_BYTES: u64 = 16 << 20;

/// Time to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Time to wait for another process that has locked the store, and between two attempts.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses it.
    #[error("another daemon uses the store in {}: expected a directory of its own for each daemon", .0.display())]
    Locked(PathBuf),
    /// There is none.
    #[error("{}: no store: expected a directory with {FILE}", .0.display())]
    Missing(PathBuf),
    /// A newer version of the program wrote it.
    #[error("{} has version {version}, and this program knows versions up to {}", .path.display(), MIGRATIONS.len())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        version: u32,
    },
    /// It is not a store of this program.
    #[error("{}: not a store of this program", .0.display())]
    Foreign(PathBuf),
    /// Reading or writing failed.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// SQLite failed.
    #[error("{}: {}", .path.display(), describe(.error))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Its error.
        error: rusqlite::Error,
    },
}

impl OpenError {
    /// True if the file is not a database, or a damaged one.
    fn is_corruption(&self) -> bool {
        match self {
            Self::Sqlite { error, .. } => is_corruption(error),
            _ => false,
        }
    }
}

/// `error` in one line.
pub(super) fn describe(error: &rusqlite::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// True if `error` is about a file that is not a database, or a damaged one.
pub(super) fn is_corruption(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// The store, which no other daemon uses meanwhile.
pub(super) struct Database {
    pub connection: Connection,
    directory: PathBuf,
    /// Locked until it is closed, however the process ends.
    lock: File,
}

/// The header of a database file (<https://www.sqlite.org/fileformat2.html#the_database_header>).
#[derive(Debug, PartialEq, Eq)]
enum Header {
    Missing,
    Foreign,
    Store { version: u32 },
}

impl Database {
    /// Opens the store in `directory`, which is created if needed. A file that is corrupt or of another program is
    /// set aside.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        create_directory(directory)?;
        let lock = lock(directory)?;
        let connection = match connect(directory) {
            Err(error) if error.is_corruption() || matches!(error, OpenError::Foreign(_)) => {
                set_aside(directory, &error.to_string())?;
                connect(directory)?
            }
            connection => connection?,
        };
        Ok(Self {
            connection,
            directory: directory.to_owned(),
            lock,
        })
    }

    /// Opens the store in `directory` for a command that changes it, if no daemon uses it.
    pub(super) fn open_existing(directory: &Path) -> Result<Self, OpenError> {
        let version = known_version(directory)?;
        let lock = lock(directory)?;
        Ok(Self {
            connection: open_connection(directory, version)?,
            directory: directory.to_owned(),
            lock,
        })
    }

    /// Sets the file aside because of `why`, and begins a new one.
    pub(super) fn replace(self, why: &str) -> Result<Self, OpenError> {
        let Self {
            connection,
            directory,
            lock,
        } = self;
        // The error of closing a damaged file changes nothing.
        let _ = connection.close();
        set_aside(&directory, why)?;
        Ok(Self {
            connection: connect(&directory)?,
            directory,
            lock,
        })
    }

    /// Begins to write. Nothing is written unless the transaction is committed.
    pub(super) fn write(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        bytes(&self.directory)
    }
}

/// Bytes of the files of the store in `directory`.
pub(super) fn bytes(directory: &Path) -> u64 {
    let files = ["", SIDE_FILES[0], SIDE_FILES[1]];
    let sizes = files.iter().map(|end| {
        let metadata = fs::metadata(directory.join(format!("{FILE}{end}")));
        metadata.map_or(0, |metadata| metadata.len())
    });
    sizes.sum()
}

/// Opens the store in `directory` for reading, beside a daemon that may write.
pub(super) fn open_read_only(directory: &Path) -> Result<Connection, OpenError> {
    known_version(directory)?;
    let path = directory.join(FILE);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    open().map_err(|error| OpenError::Sqlite {
        path: path.clone(),
        error,
    })
}

/// True if the store in `directory` exists and has a version that this program knows.
fn known_version(directory: &Path) -> Result<u32, OpenError> {
    let path = directory.join(FILE);
    match read_header(&path)? {
        Header::Missing => Err(OpenError::Missing(directory.to_owned())),
        Header::Foreign => Err(OpenError::Foreign(path)),
        Header::Store { version } if version as usize > MIGRATIONS.len() => {
            Err(OpenError::Newer { path, version })
        }
        Header::Store { version } => Ok(version),
    }
}

fn create_directory(directory: &Path) -> Result<(), OpenError> {
    let created = DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory);
    created.map_err(|error| OpenError::Io {
        path: directory.to_owned(),
        error,
    })
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let failed = |error| OpenError::Io {
        path: path.clone(),
        error,
    };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o640);
    let file = options.open(&path).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A daemon that is about to end, or a command that looks at the store.
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_TIMEOUT => {
                thread::park_timeout(LOCK_POLL);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked(directory.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Opens the file in `directory`, which is created if needed.
fn connect(directory: &Path) -> Result<Connection, OpenError> {
    let version = match known_version(directory) {
        Err(OpenError::Missing(_)) => {
            create(directory)?;
            known_version(directory)?
        }
        version => version?,
    };
    open_connection(directory, version)
}

/// Reads the header of the file at `path` without SQLite, which would write to it or beside it.
fn read_header(path: &Path) -> Result<Header, OpenError> {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Header::Missing),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Header::Foreign),
        Err(error) => {
            return Err(OpenError::Io {
                path: path.to_owned(),
                error,
            });
        }
    }
    let number = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    let is_store = header.starts_with(b"SQLite format 3\0")
        && number(68) == APPLICATION_ID.cast_unsigned()
        && number(60) > 0;
    Ok(if is_store {
        Header::Store {
            version: number(60),
        }
    } else {
        Header::Foreign
    })
}

/// Creates a file with an empty store in `directory`: complete, or not at all.
fn create(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(NEW_FILE);
    let failed = |error| OpenError::Io {
        path: path.clone(),
        error,
    };
    // One that was not completed.
    for end in ["", "-journal"] {
        let _ = fs::remove_file(directory.join(format!("{NEW_FILE}{end}")));
    }
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(0o640);
    options.open(&path).map_err(failed)?;
    let write = || {
        let mut connection = Connection::open(&path)?;
        migrate(&mut connection, 0)?;
        connection.close().map_err(|(_, error)| error)
    };
    write().map_err(|error| OpenError::Sqlite {
        path: path.clone(),
        error,
    })?;
    let sync = |directory: &Path| File::open(directory)?.sync_all();
    fs::rename(&path, directory.join(FILE))
        .and_then(|()| sync(directory))
        .map_err(failed)
}

/// Changes the schema from `version` to the latest one.
fn migrate(connection: &mut Connection, version: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (version, statements) in (1_u32..).zip(MIGRATIONS).skip(version as usize) {
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}

fn open_connection(directory: &Path, version: u32) -> Result<Connection, OpenError> {
    let path = directory.join(FILE);
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // Each batch is on the disk, whatever happens to the machine.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
        if (version as usize) < MIGRATIONS.len() {
            migrate(&mut connection, version)?;
        }
        if bytes(directory) <= MAX_CHECKED_BYTES {
            let verdict: String =
                connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if verdict != "ok" {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                    Some(verdict),
                ));
            }
        }
        Ok(connection)
    };
    open().map_err(|error| OpenError::Sqlite {
        path: path.clone(),
        error,
    })
}

/// Renames the file in `directory` and those beside it.
fn set_aside(directory: &Path, why: &str) -> Result<(), OpenError> {
    let now: DateTime<Utc> = SystemTime::now().into();
    let stamp = now.format("%Y%m%dT%H%M%S%3fZ");
    let name = format!("{FILE}.set-aside-{stamp}");
    let rename = |end: &str| {
        let old = directory.join(format!("{FILE}{end}"));
        match fs::rename(&old, directory.join(format!("{name}{end}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(OpenError::Io { path: old, error })
            }
            _ => Ok(()),
        }
    };
    for end in SIDE_FILES {
        rename(end)?;
    }
    rename("")?;
    tracing::error!(
        target: LOG_TARGET,
        error = why,
        kept_as = %directory.join(name).display(),
        "The store cannot be read; it is set aside, and a new one begins"
    );
    Ok(())
}
