//! The program: parses arguments, runs the command, returns the exit code.

use std::process::ExitCode;

use monitoringdaemon::cli;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
