//! The arguments of `history`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::{
    storage::Retention,
    value::{FromNode, Node},
};

/// The store, and what to do with it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory of the store [default: storage.path of the configuration, or $STATE_DIRECTORY]
    #[arg(long, global = true, value_name = "DIR")]
    pub path: Option<PathBuf>,

    /// The action.
    #[command(subcommand)]
    pub action: Action,
}

/// An action on the store.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Print states, incidents, days, hours and the last checks as JSON Lines
    Export {
        /// Only what is newer than this
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        since: Option<Duration>,

        /// Monitors, by name [default: all]
        #[arg(value_name = "MONITOR")]
        monitors: Vec<String>,
    },
    /// Delete old data and shrink the file, while no daemon runs
    Prune {
        /// Delete what is older than this [default: storage.retention of the configuration]
        #[arg(long, value_name = "DURATION", value_parser = retention)]
        older_than: Option<Duration>,
    },
    /// Check the integrity of the store, and exit with status 1 if there is a problem
    Check,
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::from_node(&Node::Text(text.to_owned()))
}

fn retention(text: &str) -> Result<Duration, String> {
    let node = Node::Text(text.to_owned());
    let retention = Retention::from_node(&node);
    retention
        .map(|Retention(retention)| retention)
        .map_err(|wrong| format!("{wrong}: expected {}", Retention::EXPECTED))
}
