//! Monitors, templates and blocks of discovery as they will be printed.

use crate::value::{Node, Path};

/// The keys of an entry, in the order in which they are printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Keys(pub Vec<(String, Node)>);

impl Keys {
    /// Sets `key`, which replaces an earlier value.
    pub(super) fn set(&mut self, key: &str, value: impl IntoNode) {
        set(&mut self.0, key, value.into_node());
    }

    /// Sets `key` if there is a value.
    pub(super) fn set_some(&mut self, key: &str, value: Option<impl IntoNode>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// Sets `inner` in the mapping under `key`.
    pub(super) fn set_in(&mut self, key: &str, inner: &str, value: impl IntoNode) {
        let entry = self.0.iter_mut().find(|(name, _)| name == key);
        if let Some((_, Node::Map(entries))) = entry {
            set(entries, inner, value.into_node());
        } else {
            let entries = vec![(inner.to_owned(), value.into_node())];
            self.set(key, Node::Map(entries));
        }
    }

    /// Adds `item` to the list under `key`.
    pub(super) fn push(&mut self, key: &str, item: impl IntoNode) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, Node::List(items))) => items.push(item.into_node()),
            _ => self.set(key, Node::List(vec![item.into_node()])),
        }
    }

    /// The value of `key`.
    #[must_use]
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.0.iter().find(|(name, _)| name == key);
        entry.map(|(_, node)| node)
    }
}

fn set(entries: &mut Vec<(String, Node)>, key: &str, value: Node) {
    match entries.iter_mut().find(|(name, _)| name == key) {
        Some((_, node)) => *node = value,
        None => entries.push((key.to_owned(), value)),
    }
}

/// A type of values that keys can have.
pub(super) trait IntoNode {
    /// The value.
    fn into_node(self) -> Node;
}

impl IntoNode for Node {
    fn into_node(self) -> Node {
        self
    }
}

impl IntoNode for &str {
    fn into_node(self) -> Node {
        Node::Text(self.to_owned())
    }
}

impl IntoNode for String {
    fn into_node(self) -> Node {
        Node::Text(self)
    }
}

impl IntoNode for bool {
    fn into_node(self) -> Node {
        Node::Bool(self)
    }
}

impl IntoNode for u32 {
    fn into_node(self) -> Node {
        Node::Int(self.into())
    }
}

impl IntoNode for Keys {
    fn into_node(self) -> Node {
        Node::Map(self.0)
    }
}

impl IntoNode for std::time::Duration {
    fn into_node(self) -> Node {
        super::durations::node(self)
    }
}

/// One monitor, template or block.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its name, unique among its kind.
    pub name: String,
    /// Lines printed in front of its keys.
    pub comments: Vec<String>,
    /// Its keys.
    pub keys: Keys,
    /// Where it comes from.
    pub origin: Path,
}
