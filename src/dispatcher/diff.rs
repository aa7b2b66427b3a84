//! How the monitors that run differ from those of a configuration.

use std::{collections::HashMap, sync::Arc};

use crate::check::Fingerprint;

/// Monitors listed by name in a description; the rest are counted.
const MAX_LISTED_MONITORS: usize = 1000;

/// Differences between the monitors that run and those that a configuration wants; the latter are
/// named by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    /// Monitors that do not run yet.
    pub added: Vec<usize>,
    /// Monitors that run with other settings.
    pub changed: Vec<usize>,
    /// Monitors that run with the same settings, and name a file whose contents changed.
    pub files_changed: Vec<usize>,
    /// Names of monitors that run and are not wanted, sorted.
    pub removed: Vec<Arc<str>>,
    /// Number of monitors that stay as they are.
    pub unchanged: usize,
}

impl ConfigDiff {
    /// Compares the monitors that are `running` with those that are `wanted`; no name stands twice in
    /// either.
    #[must_use]
    pub fn new<'r, 'w>(
        running: impl IntoIterator<Item = (&'r str, Fingerprint)>,
        wanted: impl IntoIterator<Item = (&'w str, Fingerprint)>,
    ) -> Self {
        let mut running: HashMap<_, _> = running.into_iter().collect();
        let mut diff = Self::default();
        for (index, (name, version)) in wanted.into_iter().enumerate() {
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

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.changed.is_empty()
            && self.files_changed.is_empty()
            && self.removed.is_empty()
    }

    /// Whether more than half of the monitors that run are to go.
    #[must_use]
    pub fn removes_most(&self) -> bool {
        let stays = self.changed.len() + self.files_changed.len() + self.unchanged;
        self.removed.len() > stays
    }

    /// A line for each monitor that does not stay as it is, and a summary; `names` are those of the
    /// wanted monitors.
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
