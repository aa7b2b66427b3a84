//! Observations by bucket.

use std::sync::Arc;

/// The upper bounds of a histogram's buckets, shared by all that have the same.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: Box<[f64]>,
    /// The same as `le` has them, and last that of the bucket which takes all.
    labels: Box<[Box<str>]>,
}

impl Buckets {
    /// Buckets with these upper bounds, in ascending order.
    pub fn new(bounds: &[f64]) -> Self {
        let labels = bounds.iter().map(ToString::to_string);
        Self {
            bounds: bounds.into(),
            labels: labels
                .chain(["+Inf".to_owned()])
                .map(String::into_boxed_str)
                .collect(),
        }
    }
}

/// A histogram, which is small until there is something to observe.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: Arc<Buckets>,
    /// Observations in each bucket alone; none until the first.
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

    /// Counts `value`, which belongs to the first bucket whose bound it does not exceed.
    pub fn observe(&mut self, value: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; self.buckets.labels.len()].into();
        }
        let bounds = &self.buckets.bounds;
        self.counts[bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// Observations in each bucket alone, or `None` where there are none at all.
    pub fn counts(&self) -> Option<&[u64]> {
        Some(&*self.counts).filter(|counts| !counts.is_empty())
    }

    /// The bound of each bucket, as `le` has it.
    pub fn bounds(&self) -> impl Iterator<Item = &str> {
        self.buckets.labels.iter().map(|label| &**label)
    }

    /// The sum of all observations.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}
