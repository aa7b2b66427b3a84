//! The monitors that a query selects: filtered, sorted by state, grouped, and paged.

use std::sync::Arc;

use super::query::{PER_PAGE, Query};
use crate::{check::State, history::MonitorHistory};

/// One page of the selected monitors.
pub(super) struct Selection {
    /// All monitors by state, selected or not.
    pub counts: Counts,
    /// Number of selected monitors, on all pages.
    pub found: usize,
    pub page: usize,
    pub pages: usize,
    pub groups: Vec<Group>,
}

/// Number of monitors in each state.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts([usize; State::ALL.len()]);

impl Counts {
    /// Number of monitors in `state`.
    pub(super) fn get(self, state: State) -> usize {
        self.0[state as usize]
    }

    /// Each state with its number.
    pub(super) fn iter(self) -> impl Iterator<Item = (State, usize)> {
        State::ALL.iter().copied().zip(self.0)
    }
}

/// Monitors with one value of the label that they are grouped by.
pub(super) struct Group {
    /// The value; `None` for those that have none.
    pub value: Option<String>,
    pub monitors: Vec<Arc<MonitorHistory>>,
}

impl Selection {
    pub(super) fn new(monitors: &[Arc<MonitorHistory>], query: &Query) -> Self {
        let mut counts = Counts::default();
        let text = query.text.to_lowercase();
        let mut found = Vec::new();
        for monitor in monitors {
            let state = monitor.state();
            counts.0[state as usize] += 1;
            if matches(query, &text, monitor, state) {
                let value = monitor.label(&query.group);
                // Monitors without a value come last.
                found.push(((value.is_none(), value, state), monitor));
            }
        }
        // Within a state, they stay sorted by name.
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

/// Returns whether `query`, whose text in lower case is `text`, selects `monitor`.
fn matches(query: &Query, text: &str, monitor: &MonitorHistory, state: State) -> bool {
    let has = |known: &str| known.to_lowercase().contains(text);
    // Names may have colons too.
    let has_label = |wanted: &String| {
        let mut colons = wanted.match_indices(':').map(|(at, _)| wanted.split_at(at));
        monitor.label(wanted).is_some()
            || colons.any(|(name, value)| monitor.label(name) == Some(&value[1..]))
    };
    (query.state.is_empty() || query.state == state.as_str())
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
