//! Sends traces of checks and log lines to a collector of OpenTelemetry, over OTLP.
//!
//! Whoever has something to export puts it into a queue and never waits. A task for each signal sends what is queued.

mod batch;
mod client;
mod exporter;
mod log_layer;
mod queue;
mod resource;
mod running;
mod settings;
mod spans;
mod stats;
#[cfg(test)]
mod tests;
mod tracer;

pub(crate) use log_layer::LogLayer;
pub(crate) use running::Telemetry;
pub(crate) use settings::{ExporterSettings, Settings, TraceSettings};
pub(crate) use stats::{DropReason, ExportStats, Signal};

/// Target of log lines.
const LOG_TARGET: &str = "monitoringdaemon::telemetry";
