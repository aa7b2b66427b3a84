//! The program: parses arguments, runs the command, returns the exit code.

use std::process::ExitCode;

use clap::Parser;
use monitoringdaemon::cli::Cli;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
