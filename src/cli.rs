//! The command line: parses commands and flags, and runs the command.

use std::{
    fmt::Display,
    io::{self, Write},
    ops::RangeInclusive,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};

use crate::{
    app::RunOptions,
    commands::{
        blackbox,
        once::{self, Output},
        plan, rules, run, schema, validate,
    },
    config::{self, Config},
    dispatcher::Shard,
    exit_code,
    value::{FromNode, Node},
};

/// Scheduled availability checks with failure reasons, exported to Prometheus
#[derive(Debug, Parser)]
#[command(
    name = "monitoringdaemon",
    version,
    arg_required_else_help = false,
    args_override_self = true
)]
pub struct Cli {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = "config.yml")]
    config: PathBuf,

    /// Also reload when the configuration files change (SIGHUP and POST /-/reload always do)
    #[arg(long)]
    watch: bool,

    /// How often to look for changed files: the configuration, files it refers to, and the server's
    /// certificate
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    poll_interval: Duration,

    /// Minimum time between two reloads
    #[arg(long, hide = true, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    min_reload_interval: Duration,

    /// Run only shard I of N (from 0); `ordinal` takes I from the trailing number of the host name
    #[arg(long, global = true, value_name = "I/N")]
    shard: Option<Shard>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and print every problem
    Validate {
        /// Also print what would change compared with FILE, or what the daemon at URL would change on
        /// reload
        #[arg(long, value_name = "FILE|URL")]
        diff: Option<String>,
    },
    /// Estimate the resources this configuration needs, and warn about limits it exceeds
    Plan,
    /// Probe on request as blackbox_exporter does, with its command line and its configuration
    Blackbox(blackbox::Flags),
    /// Print a JSON Schema of the configuration, for editors
    Schema,
    /// Print Prometheus recording and alerting rules for the configured SLOs
    Rules,
    /// Run every monitor once, print the results, and exit with status 1 if a check failed
    Once {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,

        /// Monitors to run, by name [default: all]
        #[arg(value_name = "MONITOR")]
        monitors: Vec<String>,
    },
}

/// An interval from a hundredth of a second to a day.
fn interval(text: &str) -> Result<Duration, String> {
    const ALLOWED: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(24);
    let interval = Duration::from_node(&Node::Text(text.to_owned()))?;
    if !ALLOWED.contains(&interval) {
        return Err("expected 10ms to 24h".to_owned());
    }
    Ok(interval)
}

/// Probes on request as blackbox_exporter does, with its command line and its configuration
#[derive(Debug, Parser)]
#[command(name = "blackbox_exporter", version, args_override_self = true)]
pub struct BlackboxCli {
    #[command(flatten)]
    flags: blackbox::Flags,
}

/// Does what the command line says, by the name that the program was called by.
#[must_use]
pub fn main() -> ExitCode {
    if blackbox::is_called_blackbox_exporter() {
        let BlackboxCli { flags } = BlackboxCli::parse();
        blackbox::run(&flags)
    } else {
        Cli::parse().run()
    }
}

impl Cli {
    /// Runs the command. Problems are printed to stderr.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let config = match &self.command {
            // The schema does not depend on the configuration.
            Some(Command::Schema) => Ok(Config::default()),
            Some(Command::Blackbox(flags)) => return blackbox::run(flags),
            _ => config::read(&self.config),
        };
        let mut config = match config {
            Ok(config) => config,
            Err(invalid) => {
                print_error(&invalid);
                return ExitCode::from(exit_code::USAGE);
            }
        };
        if let Some(shard) = self.shard {
            config.retain_shard(shard);
        }
        match self.command {
            None => {
                let options = RunOptions {
                    config_path: Some(self.config),
                    watch: self.watch,
                    shard: self.shard,
                    poll_interval: self.poll_interval,
                    min_reload_interval: self.min_reload_interval,
                    ..RunOptions::default()
                };
                exit_code(run::run(&config, options), exit_code::FAILURE)
            }
            Some(Command::Blackbox(_)) => ExitCode::SUCCESS,
            Some(Command::Schema) => print_stdout("schema", schema::text()),
            Some(Command::Validate { diff }) => {
                for warning in validate::warnings(&config) {
                    print_error(&warning);
                }
                match validate::run(&self.config, &config, diff.as_deref(), self.shard) {
                    Ok(text) => print_stdout("difference", &text),
                    Err(error) => exit_code(Err(error), exit_code::FAILURE),
                }
            }
            Some(Command::Plan) => match plan::run(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    let error = format!("failed to print the plan: {error}");
                    exit_code(Err(error), exit_code::FAILURE)
                }
            },
            Some(Command::Rules) => print_stdout("rules", &rules::for_config(&config).to_string()),
            Some(Command::Once { output, monitors }) => {
                match once::run(config, &monitors, output) {
                    Ok(true) => ExitCode::SUCCESS,
                    Ok(false) => ExitCode::from(exit_code::FAILURE),
                    Err(error) => {
                        let code = error.exit_code();
                        exit_code(Err(error), code)
                    }
                }
            }
        }
    }
}

/// The exit code of a finished command: `code` if it failed.
fn exit_code<E: Display>(result: Result<(), E>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format_args!("monitoringdaemon: {error}"));
            ExitCode::from(code)
        }
    }
}

/// Prints `text` to stdout, and returns the exit code.
fn print_stdout(what: &str, text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format_args!(
                "monitoringdaemon: failed to print the {what}: {error}"
            ));
            ExitCode::from(exit_code::FAILURE)
        }
    }
}

/// Writes a line to stderr; errors are ignored, because the exit code tells the result.
fn print_error(what: &dyn Display) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}
