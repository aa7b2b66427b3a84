//! Exit codes of the commands.

use std::{fmt::Display, process::ExitCode};

/// Success.
pub(crate) const SUCCESS: u8 = 0;
/// A failure at run time, and `once` if a check failed.
pub(crate) const FAILURE: u8 = 1;
/// Bad usage, and a configuration that is not valid.
pub(crate) const USAGE: u8 = 2;

/// An error that ends the program, with its exit code.
pub(crate) trait WithExitCode: Display {
    /// Returns the exit code of the program.
    fn exit_code(&self) -> u8;

    /// Returns true if the message begins with a file and a line, as problems of a configuration do.
    fn has_location(&self) -> bool {
        false
    }
}

/// Returns the exit code of a command that ran to its end.
#[must_use]
pub(crate) fn of(succeeded: bool) -> ExitCode {
    ExitCode::from(if succeeded { SUCCESS } else { FAILURE })
}
