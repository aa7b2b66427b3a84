//! Sends traces of checks, log lines and metrics to a collector of OpenTelemetry, over OTLP.
//!
//! Whoever has a trace or a line to export puts it into a queue and never waits. A task for each signal sends what is
//! queued, or, of metrics, what it reads at an interval.

mod batch;
mod client;
mod delivery;
mod exporter;
mod log_layer;
mod metric_exporter;
mod metric_source;
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
pub(crate) use metric_source::{MetricCollection, MetricPart, MetricSource, Temporality};
pub(crate) use running::Telemetry;
pub(crate) use settings::{ExporterSettings, Settings, TraceSettings};
pub(crate) use stats::{DropReason, ExportStats, Signal};

/// Target of log lines.
const LOG_TARGET: &str = "monitoringdaemon::telemetry";
