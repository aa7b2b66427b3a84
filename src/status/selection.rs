//! The monitors that a query wants: filtered, those that are down first, grouped, and one page of them.

use std::sync::Arc;

use super::query::{PER_PAGE, Query};
use crate::history::{Kept, Standing};

/// One page of the monitors that are wanted.
pub(super) struct Selection {
    /// How many of all there are, of each standing.
    pub counts: [(Standing, usize); 3],
    /// How many are wanted, on all pages.
    pub found: usize,
    pub page: usize,
    pub pages: usize,
    pub groups: Vec<Group>,
}

/// Monitors with one value of the label that they are grouped by.
pub(super) struct Group {
    /// The value; `None` for those that have none.
    pub value: Option<String>,
    pub monitors: Vec<Arc<Kept>>,
}

impl Selection {
    pub fn of(monitors: &[Arc<Kept>], query: &Query) -> Self {
        let mut counts = [Standing::Down, Standing::Unknown, Standing::Up].map(|s| (s, 0));
        let text = query.text.to_lowercase();
        let mut found = Vec::new();
        for monitor in monitors {
            let standing = monitor.standing();
            counts[standing as usize].1 += 1;
            if wants(query, &text, monitor, standing) {
                let value = monitor.label(&query.group);
                // Those that have no value come last.
                found.push(((value.is_none(), value, standing), monitor));
            }
        }
        // Within each, they stay in the order of their names.
        found.sort_by_key(|(key, _)| *key);
        let pages = found.len().div_ceil(PER_PAGE).max(1);
        let page = query.page.clamp(1, pages);
        let mut groups: Vec<Group> = Vec::new();
        for ((_, value, _), monitor) in found.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE) {
            match groups.last_mut() {
                Some(group) if group.value.as_deref() == *value => {
                    group.monitors.push(Arc::clone(monitor));
                }
                _ => groups.push(Group {
                    value: value.map(str::to_owned),
                    monitors: vec![Arc::clone(monitor)],
                }),
            }
        }
        Self {
            counts,
            found: found.len(),
            page,
            pages,
            groups,
        }
    }
}

/// Whether `query`, whose text in lower case is `text`, wants `monitor`.
fn wants(query: &Query, text: &str, monitor: &Kept, standing: Standing) -> bool {
    let has = |known: &str| known.to_lowercase().contains(text);
    let has_label = |wanted: &String| match wanted.split_once(':') {
        Some((name, value)) => monitor.label(name) == Some(value),
        None => monitor.label(wanted).is_some(),
    };
    (query.state.is_empty() || query.state == standing.as_str())
        && query
            .rows
            .as_ref()
            .is_none_or(|rows| rows.contains(&monitor.id))
        && query.labels.iter().all(has_label)
        && (text.is_empty()
            || has(&monitor.name)
            || has(monitor.kind())
            || monitor.labels.iter().any(|(_, value)| has(value))
            || has(&monitor.target()))
}
