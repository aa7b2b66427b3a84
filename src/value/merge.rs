//! Merges mappings: those of templates, and those of YAML's `<<`.

use std::collections::HashSet;

use super::{EntryPart, Node, Path, Problems};

/// The key of mappings to merge (<https://yaml.org/type/merge.html>).
pub(crate) const MERGE: &str = "<<";

/// The key of an entry that was taken out of a mapping, so that the others keep their places.
pub(crate) const TAKEN_OUT: &str = "\0";

/// One of several merged mappings.
pub(super) struct Layer<'a> {
    pub entries: &'a [(String, Node)],
    pub path: Path,
    /// True if YAML's `<<` merged it into the layer before, only on the top level.
    pub(crate) is_merged: bool,
}

impl<'a> Layer<'a> {
    pub(super) fn position(&self, key: &str) -> Option<usize> {
        self.entries.iter().position(|(name, _)| name == key)
    }

    pub(super) fn entry(&self, index: usize) -> (&'a Node, Path) {
        let (name, node) = &self.entries[index];
        (node, self.path.entry(name, index))
    }

    /// The entries without `<<`, and without those that were taken out.
    pub(super) fn own_entries(&self) -> impl Iterator<Item = (usize, &'a str, &'a Node)> + use<'a> {
        let entries = self.entries.iter().enumerate();
        entries
            .map(|(index, (name, node))| (index, &**name, node))
            .filter(|(_, name, _)| ![MERGE, TAKEN_OUT].contains(name))
    }
}

/// The layers of a merged mapping.
pub(super) struct Layers<'a> {
    pub found: Vec<Layer<'a>>,
    pub problems: &'a Problems,
}

impl<'a> Layers<'a> {
    pub(super) fn add(&mut self, entries: &'a [(String, Node)], path: &Path, is_merged: bool) {
        let mut names = HashSet::with_capacity(entries.len());
        for (index, (name, _)) in entries.iter().enumerate() {
            if !names.insert(name) && name != TAKEN_OUT {
                self.problems
                    .add(path.entry(name, index), EntryPart::Key, "duplicate key", "");
            }
        }
        self.found.push(Layer {
            entries,
            path: path.clone(),
            is_merged,
        });
        let Some(index) = entries.iter().position(|(name, _)| name == MERGE) else {
            return;
        };
        let path = path.entry(MERGE, index);
        match &entries[index].1 {
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.merge(item, path.item(index));
                }
            }
            node => self.merge(node, path),
        }
    }

    fn merge(&mut self, node: &'a Node, path: Path) {
        match node {
            Node::Map(entries) => self.add(entries, &path, true),
            _ => self.problems.add(
                path,
                EntryPart::Value,
                super::node::unexpected_kind(node),
                "a mapping such as *alias, or a list of them",
            ),
        }
    }
}
