//! The daemon: builds all components, connects them, owns every task, and stops them in order.

mod daemon;
mod reload;
mod signals;
mod unlinked_files;

use std::time::Duration;

pub use daemon::{Error, run_with_jobs};
pub(crate) use daemon::{RunOptions, run_with_options};
pub(crate) use reload::ReadConfig;

/// Target of log lines.
const LOG_TARGET: &str = "monitoringdaemon::app";

/// Timeout for stopping each component in turn: dispatcher, server, log. Together less than the second
/// that the daemon has.
const COMPONENT_STOP_TIMEOUT: Duration = Duration::from_millis(300);
