//! Prometheus metrics: series made from reports, and the table of all metric families.

mod buckets;
mod counters;
mod daemon;
mod exemplar;
mod exporter;
mod exposition;
mod families;
mod family;
mod family_writer;
mod format;
mod histogram;
mod label_name;
mod label_value;
mod monitor;
mod native_histogram;
mod otlp;
mod process;
mod protobuf;
#[cfg(test)]
mod protobuf_messages;
mod selection;
mod series;
mod settings;
mod sink;
#[cfg(test)]
mod tests;
mod text;
mod unix_time;
mod wire;

pub(crate) use buckets::{BucketSet, DURATION_BUCKETS};
pub use exporter::Metrics;
pub(crate) use exposition::Exposition;
pub use families::FAMILIES;
pub use family::Family;
pub(crate) use family::{Cardinality, Compact, Scope};
pub(crate) use format::{Format, Syntax};
pub(crate) use label_name::LabelNames;
pub(crate) use native_histogram::NativeHistograms;
pub(crate) use settings::NativeChoice;
pub use settings::{Profile, Settings};
