//! Makes valid and unique names of monitors and labels.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Report;
use crate::{
    config::OWN_LABELS,
    value::{Path, check_label_name, is_plain_label_name},
};

/// Characters of a name.
const MAX_CHARS: usize = 200;

/// The names given up to now.
#[derive(Debug, Default)]
pub(super) struct UniqueNames {
    given: BTreeSet<String>,
    /// The next number for a name that is taken.
    numbers: BTreeMap<String, usize>,
}

impl UniqueNames {
    /// The first of `candidates` that is not taken, or the last one with a number.
    pub(super) fn choose(&mut self, candidates: &[&str]) -> String {
        let mut last = "unnamed".to_owned();
        for candidate in candidates {
            let candidate = cleaned(candidate);
            if candidate.is_empty() {
                continue;
            }
            if self.given.insert(candidate.clone()) {
                return candidate;
            }
            last = candidate;
        }
        let base: String = last.chars().take(MAX_CHARS - 10).collect();
        loop {
            let number = self.numbers.entry(base.clone()).or_insert(1);
            *number += 1;
            let name = format!("{base} ({number})");
            if self.given.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// `name` without control characters, not too long.
fn cleaned(name: &str) -> String {
    let cleaned: String = name
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CHARS)
        .collect();
    cleaned.trim().to_owned()
}

/// A valid name of a label that is most like `name`, which is at `path`.
pub(super) fn label_name(name: &str, path: &Path, report: &Report) -> String {
    let valid = valid_label(name);
    if valid != name {
        report.changed(path, format!("the label {name:?} became {valid}"));
    }
    valid
}

fn valid_label(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    };
    let mut name: String = name.chars().map(plain).take(100).collect();
    let is_taken = OWN_LABELS.contains(&name.as_str());
    if is_taken || !is_plain_label_name(&name) || check_label_name(&name).is_err() {
        name = format!("label_{}", name.trim_start_matches('_'));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once() {
        let mut names = UniqueNames::default();
        assert_eq!(names.choose(&["shop", "web/shop"]), "shop");
        assert_eq!(names.choose(&["shop", "web/shop"]), "web/shop");
        assert_eq!(names.choose(&["shop", "web/shop"]), "web/shop (2)");
        assert_eq!(names.choose(&["a\nb"]), "ab");
        assert_eq!(names.choose(&[" "]), "unnamed (2)");
        assert_eq!(names.choose(&[&"x".repeat(300)]).len(), 200);
    }

    #[test]
    fn a_label_has_a_valid_name() {
        for (name, expected) in [
            ("team", "team"),
            ("data-center", "data_center"),
            ("type", "label_type"),
            ("__meta", "label_meta"),
            ("2nd", "label_2nd"),
            ("", "label_"),
        ] {
            assert_eq!(valid_label(name), expected);
        }
    }
}
