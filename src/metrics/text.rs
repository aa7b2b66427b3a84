//! Samples in the text format 0.0.4, written straight onto the page.
//!
//! The series of monitors do not go through the prometheus crate's own types: those cost ten allocations and
//! half a kilobyte for each sample, and are all in memory at once (see `benches/README.md`).
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::{fmt::Display, io::Write};

use prometheus::core::Metric;

use super::{
    family::Family, histogram::Histogram, label_name::LabelNames, label_value::escape_untrusted,
};

/// Writes the samples of one family.
///
/// Every method that adds a sample takes the values of the family's labels in their order, without that of
/// `monitor`, which is the current one. Values that can need it are escaped by the caller.
pub(super) struct FamilyWriter<'p> {
    page: &'p mut Vec<u8>,
    family: &'static Family,
    /// The position of `monitor` among the labels.
    monitor_at: Option<usize>,
    /// The name of the current monitor, escaped.
    monitor: &'p str,
    /// True if HELP and TYPE are on the page. A family without samples has neither.
    has_head: bool,
    names: LabelNames,
}

impl<'p> FamilyWriter<'p> {
    /// A writer of the samples of `family` with labels of such `names`; `has_head` if some are on the page already.
    pub fn new(
        page: &'p mut Vec<u8>,
        family: &'static Family,
        has_head: bool,
        names: LabelNames,
    ) -> Self {
        let mut labels = family.labels.iter();
        Self {
            page,
            family,
            monitor_at: labels.position(|label| *label == "monitor"),
            monitor: "",
            has_head,
            names,
        }
    }

    /// Bytes on the page.
    pub fn page_len(&self) -> usize {
        self.page.len()
    }

    /// Returns whether there are samples of this family.
    pub fn has_head(&self) -> bool {
        self.has_head
    }

    /// Makes the monitor with the escaped name `monitor` the current one.
    pub fn set_monitor(&mut self, monitor: &'p str) {
        self.monitor = monitor;
    }

    /// Adds a sample.
    pub fn number(&mut self, values: &[&str], value: f64) {
        self.write_head();
        self.write_series("", values);
        self.write_number(value);
    }

    /// Adds a sample with a whole number.
    pub fn count(&mut self, values: &[&str], count: u64) {
        self.write_head();
        self.write_series("", values);
        self.write_count(count);
    }

    /// Adds the sample of a family without further labels, if its value is known.
    pub fn count_if_known(&mut self, count: Option<impl Into<u64>>) {
        if let Some(count) = count {
            self.count(&[], count.into());
        }
    }

    /// Adds the sample of a family without further labels, if its value is known.
    pub fn number_if_known(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.number(&[], value);
        }
    }

    /// Adds a sample of 1 with these labels, names with values, instead of those of the family. A peer may have
    /// chosen the values.
    pub fn info<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        let labels = labels.into_iter();
        let escaped: Vec<_> = labels
            .map(|(name, value)| (name, escape_untrusted(value)))
            .collect();
        self.info_escaped(escaped.iter().map(|(name, value)| (*name, &**value)));
    }

    /// As [`info`](Self::info), with values that are escaped already. Labels with names that cannot be read are left
    /// out.
    pub fn info_escaped<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        let mut all = vec![("monitor".into(), self.monitor)];
        for (name, value) in labels {
            all.extend(self.names.write(name).map(|name| (name, value)));
        }
        all.sort_unstable();
        self.write_head();
        self.page.extend_from_slice(self.family.name.as_bytes());
        for (index, (name, value)) in all.into_iter().enumerate() {
            self.write_label(index, &name, value);
        }
        self.page.extend_from_slice(b"} ");
        self.write_count(1);
    }

    /// Adds the samples of a histogram; of one without observations, none.
    pub fn histogram(&mut self, values: &[&str], histogram: &Histogram) {
        let Some(counts) = histogram.counts() else {
            return;
        };
        let mut total = 0;
        let cumulative = counts.iter().map(|count| {
            total += count;
            total
        });
        let buckets = histogram.bounds().zip(cumulative);
        self.write_buckets(values, buckets, histogram.sum(), counts.iter().sum());
    }

    /// Adds the samples of a histogram of the prometheus crate, also of one without observations.
    pub fn atomic_histogram(&mut self, histogram: &prometheus::Histogram) {
        let metric = histogram.metric();
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count();
        let buckets = histogram
            .get_bucket()
            .iter()
            .map(|b| (b.upper_bound().to_string(), b.cumulative_count()))
            .chain([("+Inf".to_owned(), count)]);
        self.write_buckets(&[], buckets, histogram.get_sample_sum(), count);
    }

    fn write_buckets(
        &mut self,
        values: &[&str],
        buckets: impl Iterator<Item = (impl AsRef<str>, u64)>,
        sum: f64,
        count: u64,
    ) {
        self.write_head();
        let begin = self.page.len();
        self.write_series("_bucket", values);
        // All buckets share the text before their bounds.
        let has_labels = self.page.ends_with(b"} ");
        let suffix = if has_labels { "} " } else { " " };
        self.page.truncate(self.page.len() - suffix.len());
        self.page.push(if has_labels { b',' } else { b'{' });
        self.page.extend_from_slice(b"le=\"");
        let prefix = begin..self.page.len();
        for (index, (bound, count)) in buckets.enumerate() {
            if index > 0 {
                self.page.extend_from_within(prefix.clone());
            }
            self.page.extend_from_slice(bound.as_ref().as_bytes());
            self.page.extend_from_slice(b"\"} ");
            self.write_count(count);
        }
        self.write_series("_sum", values);
        self.write_number(sum);
        self.write_series("_count", values);
        self.write_count(count);
    }

    /// Writes HELP and TYPE, unless they are on the page.
    fn write_head(&mut self) {
        if std::mem::replace(&mut self.has_head, true) {
            return;
        }
        let Family {
            name, help, kind, ..
        } = self.family;
        let kind = kind.as_str();
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Writes the line of a sample up to its value.
    fn write_series(&mut self, suffix: &str, values: &[&str]) {
        let labels = self.family.labels;
        let own = usize::from(self.monitor_at.is_some());
        debug_assert_eq!(values.len() + own, labels.len(), "{}", self.family.name);
        self.page.extend_from_slice(self.family.name.as_bytes());
        self.page.extend_from_slice(suffix.as_bytes());
        let mut values = values.iter();
        for (index, name) in labels.iter().enumerate() {
            let value = if self.monitor_at == Some(index) {
                self.monitor
            } else {
                values.next().copied().unwrap_or_default()
            };
            self.write_label(index, name, value);
        }
        if !labels.is_empty() {
            self.page.push(b'}');
        }
        self.page.push(b' ');
    }

    fn write_label(&mut self, index: usize, name: &str, value: &str) {
        self.page.push(if index == 0 { b'{' } else { b',' });
        self.page.extend_from_slice(name.as_bytes());
        self.page.extend_from_slice(b"=\"");
        self.page.extend_from_slice(value.as_bytes());
        self.page.push(b'"');
    }

    fn write_number(&mut self, value: f64) {
        if value.is_finite() && value.fract() != 0.0 {
            let mut digits = ryu::Buffer::new();
            let digits = digits.format_finite(value);
            self.page.extend_from_slice(digits.as_bytes());
            self.page.push(b'\n');
        } else {
            self.write(format_args!("{value}\n"));
        }
    }

    fn write_count(&mut self, value: u64) {
        let mut digits = itoa::Buffer::new();
        self.page.extend_from_slice(digits.format(value).as_bytes());
        self.page.push(b'\n');
    }

    fn write(&mut self, text: impl Display) {
        write!(self.page, "{text}").expect("writing to a Vec cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::{FAMILIES, buckets::Buckets};

    /// The text that `write` writes for the family `name` and the monitor `a`.
    #[track_caller]
    fn written(name: &str, write: impl FnOnce(&mut FamilyWriter<'_>)) -> String {
        let mut page = Vec::new();
        let family = FAMILIES.iter().find(|family| family.name == name);
        let mut writer = FamilyWriter::new(
            &mut page,
            family.expect("it is in the table"),
            true,
            LabelNames::Utf8,
        );
        writer.set_monitor("a");
        write(&mut writer);
        String::from_utf8(page).expect("what was written is UTF-8")
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let values = [0.0, 0.1 + 0.2, 1e-9, 1.5e300, f64::NAN, 1_795_000_000.123];
        let lines = written("monitor_up", |writer| {
            for value in values {
                writer.number(&[], value);
            }
        });
        for (line, value) in lines.lines().zip(values) {
            let text = line.rsplit(' ').next().expect("a value");
            let read: f64 = text.parse().expect("a number");
            assert!(read.to_bits() == value.to_bits() || read.is_nan() && value.is_nan());
        }
        assert!(lines.contains("monitor_up{monitor=\"a\"} 0\n"), "{lines}");
    }

    #[test]
    fn labels_stand_in_the_order_of_the_family() {
        let tls = written("monitor_tls_info", |writer| writer.count(&["c", "v"], 1));
        assert_eq!(
            tls,
            "monitor_tls_info{cipher=\"c\",monitor=\"a\",version=\"v\"} 1\n"
        );
        let threads = written("process_threads", |writer| writer.count(&[], 3));
        assert_eq!(threads, "process_threads 3\n");
        let info = written("monitor_expect_info", |writer| {
            writer.info([("version", "\"9\""), ("banner", "\u{1b}")]);
        });
        let utf8 = written("monitor_expect_info", |writer| {
            writer.info([("b.c", "1"), ("n", "2")]);
        });
        assert_eq!(
            utf8,
            "monitor_expect_info{\"b.c\"=\"1\",monitor=\"a\",n=\"2\"} 1\n"
        );
        assert_eq!(
            info,
            "monitor_expect_info{banner=\"\\\\u{1b}\",monitor=\"a\",version=\"\\\"9\\\"\"} 1\n"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut histogram = Histogram::new(Arc::new(Buckets::new(&[0.5, 2.0])));
        let name = "monitor_response_size_bytes";
        let empty = written(name, |writer| writer.histogram(&[], &histogram));
        assert_eq!(empty, "");
        for value in [0.25, 0.5, 1.0, 4.0] {
            histogram.observe(value);
        }
        let lines = written(name, |writer| writer.histogram(&[], &histogram));
        let expected = "\
            monitor_response_size_bytes_bucket{monitor=\"a\",le=\"0.5\"} 2\n\
            monitor_response_size_bytes_bucket{monitor=\"a\",le=\"2\"} 3\n\
            monitor_response_size_bytes_bucket{monitor=\"a\",le=\"+Inf\"} 4\n\
            monitor_response_size_bytes_sum{monitor=\"a\"} 5.75\n\
            monitor_response_size_bytes_count{monitor=\"a\"} 4\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn histograms_of_the_prometheus_crate_have_the_same_format() {
        let options = prometheus::HistogramOpts::new("a", "b").buckets(vec![0.5, 2.0]);
        let histogram = prometheus::Histogram::with_opts(options).expect("valid options");
        for value in [0.25, 0.5, 4.0] {
            histogram.observe(value);
        }
        let lines = written("monitoringdaemon_check_start_lag_seconds", |writer| {
            writer.atomic_histogram(&histogram);
        });
        let expected = "\
            monitoringdaemon_check_start_lag_seconds_bucket{le=\"0.5\"} 2\n\
            monitoringdaemon_check_start_lag_seconds_bucket{le=\"2\"} 2\n\
            monitoringdaemon_check_start_lag_seconds_bucket{le=\"+Inf\"} 3\n\
            monitoringdaemon_check_start_lag_seconds_sum 4.75\n\
            monitoringdaemon_check_start_lag_seconds_count 3\n";
        assert_eq!(lines, expected);
    }
}
