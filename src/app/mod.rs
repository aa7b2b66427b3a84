//! The composition root: builds every component, hands each what it needs, owns every task, and stops
//! them in order.

mod daemon;
mod reload;
mod signals;

use std::time::Duration;

pub use daemon::{Error, RunOptions, run, run_with_jobs, run_with_options};

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::app";

/// How long each of the parts that stop one after the other may take: the dispatcher, the server, the
/// log. Together less than the second that the daemon has.
const COMPONENT_STOP_TIMEOUT: Duration = Duration::from_millis(300);
