//! Runs the actions of `history`.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::options::{Action, Options};
use crate::{
    commands::ignore_closed_pipe,
    config::{self, Invalid},
    exit_code::{self, WithExitCode},
    storage::{self, ExportError, Filter, OpenError, Settings},
    text::counted,
};

/// Why `history` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration, which names the store, is invalid.
    #[error("{0}")]
    Config(#[from] Invalid),
    /// No store is configured.
    #[error("no store is configured: expected storage.path, $STATE_DIRECTORY or --path")]
    NoStore,
    /// The store cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be printed.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Printing failed.
    #[error("failed to print the result: {0}")]
    Print(#[from] io::Error),
}

impl WithExitCode for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NoStore | Self::Export(ExportError::UnknownMonitor(_)) => {
                exit_code::USAGE
            }
            Self::Open(_) | Self::Export(_) | Self::Print(_) => exit_code::FAILURE,
        }
    }

    fn has_location(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

/// Does what `options` say; the configuration at `config` tells where the store is. Returns false if a problem was
/// found.
///
/// # Errors
/// If there is no store, or it cannot be used.
pub(crate) fn run(options: Options, config: &Path) -> Result<bool, Error> {
    let Options { path, action } = options;
    let mut out = BufWriter::new(io::stdout().lock());
    let is_ok = match action {
        Action::Export { since, monitors } => {
            let (directory, _) = find(path, config)?;
            let filter = Filter {
                monitors,
                since: since.and_then(|since| SystemTime::now().checked_sub(since)),
            };
            match storage::export(&directory, &filter, &mut out) {
                Err(ExportError::Print(error)) => ignore_closed_pipe(Err(error))?,
                exported => exported?,
            }
            true
        }
        Action::Prune { older_than } => {
            let (directory, settings) = match (path, older_than) {
                (Some(path), Some(_)) => (path, Settings::default()),
                (path, _) => find_with_settings(path, config)?,
            };
            prune(
                &directory,
                older_than.unwrap_or(settings.retention),
                &mut out,
            )?;
            true
        }
        Action::Check => {
            let (directory, _) = find(path, config)?;
            check(&directory, &mut out)?
        }
    };
    ignore_closed_pipe(out.flush())?;
    Ok(is_ok)
}

/// The directory of the store, without reading the configuration if `path` is given.
fn find(path: Option<PathBuf>, config: &Path) -> Result<(PathBuf, Settings), Error> {
    match path {
        Some(path) => Ok((path, Settings::default())),
        None => find_with_settings(None, config),
    }
}

fn find_with_settings(path: Option<PathBuf>, config: &Path) -> Result<(PathBuf, Settings), Error> {
    let settings = config::read(config)?.storage;
    let directory = path.or_else(|| settings.directory());
    Ok((directory.ok_or(Error::NoStore)?, settings))
}

fn prune(directory: &Path, retention: Duration, out: &mut dyn Write) -> Result<(), Error> {
    let pruned = storage::prune(directory, retention)?;
    let printed = writeln!(
        out,
        "deleted {}, {}, {} and {}",
        counted(pruned.hours, "hour"),
        counted(pruned.days, "day"),
        counted(pruned.incidents, "incident"),
        counted(pruned.monitors.len(), "monitor"),
    );
    Ok(ignore_closed_pipe(printed)?)
}

fn check(directory: &Path, out: &mut dyn Write) -> Result<bool, Error> {
    let summary = storage::check(directory)?;
    for finding in &summary.findings {
        ignore_closed_pipe(writeln!(out, "{finding}"))?;
    }
    let is_ok = summary.findings.is_empty();
    let verdict = if is_ok { "ok" } else { "damaged" };
    let printed = writeln!(
        out,
        "{verdict}: {}, {}, {}, {}, {}",
        counted(summary.monitors, "monitor"),
        counted(summary.incidents, "incident"),
        counted(summary.days, "day"),
        counted(summary.hours, "hour"),
        counted(summary.bytes, "byte"),
    );
    ignore_closed_pipe(printed)?;
    Ok(is_ok)
}
