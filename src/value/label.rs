//! Labels that users choose: their names, and those whose values are made of what a peer says.

use super::{Captures, EntryPart, Fields, Path, Problems, Warning, merge::MERGE};

/// What is wrong with `name` as that of a label, and what is expected
/// (<https://prometheus.io/docs/concepts/data_model/>).
///
/// # Errors
/// Both, where something is.
pub fn check_label_name(name: &str) -> Result<(), (String, &'static str)> {
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

/// Whether every scraper can read `name` as that of a label: letters, digits and `_`, no digit first.
#[must_use]
pub fn is_plain_label_name(name: &str) -> bool {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_other = |byte: u8| is_start(byte) || byte.is_ascii_digit();
    name.bytes().next().is_some_and(is_start) && name.bytes().all(is_other)
}

/// Warns of `name` at `path` if some scrapers cannot read it: it may be a typing error.
pub fn warn_of_label_name(name: &str, path: Path, part: EntryPart, problems: &Problems) {
    if matches!(name, "" | MERGE) || is_plain_label_name(name) {
        return;
    }
    problems.warn(Warning {
        path,
        part,
        message: "only scrapers that read UTF-8 names see this label, as Prometheus 3 does"
            .to_owned(),
        is_validate_only: true,
    });
}

/// A label of `monitor_expect_info`, and what its value is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureLabel {
    name: String,
    template: String,
}

impl CaptureLabel {
    /// Characters of a value that are kept: a peer has a say in it.
    const MAX_VALUE_CHARS: usize = 200;

    /// Reads the mapping with `name` and `value`.
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

    /// Adds a problem for each name that stands twice among `labels`, all of those in `query_response`.
    pub fn check_distinct<'l>(labels: impl Iterator<Item = &'l Self>, fields: &Fields<'_>) {
        let mut names = Vec::new();
        for Self { name, .. } in labels {
            if names.contains(&name) {
                let wrong = format_args!("duplicate label {name}");
                fields.add_value_problem("query_response", wrong, "");
            }
            names.push(name);
        }
    }

    /// The label with the value that `captures` give it; `None` where that could be longer than
    /// [`Captures::MAX_EXPANDED_BYTES`].
    #[must_use]
    pub fn render(&self, captures: &Captures<'_>) -> Option<(String, String)> {
        let value = captures.expand(self.template.as_bytes())?;
        let value = String::from_utf8_lossy(&value);
        let value = value.chars().take(Self::MAX_VALUE_CHARS).collect();
        Some((self.name.clone(), value))
    }
}
