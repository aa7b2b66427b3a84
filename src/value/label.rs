//! Labels that users choose: their names, and labels with captured values.

use super::{Captures, EntryPart, Fields, Path, Problems, Warning, WarningKind, merge::MERGE};

/// Checks the name of a label (<https://prometheus.io/docs/concepts/data_model/>).
///
/// # Errors
/// The problem and the expectation.
pub(crate) fn check_label_name(name: &str) -> Result<(), (String, &'static str)> {
    if name.is_empty() {
        return Err(("invalid label name".to_owned(), "at least one character"));
    }
    // Of a metric that is neither, promtool refuses them.
    if matches!(name, "le" | "quantile") {
        let expected = "another name";
        return Err(("reserved for histograms and summaries".to_owned(), expected));
    }
    if name.starts_with("__") {
        let expected = "a name that does not start with __";
        return Err(("reserved for Prometheus".to_owned(), expected));
    }
    Ok(())
}

/// Returns true if every scraper accepts the label `name`: letters, digits and `_`, no digit first.
#[must_use]
pub(crate) fn is_plain_label_name(name: &str) -> bool {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_other = |byte: u8| is_start(byte) || byte.is_ascii_digit();
    name.bytes().next().is_some_and(is_start) && name.bytes().all(is_other)
}

/// Warns about the label `name` if some scrapers do not accept it.
pub(crate) fn warn_of_label_name(name: &str, path: Path, part: EntryPart, problems: &Problems) {
    if matches!(name, "" | MERGE) || is_plain_label_name(name) {
        return;
    }
    problems.warn(Warning {
        path,
        part,
        message: "only scrapers that read UTF-8 names see this label, as Prometheus 3 does"
            .to_owned(),
        kind: WarningKind::ValidateOnly,
    });
}

/// A label of `monitor_expect_info` with the template of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureLabel {
    name: String,
    template: String,
}

impl CaptureLabel {
    /// Maximum number of characters of a value, which the peer influences.
    const MAX_VALUE_CHARS: usize = 200;

    /// Reads a mapping with `name` and `value`.
    #[must_use]
    pub fn read(mut fields: Fields<'_>) -> Option<Self> {
        let name: Option<String> = fields.required("name");
        let template = fields.required("value");
        if let Some(name) = &name {
            if let Err((wrong, expected)) = check_label_name(name) {
                fields.add_value_problem("name", wrong, expected);
            } else if name == "monitor" {
                fields.add_value_problem("name", "duplicate label", "another name");
            }
        }
        fields.reject_unknown_keys();
        Some(Self {
            name: name?,
            template: template?,
        })
    }

    /// Adds a problem for each duplicate name in `labels`, which are all of a `query_response`.
    pub(crate) fn check_distinct<'l>(labels: impl Iterator<Item = &'l Self>, fields: &Fields<'_>) {
        let mut names = Vec::new();
        for Self { name, .. } in labels {
            if names.contains(&name) {
                let wrong = format_args!("duplicate label {name}");
                fields.add_value_problem("query_response", wrong, "");
            }
            names.push(name);
        }
    }

    /// The label with its value from `captures`; `None` if the value could be longer than
    /// [`Captures::MAX_EXPANDED_BYTES`].
    #[must_use]
    pub(crate) fn render(&self, captures: &Captures<'_>) -> Option<(String, String)> {
        let value = captures.expand(self.template.as_bytes())?;
        let value = String::from_utf8_lossy(&value)
            .chars()
            .take(Self::MAX_VALUE_CHARS)
            .collect();
        Some((self.name.clone(), value))
    }
}
