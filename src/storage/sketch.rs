//! Quantiles of latencies in some dozens of bytes, with a bounded relative error.

use std::collections::BTreeMap;

use super::bytes::{Reader, Writer};

/// Counts of latencies by buckets that each end 4 % after the one before, so that a quantile is known to 2 %.
///
/// If the latencies spread so widely that the counts would take more than [`MAX_BYTES`], pairs of buckets are merged,
/// as often as needed; each time doubles the error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch {
    /// Number of times that pairs of buckets were merged.
    merges: u8,
    counts: BTreeMap<u16, u64>,
}

/// The relative error if no buckets have been merged.
const ERROR: f64 = 0.02;
/// Seconds that the first bucket ends at.
const SMALLEST: f64 = 1e-5;
/// Seconds of the longest latency that is told from longer ones.
const LARGEST: f64 = 366.0 * 86_400.0;
/// The most bytes that a sketch takes.
pub(super) const MAX_BYTES: usize = 72;

/// The ratio of the ends of neighbouring buckets.
fn growth() -> f64 {
    (1.0 + ERROR) / (1.0 - ERROR)
}

impl Sketch {
    /// Counts a latency.
    pub(super) fn add(&mut self, seconds: f64) {
        let seconds = seconds.clamp(SMALLEST, LARGEST);
        let bucket = ((seconds / SMALLEST).ln() / growth().ln()).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to about 800"
        )]
        let bucket = bucket as u16;
        let bucket = merged(bucket, self.merges);
        *self.counts.entry(bucket).or_default() += 1;
    }

    /// Adds the counts of `other`.
    pub(super) fn merge(&mut self, mut other: Self) {
        while self.merges < other.merges {
            self.merge_pairs();
        }
        while other.merges < self.merges {
            other.merge_pairs();
        }
        for (bucket, count) in other.counts {
            *self.counts.entry(bucket).or_default() += count;
        }
    }

    /// Number of latencies.
    pub(super) fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The latency in seconds that the share `quantile` of all is at most; `None` without any.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rank = quantile.clamp(0.0, 1.0) * last as f64;
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            if seen as f64 > rank {
                return Some(self.middle(*bucket));
            }
        }
        None
    }

    /// The seconds that are off from all in `bucket` by the same factor at most.
    fn middle(&self, bucket: u16) -> f64 {
        let growth = growth().powi(1 << self.merges);
        let end = SMALLEST * growth.powi(bucket.into());
        end * 2.0 / (growth + 1.0)
    }

    fn merge_pairs(&mut self) {
        self.merges += 1;
        for (bucket, count) in std::mem::take(&mut self.counts) {
            *self.counts.entry(merged(bucket, 1)).or_default() += count;
        }
    }

    /// Writes the sketch at the end of `out`, after merging buckets if it would be too large.
    pub(super) fn write(mut self, out: &mut Writer) {
        if self.counts.is_empty() {
            return;
        }
        let start = out.0.len();
        loop {
            self.write_counts(out);
            if out.0.len() - start <= MAX_BYTES {
                return;
            }
            out.0.truncate(start);
            self.merge_pairs();
        }
    }

    fn write_counts(&self, out: &mut Writer) {
        out.byte(self.merges);
        let mut next = 0;
        for (bucket, count) in &self.counts {
            match bucket - next {
                0 => {}
                // A count of 0, and how many of them follow.
                skipped if next > 0 => {
                    out.number(0);
                    out.number(u64::from(skipped) - 1);
                }
                skipped => out.number(skipped.into()),
            }
            if next == 0 && *bucket == 0 {
                out.number(0);
            }
            out.number(*count);
            next = bucket + 1;
        }
    }

    /// Reads what [`write`](Self::write) wrote, to the end.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut sketch = Self::default();
        if reader.is_empty() {
            return Some(sketch);
        }
        sketch.merges = reader.byte().filter(|merges| *merges < 16)?;
        let mut bucket: u16 = reader.small()?;
        while !reader.is_empty() {
            match reader.number()? {
                0 => bucket = bucket.checked_add(reader.small::<u16>()?)?.checked_add(1)?,
                count => {
                    sketch.counts.insert(bucket, count);
                    bucket = bucket.checked_add(1)?;
                }
            }
        }
        Some(sketch)
    }
}

/// The bucket that `bucket` is in after `merges`.
fn merged(bucket: u16, merges: u8) -> u16 {
    bucket.div_ceil(1 << merges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(latencies: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for seconds in latencies {
            sketch.add(*seconds);
        }
        sketch
    }

    fn written(sketch: &Sketch) -> Vec<u8> {
        let mut out = Writer::default();
        sketch.clone().write(&mut out);
        out.0
    }

    fn kept(sketch: &Sketch) -> Sketch {
        let bytes = written(sketch);
        Sketch::read(&mut Reader::new(&bytes)).expect("it was written")
    }

    proptest! {
        #[test]
        fn quantiles_are_known_to_two_percent(
            mut latencies in prop::collection::vec(1e-4..100.0_f64, 1..200),
            quantile in 0.0..=1.0_f64,
        ) {
            let sketch = sketch(&latencies);
            latencies.sort_by(f64::total_cmp);
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
            let exact = latencies[(quantile * (latencies.len() - 1) as f64).floor() as usize];
            let known = sketch.quantile(quantile).expect("there are some");
            prop_assert!((known / exact - 1.0).abs() < 0.0201, "{} {}", known, exact);
            // However wide they spread, few bytes are enough, and the error stays bounded.
            let kept = kept(&sketch);
            prop_assert!(written(&sketch).len() <= MAX_BYTES);
            prop_assert_eq!(kept.count(), latencies.len() as u64);
            let growth = growth().powi(1 << kept.merges);
            let error = (growth - 1.0) / (growth + 1.0);
            let known = kept.quantile(quantile).expect("likewise");
            prop_assert!((known / exact - 1.0).abs() < error + 0.001, "{} {} {}", known, exact, error);
            prop_assert!(kept.merges <= 4);
        }

        #[test]
        fn sketches_of_parts_make_the_sketch_of_all(
            some in prop::collection::vec(1e-4..1.0, 0..100),
            others in prop::collection::vec(0.01..10.0, 0..100),
        ) {
            let all: Vec<_> = some.iter().chain(&others).copied().collect();
            let mut merged = sketch(&some);
            merged.merge(sketch(&others));
            prop_assert_eq!(&merged, &sketch(&all));
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            if let Some(sketch) = Sketch::read(&mut Reader::new(&bytes)) {
                let _ = sketch.quantile(0.5);
            }
        }
    }

    #[test]
    fn usual_latencies_take_few_bytes() {
        // An hour of checks every 10 s that take 40 to 60 ms.
        let latencies: Vec<_> = (0..360)
            .map(|i| 0.04 + 0.02 * f64::from(i * 7 % 360) / 360.0)
            .collect();
        let bytes = written(&sketch(&latencies));
        assert!(bytes.len() <= 16, "{} bytes", bytes.len());
        assert_eq!(bytes[0], 0, "no buckets were merged");
    }

    #[test]
    fn the_shortest_and_the_longest_are_kept() {
        let sketch = kept(&sketch(&[0.0, 1e-9, 1e12]));
        assert_eq!(sketch.count(), 3);
        assert!(sketch.quantile(0.0).expect("some") <= 1.1e-5);
        assert!(sketch.quantile(1.0).expect("some") > 1e7);
        assert_eq!(Sketch::default().quantile(0.5), None);
    }
}
