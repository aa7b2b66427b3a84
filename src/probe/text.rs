//! Writes the samples of one probe in the text format.

use std::fmt::Write;

use crate::value::is_plain_label_name;

/// Writes the samples of one family.
pub(super) struct SampleWriter<'p> {
    page: &'p mut String,
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// True if HELP and TYPE are on the page.
    has_head: bool,
}

impl<'p> SampleWriter<'p> {
    /// A writer of the samples of the family `name`.
    pub(super) fn new(
        page: &'p mut String,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self {
            page,
            name,
            help,
            labels,
            has_head: false,
        }
    }

    /// Adds a sample, with the values of the family's labels in their order.
    pub(super) fn number(&mut self, values: &[&str], number: f64) {
        debug_assert_eq!(values.len(), self.labels.len());
        let labels = self.labels.iter().copied();
        self.sample(labels.zip(values.iter().copied()), number);
    }

    /// Adds a sample of 1 or 0.
    pub(super) fn flag(&mut self, is_set: bool) {
        self.number(&[], f64::from(u8::from(is_set)));
    }

    /// Adds a sample with a whole number.
    pub(super) fn count(&mut self, count: u64) {
        #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
        self.number(&[], count as f64);
    }

    /// Adds a sample of 1 with labels that the user has named.
    pub(super) fn info<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        let mut labels: Vec<_> = labels
            .filter(|(name, _)| is_plain_label_name(name))
            .collect();
        labels.sort_unstable();
        self.sample(labels.into_iter(), 1.0);
    }

    fn sample<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>, number: f64) {
        if !std::mem::replace(&mut self.has_head, true) {
            let (name, help) = (self.name, self.help);
            let _ = write!(self.page, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        }
        self.page.push_str(self.name);
        let mut separator = '{';
        for (name, value) in labels {
            self.page.push(separator);
            separator = ',';
            self.page.push_str(name);
            self.page.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.page.push_str("\\\\"),
                    '"' => self.page.push_str("\\\""),
                    '\n' => self.page.push_str("\\n"),
                    c => self.page.push(c),
                }
            }
            self.page.push('"');
        }
        if separator == ',' {
            self.page.push('}');
        }
        let _ = writeln!(self.page, " {number}");
    }
}
