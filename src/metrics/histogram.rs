//! A histogram: classic buckets, native ones, or both.

use std::{sync::Arc, time::SystemTime};

use super::{buckets::Buckets, exemplar::Exemplar, native_histogram::NativeHistogram};

/// Counts of observations by bucket. Allocates nothing until the first observation.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    buckets: Arc<Buckets>,
    /// Observations in each classic bucket alone, not cumulative; empty until the first observation.
    counts: Box<[u64]>,
    native: Option<Box<NativeHistogram>>,
    sum: f64,
    /// The time since which observations are counted; `None` until the first one.
    since: Option<SystemTime>,
    /// The last exemplar of each classic bucket that has one, in the order in which they were first seen. In a box, as
    /// there are none without traces, and a monitor has three histograms.
    #[expect(clippy::box_collection, reason = "it takes a third of the room")]
    exemplars: Option<Box<Vec<(usize, Exemplar)>>>,
}

impl Histogram {
    /// A histogram that does not exist before its first observation.
    pub(super) fn new(buckets: Arc<Buckets>) -> Self {
        Self {
            buckets,
            counts: Box::default(),
            native: None,
            sum: 0.0,
            since: None,
            exemplars: None,
        }
    }

    /// A histogram with the same buckets, which does not exist before its first observation.
    pub(super) fn empty_copy(&self) -> Self {
        Self::new(self.buckets.clone())
    }

    /// A histogram without observations since `since`.
    pub(super) fn empty_since(since: SystemTime, buckets: Arc<Buckets>) -> Self {
        let mut histogram = Self::new(buckets);
        histogram.begin(since);
        histogram
    }

    fn begin(&mut self, since: SystemTime) {
        self.since = Some(since);
        if self.buckets.has_classic() {
            self.counts = vec![0; self.buckets.bounds.len() + 1].into();
        }
        self.native = self
            .buckets
            .native
            .map(|settings| Box::new(NativeHistogram::new(settings)));
    }

    /// Adds `value`, observed of what began at `since`, with its exemplar.
    pub(super) fn observe(&mut self, value: f64, since: SystemTime, exemplar: Option<Exemplar>) {
        if self.since.is_none() {
            self.begin(since);
        }
        self.sum += value;
        if let Some(native) = &mut self.native {
            native.observe(value);
        }
        if self.counts.is_empty() && exemplar.is_none() {
            return;
        }
        // The first bucket whose bound it does not exceed.
        let bucket = self.buckets.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        if let Some(exemplar) = exemplar {
            let exemplars = self.exemplars.get_or_insert_default();
            match exemplars.iter_mut().find(|(of, _)| *of == bucket) {
                Some((_, last)) => *last = exemplar,
                None => exemplars.push((bucket, exemplar)),
            }
        }
    }

    /// The time since which observations are counted; `None` if there are none at all.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// The buckets, which other histograms share.
    pub(super) fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// The number of observations in each classic bucket alone; none at all if classic buckets are left out.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The observations since it was `earlier`, with all exemplars.
    pub(super) fn minus(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        for (count, earlier) in rest.counts.iter_mut().zip(&earlier.counts) {
            *count = count.saturating_sub(*earlier);
        }
        if let (Some(native), Some(earlier)) = (&mut rest.native, &earlier.native) {
            native.subtract(earlier);
        }
        rest.sum -= earlier.sum;
        rest
    }

    /// The number of observations up to the bound of each classic bucket, the last one of which has none; none at all
    /// if classic buckets are left out.
    pub(super) fn cumulative_counts(&self) -> impl Iterator<Item = u64> {
        let mut total = 0;
        self.counts.iter().map(move |count| {
            total += count;
            total
        })
    }

    /// The native buckets, unless they are off.
    pub(super) fn native(&self) -> Option<&NativeHistogram> {
        self.native.as_deref()
    }

    /// The number of observations.
    pub(super) fn count(&self) -> u64 {
        match &self.native {
            Some(native) if self.counts.is_empty() => native.count(),
            _ => self.counts.iter().sum(),
        }
    }

    /// Sum of all observations.
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// The exemplar of a classic bucket.
    pub(super) fn exemplar(&self, bucket: usize) -> Option<&Exemplar> {
        self.exemplars()
            .find_map(|(of, exemplar)| (*of == bucket).then_some(exemplar))
    }

    /// The exemplars, with the classic buckets that they are in.
    pub(super) fn exemplars(&self) -> impl Iterator<Item = &(usize, Exemplar)> {
        self.exemplars.iter().flat_map(|exemplars| exemplars.iter())
    }
}
