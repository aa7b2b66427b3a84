//! The history of checks: the last ones of each monitor, in memory, for the status page.

mod monitor;
mod record;
mod store;

pub use monitor::{CheckEntry, FAILURES, MonitorHistory, MonitorState, RECENT, Snapshot};
pub use record::Record;
pub use store::{Change, History};
