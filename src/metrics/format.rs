//! The formats of a page.

use super::label_name::LabelNames;

/// The format of a page of `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Format {
    /// The syntax.
    pub syntax: Syntax,
    /// The label names that the scraper can read.
    pub names: LabelNames,
}

/// The syntax of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// The text format of Prometheus, 0.0.4 or 1.0.0.
    #[default]
    Text,
    /// `OpenMetrics` 0.0.1 or 1.0.0.
    OpenMetrics,
    /// Delimited messages `io.prometheus.client.MetricFamily`.
    Protobuf,
}
