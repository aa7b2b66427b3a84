//! The report of an import: what was carried over, what changed, and what was left out, each with its place.

use std::cell::{Cell, RefCell};

use comfy_table::{Table, presets};

use super::sources::Sources;
use crate::{
    text::bounded,
    value::{EntryPart, Path},
};

/// Rows that are kept; a file that has more of them was made for it.
const MAX_ROWS: usize = 10_000;

/// Bytes of a path or a detail that are shown.
const MAX_TEXT: usize = 500;

/// The fate of a part of what is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It means the same here.
    CarriedOver,
    /// It means nearly the same here, or has no effect here.
    Changed,
    /// It has no equal here.
    LeftOut,
}

impl Outcome {
    fn text(self) -> &'static str {
        match self {
            Self::CarriedOver => "carried over",
            Self::Changed => "changed",
            Self::LeftOut => "left out",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug)]
struct Row {
    outcome: Outcome,
    path: Path,
    detail: String,
}

/// All rows, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: RefCell<Vec<Row>>,
    counts: [Cell<usize>; 3],
    /// The rows that nobody has written a comment of yet.
    pending: RefCell<Vec<String>>,
    /// Depth of the path of the entry that is being read, which comments do not repeat.
    depth: Cell<usize>,
}

impl Report {
    /// Adds what means the same here.
    pub(super) fn carried_over(&self, path: &Path, detail: impl Into<String>) {
        self.add(Outcome::CarriedOver, path, detail.into());
    }

    /// Adds what means something else here, or nothing.
    pub(super) fn changed(&self, path: &Path, detail: impl Into<String>) {
        self.add(Outcome::Changed, path, detail.into());
    }

    /// Adds what has no equal here.
    pub(super) fn left_out(&self, path: &Path, detail: impl Into<String>) {
        self.add(Outcome::LeftOut, path, detail.into());
    }

    fn add(&self, outcome: Outcome, path: &Path, detail: String) {
        let count = &self.counts[outcome as usize];
        count.set(count.get() + 1);
        let mut rows = self.rows.borrow_mut();
        if rows.len() >= MAX_ROWS {
            return;
        }
        if outcome != Outcome::CarriedOver {
            let key = self.key(path);
            let comment = match (outcome, key.is_empty()) {
                (Outcome::LeftOut, true) => format!("Left out: {detail}"),
                (Outcome::LeftOut, false) => format!("Left out: {key}: {detail}"),
                (_, true) => detail.clone(),
                (_, false) => format!("{key}: {detail}"),
            };
            self.pending.borrow_mut().push(comment);
        }
        rows.push(Row {
            outcome,
            path: path.clone(),
            detail,
        });
    }

    /// Begins an entry at `path`; comments name keys from there.
    pub(super) fn begin(&self, path: &Path) {
        self.depth.set(path.segments.len());
        self.pending.borrow_mut().clear();
    }

    /// The comments on the entry that was begun last.
    pub(super) fn take_comments(&self) -> Vec<String> {
        self.pending.take()
    }

    /// The path of a key within the entry that was begun last.
    fn key(&self, path: &Path) -> String {
        let mut key = path.clone();
        let depth = self.depth.get().min(key.segments.len());
        key.segments.drain(..depth);
        if key.segments.is_empty() {
            String::new()
        } else {
            key.to_string()
        }
    }

    /// Number of rows with this outcome.
    #[must_use]
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.counts[outcome as usize].get()
    }

    /// The table, and a line with the numbers.
    #[must_use]
    pub(super) fn describe(&self, sources: &Sources) -> String {
        let mut rows = self.rows.borrow().clone();
        // What needs a look comes last, where a terminal shows it.
        rows.sort_by_key(|row| row.outcome as usize);
        let places: Vec<_> = rows.iter().map(|row| (&row.path, EntryPart::Key)).collect();
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["OUTCOME", "WHERE", "WHAT", "DETAIL"]);
        for (row, position) in rows.iter().zip(sources.locate(&places)) {
            table.add_row([
                row.outcome.text().to_owned(),
                position,
                bounded(row.path.to_string(), MAX_TEXT),
                bounded(row.detail.clone(), MAX_TEXT),
            ]);
        }
        let number = |outcome| self.count(outcome);
        let (carried, changed, left) = (
            number(Outcome::CarriedOver),
            number(Outcome::Changed),
            number(Outcome::LeftOut),
        );
        let more = (carried + changed + left).saturating_sub(rows.len());
        let more = if more > 0 {
            format!(" (of which {more} are not listed)")
        } else {
            String::new()
        };
        let table = table.trim_fmt();
        format!("{table}\n\n{carried} carried over, {changed} changed, {left} left out{more}\n")
    }
}
