//! Heartbeats: requests that tell an outside watcher that the daemon lives and does its work.

mod running;
mod sender;
mod settings;
mod stats;

/// Target of log lines.
const LOG_TARGET: &str = "monitoringdaemon::heartbeat";

pub(crate) use running::Heartbeat;
pub(crate) use settings::Settings;
pub(crate) use stats::{HeartbeatOutcome, HeartbeatStats};
