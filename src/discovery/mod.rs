//! Discovery of monitors from target lists that change while the daemon runs, in the formats of
//! Prometheus' service discovery.
//!
//! One task polls each source, and one more merges their lists. A function that the caller provides
//! builds the monitors, so discovery does not depend on their type.

mod assembly;
mod dns;
mod file;
mod http;
pub mod payload;
mod refresh_interval;
pub mod relabel;
mod run_once;
mod running;
mod settings;
mod source;
mod static_list;
mod stats;
#[cfg(test)]
mod tests;

pub use assembly::{BuildMonitor, DiscoveredMonitor};
pub(crate) use run_once::{DiscoveredList, DiscoveredTarget, Outcome, run_once};
pub use running::Discovery;
pub(crate) use running::Monitors;
pub use settings::Settings;
pub use source::LastGoodTargets;
pub(crate) use stats::BlockCounts;
pub use stats::{SourceStatus, Stats};
