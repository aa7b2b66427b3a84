//! The history of checks: the last ones of each monitor, in memory, for the status page.

mod evidence;
mod monitor;
mod recent;
mod record;
mod store;
mod update;

pub(crate) use evidence::{Evidence, MAX_EVIDENCE_BYTES};
pub(crate) use monitor::{MonitorHistory, Snapshot};
pub(crate) use recent::{
    CheckEntry, MAX_FAILURES, MAX_RECENT_CHECKS, PastFailure, RecentChecks, truncated,
};
pub(crate) use record::Record;
pub use store::History;
pub(crate) use store::PastChecks;
pub(crate) use update::MonitorUpdate;
