//! Prints targets as a table.

use std::fmt::Write;

use super::list::{List, Target, TargetResult};
use crate::{commands::table::Table, text::counted};

/// Returns a table of all targets, and the number of them by result.
pub(super) fn text(lists: &[List], width: Option<u16>) -> String {
    let mut table = Table::new(
        &["BLOCK", "SOURCE", "TARGET", "MONITOR", "TYPE", "REASON"],
        &[],
        &[2, 3, 5],
    );
    for list in lists {
        let row = |target: &str, monitor: &str, kind: &str, reason: String| {
            let cells = [&*list.block, &list.source, target, monitor, kind];
            let cells = cells.map(ToOwned::to_owned).into_iter();
            cells.chain([reason]).collect::<Vec<_>>()
        };
        match &list.targets {
            Err(error) => table.add_row(row("-", "-", "-", format!("{}: {error}", list.name))),
            Ok(targets) if targets.is_empty() => {
                table.add_row(row("-", "-", "-", format!("{}: no targets", list.name)));
            }
            Ok(targets) => {
                for target in targets {
                    let monitor = target.monitor.as_ref();
                    table.add_row(row(
                        &target.address,
                        monitor.map_or("-", |monitor| &monitor.name),
                        monitor.map_or("-", |monitor| monitor.kind),
                        target.reason.clone().unwrap_or_default(),
                    ));
                }
            }
        }
    }
    let mut text = table.into_text(width);
    let _ = writeln!(text, "\n{}", summary(lists));
    text
}

/// The number of targets by result, and of lists that could not be read.
fn summary(lists: &[List]) -> String {
    let targets: Vec<&Target> = lists
        .iter()
        .flat_map(|list| list.targets.iter().flatten())
        .collect();
    let of = |result| {
        let found = targets.iter().filter(|target| target.result == result);
        found.count()
    };
    let mut summary = counted(targets.len(), "target");
    let _ = write!(summary, ": {} monitored", of(TargetResult::Monitored));
    for (result, word) in [
        (TargetResult::Paused, "paused"),
        (TargetResult::OtherShard, "on other shards"),
        (TargetResult::Dropped, "dropped"),
        (TargetResult::Duplicate, "duplicate"),
        (TargetResult::Invalid, "invalid"),
    ] {
        if of(result) > 0 {
            let _ = write!(summary, ", {} {word}", of(result));
        }
    }
    match lists.iter().filter(|list| list.targets.is_err()).count() {
        0 => {}
        unread => {
            let _ = write!(summary, "; {} could not be read", counted(unread, "list"));
        }
    }
    summary
}
