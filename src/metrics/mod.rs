//! Prometheus metrics: series made from reports, and the table of all metric families.

mod buckets;
mod daemon;
mod exporter;
mod exposition;
mod families;
mod family;
mod histogram;
mod label_name;
mod label_value;
mod monitor;
mod process;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod unix_time;

pub(crate) use buckets::BucketSet;
pub use buckets::{DURATION_BUCKETS, RESPONSE_SIZE_BUCKETS};
pub use exporter::Metrics;
pub use exposition::Exposition;
pub use families::FAMILIES;
pub(crate) use family::{Cardinality, Scope};
pub use family::{Family, Kind};
pub use label_name::LabelNames;
pub use settings::Settings;
