//! Samples in the text format 0.0.4 or in OpenMetrics, written straight onto the page.
//!
//! The series of monitors do not go through the prometheus crate's own types: those cost ten allocations and
//! half a kilobyte for each sample, and are all in memory at once (see `benches/README.md`).
//! Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::{borrow::Cow, fmt::Display, io::Write, time::SystemTime};

use super::{
    exemplar::{Exemplar, TRACE_ID},
    family::{Family, Kind},
    format::Syntax,
    histogram::Histogram,
    label_name::quoted_if_needed,
    series::{Number, Series, Value},
    unix_time::unix_seconds,
};

/// Writes lines onto a page.
pub(super) struct TextWriter<'p> {
    page: &'p mut Vec<u8>,
    syntax: Syntax,
    has_created_samples: bool,
    /// The family's name, and the text between it and the value of the first label: the same in all lines.
    begin: String,
    /// The text before the values of the other labels.
    before_values: Vec<String>,
    has_labels: bool,
}

impl<'p> TextWriter<'p> {
    /// A writer of lines of `family` in `syntax`; in OpenMetrics with a sample for the time since which a counter counts
    /// if `has_created_samples`.
    pub(super) fn new(
        page: &'p mut Vec<u8>,
        syntax: Syntax,
        has_created_samples: bool,
        family: &Family,
    ) -> Self {
        let name = family.name;
        let (begin, others) = match family.labels {
            [] => (name.to_owned(), &[][..]),
            [first, others @ ..] => (format!("{name}{{{first}=\""), others),
        };
        Self {
            page,
            syntax,
            has_created_samples,
            begin,
            before_values: others.iter().map(|name| format!("\",{name}=\"")).collect(),
            has_labels: !family.labels.is_empty(),
        }
    }

    /// Bytes on the page.
    pub(super) fn page_len(&self) -> usize {
        self.page.len()
    }

    fn is_open_metrics(&self) -> bool {
        self.syntax == Syntax::OpenMetrics
    }

    /// Writes the lines before the samples of `family`.
    pub(super) fn head(&mut self, family: &Family) {
        let Family {
            name, help, kind, ..
        } = family;
        let kind = kind.as_str();
        if !self.is_open_metrics() {
            return self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        let name = family.base_name();
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        if let Some(unit) = family.unit() {
            self.write(format_args!("# UNIT {name} {unit}\n"));
        }
    }

    /// Writes the lines of a counter or gauge.
    pub(super) fn sample(&mut self, series: Series<'_>, value: Value<'_>) {
        self.page.extend_from_slice(self.begin.as_bytes());
        self.labels(series);
        self.number(value.number);
        self.exemplar(value.exemplar);
        self.page.push(b'\n');
        if series.family.kind == Kind::Counter {
            self.created(series, value.since);
        }
    }

    /// Writes a sample of 1 with these labels, whose values are escaped.
    pub(super) fn info(&mut self, name: &str, labels: &[(&str, Cow<'_, str>)]) {
        self.page.extend_from_slice(name.as_bytes());
        for (index, (name, value)) in labels.iter().enumerate() {
            self.label(index == 0, &quoted_if_needed(name), value);
        }
        self.page.extend_from_slice(b"} 1\n");
    }

    /// Writes the samples of a histogram.
    pub(super) fn histogram(&mut self, series: Series<'_>, histogram: &Histogram) {
        let name = series.family.name;
        let count = histogram.count();
        let begin = self.page.len();
        self.series(name, "_bucket", series);
        // All buckets share the text before their bounds.
        let end = if self.has_labels { "} " } else { " " };
        self.page.truncate(self.page.len() - end.len());
        self.page.push(if self.has_labels { b',' } else { b'{' });
        self.page.extend_from_slice(b"le=\"");
        let prefix = begin..self.page.len();
        let buckets = histogram.buckets();
        if buckets.has_classic() {
            let counts = histogram.cumulative_counts();
            for (index, (bound, count)) in buckets.labels(self.syntax).zip(counts).enumerate() {
                if index > 0 {
                    self.page.extend_from_within(prefix.clone());
                }
                self.bucket(bound, count, histogram.exemplar(index));
            }
        } else {
            // A histogram without this bucket would be invalid.
            let last = histogram.exemplars().last();
            self.bucket("+Inf", count, last.map(|(_, exemplar)| exemplar));
        }
        self.series(name, "_sum", series);
        self.number(Number::Real(histogram.sum()));
        self.page.push(b'\n');
        self.series(name, "_count", series);
        self.number(Number::Whole(count));
        self.page.push(b'\n');
        if let Some(since) = histogram.since() {
            self.created(series, since);
        }
    }

    fn bucket(&mut self, bound: &str, count: u64, exemplar: Option<&Exemplar>) {
        self.page.extend_from_slice(bound.as_bytes());
        self.page.extend_from_slice(b"\"} ");
        self.number(Number::Whole(count));
        self.exemplar(exemplar);
        self.page.push(b'\n');
    }

    /// Writes the time since which a counter or histogram counts.
    fn created(&mut self, series: Series<'_>, since: SystemTime) {
        if self.has_created_samples && self.is_open_metrics() {
            self.series(series.family.base_name(), "_created", series);
            self.number(Number::Real(unix_seconds(since)));
            self.page.push(b'\n');
        }
    }

    fn exemplar(&mut self, exemplar: Option<&Exemplar>) {
        if let Some(exemplar) = exemplar.filter(|_| self.is_open_metrics()) {
            let Exemplar {
                trace_id,
                value,
                at,
            } = exemplar;
            let at = unix_seconds(*at);
            self.write(format_args!(
                " # {{{TRACE_ID}=\"{trace_id}\"}} {value} {at}"
            ));
        }
    }

    /// Writes the line of a sample up to its value, with `name` and `suffix` as its name.
    fn series(&mut self, name: &str, suffix: &str, series: Series<'_>) {
        self.page.extend_from_slice(name.as_bytes());
        self.page.extend_from_slice(suffix.as_bytes());
        let before_value = &self.begin[series.family.name.len()..];
        self.page.extend_from_slice(before_value.as_bytes());
        self.labels(series);
    }

    /// Writes the line of a sample from the value of the first label up to the number.
    #[inline]
    fn labels(&mut self, series: Series<'_>) {
        let mut labels = series.labels();
        if let Some((_, first)) = labels.next() {
            self.page.extend_from_slice(first.as_bytes());
        }
        for (before, (_, value)) in self.before_values.iter().zip(labels) {
            self.page.extend_from_slice(before.as_bytes());
            self.page.extend_from_slice(value.as_bytes());
        }
        if self.has_labels {
            self.page.extend_from_slice(b"\"} ");
        } else {
            self.page.push(b' ');
        }
    }

    fn label(&mut self, is_first: bool, name: &str, value: &str) {
        self.page.push(if is_first { b'{' } else { b',' });
        self.page.extend_from_slice(name.as_bytes());
        self.page.extend_from_slice(b"=\"");
        self.page.extend_from_slice(value.as_bytes());
        self.page.push(b'"');
    }

    #[inline]
    fn number(&mut self, number: Number) {
        match number {
            Number::Whole(count) => match u8::try_from(count) {
                // Most are 0 or 1.
                Ok(digit @ 0..=9) => self.page.push(b'0' + digit),
                _ => self.whole(count),
            },
            Number::Real(number) => self.real(number),
        }
    }

    fn real(&mut self, number: f64) {
        if let Some(whole) = as_whole(number) {
            self.whole(whole);
        } else if number.is_finite() && number.fract() != 0.0 {
            let mut digits = zmij::Buffer::new();
            let digits = digits.format_finite(number);
            self.page.extend_from_slice(digits.as_bytes());
        } else {
            self.write(number);
        }
    }

    fn whole(&mut self, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number);
        self.page.extend_from_slice(digits.as_bytes());
    }

    fn write(&mut self, text: impl Display) {
        write!(self.page, "{text}").expect("writing to a Vec cannot fail");
    }
}

/// The whole number that `number` is exactly, if it is none that only a float can be.
fn as_whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "what is lost is seen")]
    let whole = number as i64;
    #[expect(clippy::cast_precision_loss, reason = "what is lost is seen")]
    let back = whole as f64;
    // Unlike 0, -0 has a sign; from 2^53 on, a float stands for several whole numbers.
    let is_same = back.to_bits() == number.to_bits() && whole.unsigned_abs() < 1 << 53;
    is_same.then_some(whole)
}
