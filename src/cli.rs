//! Commands and flags, and what each command does.

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    app, config,
    net::Net,
    once::{self, Output},
    plan, rules,
};

/// Exit code of a failure at run time, and of `once` where a check failed.
pub const FAILURE: u8 = 1;
/// Exit code of bad usage and of a bad configuration.
pub const USAGE: u8 = 2;

/// Checks services on schedule, says why they fail, and tells Prometheus.
#[derive(Debug, Parser)]
#[command(name = "monitoringdaemon", version, arg_required_else_help = false)]
pub struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "config.yml")]
    config: PathBuf,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads the configuration and prints every problem of it
    Validate,
    /// Says what the configuration asks of the machine, and what the machine or a limit denies it
    Plan,
    /// Prints Prometheus' rules for the objectives that monitors have under `slo`
    Rules,
    /// Runs the monitors once, prints the result of each, and fails if a check does
    Once {
        /// A table for people, JSON lines, or JUnit XML
        #[arg(long, value_enum, default_value_t)]
        output: Output,

        /// The monitors to run, by name; all where none is named
        #[arg(value_name = "MONITOR")]
        monitors: Vec<String>,
    },
}

impl Cli {
    /// Does what the command line says; what goes wrong is on stderr by then.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let config = match config::read(&self.config) {
            Ok(config) => config,
            Err(invalid) => {
                complain(&invalid);
                return ExitCode::from(USAGE);
            }
        };
        match self.command {
            None => match app::run(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&format_args!("monitoringdaemon: {error}"));
                    ExitCode::from(FAILURE)
                }
            },
            Some(Command::Validate) => {
                let (file, count) = (self.config.display(), config.monitors.len());
                let monitors = if count == 1 { "monitor" } else { "monitors" };
                // The file is right all the same: it may be meant for another machine.
                for (obstacle, count) in app::obstacles(&app::jobs(&config, &Net::system())) {
                    let monitors = if count == 1 { "monitor" } else { "monitors" };
                    complain(&format_args!(
                        "warning: {count} {monitors} cannot check anything on this machine: {obstacle}"
                    ));
                }
                match writeln!(io::stdout(), "{file} is valid: {count} {monitors}") {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(_) => ExitCode::from(FAILURE),
                }
            }
            Some(Command::Plan) => match plan::run(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&format_args!(
                        "monitoringdaemon: failed to print the plan: {error}"
                    ));
                    ExitCode::from(FAILURE)
                }
            },
            Some(Command::Rules) => match write!(io::stdout(), "{}", rules::of(&config)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&format_args!(
                        "monitoringdaemon: failed to print the rules: {error}"
                    ));
                    ExitCode::from(FAILURE)
                }
            },
            Some(Command::Once { output, monitors }) => {
                match once::run(config, &monitors, output) {
                    Ok(true) => ExitCode::SUCCESS,
                    Ok(false) => ExitCode::from(FAILURE),
                    Err(error) => {
                        complain(&format_args!("monitoringdaemon: {error}"));
                        ExitCode::from(error.exit_code())
                    }
                }
            }
        }
    }
}

/// Writes to stderr in one go; where that is closed, the exit code has to do.
fn complain(what: &dyn Display) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}
