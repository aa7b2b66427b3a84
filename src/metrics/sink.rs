//! The form in which samples are written.

use std::borrow::Cow;

use super::{
    family::Family,
    histogram::Histogram,
    otlp::OtlpWriter,
    protobuf::ProtobufWriter,
    series::{Series, Value},
    text::TextWriter,
};

/// Writes the samples of one family in one form.
pub(super) enum Sink<'p> {
    Text(TextWriter<'p>),
    Protobuf(ProtobufWriter<'p>),
    Otlp(OtlpWriter<'p>),
}

impl Sink<'_> {
    /// Bytes on the page.
    pub(super) fn page_len(&self) -> usize {
        match self {
            Self::Text(text) => text.page_len(),
            Self::Protobuf(messages) => messages.page_len(),
            Self::Otlp(metric) => metric.page_len(),
        }
    }

    /// Returns true if values of labels are escaped.
    pub(super) fn is_escaped(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Begins a family that has samples.
    pub(super) fn begin(&mut self, family: &Family) {
        match self {
            Self::Text(text) => text.head(family),
            Self::Protobuf(messages) => messages.begin(family),
            // It begins with its first data point: a delta may have none.
            Self::Otlp(_) => {}
        }
    }

    /// Ends a family.
    pub(super) fn end(&mut self) {
        match self {
            Self::Text(_) => {}
            Self::Protobuf(messages) => messages.end(),
            Self::Otlp(metric) => metric.end(),
        }
    }

    /// Adds a counter or gauge.
    pub(super) fn sample(&mut self, series: Series<'_>, value: Value<'_>) {
        match self {
            Self::Text(text) => text.sample(series, value),
            Self::Protobuf(messages) => messages.sample(series, value),
            Self::Otlp(metric) => metric.sample(series, value),
        }
    }

    /// Adds a sample of 1 with these labels, whose values are escaped if need be.
    pub(super) fn info(&mut self, family: &Family, labels: &[(&str, Cow<'_, str>)]) {
        match self {
            Self::Text(text) => text.info(family.name, labels),
            Self::Protobuf(messages) => messages.info(labels),
            Self::Otlp(metric) => metric.info(family, labels),
        }
    }

    /// Adds a histogram.
    pub(super) fn histogram(&mut self, series: Series<'_>, histogram: &Histogram) {
        match self {
            Self::Text(text) => text.histogram(series, histogram),
            Self::Protobuf(messages) => messages.histogram(series, histogram),
            Self::Otlp(metric) => metric.histogram(series, histogram),
        }
    }
}
