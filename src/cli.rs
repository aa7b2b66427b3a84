//! Commands and flags, and what each command does.

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    app,
    config::{self, Config},
    dispatcher::Shard,
    once::{self, Output},
    plan, rules, validate,
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

    /// Reads the configuration again when it changes, not on SIGHUP and POST /-/reload alone
    #[arg(long)]
    watch: bool,

    /// Runs the monitors of one of N daemons that share them: I from 0, or `ordinal` for the number at
    /// the end of the host's name
    #[arg(long, global = true, value_name = "I/N")]
    shard: Option<Shard>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads the configuration and prints every problem of it
    Validate {
        /// Says too what would change: from that file, or from what the daemon at that URL runs by its own
        #[arg(long, value_name = "FILE|URL")]
        diff: Option<String>,
    },
    /// Says what the configuration asks of the machine, and what the machine or a limit denies it
    Plan,
    /// Prints a JSON Schema of the configuration, for editors to complete it from
    Schema,
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
        let config = match &self.command {
            // It is the same for all of them.
            Some(Command::Schema) => Ok(Config::default()),
            _ => config::read(&self.config),
        };
        let mut config = match config {
            Ok(config) => config,
            Err(invalid) => {
                complain(&invalid);
                return ExitCode::from(USAGE);
            }
        };
        if let Some(shard) = self.shard {
            app::keep_for(shard, &mut config);
        }
        match self.command {
            None => {
                let setup = app::Setup {
                    file: Some(self.config),
                    watch: self.watch,
                    shard: self.shard,
                    ..app::Setup::default()
                };
                ended(app::run_as(&config, setup), FAILURE)
            }
            Some(Command::Schema) => printed("schema", config::SCHEMA),
            Some(Command::Validate { diff }) => {
                for warning in validate::warnings(&config) {
                    complain(&warning);
                }
                match validate::tell(&self.config, &config, diff.as_deref(), self.shard) {
                    Ok(told) => printed("difference", &told),
                    Err(error) => ended(Err(error), FAILURE),
                }
            }
            Some(Command::Plan) => match plan::run(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => ended(Err(format!("failed to print the plan: {error}")), FAILURE),
            },
            Some(Command::Rules) => printed("rules", &rules::of(&config).to_string()),
            Some(Command::Once { output, monitors }) => {
                match once::run(config, &monitors, output) {
                    Ok(true) => ExitCode::SUCCESS,
                    Ok(false) => ExitCode::from(FAILURE),
                    Err(error) => {
                        let code = error.exit_code();
                        ended(Err(error), code)
                    }
                }
            }
        }
    }
}

/// The exit code of a command that has ended, `code` where it failed.
fn ended<E: Display>(result: Result<(), E>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("monitoringdaemon: {error}"));
            ExitCode::from(code)
        }
    }
}

/// Prints `text`, which is all that there is to do.
fn printed(what: &str, text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!(
                "monitoringdaemon: failed to print the {what}: {error}"
            ));
            ExitCode::from(FAILURE)
        }
    }
}

/// Writes to stderr in one go; where that is closed, the exit code has to do.
fn complain(what: &dyn Display) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}
