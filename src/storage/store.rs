//! Opens the store, and owns the thread that writes to it.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    LOG_TARGET,
    database::{Database, OpenError, describe, is_corruption},
    fold::{end_accounts, fold},
    past::{self, Past},
    recorder::{Known, Recorder},
    retention::{self, Pruned},
    stats::Stats,
    uptime::Uptimes,
    writer::Writer,
};
use crate::check::DispatcherObserver;

/// Time from one batch to the next. With the time to write one, less than five seconds can be lost.
pub(crate) const BATCH_INTERVAL: Duration = Duration::from_secs(4);

/// The store of a daemon.
pub(crate) struct Storage {
    directory: PathBuf,
    stats: Arc<Stats>,
    /// Seconds.
    retention: Arc<AtomicU64>,
    /// `None` if the store cannot be used.
    running: Option<Running>,
}

struct Running {
    recorder: Arc<Recorder>,
    /// Dropped to stop the thread.
    stop: Sender<()>,
    /// Dropped by the thread when it ends.
    ended: mpsc::Receiver<()>,
}

impl Storage {
    /// Opens the store in `directory`, to which a batch is written in each `interval` until the end of `shutdown` at
    /// the least, and returns what it knows. A store that cannot be used is logged, and nothing is stored.
    ///
    /// # Errors
    /// If another daemon uses it, or the thread cannot be started.
    pub(crate) fn open(
        directory: &Path,
        retention: Duration,
        interval: Duration,
        shutdown: CancellationToken,
    ) -> Result<(Self, Past), StartError> {
        let mut storage = Self {
            directory: directory.to_owned(),
            stats: Arc::default(),
            retention: Arc::new(AtomicU64::new(retention.as_secs())),
            running: None,
        };
        let (database, (past, known)) = match open(directory) {
            Ok(opened) => opened,
            Err(error @ OpenError::Locked(_)) => return Err(error.into()),
            Err(error) => {
                storage.stats.count_error();
                tracing::error!(
                    target: LOG_TARGET,
                    %error,
                    "The store cannot be used; nothing is stored until the daemon is restarted"
                );
                return Ok((storage, Past::default()));
            }
        };
        tracing::info!(
            target: LOG_TARGET,
            path = %directory.display(),
            bytes = database.bytes(),
            monitors = past.states.len(),
            "The store has been opened"
        );
        let recorder = Arc::new(Recorder::new(known, shutdown));
        let writer = Writer::new(
            database,
            recorder.clone(),
            storage.stats.clone(),
            storage.retention.clone(),
            interval,
        );
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || {
                writer.run(&stopped);
                drop(end);
            })
            .map_err(StartError::Thread)?;
        storage.running = Some(Running {
            recorder,
            stop,
            ended,
        });
        Ok((storage, past))
    }

    /// The observer of what is stored; `None` if the store cannot be used.
    #[must_use]
    pub(crate) fn observer(&self) -> Option<Arc<dyn DispatcherObserver>> {
        let running = self.running.as_ref()?;
        Some(running.recorder.clone())
    }

    /// Numbers about the store.
    #[must_use]
    pub(crate) fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// The uptimes of monitors; `None` if the store cannot be used.
    #[must_use]
    pub(crate) fn uptimes(&self) -> Option<Arc<Uptimes>> {
        self.running.as_ref()?;
        Some(Arc::new(Uptimes::new(&self.directory, self.stats.clone())))
    }

    /// A handle that changes how long days and incidents are kept.
    #[must_use]
    pub(crate) fn retention(&self) -> RetentionHandle {
        RetentionHandle(self.retention.clone())
    }

    /// Writes what waits, and waits for that for at most `timeout`.
    pub(crate) fn finish(self, timeout: Duration) {
        let Some(running) = self.running else { return };
        drop(running.stop);
        if running.ended.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!(
                target: LOG_TARGET,
                "The last batch could not be written in time"
            );
        }
    }
}

/// Changes how long days and incidents are kept.
#[derive(Clone)]
pub(crate) struct RetentionHandle(Arc<AtomicU64>);

impl RetentionHandle {
    /// Keeps them for `retention` from now on.
    pub(crate) fn set(&self, retention: Duration) {
        self.0.store(retention.as_secs(), Ordering::Relaxed);
    }
}

/// Why a daemon with a store cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store must not be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The thread cannot be started.
    #[error("failed to start the thread that stores: {0}")]
    Thread(#[source] io::Error),
}

/// The contents of the store: the past, and all monitors.
type Contents = (Past, HashMap<Arc<str>, Known>);

/// Opens the store in `directory`, folds what is left in the journal, and reads what it knows.
fn open(directory: &Path) -> Result<(Database, Contents), OpenError> {
    let mut database = Database::open(directory)?;
    let result = read(&mut database);
    let contents = match result {
        Err(error) if is_corruption(&error) => {
            database = database.replace(&describe(&error))?;
            read(&mut database).map_err(|error| failed(directory, error))?
        }
        read => read.map_err(|error| failed(directory, error))?,
    };
    Ok((database, contents))
}

fn failed(directory: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Sqlite {
        path: directory.to_owned(),
        error,
    }
}

fn read(database: &mut Database) -> rusqlite::Result<Contents> {
    let transaction = database.write()?;
    fold(&transaction)?;
    end_accounts(&transaction)?;
    transaction.commit()?;
    past::read(&database.connection)
}

/// Deletes what is older than `retention` from the store in `directory`, which no daemon uses, and gives the space
/// back to the file system.
///
/// # Errors
/// If a daemon uses it, or it cannot be written.
pub(crate) fn prune(directory: &Path, retention: Duration) -> Result<Pruned, OpenError> {
    let failed = |error| failed(directory, error);
    let mut database = Database::open_existing(directory)?;
    let mut all = Pruned::default();
    loop {
        let mut step = || {
            let transaction = database.write()?;
            fold(&transaction)?;
            end_accounts(&transaction)?;
            let pruned = retention::prune(&transaction, retention::now(), retention)?;
            transaction.commit()?;
            Ok(pruned)
        };
        let pruned = step().map_err(failed)?;
        if pruned == Pruned::default() {
            break;
        }
        all.hours += pruned.hours;
        all.days += pruned.days;
        all.incidents += pruned.incidents;
        all.monitors.extend(pruned.monitors);
    }
    let vacuum = database.connection.execute_batch("VACUUM");
    vacuum.map_err(failed)?;
    Ok(all)
}
