//! The history of checks: the last ones of each monitor, in memory, for the status page.

mod evidence;
mod monitor;
mod record;
mod store;
mod update;

pub use evidence::{Evidence, MAX_EVIDENCE_BYTES};
pub use monitor::{CheckEntry, MAX_FAILURES, MAX_RECENT_CHECKS, MonitorHistory, Snapshot};
pub use record::Record;
pub use store::History;
pub use update::MonitorUpdate;
