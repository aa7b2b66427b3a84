//! Decides when checks run: each monitor on its own grid of slots, in a task of its own.
//!
//! Results of checks go to the monitor's [`Observer`](crate::check::Observer); the dispatcher does not
//! know what becomes of them.

mod capacity;
mod diff;
mod dispatch;
mod monitor_task;
mod permits;
mod running;
mod runtime_lag;
mod schedule;
mod shard;
mod skipped;

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::dispatcher";

pub(crate) use capacity::{checks_per_second, cores, threads_needed};
pub use diff::ConfigDiff;
pub use dispatch::{Dispatcher, Settings};
pub(crate) use permits::{
    ConcurrencyLimits, max_permits_after_timeout, permits_needed_for_timeouts,
};
pub use running::{ChangeSet, DispatcherHandle};
pub(crate) use schedule::START_SPACING;
pub use shard::Shard;
