//! The store: states, incidents, last checks, and hours and days of each monitor, in a SQLite database.
//!
//! Observers only append to queues in memory; a thread of its own writes them in batches to a journal, which is folded
//! into the other tables every few minutes, and when the store is opened.

mod bytes;
mod codes;
mod database;
mod export;
mod fold;
mod inspect;
mod journal;
mod past;
mod recent;
mod recorder;
mod retention;
mod rollup;
mod rows;
mod settings;
mod sketch;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod uptime;
mod writer;

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::storage";

pub(crate) use database::OpenError;
pub(crate) use export::{ExportError, Filter, export};
pub(crate) use inspect::check;
pub(crate) use past::Past;
pub(crate) use retention::HOURS_RETENTION;
pub(crate) use settings::{Retention, Settings};
pub(crate) use stats::Stats;
pub(crate) use store::{BATCH_INTERVAL, RetentionHandle, StartError, Storage, prune};
pub(crate) use uptime::{Latency, Uptime, Uptimes};
