//! Names of labels: plain ones, and those that only some scrapers can read.

use std::borrow::Cow;

use super::label_value::escape;
use crate::value::is_plain_label_name;

/// The label names that a scraper can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LabelNames {
    /// Letters, digits and `_`.
    #[default]
    Plain,
    /// Any text, as in Prometheus 3.
    Utf8,
}

impl LabelNames {
    /// Returns whether such a scraper can read `name`.
    pub(super) fn can_read(self, name: &str) -> bool {
        self == Self::Utf8 || is_plain_label_name(name)
    }
}

/// `name` as the text formats have it: in quotes, unless it is plain.
pub(super) fn quoted_if_needed(name: &str) -> Cow<'_, str> {
    if is_plain_label_name(name) {
        name.into()
    } else {
        format!("\"{}\"", escape(name)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_label_names_are_quoted_or_left_out() {
        for name in ["team", "_a1"] {
            assert!(LabelNames::Plain.can_read(name) && LabelNames::Utf8.can_read(name));
            assert_eq!(quoted_if_needed(name), name);
        }
        for (name, quoted) in [
            ("my.label", r#""my.label""#),
            ("1a", r#""1a""#),
            ("größe", r#""größe""#),
            ("a\"\\\n", r#""a\"\\\n""#),
        ] {
            assert!(!LabelNames::Plain.can_read(name) && LabelNames::Utf8.can_read(name));
            assert_eq!(quoted_if_needed(name), quoted);
        }
    }
}
