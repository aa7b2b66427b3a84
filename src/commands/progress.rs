//! The number of checks that are done, on a terminal while they run.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use crate::text::counted;

/// A line on standard error that is written again and again, and goes at the end.
pub(super) struct Progress {
    total: usize,
    done: usize,
    failed: usize,
    is_terminal: bool,
    is_shown: bool,
}

impl Progress {
    /// Creates the progress of `total` checks; it is never shown if standard error is no terminal.
    pub(super) fn new(total: usize) -> Self {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            total,
            done: 0,
            failed: 0,
            is_terminal: io::stderr().is_terminal() && !is_dumb,
            is_shown: false,
        }
    }

    /// Counts a check that is done.
    pub(super) fn advance(&mut self, succeeded: bool) {
        self.done += 1;
        self.failed += usize::from(!succeeded);
    }

    /// Shows the present numbers.
    pub(super) fn show(&mut self) {
        if self.is_terminal {
            self.is_shown = true;
            let Self {
                total,
                done,
                failed,
                ..
            } = self;
            let checks = counted(total, "check");
            write(&format!("\r{done} of {checks} done, {failed} failed\x1b[K"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            write("\r\x1b[K");
        }
    }
}

/// Writes to standard error; a progress that cannot be shown is no failure.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
