//! The latency histogram of one monitor.

use std::sync::Arc;

use super::buckets::Buckets;

/// Counts of observations by bucket. Allocates nothing until the first observation.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Arc<Buckets>,
    /// Observations in each bucket alone, not cumulative; empty until the first observation.
    counts: Box<[u64]>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(buckets: Arc<Buckets>) -> Self {
        Self {
            buckets,
            counts: Box::default(),
            sum: 0.0,
        }
    }

    /// Adds `value` to the first bucket whose bound it does not exceed.
    pub fn observe(&mut self, value: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; self.buckets.labels.len()].into();
        }
        let bounds = &self.buckets.bounds;
        self.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// Observations in each bucket alone, or `None` if there are none at all.
    pub fn counts(&self) -> Option<&[u64]> {
        Some(&*self.counts).filter(|counts| !counts.is_empty())
    }

    /// The upper bound of each bucket as a value of the label `le`.
    pub fn bounds(&self) -> impl Iterator<Item = &str> {
        self.buckets.labels.iter().map(|label| &**label)
    }

    /// Sum of all observations.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}
