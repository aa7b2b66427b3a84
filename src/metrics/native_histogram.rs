//! Native histograms: buckets whose bounds grow by a constant factor, kept only if they have observations.
//!
//! Format: <https://prometheus.io/docs/specs/native_histograms/>. Factor, limit and their consequences are those of
//! client_golang.

use std::sync::OnceLock;

/// Observations up to 2^-128 are in the zero bucket, unless it had to be widened.
const ZERO_THRESHOLD: f64 = f64::from_bits((1023 - 128) << 52);
/// The zero bucket is widened to at most this many seconds.
const MAX_ZERO_THRESHOLD: f64 = 1e-5;
const LOWEST_SCHEMA: i8 = -4;
const HIGHEST_SCHEMA: i8 = 8;

/// The resolution and the limit of native histograms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeHistograms {
    /// Bounds grow by 2^(2^-schema).
    schema: i8,
    max_buckets: usize,
}

impl NativeHistograms {
    /// The factor unless another one is configured.
    pub(crate) const DEFAULT_FACTOR: f64 = 1.1;
    /// The limit unless another one is configured.
    pub(crate) const DEFAULT_MAX_BUCKETS: u16 = 160;

    /// Histograms whose bounds grow by at most `factor`, which is above 1, with at most `max_buckets` buckets.
    ///
    /// Growth has fixed steps, 2 to the power of 1/256, 1/128 … 16: the largest one is taken that does not exceed
    /// `factor`, or the smallest of all.
    #[must_use]
    pub fn new(factor: f64, max_buckets: u16) -> Self {
        let schemas = LOWEST_SCHEMA..=HIGHEST_SCHEMA;
        let fits = |schema: &i8| growth(*schema) <= factor;
        Self {
            schema: schemas.into_iter().find(fits).unwrap_or(HIGHEST_SCHEMA),
            max_buckets: max_buckets.into(),
        }
    }
}

impl Default for NativeHistograms {
    fn default() -> Self {
        Self::new(Self::DEFAULT_FACTOR, Self::DEFAULT_MAX_BUCKETS)
    }
}

/// The factor between the bounds of two buckets.
fn growth(schema: i8) -> f64 {
    f64::from(-schema).exp2().exp2()
}

/// Counts of observations, which are not negative, by bucket.
#[derive(Clone, Debug)]
pub(super) struct NativeHistogram {
    schema: i8,
    max_buckets: usize,
    zero_threshold: f64,
    zero_count: u64,
    /// The indices of buckets with observations, in ascending order. Bucket `i` ends at the `i`-th power of the growth.
    indices: Vec<i32>,
    /// The observations in each of them alone.
    counts: Vec<u64>,
}

impl NativeHistogram {
    /// A histogram without observations.
    pub(super) fn new(settings: NativeHistograms) -> Self {
        Self {
            schema: settings.schema,
            max_buckets: settings.max_buckets,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: 0,
            indices: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Adds a finite `value`.
    pub(super) fn observe(&mut self, value: f64) {
        if value <= self.zero_threshold {
            self.zero_count += 1;
            return;
        }
        let index = index(value, self.schema);
        match self.indices.binary_search(&index) {
            Ok(at) => self.counts[at] += 1,
            Err(at) => {
                if self.indices.len() == self.indices.capacity() {
                    // There are some ten thousand of these: doubling would waste a third of their memory.
                    self.indices.reserve_exact(4);
                    self.counts.reserve_exact(4);
                }
                self.indices.insert(at, index);
                self.counts.insert(at, 1);
                self.limit_buckets();
            }
        }
    }

    /// The number of observations.
    pub(super) fn count(&self) -> u64 {
        self.zero_count + self.counts.iter().sum::<u64>()
    }

    pub(super) fn schema(&self) -> i8 {
        self.schema
    }

    pub(super) fn zero_threshold(&self) -> f64 {
        self.zero_threshold
    }

    pub(super) fn zero_count(&self) -> u64 {
        self.zero_count
    }

    /// Runs of consecutive buckets: the distance of each from the one before, or from 0, and its length.
    pub(super) fn spans(&self) -> impl Iterator<Item = (i32, u32)> {
        let mut end = 0;
        self.indices.chunk_by(|a, b| b - a == 1).map(move |run| {
            let offset = run[0] - end;
            end = run[0] + i32::try_from(run.len()).expect("there are few buckets");
            (
                offset,
                u32::try_from(run.len()).expect("there are few buckets"),
            )
        })
    }

    /// The count of each bucket less that of the bucket before.
    pub(super) fn deltas(&self) -> impl Iterator<Item = i64> {
        let mut before = 0;
        self.counts.iter().map(move |count| {
            let count = count.cast_signed();
            let delta = count - before;
            before = count;
            delta
        })
    }

    /// The index of the first bucket with observations, and the counts of all from there to the last one.
    pub(super) fn consecutive_counts(&self) -> Option<(i32, impl Iterator<Item = u64>)> {
        let (first, last) = (*self.indices.first()?, *self.indices.last()?);
        let mut observed = self.indices.iter().zip(&self.counts).peekable();
        let counts = (first..=last).map(move |index| {
            let found = observed.next_if(|(at, _)| **at == index);
            found.map_or(0, |(_, count)| *count)
        });
        Some((first, counts))
    }

    /// Removes the observations that it had when it was `earlier`.
    pub(super) fn subtract(&mut self, earlier: &Self) {
        let mut earlier = earlier.clone();
        // In this order: the bound of a widened zero bucket may lie within a bucket of half the resolution.
        earlier.widen_zero_bucket(self.zero_threshold);
        while earlier.schema > self.schema {
            earlier.halve_resolution();
        }
        self.zero_count = self.zero_count.saturating_sub(earlier.zero_count);
        for (index, earlier) in earlier.indices.iter().zip(&earlier.counts) {
            if let Ok(at) = self.indices.binary_search(index) {
                self.counts[at] = self.counts[at].saturating_sub(*earlier);
            }
        }
        let mut counts = self.counts.iter();
        self.indices
            .retain(|_| counts.next().is_some_and(|count| *count > 0));
        self.counts.retain(|count| *count > 0);
    }

    /// Moves the observations of buckets up to `threshold` into the zero bucket.
    fn widen_zero_bucket(&mut self, threshold: f64) {
        let is_below = |index: &i32| upper_bound(*index, self.schema) <= threshold;
        let below = self.indices.partition_point(is_below);
        self.zero_count += self.counts.drain(..below).sum::<u64>();
        self.indices.drain(..below);
        self.zero_threshold = self.zero_threshold.max(threshold);
    }

    /// Widens the zero bucket, then halves the resolution, until there are few enough buckets.
    fn limit_buckets(&mut self) {
        while self.indices.len() > self.max_buckets {
            let lowest_bound = upper_bound(self.indices[0], self.schema);
            if lowest_bound <= MAX_ZERO_THRESHOLD {
                self.zero_threshold = lowest_bound;
                self.zero_count += self.counts.remove(0);
                self.indices.remove(0);
            } else if self.schema > LOWEST_SCHEMA {
                self.halve_resolution();
            } else {
                return;
            }
        }
    }

    /// Merges pairs of buckets.
    fn halve_resolution(&mut self) {
        self.schema -= 1;
        let (indices, counts) = (
            std::mem::take(&mut self.indices),
            std::mem::take(&mut self.counts),
        );
        for (index, count) in indices.into_iter().zip(counts) {
            let merged = (index + 1) >> 1;
            if self.indices.last() == Some(&merged) {
                *self.counts.last_mut().expect("as many as indices") += count;
            } else {
                self.indices.push(merged);
                self.counts.push(count);
            }
        }
    }
}

/// The index of the bucket of a positive `value`: bounds are inclusive.
fn index(value: f64, schema: i8) -> i32 {
    let (fraction, exponent) = split(value);
    if schema > 0 {
        let bounds = fractions(schema);
        let within = bounds.partition_point(|bound| *bound < fraction);
        let count = i32::try_from(bounds.len()).expect("at most 256");
        i32::try_from(within).expect("at most 256") + (exponent - 1) * count
    } else {
        // The lowest fraction is the bound of the bucket before.
        let octave = if fraction <= 0.5 {
            exponent - 1
        } else {
            exponent
        };
        let offset = (1 << -schema) - 1;
        (octave + offset) >> -schema
    }
}

/// The upper bound of a bucket.
fn upper_bound(index: i32, schema: i8) -> f64 {
    (f64::from(index) * f64::from(-schema).exp2()).exp2()
}

/// A positive number as fraction from 0.5 to below 1, and power of 2.
fn split(value: f64) -> (f64, i32) {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    const HALF: u64 = 1022 << FRACTION_BITS;
    let bits = value.to_bits();
    // The sign is 0. A subnormal is in the zero bucket.
    let exponent = i32::try_from(bits >> FRACTION_BITS).expect("11 bits");
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    (f64::from_bits(fraction | HALF), exponent - 1022)
}

/// The bounds of the buckets between 0.5 and 1 of a `schema` above 0.
fn fractions(schema: i8) -> &'static [f64] {
    static BOUNDS: [OnceLock<Box<[f64]>>; HIGHEST_SCHEMA as usize] =
        [const { OnceLock::new() }; HIGHEST_SCHEMA as usize];
    let slot = usize::try_from(schema - 1).expect("the schema is above 0");
    BOUNDS[slot].get_or_init(|| {
        let count = 1_u16 << schema;
        let bound = |index| (f64::from(index) / f64::from(count) - 1.0).exp2();
        (0..count).map(bound).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_schema(schema: i8, max_buckets: usize) -> NativeHistogram {
        NativeHistogram::new(NativeHistograms {
            schema,
            max_buckets,
        })
    }

    /// The factors and schemas of client_golang's test of the same.
    #[test]
    fn the_schema_is_the_coarsest_that_does_not_exceed_the_factor() {
        for (factor, schema) in [
            (65_536.0, -4),
            (1e300, -4),
            (257.0, -3),
            (256.0, -3),
            (17.0, -2),
            (16.0, -2),
            (5.0, -1),
            (4.0, -1),
            (3.0, 0),
            (2.0, 0),
            (1.5, 1),
            (1.2, 2),
            (1.1, 3),
            (1.05, 4),
            (1.03, 5),
            (1.02, 6),
            (1.01, 7),
            (1.005, 8),
            (1.000_000_1, 8),
        ] {
            let settings = NativeHistograms::new(factor, 160);
            assert_eq!(settings.schema, schema, "{factor}");
        }
    }

    #[test]
    fn bounds_are_inclusive_in_every_schema() {
        for schema in LOWEST_SCHEMA..=HIGHEST_SCHEMA {
            for exponent in [-64, -16, 0, 16, 64] {
                let bound = f64::from(exponent).exp2();
                let at = index(bound, schema);
                assert!((upper_bound(at, schema) / bound - 1.0).abs() < 1e-12);
                let above = f64::from_bits(bound.to_bits() + 1);
                assert_eq!(index(above, schema), at + 1, "{schema} {bound}");
            }
        }
    }

    #[test]
    fn buckets_are_written_as_spans_and_deltas() {
        let mut histogram = with_schema(0, 160);
        for value in [0.0, 1.0, 1.5, 2.0, 3.0, 20.0, 20.0] {
            histogram.observe(value);
        }
        // (0.5, 1], (1, 2], (2, 4] and (16, 32].
        assert_eq!(histogram.spans().collect::<Vec<_>>(), [(0, 3), (2, 1)]);
        assert_eq!(histogram.deltas().collect::<Vec<_>>(), [1, 1, -1, 1]);
        assert_eq!((histogram.zero_count(), histogram.count()), (1, 7));
    }

    #[test]
    fn the_zero_bucket_is_widened_before_the_resolution_is_halved() {
        let mut histogram = with_schema(3, 4);
        for value in [1e-7, 2e-7, 1e-6, 0.1, 0.2] {
            histogram.observe(value);
        }
        assert_eq!((histogram.schema(), histogram.zero_count()), (3, 1));
        assert!((1e-7..1.1e-7).contains(&histogram.zero_threshold()));
        for value in [0.4, 0.8, 1.6, 3.2] {
            histogram.observe(value);
        }
        assert!(histogram.schema() < 3, "{histogram:?}");
        assert_eq!(histogram.zero_count(), 3);
        assert_eq!(histogram.count(), 9);
        histogram.observe(1.5e-7);
        assert_eq!(histogram.zero_count(), 4);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(value in 1e-30_f64..1e30, schema in LOWEST_SCHEMA..=HIGHEST_SCHEMA) {
            let at = index(value, schema);
            prop_assert!(value <= upper_bound(at, schema) * (1.0 + 1e-12));
            prop_assert!(value >= upper_bound(at - 1, schema) * (1.0 - 1e-12));
        }

        #[test]
        fn what_is_left_after_subtraction_was_observed_later(
            before in prop::collection::vec(1e-9_f64..1e9, 0..100),
            after in prop::collection::vec(1e-9_f64..1e9, 0..100),
            schema in LOWEST_SCHEMA..=HIGHEST_SCHEMA,
            limit in 8_usize..40,
        ) {
            let mut histogram = with_schema(schema, limit);
            for value in &before {
                histogram.observe(*value);
            }
            let earlier = histogram.clone();
            for value in &after {
                histogram.observe(*value);
            }
            let mut rest = histogram.clone();
            rest.subtract(&earlier);
            let mut expected = with_schema(histogram.schema, 1 << 20);
            expected.zero_threshold = histogram.zero_threshold;
            for value in &after {
                expected.observe(*value);
            }
            prop_assert_eq!(rest.count(), after.len() as u64);
            prop_assert_eq!(rest.zero_count, expected.zero_count);
            prop_assert_eq!(&rest.indices, &expected.indices);
            prop_assert_eq!(&rest.counts, &expected.counts);
            let consecutive = rest.consecutive_counts();
            let total: u64 = consecutive.into_iter().flat_map(|(_, counts)| counts).sum();
            prop_assert_eq!(total + rest.zero_count, rest.count());
        }

        #[test]
        fn no_observation_is_lost_and_no_limit_exceeded(
            values in prop::collection::vec(1e-9_f64..1e9, 0..300),
            schema in LOWEST_SCHEMA..=HIGHEST_SCHEMA,
            limit in 8_usize..40,
        ) {
            let mut histogram = with_schema(schema, limit);
            for value in &values {
                histogram.observe(*value);
            }
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert!(histogram.indices.len() <= limit);
            prop_assert!(histogram.indices.is_sorted_by(|a, b| a < b));
            let coarse = with_schema(histogram.schema, 1 << 20);
            let mut indices: Vec<_> = values
                .iter()
                .filter(|value| **value > histogram.zero_threshold)
                .map(|value| index(*value, coarse.schema))
                .collect();
            indices.sort_unstable();
            indices.dedup();
            prop_assert_eq!(&histogram.indices, &indices);
        }
    }
}
