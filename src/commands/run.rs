//! No command: the daemon.

use crate::{
    app::{self, RunOptions},
    config::Config,
};

/// Runs the monitors of `config` until the daemon is told to stop.
///
/// # Errors
/// If it cannot start or cannot listen; nothing has been checked then.
pub fn run(config: &Config, options: RunOptions) -> Result<(), app::Error> {
    app::run_with_options(config, options)
}
