//! Names of labels: plain ones, and those that only some scrapers can read.

use std::borrow::Cow;

use super::label_value::escape;
use crate::value::is_plain_label_name;

/// The label names that a scraper can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelNames {
    /// Letters, digits and `_`.
    #[default]
    Plain,
    /// Any text, as in Prometheus 3.
    Utf8,
}

impl LabelNames {
    /// `name` in the form that such a scraper reads; `None` if it cannot read it.
    pub(super) fn write(self, name: &str) -> Option<Cow<'_, str>> {
        if is_plain_label_name(name) {
            return Some(name.into());
        }
        (self == Self::Utf8).then(|| format!("\"{}\"", escape(name)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_label_names_are_quoted_or_left_out() {
        for name in ["team", "_a1"] {
            assert_eq!(LabelNames::Plain.write(name).as_deref(), Some(name));
            assert_eq!(LabelNames::Utf8.write(name).as_deref(), Some(name));
        }
        for (name, quoted) in [
            ("my.label", r#""my.label""#),
            ("1a", r#""1a""#),
            ("größe", r#""größe""#),
            ("a\"\\\n", r#""a\"\\\n""#),
        ] {
            assert_eq!(LabelNames::Plain.write(name), None);
            assert_eq!(LabelNames::Utf8.write(name).as_deref(), Some(quoted));
        }
    }
}
