//! The history of checks: the last ones of each monitor, in memory, for the status page.

mod evidence;
mod monitor;
mod recent;
mod record;
mod store;
mod update;

pub use evidence::{Evidence, MAX_EVIDENCE_BYTES};
pub use monitor::{MonitorHistory, Snapshot};
pub(crate) use recent::truncated;
pub use recent::{CheckEntry, MAX_FAILURES, MAX_RECENT_CHECKS, PastFailure, RecentChecks};
pub use record::Record;
pub use store::{History, PastChecks};
pub use update::MonitorUpdate;
