//! A collector gets what a page has: the messages are decoded by those of OpenTelemetry.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint,
        Metric as OtlpMetric, NumberDataPoint, ScopeMetrics, exemplar, metric, number_data_point,
    },
};
use prost::Message;

use crate::{
    check::{DispatcherObserver, Job, Report},
    metrics::{
        Metrics, NativeChoice, NativeHistograms, Settings,
        protobuf_messages::{
            Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, Timestamp, as_text,
        },
        tests::{Silent, failed, fixed_part, fixed_run, ms, page, succeeded, with_all_families},
    },
    telemetry::{MetricCollection, MetricSource, Temporality},
};

/// The metrics of one part.
fn decode(metrics: &[u8]) -> Vec<OtlpMetric> {
    ScopeMetrics::decode(metrics)
        .expect("metrics of a scope")
        .metrics
}

/// All metrics, which the collector accepts.
fn collected(metrics: &Metrics, temporality: Temporality) -> Vec<OtlpMetric> {
    let mut collection = metrics.collect(temporality);
    let all = accepted(&mut *collection);
    collection.complete();
    all
}

/// The metrics of all parts of `collection`.
fn accepted(collection: &mut dyn MetricCollection) -> Vec<OtlpMetric> {
    let mut all = Vec::new();
    while let Some(part) = collection.next_part() {
        let found = decode(&part.metrics);
        let points: usize = found.iter().map(points).sum();
        assert_eq!(part.points, points as u64);
        all.extend(found);
        collection.end_part(true);
    }
    all
}

/// Number of data points.
fn points(metric: &OtlpMetric) -> usize {
    match metric.data.as_ref().expect("data") {
        metric::Data::Gauge(gauge) => gauge.data_points.len(),
        metric::Data::Sum(sum) => sum.data_points.len(),
        metric::Data::Histogram(histogram) => histogram.data_points.len(),
        metric::Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        metric::Data::Summary(_) => panic!("a summary"),
    }
}

fn labels(attributes: &[KeyValue]) -> Vec<LabelPair> {
    let text = |attribute: &KeyValue| match attribute.value.clone()?.value? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    };
    let label = |attribute: &KeyValue| LabelPair {
        name: attribute.key.clone(),
        value: text(attribute).expect("a text"),
    };
    attributes.iter().map(label).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the counts are small")]
fn number(point: &NumberDataPoint) -> f64 {
    match point.value.expect("a value") {
        number_data_point::Value::AsDouble(value) => value,
        number_data_point::Value::AsInt(value) => value as f64,
    }
}

/// A metric of a family of Prometheus with the data of a point.
fn histogram(point: &HistogramDataPoint) -> Metric {
    let mut total = 0;
    let cumulative = point.bucket_counts.iter().map(|count| {
        total += count;
        total
    });
    let bounds = point.explicit_bounds.iter().copied();
    let bucket = bounds
        .chain([f64::INFINITY])
        .zip(cumulative)
        .map(|(upper_bound, cumulative_count)| Bucket {
            cumulative_count,
            upper_bound,
            exemplar: None,
        })
        .collect();
    Metric {
        label: labels(&point.attributes),
        histogram: Some(Histogram {
            sample_count: point.count,
            sample_sum: point.sum.expect("a sum"),
            bucket,
            ..Histogram::default()
        }),
        ..Metric::default()
    }
}

/// The families of Prometheus that `metrics` are by the conventions.
fn families(metrics: &[OtlpMetric]) -> Vec<MetricFamily> {
    let family = |found: &OtlpMetric| {
        let (kind, metric) = match found.data.as_ref().expect("data") {
            metric::Data::Gauge(gauge) => {
                let metric = |point: &NumberDataPoint| Metric {
                    label: labels(&point.attributes),
                    gauge: Some(Gauge {
                        value: number(point),
                    }),
                    ..Metric::default()
                };
                (1, gauge.data_points.iter().map(metric).collect())
            }
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic, "{}", found.name);
                let metric = |point: &NumberDataPoint| Metric {
                    label: labels(&point.attributes),
                    counter: Some(Counter {
                        value: number(point),
                        exemplar: None,
                        created_timestamp: Timestamp::default(),
                    }),
                    ..Metric::default()
                };
                (0, sum.data_points.iter().map(metric).collect())
            }
            metric::Data::Histogram(of) => {
                (4, of.data_points.iter().map(histogram).collect::<Vec<_>>())
            }
            _ => panic!("{} is of no kind that a page has", found.name),
        };
        MetricFamily {
            name: found.name.clone(),
            help: found.description.clone(),
            kind,
            metric,
            unit: None,
        }
    };
    metrics.iter().map(family).collect()
}

#[test]
fn cumulative_metrics_are_the_samples_of_the_page() {
    let metrics = fixed_run(&with_all_families());
    let text = fixed_part(&page(&metrics));
    let otlp = collected(&metrics, Temporality::Cumulative);
    assert_eq!(fixed_part(&as_text(&families(&otlp))), text);

    let named = |name: &str| otlp.iter().find(|metric| metric.name == name);
    let durations = named("monitor_check_duration_seconds").expect("it is exported");
    assert_eq!(durations.unit, "s");
    assert_eq!(
        named("monitor_response_size_bytes").expect("it is").unit,
        "By"
    );
    assert_eq!(named("monitor_icmp_loss_ratio").expect("it is").unit, "1");
    assert_eq!(named("monitor_up").expect("it is").unit, "");
    let kind = &labels(&durations.metadata)[0];
    assert_eq!(
        (&*kind.name, &*kind.value),
        ("prometheus.type", "histogram")
    );
    let Some(metric::Data::Histogram(durations)) = &durations.data else {
        panic!("{durations:?}");
    };
    let cumulative = i32::from(AggregationTemporality::Cumulative);
    assert_eq!(durations.aggregation_temporality, cumulative);
    let point = &durations.data_points[0];
    // The check began this long before its end.
    assert_eq!(
        point.start_time_unix_nano,
        (1_795_000_000_123 - 74) * 1_000_000
    );
    assert!(point.time_unix_nano > point.start_time_unix_nano);
}

/// Sums of deltas, by the name and the labels of a series.
#[derive(Default)]
struct Totals {
    numbers: BTreeMap<String, f64>,
    histograms: BTreeMap<String, (Vec<u64>, f64)>,
}

fn key(metric: &OtlpMetric, attributes: &[KeyValue]) -> String {
    format!("{} {:?}", metric.name, labels(attributes))
}

impl Totals {
    fn add(&mut self, metrics: &[OtlpMetric]) {
        for metric in metrics {
            match metric.data.as_ref().expect("data") {
                metric::Data::Sum(sum) => {
                    for point in &sum.data_points {
                        let key = key(metric, &point.attributes);
                        *self.numbers.entry(key).or_default() += number(point);
                    }
                }
                metric::Data::Histogram(histogram) => {
                    for point in &histogram.data_points {
                        let key = key(metric, &point.attributes);
                        let (counts, sum) = self.histograms.entry(key).or_default();
                        counts.resize(point.bucket_counts.len(), 0);
                        for (total, count) in counts.iter_mut().zip(&point.bucket_counts) {
                            *total += count;
                        }
                        *sum += point.sum.expect("a sum");
                    }
                }
                _ => {}
            }
        }
    }

    #[track_caller]
    fn assert_like(&self, other: &Self) {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert_eq!(
            self.numbers.keys().collect::<Vec<_>>(),
            other.numbers.keys().collect::<Vec<_>>()
        );
        for (key, total) in &self.numbers {
            let is_fixed = !key.starts_with("process_");
            assert!(
                !is_fixed || close(*total, other.numbers[key]),
                "{key}: {total} and {}",
                other.numbers[key]
            );
        }
        assert_eq!(
            self.histograms.keys().collect::<Vec<_>>(),
            other.histograms.keys().collect::<Vec<_>>()
        );
        for (key, (counts, sum)) in &self.histograms {
            let (expected, expected_sum) = &other.histograms[key];
            assert_eq!(counts, expected, "{key}");
            assert!(close(*sum, *expected_sum), "{key}: {sum}");
        }
    }
}

#[test]
fn deltas_add_up_to_the_page_even_if_some_are_not_delivered() {
    let metrics = fixed_run(&with_all_families());
    let job = Job::new("later", Silent("http://localhost/"));
    let mut totals = Totals::default();
    totals.add(&collected(&metrics, Temporality::Delta));
    let later = metrics.observe(&job);
    let check = |report: &Report| {
        later.on_started(ms(1));
        later.on_completed(report);
    };
    check(&succeeded());
    let second = collected(&metrics, Temporality::Delta);
    let of_others = |metric: &OtlpMetric| {
        let is_sum = matches!(metric.data, Some(metric::Data::Sum(_)));
        is_sum && format!("{metric:?}").contains("example")
    };
    assert!(!second.iter().any(of_others), "nothing was counted for it");
    totals.add(&second);

    // The collector refuses one part, and does not get the next one at all.
    check(&failed());
    let mut lost = metrics.collect(Temporality::Delta);
    assert!(lost.next_part().is_some());
    lost.end_part(false);
    drop(lost);
    check(&succeeded());
    let fourth = collected(&metrics, Temporality::Delta);
    totals.add(&fourth);

    let mut expected = Totals::default();
    // Not completed, which would forget what deltas are from.
    expected.add(&accepted(&mut *metrics.collect(Temporality::Cumulative)));
    totals.assert_like(&expected);

    let checks = |metrics: &[OtlpMetric]| {
        let found = metrics.iter().find(|of| of.name == "monitor_checks_total");
        let Some(metric::Data::Sum(sum)) = &found.expect("it is exported").data else {
            panic!("{found:?}");
        };
        assert_eq!(
            sum.aggregation_temporality,
            i32::from(AggregationTemporality::Delta)
        );
        sum.data_points.clone()
    };
    // success and failure since the second collection, whose time they begin at.
    let points = checks(&fourth);
    assert_eq!(points.iter().map(number).collect::<Vec<_>>(), [1.0, 1.0]);
    let before = checks(&second)[0].time_unix_nano;
    assert_eq!(points[0].start_time_unix_nano, before);

    // A monitor that starts over counts from zero.
    metrics.on_stopped(&job);
    let again = metrics.observe(&job);
    again.on_started(ms(1));
    again.on_completed(&succeeded());
    let points = checks(&collected(&metrics, Temporality::Delta));
    assert!(points.iter().map(number).eq([1.0, 0.0]), "{points:?}");
}

#[test]
fn the_last_values_of_a_monitor_are_exported_once() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let metrics = fixed_run(&Settings::default());
        let job = Job::new("short", Silent("http://localhost/"));
        let run = || {
            let monitor = metrics.observe(&job);
            monitor.on_started(ms(1));
            monitor.on_completed(&succeeded());
            metrics.on_stopped(&job);
        };
        let exports_checks = || {
            let all = collected(&metrics, temporality);
            let mut points = Vec::new();
            for metric in all.iter().filter(|of| of.name == "monitor_checks_total") {
                if let Some(metric::Data::Sum(sum)) = &metric.data {
                    points.extend(sum.data_points.clone());
                }
            }
            let of_job = |point: &&NumberDataPoint| format!("{point:?}").contains("short");
            let counted = points.iter().filter(of_job).map(number);
            let counted: Vec<_> = counted.filter(|count| *count > 0.0).collect();
            assert!(counted.len() < 2, "{counted:?}");
            !counted.is_empty()
        };
        run();
        assert!(!exports_checks(), "nothing is kept until somebody collects");
        // Twice: the last one of the name counts.
        run();
        run();
        assert!(exports_checks(), "{temporality:?}");
        assert!(!exports_checks(), "{temporality:?}");
        run();
        metrics.forget();
        assert!(!exports_checks(), "{temporality:?}");
        // The values of another monitor with the name are those of its own.
        run();
        metrics.observe(&job);
        assert!(!exports_checks(), "{temporality:?}");
    }
}

fn with_native_histograms() -> Settings {
    Settings {
        native_histograms: NativeChoice::On(NativeHistograms::default()),
        ..Settings::default()
    }
}

fn exponential(metrics: &[OtlpMetric], monitor: &str) -> ExponentialHistogramDataPoint {
    let name = "monitor_check_duration_seconds";
    let found = metrics.iter().find(|metric| metric.name == name);
    let Some(metric::Data::ExponentialHistogram(histogram)) = &found.expect("it is").data else {
        panic!("{found:?}");
    };
    let of_monitor = |point: &&ExponentialHistogramDataPoint| {
        let labels = labels(&point.attributes);
        labels.iter().any(|label| label.value == monitor)
    };
    let point = histogram.data_points.iter().find(of_monitor);
    point.expect("a point of it").clone()
}

#[test]
fn native_histograms_are_exponential_ones() {
    let metrics = Metrics::new(&with_native_histograms(), || 0);
    let observer = metrics.observe(&Job::new("a", Silent("http://localhost/")));
    let check = |duration| {
        observer.on_started(ms(0));
        observer.on_completed(&Report {
            duration,
            ..succeeded()
        });
    };
    for duration in [ms(0), ms(1000), ms(1000), ms(1050), ms(1200)] {
        check(duration);
    }
    let found = collected(&metrics, Temporality::Delta);
    let point = exponential(&found, "a");
    // Factor 2^(1/8): (0.917, 1], (1, 1.09], (1.09, 1.19], (1.19, 1.297].
    let positive = point.positive.as_ref().expect("buckets");
    assert_eq!((point.scale, point.zero_count, point.count), (3, 1, 5));
    assert_eq!(
        (positive.offset, &*positive.bucket_counts),
        (-1, &[2, 1, 0, 1][..])
    );
    assert!(point.zero_threshold > 0.0 && point.zero_threshold < 1e-30);
    assert!((point.sum.expect("a sum") - 4.25).abs() < 1e-9);

    check(ms(1050));
    let point = exponential(&collected(&metrics, Temporality::Delta), "a");
    let positive = point.positive.as_ref().expect("buckets");
    assert_eq!((point.zero_count, point.count), (0, 1));
    assert_eq!((positive.offset, &*positive.bucket_counts), (0, &[1][..]));
}

#[test]
fn exemplars_are_exported_once() {
    for settings in [Settings::default(), with_native_histograms()] {
        let metrics = fixed_run(&settings);
        let ids = |metrics: &[OtlpMetric]| {
            let mut ids = BTreeSet::new();
            for metric in metrics {
                let exemplars: Vec<_> = match metric.data.clone().expect("data") {
                    metric::Data::Sum(sum) => {
                        let points = sum.data_points.into_iter();
                        points.flat_map(|point| point.exemplars).collect()
                    }
                    metric::Data::Histogram(histogram) => {
                        let points = histogram.data_points.into_iter();
                        points.flat_map(|point| point.exemplars).collect()
                    }
                    metric::Data::ExponentialHistogram(histogram) => {
                        let points = histogram.data_points.into_iter();
                        points.flat_map(|point| point.exemplars).collect()
                    }
                    _ => Vec::new(),
                };
                for found in exemplars {
                    assert!(found.time_unix_nano > 0);
                    let Some(exemplar::Value::AsDouble(value)) = found.value else {
                        panic!("{found:?}");
                    };
                    let is_duration = metric.name == "monitor_check_duration_seconds";
                    if is_duration && found.trace_id == [1; 16] {
                        assert!((value - 0.074).abs() < 1e-9);
                    }
                    ids.insert((metric.name.clone(), found.trace_id));
                }
            }
            ids
        };
        let first = ids(&collected(&metrics, Temporality::Cumulative));
        let failures = "monitor_check_failures_total".to_owned();
        let durations = "monitor_check_duration_seconds".to_owned();
        assert!(first.contains(&(failures, vec![2; 16])), "{first:?}");
        assert!(first.contains(&(durations, vec![1; 16])), "{first:?}");
        let second = ids(&collected(&metrics, Temporality::Cumulative));
        assert!(second.is_empty(), "{second:?}");
    }
}

#[test]
fn many_monitors_are_many_parts_with_every_point_once() {
    const MONITORS: usize = 3_000;
    let metrics = Metrics::new(&Settings::default(), || 0);
    for n in 0..MONITORS {
        let observer = metrics.observe(&Job::new(format!("monitor {n:04}"), Silent("nowhere")));
        observer.on_started(ms(0));
        observer.on_completed(&succeeded());
    }
    let mut collection = metrics.collect(Temporality::Cumulative);
    let (mut parts, mut seen) = (0, BTreeSet::new());
    while let Some(part) = collection.next_part() {
        parts += 1;
        assert!(part.metrics.len() < 300 << 10, "{}", part.metrics.len());
        let found = decode(&part.metrics);
        let names: BTreeSet<_> = found.iter().map(|metric| &metric.name).collect();
        assert_eq!(names.len(), found.len(), "a name is twice in a request");
        for family in families(&found) {
            for metric in &family.metric {
                let is_new = seen.insert(format!("{} {:?}", family.name, metric.label));
                assert!(is_new, "{}: {:?}", family.name, metric.label);
            }
        }
        collection.end_part(true);
    }
    assert!(parts > 20, "{parts} parts");
    let of_monitors = seen.iter().filter(|series| series.contains("monitor 0000"));
    let each = of_monitors.count();
    let of_all = seen.iter().filter(|series| series.contains("\"monitor "));
    assert_eq!(of_all.count(), each * MONITORS);
}
