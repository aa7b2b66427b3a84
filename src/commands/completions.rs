//! `completions`: a script with which a shell completes commands and flags.

use clap::Command;
use clap_complete::{Shell, generate};

/// Returns the script of `shell` for `command`.
#[must_use]
pub(crate) fn script(command: &mut Command, shell: Shell) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, command, name, &mut script);
    String::from_utf8(script).expect("the names of commands and flags are text")
}
