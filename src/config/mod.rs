//! Reads and validates the whole configuration. No other code validates it again.

mod binding;
mod draft;
mod environment;
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
mod template_name;
mod templates;
#[cfg(test)]
mod tests;

pub(crate) use draft::escape_references;
pub use draft::problems_of_draft;
pub use invalid::Invalid;
pub(crate) use loader::DEFAULT_FILE;
pub use monitor::Monitor;
pub(crate) use monitor::OWN_LABELS;
pub(crate) use reading::read_server;
pub use reading::{read, read_blackbox, read_web};
pub(crate) use schema::SCHEMA;
pub use settings::Config;
pub(crate) use settings::{Dispatcher, SectionFingerprints};
pub(crate) use slo::{LatencySlo, Percentage};
pub(crate) use source::LocatedProblem;
pub(crate) use templates::MonitorBuilder;
