//! Samples as messages `io.prometheus.client.MetricFamily`, written straight onto the page.
//!
//! Encoded by hand for the reason of `text.rs`: with the types of a library, a page would be in memory as a tree.
//! Message: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use std::time::SystemTime;

use super::{
    exemplar::{Exemplar, TRACE_ID},
    family::{Family, Kind},
    histogram::Histogram,
    native_histogram::NativeHistogram,
    series::{Series, Value},
    unix_time::unix_millis,
};

/// The number and the wire type of a field.
#[derive(Clone, Copy)]
struct Field(u32, Wire);

#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Double = 1,
    /// A text, a message or packed numbers, after their length.
    Bytes = 2,
}

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
        Wire::{Bytes, Double},
    };
    pub(super) const VALUE: Field = Field(1, Double);
    pub(super) const EXEMPLAR: Field = Field(2, Bytes);
    pub(super) const CREATED: Field = Field(3, Bytes);
}

mod histogram {
    use super::{
        Field,
        Wire::{Bytes, Double, Varint},
    };
    pub(super) const COUNT: Field = Field(1, Varint);
    pub(super) const SUM: Field = Field(2, Double);
    pub(super) const BUCKET: Field = Field(3, Bytes);
    pub(super) const SCHEMA: Field = Field(5, Varint);
    pub(super) const ZERO_THRESHOLD: Field = Field(6, Double);
    pub(super) const ZERO_COUNT: Field = Field(7, Varint);
    pub(super) const POSITIVE_SPAN: Field = Field(12, Bytes);
    pub(super) const POSITIVE_DELTA: Field = Field(13, Bytes);
    pub(super) const CREATED: Field = Field(15, Bytes);
    pub(super) const EXEMPLAR: Field = Field(16, Bytes);
}

mod bucket {
    use super::{
        Field,
        Wire::{Bytes, Double, Varint},
    };
    pub(super) const CUMULATIVE_COUNT: Field = Field(1, Varint);
    pub(super) const UPPER_BOUND: Field = Field(2, Double);
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
        Wire::{Bytes, Double},
    };
    pub(super) const LABEL: Field = Field(1, Bytes);
    pub(super) const VALUE: Field = Field(2, Double);
    pub(super) const TIMESTAMP: Field = Field(3, Bytes);
}

mod timestamp {
    use super::{Field, Wire::Varint};
    pub(super) const SECONDS: Field = Field(1, Varint);
    pub(super) const NANOS: Field = Field(2, Varint);
}

/// Writes the message of one family onto a page.
pub(super) struct ProtobufWriter<'p> {
    page: &'p mut Vec<u8>,
}

impl<'p> ProtobufWriter<'p> {
    /// A writer onto `page`.
    pub(super) fn new(page: &'p mut Vec<u8>) -> Self {
        Self { page }
    }

    /// Begins the message of `family`; returns where its content begins.
    pub(super) fn begin(&mut self, family: &Family) -> usize {
        let start = self.begin_message();
        self.text(family::NAME, family.name);
        self.text(family::HELP, family.help);
        let kind = match family.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Histogram => 4,
        };
        self.varint(family::TYPE, kind);
        if let Some(unit) = family.unit() {
            self.text(family::UNIT, unit);
        }
        start
    }

    /// Ends the message of a family whose content began at `start`.
    pub(super) fn end(&mut self, start: usize) {
        self.end_message(start);
    }

    /// Adds a counter or gauge.
    pub(super) fn sample(&mut self, series: Series<'_>, value: Value<'_>) {
        self.message(family::METRIC, |out| {
            out.labels(series.labels());
            out.value(series.family.kind, value);
        });
    }

    /// Adds a sample of 1 with these labels.
    pub(super) fn info(&mut self, labels: &[(&str, &str)]) {
        self.message(family::METRIC, |out| {
            out.labels(labels.iter().copied());
            out.message(metric::GAUGE, |out| out.double(number::VALUE, 1.0));
        });
    }

    fn value(&mut self, kind: Kind, value: Value<'_>) {
        let is_counter = kind == Kind::Counter;
        let field = if is_counter {
            metric::COUNTER
        } else {
            metric::GAUGE
        };
        self.message(field, |out| {
            out.double(number::VALUE, value.number.as_f64());
            if is_counter {
                if let Some(exemplar) = value.exemplar {
                    out.exemplar(number::EXEMPLAR, exemplar);
                }
                out.timestamp(number::CREATED, value.since);
            }
        });
    }

    /// Adds a histogram.
    pub(super) fn histogram(&mut self, series: Series<'_>, histogram: &Histogram) {
        self.message(family::METRIC, |out| {
            out.labels(series.labels());
            out.message(metric::HISTOGRAM, |out| {
                out.varint(histogram::COUNT, histogram.count());
                out.double(histogram::SUM, histogram.sum());
                out.classic_buckets(histogram);
                if let Some(native) = histogram.native() {
                    out.native_buckets(native);
                    for (_, exemplar) in histogram.exemplars() {
                        out.exemplar(histogram::EXEMPLAR, exemplar);
                    }
                }
                if let Some(since) = histogram.since() {
                    out.timestamp(histogram::CREATED, since);
                }
            });
        });
    }

    fn classic_buckets(&mut self, histogram: &Histogram) {
        let bounds = histogram.buckets().bounds.iter().copied();
        let bounds = bounds.chain([f64::INFINITY]);
        for (index, (bound, count)) in bounds.zip(histogram.cumulative_counts()).enumerate() {
            let exemplar = histogram.exemplar(index);
            // The last one has the count of the histogram.
            if bound.is_infinite() && exemplar.is_none() {
                continue;
            }
            self.message(histogram::BUCKET, |out| {
                out.varint(bucket::CUMULATIVE_COUNT, count);
                out.double(bucket::UPPER_BOUND, bound);
                if let Some(exemplar) = exemplar {
                    out.exemplar(bucket::EXEMPLAR, exemplar);
                }
            });
        }
    }

    fn native_buckets(&mut self, native: &NativeHistogram) {
        self.varint(histogram::SCHEMA, zigzag(native.schema().into()));
        self.double(histogram::ZERO_THRESHOLD, native.zero_threshold());
        self.varint(histogram::ZERO_COUNT, native.zero_count());
        let mut has_spans = false;
        for (offset, length) in native.spans() {
            self.span(offset, length);
            has_spans = true;
        }
        if !has_spans {
            // By this a native histogram without observations is told from a classic one.
            self.span(0, 0);
        }
        self.message(histogram::POSITIVE_DELTA, |out| {
            for delta in native.deltas() {
                out.raw_varint(zigzag(delta));
            }
        });
    }

    fn span(&mut self, offset: i32, length: u32) {
        self.message(histogram::POSITIVE_SPAN, |out| {
            out.varint(span::OFFSET, zigzag(offset.into()));
            out.varint(span::LENGTH, length.into());
        });
    }

    fn exemplar(&mut self, field: Field, exemplar: &Exemplar) {
        self.message(field, |out| {
            let id = exemplar.trace_id.to_string();
            out.label(exemplar::LABEL, TRACE_ID, &id);
            out.double(exemplar::VALUE, exemplar.value);
            out.timestamp(exemplar::TIMESTAMP, exemplar.at);
        });
    }

    fn timestamp(&mut self, field: Field, time: SystemTime) {
        let millis = unix_millis(time);
        self.message(field, |out| {
            out.varint(timestamp::SECONDS, millis / 1000);
            out.varint(timestamp::NANOS, millis % 1000 * 1_000_000);
        });
    }

    fn labels<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        for (name, value) in labels {
            self.label(metric::LABEL, name, value);
        }
    }

    fn label(&mut self, field: Field, name: &str, value: &str) {
        self.message(field, |out| {
            out.text(label::NAME, name);
            out.text(label::VALUE, value);
        });
    }

    fn text(&mut self, field: Field, text: &str) {
        self.tag(field);
        self.raw_varint(text.len() as u64);
        self.page.extend_from_slice(text.as_bytes());
    }

    fn varint(&mut self, field: Field, number: u64) {
        self.tag(field);
        self.raw_varint(number);
    }

    fn double(&mut self, field: Field, number: f64) {
        self.tag(field);
        self.page.extend_from_slice(&number.to_le_bytes());
    }

    fn tag(&mut self, Field(number, wire): Field) {
        self.raw_varint(u64::from(number << 3 | wire as u32));
    }

    fn message(&mut self, field: Field, write: impl FnOnce(&mut Self)) {
        self.tag(field);
        let start = self.begin_message();
        write(self);
        self.end_message(start);
    }

    /// Leaves one byte for the length of a message.
    fn begin_message(&mut self) -> usize {
        self.page.push(0);
        self.page.len()
    }

    /// Writes the length of a message, and makes room for it if one byte is not enough.
    fn end_message(&mut self, start: usize) {
        let end = self.page.len();
        self.raw_varint((end - start) as u64);
        let bytes = self.page.len() - end;
        if bytes > 1 {
            let mut length = [0; MAX_VARINT_BYTES];
            length[..bytes].copy_from_slice(&self.page[end..]);
            self.page.copy_within(start..end, start - 1 + bytes);
            self.page[start - 1..start - 1 + bytes].copy_from_slice(&length[..bytes]);
            self.page.truncate(end - 1 + bytes);
        } else if let Some(length) = self.page.pop() {
            self.page[start - 1] = length;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn raw_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.page.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.page.push(number as u8);
    }
}

const MAX_VARINT_BYTES: usize = 10;

/// A signed number as a varint: small ones stay short.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}
