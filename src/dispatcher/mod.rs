//! Decides when checks run. Each monitor has a grid of slots and its own task.
//!
//! Results of checks go to a [`MonitorObserver`](crate::check::MonitorObserver).

mod capacity;
mod diff;
mod dispatch;
mod health;
mod monitor_task;
mod permits;
mod running;
mod runtime_lag;
mod schedule;
mod shard;
mod skipped;

/// Target of log lines.
const LOG_TARGET: &str = "monitoringdaemon::dispatcher";

pub(crate) use capacity::{checks_per_second, cores, threads_needed};
pub(crate) use diff::ConfigDiff;
pub use dispatch::{Dispatcher, Settings};
pub(crate) use health::{Fault, Health, HealthMark};
pub(crate) use permits::{
    ConcurrencyLimits, max_permits_after_timeout, permits_needed_for_timeouts,
};
pub use running::{ChangeSet, DispatcherHandle};
pub(crate) use schedule::START_SPACING;
pub use shard::Shard;
