//! Reads and validates the whole configuration. No other code validates it again.

mod binding;
mod draft;
mod environment;
mod extends;
mod include;
mod invalid;
mod key_hints;
mod loader;
mod metrics;
mod monitor;
mod node_hash;
mod probing;
mod reading;
mod schema;
mod sections;
mod settings;
mod slo;
mod source;
mod templates;
#[cfg(test)]
mod tests;

pub use draft::{escape_references, problems_of_draft};
pub use invalid::Invalid;
pub(crate) use monitor::OWN_LABELS;
pub use monitor::{Monitor, Replicas};
pub use reading::{read, read_blackbox, read_server, read_web};
pub use schema::SCHEMA;
pub use settings::{Config, Dispatcher, Log, RestartOnlyKeys, Telemetry};
pub use slo::{LatencySlo, Percentage, Slo};
pub use source::{LocatedProblem, Warning};
pub use templates::MonitorBuilder;
