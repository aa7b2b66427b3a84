//! One scrape in the making: samples by family, in the prometheus crate's own types.

use std::sync::Arc;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as HistogramSample, LabelPair, Metric, MetricFamily,
    MetricType,
};

use super::families::{FAMILIES, Id};

/// The samples of one scrape.
pub(super) struct Page {
    metrics: Vec<Vec<Metric>>,
}

impl Page {
    pub fn new() -> Self {
        Self {
            metrics: vec![Vec::new(); FAMILIES.len()],
        }
    }

    /// Adds the sample of a gauge or a counter.
    pub fn add(&mut self, id: Id, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::from_label(label_pairs(labels));
        if id.family().kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics[id as usize].push(metric);
    }

    /// Adds the sample of a counter that counts whole things.
    pub fn count(&mut self, id: Id, labels: &[(&str, &str)], count: u64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "samples are floats; exact up to 2^53"
        )]
        self.add(id, labels, count as f64);
    }

    /// Adds the sample of a histogram.
    pub fn histogram(&mut self, id: Id, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut metric = Metric::from_label(label_pairs(labels));
        metric.set_histogram(histogram.sample());
        self.metrics[id as usize].push(metric);
    }

    pub fn into_families(self) -> Vec<MetricFamily> {
        let families = FAMILIES
            .iter()
            .zip(self.metrics)
            .filter(|(_, metrics)| !metrics.is_empty());
        families
            .map(|(family, metrics)| {
                let mut proto = MetricFamily::default();
                proto.set_name(family.name.to_owned());
                proto.set_help(family.help.to_owned());
                proto.set_field_type(family.kind);
                proto.set_metric(metrics);
                proto
            })
            .collect()
    }
}

/// Labels sorted by name, as Prometheus' clients have them.
fn label_pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let mut pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect();
    pairs.sort();
    pairs
}

/// Observations by bucket.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: Arc<[f64]>,
    /// Observations in each bucket alone, and last those beyond the last bound.
    counts: Box<[u64]>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, in ascending order.
    pub fn new(bounds: Arc<[f64]>) -> Self {
        let counts = vec![0; bounds.len() + 1].into();
        Self {
            bounds,
            counts,
            sum: 0.0,
        }
    }

    pub fn observe(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    fn sample(&self) -> HistogramSample {
        let mut cumulative = 0;
        let buckets = self.bounds.iter().zip(&self.counts).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut sample = HistogramSample::default();
        sample.set_bucket(buckets.collect());
        sample.set_sample_count(self.counts.iter().sum());
        sample.set_sample_sum(self.sum);
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_on_a_bound_is_within_it() {
        let mut histogram = Histogram::new(Arc::from([1.0, 2.0]));
        assert!(histogram.is_empty());
        for value in [0.5, 1.0, 1.5, 2.0, 2.5] {
            histogram.observe(value);
        }
        let sample = histogram.sample();
        let counts: Vec<_> = sample
            .get_bucket()
            .iter()
            .map(Bucket::cumulative_count)
            .collect();
        assert_eq!(counts, [2, 4]);
        assert_eq!(sample.get_sample_count(), 5);
        assert!((sample.get_sample_sum() - 7.5).abs() < f64::EPSILON);
    }
}
