//! Tables of the database or of a backup: rows as mappings, with names such as `retry_interval`.

use std::collections::BTreeMap;

use crate::{
    commands::import::section::scalar_text,
    value::{Node, Path},
};

/// A row, and the path to it for the report.
#[derive(Debug)]
pub(super) struct Row {
    /// Where it is.
    pub path: Path,
    /// Its columns by name.
    pub node: Node,
}

/// The tables that matter.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// `monitor`
    pub monitors: Vec<Row>,
    /// Tags of monitors: by the id of the monitor, names and values.
    pub(crate) tags: BTreeMap<i128, Vec<(String, String)>>,
    /// `proxy`, by id.
    pub(crate) proxies: BTreeMap<i128, Row>,
    /// `notification`
    pub(crate) notifications: Vec<Row>,
    /// `maintenance`
    pub maintenance: Vec<Row>,
    /// The monitors of each maintenance, by id.
    pub(crate) maintained: BTreeMap<i128, Vec<i128>>,
}

impl Row {
    /// The row `entries` of the table called `table` in the file at `top`.
    pub(super) fn new(top: &Path, table: &str, index: usize, entries: Vec<(String, Node)>) -> Self {
        let node = Node::Map(entries);
        let name = ["name", "title", "host", "id"]
            .iter()
            .find_map(|key| text(&node, key).filter(|text| !text.is_empty()))
            .unwrap_or_else(|| index.to_string());
        Self {
            path: top.entry(table, 0).entry(&name, index),
            node,
        }
    }

    /// The whole number in a column.
    pub(super) fn integer(&self, column: &str) -> Option<i128> {
        match column_of(&self.node, column)? {
            Node::Int(number) => Some(*number),
            Node::Bool(flag) => Some(i128::from(*flag)),
            _ => None,
        }
    }

    /// The text in a column.
    pub(super) fn text(&self, column: &str) -> Option<String> {
        text(&self.node, column)
    }
}

fn column_of<'n>(node: &'n Node, column: &str) -> Option<&'n Node> {
    match node {
        Node::Map(entries) => entries
            .iter()
            .find(|(name, _)| name == column)
            .map(|(_, node)| node),
        _ => None,
    }
}

fn text(node: &Node, column: &str) -> Option<String> {
    column_of(node, column).and_then(scalar_text)
}

/// `name` with underscores: the backup calls `retry_interval` `retryInterval`.
#[must_use]
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_lower {
            snake.push('_');
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
