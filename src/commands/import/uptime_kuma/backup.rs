//! Reads a backup in JSON, which version 1 can write.

use std::path::Path;

use super::tables::{Row, Tables, snake_case};
use crate::{
    commands::import::{section::scalar_text, sources::ImportError},
    value::{self, Node, parse_json},
};

/// Reads the tables in `text`, the backup at `path`; `top` is its place in the report.
///
/// # Errors
/// Where it is not a backup.
pub(super) fn read(text: &str, path: &Path, top: &value::Path) -> Result<Tables, ImportError> {
    let path = path.display();
    let root =
        parse_json(text).map_err(|error| ImportError(format!("{path}: invalid JSON: {error}")))?;
    let mut tables = Tables::default();
    let mut is_backup = false;
    let Node::Map(entries) = root else {
        return Err(ImportError(format!("{path}: not a backup of Uptime Kuma")));
    };
    for (key, node) in entries {
        let Node::List(items) = node else {
            continue;
        };
        let table = match key.as_str() {
            "monitorList" => "monitor",
            "proxyList" => "proxy",
            "notificationList" => "notification",
            _ => continue,
        };
        is_backup |= table == "monitor";
        for (index, item) in items.into_iter().enumerate() {
            let Node::Map(columns) = item else {
                continue;
            };
            let columns = columns
                .into_iter()
                .filter(|(_, node)| *node != Node::Null)
                .map(|(name, node)| (snake_case(&name), node));
            let row = Row::new(top, table, index, columns.collect());
            match table {
                "monitor" => {
                    if let Some(id) = row.integer("id") {
                        tables.tags.insert(id, tags(&row.node));
                    }
                    tables.monitors.push(row);
                }
                "proxy" => {
                    if let Some(id) = row.integer("id") {
                        tables.proxies.insert(id, row);
                    }
                }
                _ => tables.notifications.push(row),
            }
        }
    }
    if !is_backup {
        let error = format!("{path}: has no monitorList: expected a backup of Uptime Kuma");
        return Err(ImportError(error));
    }
    Ok(tables)
}

/// The tags of a monitor.
fn tags(monitor: &Node) -> Vec<(String, String)> {
    let Node::Map(columns) = monitor else {
        return Vec::new();
    };
    let Some((_, Node::List(tags))) = columns.iter().find(|(name, _)| name == "tags") else {
        return Vec::new();
    };
    let get = |tag: &Node, key: &str| match tag {
        Node::Map(entries) => entries
            .iter()
            .find(|(name, _)| name == key)
            .and_then(|(_, node)| scalar_text(node)),
        _ => None,
    };
    tags.iter()
        .filter_map(|tag| Some((get(tag, "name")?, get(tag, "value").unwrap_or_default())))
        .collect()
}
