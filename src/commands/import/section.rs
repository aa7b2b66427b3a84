//! Reads the keys of a mapping of another program one by one, and reports what is not understood.

use std::{collections::BTreeSet, time::Duration};

use super::{durations, report::Report};
use crate::value::{Node, Path, nearest};

/// The key whose value YAML merges into the mapping that has it.
const MERGE: &str = "<<";

/// The entries of one mapping. [`finish`](Self::finish) reports the keys that nobody asked for.
pub(super) struct Section<'a> {
    entries: Vec<(&'a str, &'a Node, Path)>,
    path: Path,
    asked: BTreeSet<&'a str>,
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// The entries of `node`; `None`, with a row in the report, if it is not a mapping.
    #[must_use]
    pub(super) fn open(node: &'a Node, path: Path, report: &'a Report) -> Option<Self> {
        let mut entries = Vec::new();
        match node {
            Node::Map(own) => add_entries(own, &path, &mut entries),
            Node::Null => {}
            _ => {
                report.left_out(&path, format!("expected a mapping, found {}", node.kind()));
                return None;
            }
        }
        Some(Self {
            entries,
            path,
            asked: BTreeSet::new(),
            report,
        })
    }

    /// The path of the mapping.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `key`, or of the mapping if it is not there.
    #[must_use]
    pub(super) fn path_of(&self, key: &str) -> Path {
        let entry = self.entries.iter().find(|(name, ..)| *name == key);
        entry.map_or_else(|| self.path.clone(), |(.., path)| path.clone())
    }

    /// The report that rows go to.
    #[must_use]
    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// All entries with their paths, for mappings whose keys users choose.
    #[must_use]
    pub(super) fn into_entries(self) -> Vec<(&'a str, &'a Node, Path)> {
        self.entries
    }

    /// The names of all entries, with their paths.
    #[must_use]
    pub(super) fn names(&self) -> Vec<(&'a str, Path)> {
        let entries = self.entries.iter();
        entries
            .map(|(name, _, path)| (*name, path.clone()))
            .collect()
    }

    /// The entries that nobody asked for.
    #[must_use]
    pub(super) fn unasked(&self) -> Vec<(&'a str, &'a Node)> {
        let entries = self.entries.iter();
        entries
            .filter(|(name, ..)| !self.asked.contains(name))
            .map(|(name, node, _)| (*name, *node))
            .collect()
    }

    /// Takes `key` for known.
    pub(super) fn acknowledge(&mut self, key: &'a str) {
        self.asked.insert(key);
    }

    /// The value of `key`, if it has one.
    pub(super) fn node(&mut self, key: &'static str) -> Option<(&'a Node, Path)> {
        self.asked.insert(key);
        let entry = self.entries.iter().find(|(name, ..)| *name == key);
        let (_, node, path) = entry?;
        (**node != Node::Null).then(|| (*node, path.clone()))
    }

    /// All values of `key`, which may be repeated or be a list.
    pub(super) fn repeated(&mut self, key: &'static str) -> Vec<(&'a Node, Path)> {
        self.asked.insert(key);
        let mut found = Vec::new();
        for (_, node, path) in self.entries.iter().filter(|(name, ..)| *name == key) {
            match node {
                Node::Null => {}
                Node::List(items) => {
                    let items = items.iter().enumerate();
                    found.extend(items.map(|(index, item)| (item, path.item(index))));
                }
                node => found.push((*node, path.clone())),
            }
        }
        found
    }

    /// The text under `key`; numbers and booleans count as text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let (node, path) = self.node(key)?;
        let text = scalar_text(node);
        if text.is_none() {
            self.wrong(&path, "text", node);
        }
        text
    }

    /// The boolean under `key`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let (node, path) = self.node(key)?;
        let flag = match node {
            Node::Bool(flag) => Some(*flag),
            Node::Int(0) => Some(false),
            Node::Int(1) => Some(true),
            Node::Text(text) => match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "t" => Some(true),
                "false" | "no" | "off" | "f" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if flag.is_none() {
            self.wrong(&path, "true or false", node);
        }
        flag
    }

    /// The number under `key`.
    pub(super) fn number(&mut self, key: &'static str) -> Option<f64> {
        let (node, path) = self.node(key)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "numbers of settings are far smaller"
        )]
        let number = match node {
            Node::Int(number) => Some(*number as f64),
            Node::Float(number) => Some(*number),
            Node::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            _ => None,
        };
        if number.is_none() {
            self.wrong(&path, "a number", node);
        }
        number
    }

    /// The duration under `key`, as Go and Prometheus write it: `1m30s`, `500ms`, `1d`.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let (node, path) = self.node(key)?;
        let duration = match node {
            Node::Text(text) => durations::parse(text),
            Node::Int(0) => Some(Duration::ZERO),
            _ => None,
        };
        if duration.is_none() {
            self.wrong(&path, "a duration such as 1m30s", node);
        }
        duration
    }

    /// The mapping under `key`.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let (node, path) = self.node(key)?;
        Self::open(node, path, self.report)
    }

    /// The mappings of the list under `key`, or of the key as often as it is there.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let found = self.repeated(key).into_iter();
        found
            .filter_map(|(node, path)| Self::open(node, path, self.report))
            .collect()
    }

    /// The texts of the list under `key`, or the one text there.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<(String, Path)> {
        let mut texts = Vec::new();
        for (node, path) in self.repeated(key) {
            match scalar_text(node) {
                Some(text) => texts.push((text, path)),
                None => self.wrong(&path, "text", node),
            }
        }
        texts
    }

    /// The mapping of names to texts under `key`.
    pub(super) fn text_map(&mut self, key: &'static str) -> Vec<(String, String, Path)> {
        let Some(section) = self.section(key) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (name, node, path) in section.into_entries() {
            match scalar_text(node) {
                Some(text) => texts.push((name.to_owned(), text, path)),
                None => self.wrong(&path, "text", node),
            }
        }
        texts
    }

    /// Leaves out `keys` that are set, because of `why`.
    pub(super) fn leave_out(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            if let Some((_, path)) = self.node(key) {
                self.report.left_out(&path, why);
            }
        }
    }

    /// Drops `keys` that are set, which do nothing here because of `why`.
    pub(super) fn drop_keys(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            if let Some((_, path)) = self.node(key) {
                self.report.changed(&path, why);
            }
        }
    }

    /// Drops `keys` that are set and that nobody asked for, because of `why`.
    pub(super) fn drop_unasked(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            if !self.asked.contains(key) {
                self.drop_keys(&[key], why);
            }
        }
    }

    /// Accepts `keys` that are set without a word: they say nothing about checks.
    pub(super) fn ignore(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    /// Adds a row for a value of the wrong kind.
    fn wrong(&self, path: &Path, expected: &str, node: &Node) {
        let found = node.kind();
        self.report
            .left_out(path, format!("expected {expected}, found {found}"));
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let known: Vec<&str> = self.asked.iter().copied().collect();
        for (name, _, path) in &self.entries {
            if known.contains(name) {
                continue;
            }
            let detail = match nearest(name, &known) {
                Some(near) => format!("unknown key, did you mean {near}?"),
                None => "unknown key".to_owned(),
            };
            self.report.left_out(path, detail);
        }
    }
}

/// Adds `own` and what it merges; an entry that is there already hides those of its name.
fn add_entries<'a>(
    own: &'a [(String, Node)],
    path: &Path,
    entries: &mut Vec<(&'a str, &'a Node, Path)>,
) {
    let before = entries.len();
    for (index, (name, node)) in own.iter().enumerate() {
        let is_hidden = entries[..before].iter().any(|(known, ..)| known == name);
        if name != MERGE && !is_hidden {
            entries.push((name, node, path.entry(name, index)));
        }
    }
    for (index, (name, node)) in own.iter().enumerate() {
        if name != MERGE {
            continue;
        }
        let path = path.entry(name, index);
        match node {
            Node::Map(merged) => add_entries(merged, &path, entries),
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let Node::Map(merged) = item {
                        add_entries(merged, &path.item(index), entries);
                    }
                }
            }
            _ => {}
        }
    }
}

/// A scalar as text, as Go's YAML library reads it into a string.
#[must_use]
pub(super) fn scalar_text(node: &Node) -> Option<String> {
    match node {
        Node::Text(text) | Node::FromEnvironment(text) => Some(text.clone()),
        Node::Int(number) => Some(number.to_string()),
        Node::Float(number) => Some(number.to_string()),
        Node::Bool(flag) => Some(flag.to_string()),
        Node::Null | Node::Binary(_) | Node::List(_) | Node::Map(_) => None,
    }
}
