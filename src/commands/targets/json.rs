//! Prints targets as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::list::{List, Monitor, Target};

/// Returns one JSON array with an object for each list of targets.
pub(super) fn text(lists: &[List]) -> String {
    let lists: Vec<_> = lists.iter().map(ListEntry::new).collect();
    let text = serde_json::to_string_pretty(&lists);
    text.expect("text can be written as JSON") + "\n"
}

#[derive(Serialize)]
struct ListEntry<'l> {
    block: &'l str,
    source: &'l str,
    list: &'l str,
    error: Option<&'l str>,
    targets: Vec<TargetEntry<'l>>,
}

#[derive(Serialize)]
struct TargetEntry<'l> {
    address: &'l str,
    /// Its labels before relabelling.
    labels: &'l BTreeMap<String, String>,
    result: &'static str,
    reason: Option<&'l str>,
    monitor: Option<MonitorEntry<'l>>,
}

#[derive(Serialize)]
struct MonitorEntry<'l> {
    name: &'l str,
    r#type: &'static str,
    target: &'l str,
    check_every: &'l str,
    timeout: &'l str,
    labels: &'l BTreeMap<String, String>,
}

impl<'l> ListEntry<'l> {
    fn new(list: &'l List) -> Self {
        Self {
            block: &list.block,
            source: &list.source,
            list: &list.name,
            error: list.targets.as_ref().err().map(|error| &**error),
            targets: list
                .targets
                .iter()
                .flatten()
                .map(TargetEntry::new)
                .collect(),
        }
    }
}

impl<'l> TargetEntry<'l> {
    fn new(target: &'l Target) -> Self {
        Self {
            address: &target.address,
            labels: &target.labels,
            result: target.result.as_str(),
            reason: target.reason.as_deref(),
            monitor: target.monitor.as_ref().map(MonitorEntry::new),
        }
    }
}

impl<'l> MonitorEntry<'l> {
    fn new(monitor: &'l Monitor) -> Self {
        Self {
            name: &monitor.name,
            r#type: monitor.kind,
            target: &monitor.target,
            check_every: &monitor.check_every,
            timeout: &monitor.timeout,
            labels: &monitor.labels,
        }
    }
}
