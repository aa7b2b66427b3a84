//! Writes the samples of one family in the format of the page.

use std::{borrow::Cow, time::SystemTime};

use super::{
    counters::Counter,
    family::Family,
    histogram::Histogram,
    label_name::LabelNames,
    label_value::{bounded, escape},
    series::{Number, Series, Value},
    settings::Profile,
    sink::Sink,
};

/// The choice of the samples of a page, and of their labels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PageStyle {
    pub profile: Profile,
    pub names: LabelNames,
}

/// Writes the samples of one family.
///
/// Every method that adds a sample takes the values of the family's labels in their order, without that of
/// `monitor`, which is the current one. Values that can need it go through [`label_value`](Self::label_value).
pub(super) struct FamilyWriter<'p> {
    sink: Sink<'p>,
    family: &'static Family,
    style: PageStyle,
    /// The position of `monitor` among the labels.
    monitor_at: Option<usize>,
    /// The name of the current monitor, as the page needs it.
    monitor: &'p str,
    /// The time since which the counters of the current monitor count.
    since: SystemTime,
    /// True if there are samples. A family without any is not on the page.
    has_head: bool,
}

impl<'p> FamilyWriter<'p> {
    /// A writer of the samples of `family`, of counters that count since `since`; `has_head` if some are on the page
    /// already.
    pub(super) fn new(
        sink: Sink<'p>,
        family: &'static Family,
        style: PageStyle,
        since: SystemTime,
        has_head: bool,
    ) -> Self {
        let mut labels = family.labels.iter();
        Self {
            sink,
            family,
            style,
            monitor_at: labels.position(|label| *label == "monitor"),
            monitor: "",
            since,
            has_head,
        }
    }

    /// Bytes on the page.
    pub(super) fn page_len(&self) -> usize {
        self.sink.page_len()
    }

    /// Returns whether series are left out that tell of nothing unusual.
    pub(super) fn is_compact(&self) -> bool {
        self.style.profile == Profile::Compact
    }

    /// Makes the monitor with the name `monitor`, escaped as the page needs it, the current one. Its counters count
    /// since `since`.
    pub(super) fn set_monitor(&mut self, monitor: &'p str, since: SystemTime) {
        self.monitor = monitor;
        self.since = since;
    }

    /// A value of a label as the page needs it.
    pub(super) fn label_value<'v>(&self, value: &'v str) -> Cow<'v, str> {
        if self.sink.is_escaped() {
            escape(value)
        } else {
            value.into()
        }
    }

    /// Adds a sample.
    pub(super) fn number(&mut self, values: &[&str], value: f64) {
        self.sample(values, Number::Real(value), None);
    }

    /// Adds a sample with a whole number.
    pub(super) fn count(&mut self, values: &[&str], count: u64) {
        self.sample(values, Number::Whole(count), None);
    }

    /// Adds the sample of a counter that exists since it was first counted.
    pub(super) fn counter(&mut self, values: &[&str], counter: &Counter) {
        self.sample(values, Number::Whole(counter.count), Some(counter));
    }

    /// Adds a sample with a whole number; in the compact profile only if it is not 0.
    pub(super) fn count_occurred(&mut self, values: &[&str], count: u64) {
        if count > 0 || !self.is_compact() {
            self.count(values, count);
        }
    }

    /// Adds a sample of 1 or 0; in the compact profile only one of 1.
    pub(super) fn flag(&mut self, is_set: bool) {
        self.count_occurred(&[], is_set.into());
    }

    /// Adds the sample of a family without further labels, if its value is known.
    pub(super) fn count_if_known(&mut self, count: Option<impl Into<u64>>) {
        if let Some(count) = count {
            self.count(&[], count.into());
        }
    }

    /// Adds the sample of a family without further labels, if its value is known.
    pub(super) fn number_if_known(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.number(&[], value);
        }
    }

    /// Adds a sample of 1 with these labels, names with values, instead of those of the family. A peer may have
    /// chosen the values.
    pub(super) fn untrusted_info<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) {
        let labels = labels.into_iter();
        let bounded: Vec<_> = labels.map(|(name, value)| (name, bounded(value))).collect();
        self.info(bounded.iter().map(|(name, value)| (*name, &**value)));
    }

    /// As [`untrusted_info`](Self::untrusted_info), with values that the user has chosen. Labels with names that
    /// cannot be read are left out.
    pub(super) fn info<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        let names = self.style.names;
        // As many as a monitor has without labels of its user, and some.
        let mut all = Vec::with_capacity(8);
        all.push(("monitor", self.monitor.into()));
        for (name, value) in labels {
            if names.can_read(name) {
                all.push((name, self.label_value(value)));
            }
        }
        all.sort_unstable();
        self.write_head();
        self.sink.info(self.family, &all);
    }

    /// Adds the samples of a histogram; of one without observations, none.
    pub(super) fn histogram(&mut self, values: &[&str], histogram: &Histogram) {
        if histogram.since().is_none() {
            return;
        }
        self.write_head();
        let series = self.series(values);
        self.sink.histogram(series, histogram);
    }

    /// Ends the family, or the part of it that is on this page; returns whether it has samples.
    pub(super) fn finish(mut self) -> bool {
        if self.has_head {
            self.sink.end();
        }
        self.has_head
    }

    fn sample(&mut self, values: &[&str], number: Number, counter: Option<&Counter>) {
        self.write_head();
        let series = self.series(values);
        let value = Value {
            number,
            since: counter.map_or(self.since, |counter| counter.since),
            exemplar: counter.and_then(|counter| counter.exemplar.as_deref()),
        };
        self.sink.sample(series, value);
    }

    /// Writes the name, the type and the help text, unless they are on the page.
    #[inline]
    fn write_head(&mut self) {
        if !self.has_head {
            self.sink.begin(self.family);
            self.has_head = true;
        }
    }

    fn series<'s>(&self, values: &'s [&'s str]) -> Series<'s>
    where
        'p: 's,
    {
        let own = usize::from(self.monitor_at.is_some());
        let labels = self.family.labels.len();
        debug_assert_eq!(values.len() + own, labels, "{}", self.family.name);
        Series {
            family: self.family,
            monitor: self.monitor,
            monitor_at: self.monitor_at,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::UNIX_EPOCH};

    use super::*;
    use crate::metrics::{FAMILIES, NativeHistograms, Syntax, buckets::Buckets, text::TextWriter};

    /// The text that `write` writes for the family `name` and the monitor `a`, in `syntax`.
    #[track_caller]
    fn written_as(syntax: Syntax, name: &str, write: impl FnOnce(&mut FamilyWriter<'_>)) -> String {
        let mut page = Vec::new();
        let family = FAMILIES.iter().find(|family| family.name == name);
        let family = family.expect("it is in the table");
        let style = PageStyle {
            profile: Profile::Full,
            names: LabelNames::Utf8,
        };
        let sink = Sink::Text(TextWriter::new(&mut page, syntax, true, family));
        let mut writer = FamilyWriter::new(sink, family, style, UNIX_EPOCH, true);
        writer.set_monitor("a", UNIX_EPOCH);
        write(&mut writer);
        writer.finish();
        String::from_utf8(page).expect("what was written is UTF-8")
    }

    #[track_caller]
    fn written(name: &str, write: impl FnOnce(&mut FamilyWriter<'_>)) -> String {
        written_as(Syntax::Text, name, write)
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let values = [
            0.0,
            -0.0,
            -7.0,
            0.1 + 0.2,
            1e-9,
            9_007_199_254_740_993.0,
            1.5e300,
            f64::NAN,
            f64::NEG_INFINITY,
            1_795_000_000.0,
            1_795_000_000.123,
        ];
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
            writer.untrusted_info([("version", "\"9\""), ("banner", "\u{1b}")]);
        });
        assert_eq!(
            info,
            "monitor_expect_info{banner=\"\\\\u{1b}\",monitor=\"a\",version=\"\\\"9\\\"\"} 1\n"
        );
        let utf8 = written("monitor_expect_info", |writer| {
            writer.info([("b.c", "1"), ("n", "2")]);
        });
        assert_eq!(
            utf8,
            "monitor_expect_info{\"b.c\"=\"1\",monitor=\"a\",n=\"2\"} 1\n"
        );
    }

    /// A histogram of four observations.
    fn observed(native: Option<NativeHistograms>, has_classic: bool) -> Histogram {
        let buckets = Buckets::new(&[0.5, 2.0], native, has_classic);
        let mut histogram = Histogram::new(Arc::new(buckets));
        for value in [0.25, 0.5, 1.0, 4.0] {
            histogram.observe(value, UNIX_EPOCH, None);
        }
        histogram
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let name = "monitor_response_size_bytes";
        let empty = Histogram::new(Arc::new(Buckets::new(&[0.5, 2.0], None, true)));
        let empty = written(name, |writer| writer.histogram(&[], &empty));
        assert_eq!(empty, "");
        let lines = written(name, |writer| {
            writer.histogram(&[], &observed(None, true));
        });
        let expected = "\
            monitor_response_size_bytes_bucket{monitor=\"a\",le=\"0.5\"} 2\n\
            monitor_response_size_bytes_bucket{monitor=\"a\",le=\"2\"} 3\n\
            monitor_response_size_bytes_bucket{monitor=\"a\",le=\"+Inf\"} 4\n\
            monitor_response_size_bytes_sum{monitor=\"a\"} 5.75\n\
            monitor_response_size_bytes_count{monitor=\"a\"} 4\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_histogram_without_classic_buckets_has_its_sum_and_count_in_text() {
        let lines = written("monitoringdaemon_runtime_delay_seconds", |writer| {
            writer.histogram(&[], &observed(Some(NativeHistograms::default()), false));
        });
        let expected = "\
            monitoringdaemon_runtime_delay_seconds_bucket{le=\"+Inf\"} 4\n\
            monitoringdaemon_runtime_delay_seconds_sum 5.75\n\
            monitoringdaemon_runtime_delay_seconds_count 4\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_histogram_without_observations_since_its_start_has_zeros() {
        let buckets = Arc::new(Buckets::new(&[0.5], None, true));
        let histogram = Histogram::empty_since(UNIX_EPOCH, buckets);
        let lines = written("monitoringdaemon_check_start_lag_seconds", |writer| {
            writer.histogram(&[], &histogram);
        });
        let expected = "\
            monitoringdaemon_check_start_lag_seconds_bucket{le=\"0.5\"} 0\n\
            monitoringdaemon_check_start_lag_seconds_bucket{le=\"+Inf\"} 0\n\
            monitoringdaemon_check_start_lag_seconds_sum 0\n\
            monitoringdaemon_check_start_lag_seconds_count 0\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn openmetrics_has_bounds_as_floats_and_creation_times() {
        let lines = written_as(
            Syntax::OpenMetrics,
            "monitor_response_size_bytes",
            |writer| {
                writer.histogram(&[], &observed(None, true));
            },
        );
        assert!(lines.contains("le=\"2.0\"} 3\n"), "{lines}");
        assert!(
            lines.ends_with("monitor_response_size_bytes_created{monitor=\"a\"} 0\n"),
            "{lines}"
        );
        let lines = written_as(
            Syntax::OpenMetrics,
            "monitor_phase_seconds_total",
            |writer| {
                writer.number(&["tls"], 1.5);
            },
        );
        assert_eq!(
            lines,
            "monitor_phase_seconds_total{monitor=\"a\",phase=\"tls\"} 1.5\n\
             monitor_phase_seconds_created{monitor=\"a\",phase=\"tls\"} 0\n"
        );
    }
}
