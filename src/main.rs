//! Arguments → run → exit code.

use std::process::ExitCode;

use clap::Parser;
use monitoringdaemon::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
