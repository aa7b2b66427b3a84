//! Compares the running monitors with those of a configuration.

use std::{collections::HashMap, sync::Arc};

use crate::check::Fingerprint;

/// Maximum number of monitors that a description lists; the rest are counted.
const MAX_LISTED_MONITORS: usize = 1000;

/// Differences between the running and the desired monitors. Indices refer to the desired ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    /// Monitors that are not running.
    pub added: Vec<usize>,
    /// Running monitors with other settings.
    pub changed: Vec<usize>,
    /// Running monitors with the same settings and a file whose contents changed.
    pub files_changed: Vec<usize>,
    /// Names of running monitors that are not desired, sorted.
    pub removed: Vec<Arc<str>>,
    /// Number of unchanged monitors.
    pub unchanged: usize,
}

impl ConfigDiff {
    /// Compares the `running` with the `desired` monitors. Names are unique in both.
    #[must_use]
    pub fn new<'r, 'w>(
        running: impl IntoIterator<Item = (&'r str, Fingerprint)>,
        desired: impl IntoIterator<Item = (&'w str, Fingerprint)>,
    ) -> Self {
        let mut running: HashMap<_, _> = running.into_iter().collect();
        let mut diff = Self::default();
        for (index, (name, version)) in desired.into_iter().enumerate() {
            match running.remove(name) {
                None => diff.added.push(index),
                Some(known) if known == version => diff.unchanged += 1,
                Some(known) if known.settings == version.settings => {
                    diff.files_changed.push(index);
                }
                Some(_) => diff.changed.push(index),
            }
        }
        diff.removed = running.into_keys().map(Into::into).collect();
        diff.removed.sort();
        diff
    }

    /// Returns true if there are no differences.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.changed.is_empty()
            && self.files_changed.is_empty()
            && self.removed.is_empty()
    }

    /// Returns true if more than half of the running monitors would be removed.
    #[must_use]
    pub fn removes_most(&self) -> bool {
        let stays = self.changed.len() + self.files_changed.len() + self.unchanged;
        self.removed.len() > stays
    }

    /// Returns a line for each difference and a summary; `names` are those of the desired monitors.
    #[must_use]
    pub fn describe(&self, names: &[&str]) -> String {
        let lines_with = |sign: &'static str, indices: &'_ [usize], note: &'static str| {
            let names = indices.iter().filter_map(|index| names.get(*index));
            names
                .map(|name| format!("{sign} {name}{note}\n"))
                .collect::<Vec<_>>()
        };
        let mut lines = lines_with("+", &self.added, "");
        lines.extend(lines_with("~", &self.changed, ""));
        lines.extend(lines_with("~", &self.files_changed, " (file contents)"));
        lines.extend(self.removed.iter().map(|name| format!("- {name}\n")));
        let beyond = lines.len().saturating_sub(MAX_LISTED_MONITORS);
        lines.truncate(MAX_LISTED_MONITORS);
        if beyond > 0 {
            lines.push(format!("and {beyond} more\n"));
        }
        let (added, removed, unchanged) = (self.added.len(), self.removed.len(), self.unchanged);
        let changed = self.changed.len() + self.files_changed.len();
        lines.push(format!(
            "{added} added, {changed} changed, {removed} removed, {unchanged} unchanged\n"
        ));
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_monitors_go_if_more_go_than_stay() {
        let version = Fingerprint::default();
        let removes_most = |running: &[&'static str], wanted: &[&'static str]| {
            let versions = |names: &[&'static str]| {
                let names = names.to_vec();
                names.into_iter().map(move |name| (name, version))
            };
            ConfigDiff::new(versions(running), versions(wanted)).removes_most()
        };
        assert!(removes_most(&["a"], &[]));
        assert!(removes_most(&["a", "b", "c"], &["a", "d", "e"]));
        assert!(!removes_most(&["a", "b"], &["a"]));
        assert!(!removes_most(&[], &["a"]));
        assert!(!removes_most(&[], &[]));
    }
}
