//! Tables that fit the terminal.

use std::io::{self, IsTerminal};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, presets};
use rustix::termios::{Winsize, tcgetwinsize};

use crate::text;

/// The narrowest terminal that a table is fitted to.
const MIN_WIDTH: u16 = 60;

/// A table without lines, whose long texts are wrapped on a terminal.
pub(super) struct Table {
    grid: Grid,
    /// The columns that may be wrapped.
    long: &'static [usize],
}

impl Table {
    /// Creates a table. `right` are the columns to align at the right, `long` those to wrap.
    pub(super) fn new(header: &[&str], right: &'static [usize], long: &'static [usize]) -> Self {
        let mut grid = Grid::new();
        grid.load_preset(presets::NOTHING).set_header(header);
        for index in right {
            if let Some(column) = grid.column_mut(*index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { grid, long }
    }

    /// Adds a row. What a target could use against a terminal is escaped.
    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter();
        self.grid
            .add_row(cells.map(|cell| text::bounded(cell, usize::MAX)));
    }

    /// Returns the lines, without blanks at their ends; fitted to `width` characters if that is known.
    pub(super) fn into_text(mut self, width: Option<u16>) -> String {
        if let Some(width) = width.filter(|width| *width >= MIN_WIDTH) {
            self.grid
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
            for (index, column) in self.grid.column_iter_mut().enumerate() {
                if !self.long.contains(&index) {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        let mut lines = String::new();
        for line in self.grid.lines() {
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        lines
    }
}

/// The number of rows and columns of the terminal that is standard output, if it is one.
pub(super) fn terminal_size() -> Option<(u16, u16)> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let Winsize { ws_row, ws_col, .. } = tcgetwinsize(&stdout).ok()?;
    (ws_row > 0 && ws_col > 0).then_some((ws_row, ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(width: Option<u16>) -> String {
        let mut table = Table::new(&["MONITOR", "SECONDS", "FAILURE"], &[1], &[2]);
        let row = |cells: [&str; 3]| cells.map(ToOwned::to_owned);
        table.add_row(row(["one", "0.012", ""]));
        let failure = "connection_refused in connect: the target refuses the connection, and nobody knows why \u{1b}[31m";
        table.add_row(row(["two", "12.000", failure]));
        table.into_text(width)
    }

    #[test]
    fn a_table_is_as_wide_as_its_texts_where_no_terminal_is() {
        assert_eq!(
            text(None),
            " MONITOR  SECONDS  FAILURE\n one        0.012\n two       12.000  connection_refused in connect: \
             the target refuses the connection, and nobody knows why \\u001b[31m\n"
        );
    }

    #[test]
    fn long_texts_are_wrapped_on_a_terminal() {
        let text = text(Some(60));
        assert!(
            text.lines().all(|line| line.chars().count() <= 60),
            "{text}"
        );
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
        assert!(text.lines().count() > 3, "{text}");
        assert!(
            text.contains("\n two       12.000  connection_refused"),
            "{text}"
        );
    }
}
