//! Samples as messages `io.prometheus.client.MetricFamily`.
//!
//! Message: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use std::{borrow::Cow, time::SystemTime};

use super::{
    exemplar::{Exemplar, TRACE_ID},
    family::{Family, Kind},
    histogram::Histogram,
    native_histogram::NativeHistogram,
    series::{Series, Value},
    unix_time::unix_millis,
    wire::{Field, Wire, WireWriter, zigzag},
};

mod family {
    use super::{
        Field,
        Wire::{Bytes, Varint},
    };
    pub(super) const NAME: Field = Field(1, Bytes);
    pub(super) const HELP: Field = Field(2, Bytes);
    pub(super) const TYPE: Field = Field(3, Varint);
    pub(super) const METRIC: Field = Field(4, Bytes);
    pub(super) const UNIT: Field = Field(5, Bytes);
}

mod metric {
    use super::{Field, Wire::Bytes};
    pub(super) const LABEL: Field = Field(1, Bytes);
    pub(super) const GAUGE: Field = Field(2, Bytes);
    pub(super) const COUNTER: Field = Field(3, Bytes);
    pub(super) const HISTOGRAM: Field = Field(7, Bytes);
}

mod label {
    use super::{Field, Wire::Bytes};
    pub(super) const NAME: Field = Field(1, Bytes);
    pub(super) const VALUE: Field = Field(2, Bytes);
}

/// Of gauges and counters.
mod number {
    use super::{
        Field,
        Wire::{Bytes, Fixed64},
    };
    pub(super) const VALUE: Field = Field(1, Fixed64);
    pub(super) const EXEMPLAR: Field = Field(2, Bytes);
    pub(super) const CREATED: Field = Field(3, Bytes);
}

mod histogram {
    use super::{
        Field,
        Wire::{Bytes, Fixed64, Varint},
    };
    pub(super) const COUNT: Field = Field(1, Varint);
    pub(super) const SUM: Field = Field(2, Fixed64);
    pub(super) const BUCKET: Field = Field(3, Bytes);
    pub(super) const SCHEMA: Field = Field(5, Varint);
    pub(super) const ZERO_THRESHOLD: Field = Field(6, Fixed64);
    pub(super) const ZERO_COUNT: Field = Field(7, Varint);
    pub(super) const POSITIVE_SPAN: Field = Field(12, Bytes);
    pub(super) const POSITIVE_DELTA: Field = Field(13, Bytes);
    pub(super) const CREATED: Field = Field(15, Bytes);
    pub(super) const EXEMPLAR: Field = Field(16, Bytes);
}

mod bucket {
    use super::{
        Field,
        Wire::{Bytes, Fixed64, Varint},
    };
    pub(super) const CUMULATIVE_COUNT: Field = Field(1, Varint);
    pub(super) const UPPER_BOUND: Field = Field(2, Fixed64);
    pub(super) const EXEMPLAR: Field = Field(3, Bytes);
}

mod span {
    use super::{Field, Wire::Varint};
    pub(super) const OFFSET: Field = Field(1, Varint);
    pub(super) const LENGTH: Field = Field(2, Varint);
}

mod exemplar {
    use super::{
        Field,
        Wire::{Bytes, Fixed64},
    };
    pub(super) const LABEL: Field = Field(1, Bytes);
    pub(super) const VALUE: Field = Field(2, Fixed64);
    pub(super) const TIMESTAMP: Field = Field(3, Bytes);
}

mod timestamp {
    use super::{Field, Wire::Varint};
    pub(super) const SECONDS: Field = Field(1, Varint);
    pub(super) const NANOS: Field = Field(2, Varint);
}

/// Writes the message of one family onto a page.
pub(super) struct ProtobufWriter<'p> {
    out: WireWriter<'p>,
    /// Where the content of the message begins.
    message: usize,
    /// The names of the family's labels as fields: the same in all series.
    label_names: Vec<Vec<u8>>,
}

impl<'p> ProtobufWriter<'p> {
    /// A writer of the message of `family` onto `page`.
    pub(super) fn new(page: &'p mut Vec<u8>, family: &Family) -> Self {
        Self {
            out: WireWriter::new(page),
            message: 0,
            label_names: family.labels.iter().map(|name| label_name(name)).collect(),
        }
    }

    /// Bytes on the page.
    pub(super) fn page_len(&self) -> usize {
        self.out.page_len()
    }

    /// Begins the message of `family`.
    pub(super) fn begin(&mut self, family: &Family) {
        self.message = self.out.begin_delimited();
        self.out.text(family::NAME, family.name);
        self.out.text(family::HELP, family.help);
        let kind = match family.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Histogram => 4,
        };
        self.out.varint(family::TYPE, kind);
        if let Some(unit) = family.unit() {
            self.out.text(family::UNIT, unit);
        }
    }

    /// Ends the message.
    pub(super) fn end(&mut self) {
        self.out.end(self.message);
    }

    /// Adds a counter or gauge.
    pub(super) fn sample(&mut self, series: Series<'_>, value: Value<'_>) {
        self.out.message(family::METRIC, |out| {
            put_labels(out, &self.label_names, series);
            put_value(out, series.family.kind, value);
        });
    }

    /// Adds a sample of 1 with these labels.
    pub(super) fn info(&mut self, labels: &[(&str, Cow<'_, str>)]) {
        self.out.message(family::METRIC, |out| {
            for (name, value) in labels {
                put_label(out, metric::LABEL, name, value);
            }
            out.message(metric::GAUGE, |out| out.double(number::VALUE, 1.0));
        });
    }

    /// Adds a histogram.
    pub(super) fn histogram(&mut self, series: Series<'_>, histogram: &Histogram) {
        self.out.message(family::METRIC, |out| {
            put_labels(out, &self.label_names, series);
            out.message(metric::HISTOGRAM, |out| {
                out.varint(histogram::COUNT, histogram.count());
                out.double(histogram::SUM, histogram.sum());
                put_classic_buckets(out, histogram);
                if let Some(native) = histogram.native() {
                    put_native_buckets(out, native);
                    for (_, exemplar) in histogram.exemplars() {
                        put_exemplar(out, histogram::EXEMPLAR, exemplar);
                    }
                }
                if let Some(since) = histogram.since() {
                    put_timestamp(out, histogram::CREATED, since);
                }
            });
        });
    }
}

fn put_value(out: &mut WireWriter<'_>, kind: Kind, value: Value<'_>) {
    let is_counter = kind == Kind::Counter;
    let field = if is_counter {
        metric::COUNTER
    } else {
        metric::GAUGE
    };
    out.message(field, |out| {
        out.double(number::VALUE, value.number.as_f64());
        if is_counter {
            if let Some(exemplar) = value.exemplar {
                put_exemplar(out, number::EXEMPLAR, exemplar);
            }
            put_timestamp(out, number::CREATED, value.since);
        }
    });
}

fn put_classic_buckets(out: &mut WireWriter<'_>, histogram: &Histogram) {
    let bounds = histogram.buckets().bounds.iter().copied();
    let bounds = bounds.chain([f64::INFINITY]);
    for (index, (bound, count)) in bounds.zip(histogram.cumulative_counts()).enumerate() {
        let exemplar = histogram.exemplar(index);
        // The last one has the count of the histogram.
        if bound.is_infinite() && exemplar.is_none() {
            continue;
        }
        out.message(histogram::BUCKET, |out| {
            out.varint(bucket::CUMULATIVE_COUNT, count);
            out.double(bucket::UPPER_BOUND, bound);
            if let Some(exemplar) = exemplar {
                put_exemplar(out, bucket::EXEMPLAR, exemplar);
            }
        });
    }
}

fn put_native_buckets(out: &mut WireWriter<'_>, native: &NativeHistogram) {
    out.varint(histogram::SCHEMA, zigzag(native.schema().into()));
    out.double(histogram::ZERO_THRESHOLD, native.zero_threshold());
    out.varint(histogram::ZERO_COUNT, native.zero_count());
    let mut has_spans = false;
    for (offset, length) in native.spans() {
        put_span(out, offset, length);
        has_spans = true;
    }
    if !has_spans {
        // By this a native histogram without observations is told from a classic one.
        put_span(out, 0, 0);
    }
    out.message(histogram::POSITIVE_DELTA, |out| {
        for delta in native.deltas() {
            out.raw_varint(zigzag(delta));
        }
    });
}

fn put_span(out: &mut WireWriter<'_>, offset: i32, length: u32) {
    out.message(histogram::POSITIVE_SPAN, |out| {
        out.varint(span::OFFSET, zigzag(offset.into()));
        out.varint(span::LENGTH, length.into());
    });
}

fn put_exemplar(out: &mut WireWriter<'_>, field: Field, exemplar: &Exemplar) {
    out.message(field, |out| {
        let id = exemplar.trace_id.to_string();
        put_label(out, exemplar::LABEL, TRACE_ID, &id);
        out.double(exemplar::VALUE, exemplar.value);
        put_timestamp(out, exemplar::TIMESTAMP, exemplar.at);
    });
}

fn put_timestamp(out: &mut WireWriter<'_>, field: Field, time: SystemTime) {
    let millis = unix_millis(time);
    out.message(field, |out| {
        out.varint(timestamp::SECONDS, millis / 1000);
        out.varint(timestamp::NANOS, millis % 1000 * 1_000_000);
    });
}

fn put_labels(out: &mut WireWriter<'_>, names: &[Vec<u8>], series: Series<'_>) {
    for (name, (_, value)) in names.iter().zip(series.labels()) {
        out.message(metric::LABEL, |out| {
            out.encoded(name);
            out.text(label::VALUE, value);
        });
    }
}

fn put_label(out: &mut WireWriter<'_>, field: Field, name: &str, value: &str) {
    out.message(field, |out| {
        out.text(label::NAME, name);
        out.text(label::VALUE, value);
    });
}

/// The name of a label as a field.
fn label_name(name: &str) -> Vec<u8> {
    let mut field = Vec::new();
    WireWriter::new(&mut field).text(label::NAME, name);
    field
}
