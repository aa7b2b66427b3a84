//! The messages of `io.prometheus.client`, for tests: what a page is decoded with.
//!
//! Fields: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, required, tag = "1")]
    pub name: String,
    #[prost(string, required, tag = "2")]
    pub help: String,
    #[prost(int32, required, tag = "3")]
    pub kind: i32,
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<Metric>,
    #[prost(string, optional, tag = "5")]
    pub unit: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub(crate) counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, required, tag = "1")]
    pub name: String,
    #[prost(string, required, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(double, required, tag = "1")]
    pub value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Counter {
    #[prost(double, required, tag = "1")]
    pub value: f64,
    #[prost(message, optional, tag = "2")]
    pub(crate) exemplar: Option<Exemplar>,
    #[prost(message, required, tag = "3")]
    pub(crate) created_timestamp: Timestamp,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, required, tag = "1")]
    pub(crate) sample_count: u64,
    #[prost(double, required, tag = "2")]
    pub(crate) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(crate) zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub(crate) zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(crate) positive_delta: Vec<i64>,
    #[prost(message, required, tag = "15")]
    pub(crate) created_timestamp: Timestamp,
    #[prost(message, repeated, tag = "16")]
    pub exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(uint64, required, tag = "1")]
    pub(crate) cumulative_count: u64,
    #[prost(double, required, tag = "2")]
    pub(crate) upper_bound: f64,
    #[prost(message, optional, tag = "3")]
    pub(crate) exemplar: Option<Exemplar>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, required, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, required, tag = "2")]
    pub length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(double, required, tag = "2")]
    pub value: f64,
    #[prost(message, required, tag = "3")]
    pub(crate) timestamp: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, required, tag = "1")]
    pub seconds: i64,
    #[prost(int32, required, tag = "2")]
    pub(crate) nanos: i32,
}

/// The families of a page.
pub(super) fn decode(mut page: &[u8]) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    while !page.is_empty() {
        let family = MetricFamily::decode_length_delimited(&mut page);
        families.push(family.expect("a message"));
    }
    families
}

/// The samples of a page, as they are in the text format.
pub(super) fn as_text(families: &[MetricFamily]) -> String {
    let mut lines = Vec::new();
    for family in families {
        let MetricFamily {
            name, help, kind, ..
        } = family;
        let kind =
            ["counter", "gauge", "", "", "histogram"][usize::try_from(*kind).expect("a type")];
        lines.push(format!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        for metric in &family.metric {
            let line = |suffix: &str, le: Option<f64>, value: f64| {
                let labels = metric.label.iter().map(|label| {
                    let value = label.value.replace('\\', r"\\").replace('"', "\\\"");
                    format!("{}=\"{}\"", label.name, value.replace('\n', r"\n"))
                });
                let le = le.map(|le| match le {
                    f64::INFINITY => "le=\"+Inf\"".to_owned(),
                    le => format!("le=\"{le}\""),
                });
                let labels: Vec<_> = labels.chain(le).collect();
                let labels = match &labels[..] {
                    [] => String::new(),
                    labels => format!("{{{}}}", labels.join(",")),
                };
                format!("{name}{suffix}{labels} {value}")
            };
            if let Some(gauge) = &metric.gauge {
                lines.push(line("", None, gauge.value));
            }
            if let Some(counter) = &metric.counter {
                lines.push(line("", None, counter.value));
            }
            #[expect(clippy::cast_precision_loss, reason = "the counts are small")]
            if let Some(histogram) = &metric.histogram {
                for bucket in &histogram.bucket {
                    let count = bucket.cumulative_count as f64;
                    lines.push(line("_bucket", Some(bucket.upper_bound), count));
                }
                let count = histogram.sample_count as f64;
                let has_last = histogram.bucket.iter().any(|b| b.upper_bound.is_infinite());
                lines.extend((!has_last).then(|| line("_bucket", Some(f64::INFINITY), count)));
                lines.push(line("_sum", None, histogram.sample_sum));
                lines.push(line("_count", None, count));
            }
        }
    }
    lines.join("\n") + "\n"
}
