//! Where monitors come from beside the configuration: lists of targets that change while the daemon
//! runs, in the formats of Prometheus' service discovery.
//!
//! A source has a task that looks at it again and again; one more puts the lists of all together. It
//! knows nothing of what a monitor is: whoever starts it says how one is made.

mod assembly;
mod dns;
mod file;
mod http;
pub mod payload;
mod refresh_interval;
pub mod relabel;
mod running;
mod settings;
mod source;
mod static_list;
mod stats;
#[cfg(test)]
mod tests;

pub use assembly::{BuildMonitor, DiscoveredMonitor};
pub use running::{Discovery, Monitors};
pub use settings::Settings;
pub use source::LastGoodTargets;
pub use stats::{BlockCounts, SourceStatus, Stats};
