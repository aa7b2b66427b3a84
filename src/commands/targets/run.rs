//! Looks up the targets, and prints them.

use std::io::{self, Write};

use clap::ValueEnum;
use tokio::runtime::Builder;

use super::{json, list::List, text};
use crate::{
    commands::{discover::discover, ignore_closed_pipe, once::LOG_FLUSH_TIMEOUT, table},
    config::Config,
    dispatcher::Shard,
    exit_code::{self, WithExitCode},
    logging,
    net::Net,
};

/// The output format of `targets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A line per target
    #[default]
    Table,
    /// A JSON array with an object for each list of targets
    Json,
}

/// The reason why targets were not looked up, or not printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A thread could not be started.
    #[error("failed to start: {0}")]
    Start(#[source] io::Error),
    /// Writing to standard output failed.
    #[error("failed to print the targets: {0}")]
    Print(#[source] io::Error),
}

impl WithExitCode for Error {
    fn exit_code(&self) -> u8 {
        exit_code::FAILURE
    }
}

/// Looks up the targets of `discovery` once, and prints what becomes of them on `shard`.
///
/// Returns true if every list could be read, and no target was refused.
///
/// # Errors
/// If the targets cannot be printed.
pub(crate) fn run(config: &Config, shard: Option<Shard>, output: Output) -> Result<bool, Error> {
    let logging =
        logging::start(&config.log.settings(), logging::Output::Stderr).map_err(Error::Start)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::Start)?;
    let net = Net::system();
    let lists = runtime.block_on(discover(config, &net));
    runtime.shutdown_background();
    logging.finish(LOG_FLUSH_TIMEOUT);
    let lists: Vec<_> = lists
        .into_iter()
        .map(|list| List::new(list, shard, &net))
        .collect();
    let text = match output {
        Output::Table => {
            let width = table::terminal_size().map(|(_, columns)| columns);
            text::text(&lists, width)
        }
        Output::Json => json::text(&lists),
    };
    let printed = io::stdout().write_all(text.as_bytes());
    ignore_closed_pipe(printed).map_err(Error::Print)?;
    Ok(!lists.iter().any(List::has_problems))
}
