//! The daemon, which runs if there is no command.

use crate::{
    app::{self, RunOptions},
    config::Config,
    exit_code::{self, WithExitCode},
};

impl WithExitCode for app::Error {
    fn exit_code(&self) -> u8 {
        exit_code::FAILURE
    }
}

/// Runs the monitors of `config` until a signal stops the daemon.
///
/// # Errors
/// If the daemon cannot start or listen; no check has run then.
pub(crate) fn run(config: Config, options: RunOptions) -> Result<(), app::Error> {
    app::run_with_options(config, options)
}
