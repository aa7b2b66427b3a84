//! Samples in the text format 0.0.4, written where they stand.
//!
//! The series of monitors do not take the way over the prometheus crate's own types: those cost ten
//! allocations and half a kilobyte a sample, and are all in memory at once (see `benches/README.md`).
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::{borrow::Cow, io::Write};

use super::{families::Family, histogram::Histogram};

/// Writes the samples of one family.
pub(super) struct Samples<'a> {
    page: &'a mut Vec<u8>,
    family: &'static Family,
    /// Whether the head of the family is on the page; a family without samples has none.
    has_head: bool,
}

/// Names and values, these as [`escape`] has them.
type Labels<'a> = [(&'a str, &'a str)];

/// `value` as it stands between the quotes of a label. What does not come from a user is that already.
pub(super) fn escape(value: &str) -> Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        let escaped = value.replace('\\', r"\\").replace('"', "\\\"");
        return escaped.replace('\n', r"\n").into();
    }
    value.into()
}

impl<'a> Samples<'a> {
    /// The samples of `family`, of which there are some on the page already where `has_head`.
    pub fn new(page: &'a mut Vec<u8>, family: &'static Family, has_head: bool) -> Self {
        Self {
            page,
            family,
            has_head,
        }
    }

    /// How many bytes are on the page.
    pub fn page_len(&self) -> usize {
        self.page.len()
    }

    /// Whether there are samples of this family.
    pub fn has_head(&self) -> bool {
        self.has_head
    }

    /// Adds a sample.
    pub fn add(&mut self, labels: &Labels<'_>, value: f64) {
        self.head();
        self.series("", labels);
        self.number(value);
    }

    /// Adds the sample of what counts whole things.
    pub fn count(&mut self, labels: &Labels<'_>, count: u64) {
        self.head();
        self.series("", labels);
        self.whole_number(count);
    }

    /// Adds the samples of a histogram; of one without observations, none.
    pub fn histogram(&mut self, labels: &Labels<'_>, histogram: &Histogram) {
        let Some(counts) = histogram.counts() else {
            return;
        };
        self.head();
        let begin = self.page.len();
        self.series("_bucket", labels);
        self.page.truncate(self.page.len() - "} ".len());
        self.page.extend_from_slice(b",le=\"");
        let prefix = begin..self.page.len();
        let mut total = 0;
        for (index, (bound, count)) in histogram.bounds().zip(counts).enumerate() {
            if index > 0 {
                self.page.extend_from_within(prefix.clone());
            }
            self.page.extend_from_slice(bound.as_bytes());
            self.page.extend_from_slice(b"\"} ");
            total += count;
            self.whole_number(total);
        }
        self.series("_sum", labels);
        self.number(histogram.sum());
        self.series("_count", labels);
        self.whole_number(total);
    }

    fn head(&mut self) {
        if std::mem::replace(&mut self.has_head, true) {
            return;
        }
        let Family {
            name, help, kind, ..
        } = self.family;
        let kind = format!("{kind:?}").to_lowercase();
        for part in [
            "# HELP ",
            name,
            " ",
            help,
            "\n# TYPE ",
            name,
            " ",
            &kind,
            "\n",
        ] {
            self.page.extend_from_slice(part.as_bytes());
        }
    }

    /// Writes all of a sample's line but its value.
    fn series(&mut self, suffix: &str, labels: &Labels<'_>) {
        self.page.extend_from_slice(self.family.name.as_bytes());
        self.page.extend_from_slice(suffix.as_bytes());
        for (index, (name, value)) in labels.iter().enumerate() {
            self.page.push(if index == 0 { b'{' } else { b',' });
            self.page.extend_from_slice(name.as_bytes());
            self.page.extend_from_slice(b"=\"");
            self.page.extend_from_slice(value.as_bytes());
            self.page.push(b'"');
        }
        if !labels.is_empty() {
            self.page.push(b'}');
        }
        self.page.push(b' ');
    }

    fn number(&mut self, value: f64) {
        if value.is_finite() && value.fract() != 0.0 {
            let mut digits = ryu::Buffer::new();
            let digits = digits.format_finite(value);
            self.page.extend_from_slice(digits.as_bytes());
            self.page.push(b'\n');
        } else {
            writeln!(self.page, "{value}").expect("a Vec takes all bytes");
        }
    }

    fn whole_number(&mut self, value: u64) {
        let mut digits = itoa::Buffer::new();
        self.page.extend_from_slice(digits.format(value).as_bytes());
        self.page.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::{families::Id, histogram::Buckets};

    fn written(write: impl FnOnce(&mut Samples<'_>)) -> String {
        let mut page = Vec::new();
        write(&mut Samples::new(&mut page, Id::Duration.family(), true));
        String::from_utf8(page).expect("what was written is UTF-8")
    }

    #[test]
    fn what_a_label_cannot_hold_is_escaped() {
        assert_eq!(escape("\"a\\b\n\"日"), "\\\"a\\\\b\\n\\\"日");
        assert_eq!(escape("it's 日"), "it's 日");
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let values = [0.0, 0.1 + 0.2, 1e-9, 1.5e300, f64::NAN, 1_795_000_000.123];
        let lines = written(|samples| values.iter().for_each(|value| samples.add(&[], *value)));
        for (line, value) in lines.lines().zip(values) {
            let text = line.rsplit(' ').next().expect("a value");
            let read: f64 = text.parse().expect("a number");
            assert!(read.to_bits() == value.to_bits() || read.is_nan() && value.is_nan());
        }
        assert!(lines.contains("seconds 0\n"), "{lines}");
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut histogram = Histogram::new(Arc::new(Buckets::new(&[0.5, 2.0])));
        let empty = written(|samples| samples.histogram(&[("monitor", "a")], &histogram));
        assert_eq!(empty, "");
        for value in [0.25, 0.5, 1.0, 4.0] {
            histogram.observe(value);
        }
        let lines = written(|samples| samples.histogram(&[("monitor", "a")], &histogram));
        let expected = "\
            monitor_check_duration_seconds_bucket{monitor=\"a\",le=\"0.5\"} 2\n\
            monitor_check_duration_seconds_bucket{monitor=\"a\",le=\"2\"} 3\n\
            monitor_check_duration_seconds_bucket{monitor=\"a\",le=\"+Inf\"} 4\n\
            monitor_check_duration_seconds_sum{monitor=\"a\"} 5.75\n\
            monitor_check_duration_seconds_count{monitor=\"a\"} 4\n";
        assert_eq!(lines, expected);
    }
}
