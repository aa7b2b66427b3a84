//! Samples as data points of OTLP.
//!
//! Names and types are those of "Prometheus and OpenMetrics Compatibility" in OpenTelemetry's specification: a name is
//! not altered, a unit is abbreviated, and the type is kept as metadata.
//! Messages: <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto>

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use super::Points;
use crate::{
    metrics::{
        exemplar::Exemplar,
        family::{Family, Kind},
        histogram::Histogram,
        native_histogram::NativeHistogram,
        series::{Number, Series, Value},
        wire::{Field, WireWriter, zigzag},
    },
    telemetry::Temporality,
};

/// The key under which the type of a metric is kept.
const PROMETHEUS_TYPE: &str = "prometheus.type";

mod metric {
    use super::Field;
    use crate::metrics::wire::Wire::Bytes;
    /// Its field in its scope.
    pub(crate) const METRIC: Field = Field(2, Bytes);
    pub(crate) const NAME: Field = Field(1, Bytes);
    pub(crate) const DESCRIPTION: Field = Field(2, Bytes);
    pub(crate) const UNIT: Field = Field(3, Bytes);
    pub(crate) const GAUGE: Field = Field(5, Bytes);
    pub(crate) const SUM: Field = Field(7, Bytes);
    pub(crate) const HISTOGRAM: Field = Field(9, Bytes);
    pub(crate) const EXPONENTIAL_HISTOGRAM: Field = Field(10, Bytes);
    pub(crate) const METADATA: Field = Field(12, Bytes);
}

/// Of gauges, sums and histograms of both kinds.
mod data {
    use super::Field;
    use crate::metrics::wire::Wire::{Bytes, Varint};
    pub(crate) const POINT: Field = Field(1, Bytes);
    pub(crate) const TEMPORALITY: Field = Field(2, Varint);
    pub(crate) const IS_MONOTONIC: Field = Field(3, Varint);
}

/// Of data points of all kinds.
mod point {
    use super::Field;
    use crate::metrics::wire::Wire::Fixed64;
    pub(crate) const START: Field = Field(2, Fixed64);
    pub(crate) const TIME: Field = Field(3, Fixed64);
}

mod number {
    use super::Field;
    use crate::metrics::wire::Wire::{Bytes, Fixed64};
    pub(crate) const DOUBLE: Field = Field(4, Fixed64);
    pub(crate) const EXEMPLAR: Field = Field(5, Bytes);
    pub(crate) const INTEGER: Field = Field(6, Fixed64);
    pub(crate) const ATTRIBUTE: Field = Field(7, Bytes);
}

mod histogram {
    use super::Field;
    use crate::metrics::wire::Wire::{Bytes, Fixed64};
    pub(crate) const COUNT: Field = Field(4, Fixed64);
    pub(crate) const SUM: Field = Field(5, Fixed64);
    pub(crate) const BUCKET_COUNTS: Field = Field(6, Bytes);
    pub(crate) const EXPLICIT_BOUNDS: Field = Field(7, Bytes);
    pub(crate) const EXEMPLAR: Field = Field(8, Bytes);
    pub(crate) const ATTRIBUTE: Field = Field(9, Bytes);
}

mod exponential {
    use super::Field;
    use crate::metrics::wire::Wire::{Bytes, Fixed64, Varint};
    pub(crate) const ATTRIBUTE: Field = Field(1, Bytes);
    pub(crate) const COUNT: Field = Field(4, Fixed64);
    pub(crate) const SUM: Field = Field(5, Fixed64);
    pub(crate) const SCALE: Field = Field(6, Varint);
    pub(crate) const ZERO_COUNT: Field = Field(7, Fixed64);
    pub(crate) const POSITIVE: Field = Field(8, Bytes);
    pub(crate) const EXEMPLAR: Field = Field(11, Bytes);
    pub(crate) const ZERO_THRESHOLD: Field = Field(14, Fixed64);
    pub(crate) const BUCKETS_OFFSET: Field = Field(1, Varint);
    pub(crate) const BUCKET_COUNTS: Field = Field(2, Bytes);
}

mod exemplar {
    use super::Field;
    use crate::metrics::wire::Wire::{Bytes, Fixed64};
    pub(crate) const TIME: Field = Field(2, Fixed64);
    pub(crate) const DOUBLE: Field = Field(3, Fixed64);
    pub(crate) const TRACE_ID: Field = Field(5, Bytes);
}

mod attribute {
    use super::Field;
    use crate::metrics::wire::Wire::Bytes;
    pub(crate) const KEY: Field = Field(1, Bytes);
    pub(crate) const VALUE: Field = Field(2, Bytes);
    pub(crate) const TEXT: Field = Field(1, Bytes);
}

/// Writes the metric of one family, as soon as it has a data point.
pub(in crate::metrics) struct OtlpWriter<'p> {
    out: WireWriter<'p>,
    points: &'p mut Points,
    now: SystemTime,
    open: Option<OpenMetric>,
}

/// Where the contents of the messages begin that are not at their end.
struct OpenMetric {
    metric: usize,
    data: usize,
}

impl<'p> OtlpWriter<'p> {
    /// A writer onto `page`.
    pub(crate) fn new(page: &'p mut Vec<u8>, points: &'p mut Points) -> Self {
        Self {
            out: WireWriter::new(page),
            points,
            now: SystemTime::now(),
            open: None,
        }
    }

    /// Bytes on the page.
    pub(crate) fn page_len(&self) -> usize {
        self.out.page_len()
    }

    /// Ends the metric.
    pub(crate) fn end(&mut self) {
        if let Some(open) = self.open.take() {
            self.out.end(open.data);
            self.out.end(open.metric);
        }
    }

    /// Adds a counter or gauge.
    pub(crate) fn sample(&mut self, series: Series<'_>, value: Value<'_>) {
        if series.family.kind != Kind::Counter {
            self.begin(series.family, metric::GAUGE);
            let labels = series.labels();
            return self.number(labels, None, value.number, None);
        }
        if let Some((start, number)) = self.points.number(series, value, self.now) {
            self.begin(series.family, metric::SUM);
            let exemplar = value.exemplar.filter(|of| self.points.has_new(of));
            self.number(series.labels(), Some(start), number, exemplar);
        }
    }

    /// Adds a gauge of 1 with these labels.
    pub(crate) fn info(&mut self, family: &Family, labels: &[(&str, Cow<'_, str>)]) {
        self.begin(family, metric::GAUGE);
        let labels = labels.iter().map(|(name, value)| (*name, &**value));
        self.number(labels, None, Number::Whole(1), None);
    }

    /// Adds a histogram: native buckets if it has them.
    pub(crate) fn histogram(&mut self, series: Series<'_>, histogram: &Histogram) {
        let Some(since) = histogram.since() else {
            return;
        };
        if self.points.temporality() == Temporality::Cumulative {
            return self.histogram_point(series, since, histogram);
        }
        if let Some((start, delta)) = self.points.histogram(series, histogram, since, self.now) {
            self.histogram_point(series, start, &delta);
        }
    }

    /// Begins the metric of `family` with data of this kind, unless it has begun.
    fn begin(&mut self, family: &Family, data: Field) {
        if self.open.is_some() {
            return;
        }
        let metric = self.out.begin(metric::METRIC);
        self.out.text(metric::NAME, family.name);
        self.out.text(metric::DESCRIPTION, family.help);
        if let Some(unit) = family.unit().map(abbreviated) {
            self.out.text(metric::UNIT, unit);
        }
        let kind = [(PROMETHEUS_TYPE, family.kind.as_str())];
        put_attributes(&mut self.out, metric::METADATA, kind.into_iter());
        let data_at = self.out.begin(data);
        if family.kind != Kind::Gauge {
            let temporality = match self.points.temporality() {
                Temporality::Delta => 1,
                Temporality::Cumulative => 2,
            };
            self.out.varint(data::TEMPORALITY, temporality);
        }
        if family.kind == Kind::Counter {
            self.out.varint(data::IS_MONOTONIC, 1);
        }
        self.open = Some(OpenMetric {
            metric,
            data: data_at,
        });
    }

    fn number<'l>(
        &mut self,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        start: Option<SystemTime>,
        number: Number,
        exemplar: Option<&Exemplar>,
    ) {
        self.points.count_one();
        let now = self.now;
        self.out.message(data::POINT, |out| {
            put_attributes(out, number::ATTRIBUTE, labels);
            put_times(out, start, now);
            match number {
                Number::Whole(count) => out.fixed64(number::INTEGER, count),
                Number::Real(value) => out.double(number::DOUBLE, value),
            }
            if let Some(exemplar) = exemplar {
                put_exemplar(out, number::EXEMPLAR, exemplar);
            }
        });
    }

    fn histogram_point(&mut self, series: Series<'_>, start: SystemTime, histogram: &Histogram) {
        let native = histogram.native();
        let kind = match native {
            Some(_) => metric::EXPONENTIAL_HISTOGRAM,
            None => metric::HISTOGRAM,
        };
        self.begin(series.family, kind);
        self.points.count_one();
        let (now, points) = (self.now, &*self.points);
        self.out.message(data::POINT, |out| {
            let field = if let Some(native) = native {
                put_attributes(out, exponential::ATTRIBUTE, series.labels());
                put_times(out, Some(start), now);
                put_native_buckets(out, native, histogram);
                exponential::EXEMPLAR
            } else {
                put_attributes(out, histogram::ATTRIBUTE, series.labels());
                put_times(out, Some(start), now);
                put_classic_buckets(out, histogram);
                histogram::EXEMPLAR
            };
            for (_, exemplar) in histogram.exemplars() {
                if points.has_new(exemplar) {
                    put_exemplar(out, field, exemplar);
                }
            }
        });
    }
}

/// A unit of Prometheus as OpenTelemetry abbreviates it.
fn abbreviated(unit: &str) -> &str {
    match unit {
        "seconds" => "s",
        "bytes" => "By",
        "ratio" => "1",
        other => other,
    }
}

fn put_classic_buckets(out: &mut WireWriter<'_>, histogram: &Histogram) {
    out.fixed64(histogram::COUNT, histogram.count());
    out.double(histogram::SUM, histogram.sum());
    out.message(histogram::BUCKET_COUNTS, |out| {
        for count in histogram.counts() {
            out.raw_fixed64(*count);
        }
    });
    out.message(histogram::EXPLICIT_BOUNDS, |out| {
        for bound in &histogram.buckets().bounds {
            out.raw_fixed64(bound.to_bits());
        }
    });
}

fn put_native_buckets(out: &mut WireWriter<'_>, native: &NativeHistogram, histogram: &Histogram) {
    out.fixed64(exponential::COUNT, histogram.count());
    out.double(exponential::SUM, histogram.sum());
    out.varint(exponential::SCALE, zigzag(native.schema().into()));
    out.fixed64(exponential::ZERO_COUNT, native.zero_count());
    out.double(exponential::ZERO_THRESHOLD, native.zero_threshold());
    let Some((first, counts)) = native.consecutive_counts() else {
        return;
    };
    out.message(exponential::POSITIVE, |out| {
        // Buckets are counted from their lower bound.
        let offset = i64::from(first) - 1;
        out.varint(exponential::BUCKETS_OFFSET, zigzag(offset));
        out.message(exponential::BUCKET_COUNTS, |out| {
            for count in counts {
                out.raw_varint(count);
            }
        });
    });
}

fn put_exemplar(out: &mut WireWriter<'_>, field: Field, exemplar: &Exemplar) {
    out.message(field, |out| {
        out.fixed64(exemplar::TIME, unix_nanos(exemplar.at));
        out.double(exemplar::DOUBLE, exemplar.value);
        out.bytes(exemplar::TRACE_ID, &exemplar.trace_id.0);
    });
}

fn put_times(out: &mut WireWriter<'_>, start: Option<SystemTime>, now: SystemTime) {
    if let Some(start) = start {
        // The clock may have been set.
        out.fixed64(point::START, unix_nanos(start.min(now)));
    }
    out.fixed64(point::TIME, unix_nanos(now));
}

fn put_attributes<'l>(
    out: &mut WireWriter<'_>,
    field: Field,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
) {
    for (name, value) in labels {
        out.message(field, |out| {
            out.text(attribute::KEY, name);
            out.message(attribute::VALUE, |out| out.text(attribute::TEXT, value));
        });
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
