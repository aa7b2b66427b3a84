//! The metrics of the daemon, as their exporter reads them.

use crate::value::{FromNode, Node};

/// The reference of the values of counters and histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// Their start.
    #[default]
    Cumulative,
    /// The last export.
    Delta,
}

impl FromNode for Temporality {
    const EXPECTED: &'static str = "cumulative or delta";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "cumulative" => Ok(Self::Cumulative),
            "delta" => Ok(Self::Delta),
            other => Err(format!("unknown temporality {other:?}")),
        }
    }
}

/// Something that has metrics.
pub(crate) trait MetricSource: Send + Sync {
    /// Begins to read all of them. Takes long with many monitors, so it must not run on a worker thread.
    fn collect(&self, temporality: Temporality) -> Box<dyn MetricCollection>;

    /// Forgets what was kept for the next collection: there is none.
    fn forget(&self);
}

/// All metrics, part by part.
pub(crate) trait MetricCollection: Send {
    /// Reads the next part. Takes long with many monitors, so it must not run on a worker thread.
    fn next_part(&mut self) -> Option<MetricPart>;

    /// Tells if the collector has accepted the last part. Deltas of one that it has not are in the next collection.
    fn end_part(&mut self, is_accepted: bool);

    /// The collector has accepted every part.
    fn complete(&mut self);
}

/// As many metrics as a request has.
pub(crate) struct MetricPart {
    /// The metrics as OTLP encodes them, each with its tag and length.
    pub metrics: Box<[u8]>,
    /// Number of data points.
    pub points: u64,
}
