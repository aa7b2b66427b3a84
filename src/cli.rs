//! The command line: parses commands and flags, and runs the command.

use std::{
    fmt::Display,
    io::{self, Write},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    app::RunOptions,
    commands::{
        blackbox, completions, explain, healthcheck, ignore_closed_pipe, import, man,
        once::{self, Output},
        plan, rules, run, schema, validate,
    },
    config::{self, Config},
    dispatcher::Shard,
    exit_code,
    value::{FromNode, Node},
};

/// The version, and what it was built from and by.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision: ",
    env!("MONITORINGDAEMON_REVISION"),
    ")\n  date:     ",
    env!("MONITORINGDAEMON_DATE"),
    "\n  compiler: rustc ",
    env!("MONITORINGDAEMON_RUSTC"),
    "\n  platform: ",
    env!("MONITORINGDAEMON_TARGET"),
);

/// Scheduled availability checks with failure reasons, exported to Prometheus
#[derive(Debug, Parser)]
#[command(
    name = "monitoringdaemon",
    version,
    long_version = LONG_VERSION,
    arg_required_else_help = false,
    args_override_self = true
)]
pub struct Cli {
    /// Configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "config.yml"
    )]
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
        /// Configurations to check instead of --config; `-` is standard input
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,

        /// Also print what would change compared with FILE, or what the daemon at URL would change on
        /// reload
        #[arg(long, value_name = "FILE|URL")]
        diff: Option<String>,

        /// Output format of problems and warnings
        #[arg(long, value_enum, default_value_t)]
        output: validate::Output,

        /// Fail on warnings too
        #[arg(long)]
        strict: bool,
    },
    /// Estimate the resources this configuration needs, and warn about limits it exceeds
    Plan,
    /// Probe on request as blackbox_exporter does, with its command line and its configuration
    Blackbox(blackbox::Flags),
    /// Print a JSON Schema of the configuration, for editors
    Schema,
    /// Print a configuration made from that of another program, and what was left out
    Import(import::Options),
    /// Print Prometheus recording and alerting rules for the configured SLOs
    Rules,
    /// Run every monitor once, print the results, and exit with status 1 if a check failed
    ///
    /// Results are not states: `confirm`, `depends_on` and `maintenance` are ignored. Paused monitors run only if
    /// they are named.
    Once {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,

        /// Also print the steps of each check, as `explain` does
        #[arg(long, short)]
        verbose: bool,

        /// Monitors to run, by name [default: all]
        #[arg(value_name = "MONITOR")]
        monitors: Vec<String>,
    },
    /// Run one monitor once, print the check step by step, and exit with status 1 if it failed
    Explain {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        output: explain::Output,

        /// The monitor to run, by name
        #[arg(value_name = "MONITOR")]
        monitor: String,
    },
    /// Exit with status 0 if the daemon answers that it is healthy, for containers
    Healthcheck {
        /// Address of the daemon [default: the first one under server.listen]
        #[arg(value_name = "URL")]
        url: Option<String>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page
    Man,
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
        self.run_command().unwrap_or_else(|code| code)
    }

    fn run_command(self) -> Result<ExitCode, ExitCode> {
        let Self {
            config: path,
            watch,
            poll_interval,
            min_reload_interval,
            shard,
            command,
        } = self;
        let read_config = || read_config(&path, shard);
        let code = match command {
            None => {
                let config = read_config()?;
                let options = RunOptions {
                    config_path: Some(path),
                    watch,
                    shard,
                    poll_interval,
                    min_reload_interval,
                    ..RunOptions::default()
                };
                exit_code(run::run(&config, options), exit_code::FAILURE)
            }
            Some(Command::Blackbox(flags)) => blackbox::run(&flags),
            Some(Command::Schema) => print_stdout("schema", schema::text()),
            Some(Command::Import(options)) => {
                match import::run(&options, &mut io::stdout(), &mut io::stderr()) {
                    Ok(true) => ExitCode::SUCCESS,
                    Ok(false) => ExitCode::from(exit_code::FAILURE),
                    Err(error) => exit_code(Err(error), exit_code::USAGE),
                }
            }
            Some(Command::Validate {
                files,
                diff,
                output,
                strict,
            }) => {
                let options = validate::Options {
                    files: if files.is_empty() { vec![path] } else { files },
                    diff,
                    shard,
                    output,
                    strict,
                };
                match validate::run(&options) {
                    Ok((text, code)) => match print_stdout("result", &text) {
                        ExitCode::SUCCESS => ExitCode::from(code),
                        failure => failure,
                    },
                    Err(error) => {
                        let code = error.exit_code();
                        exit_code(Err(error), code)
                    }
                }
            }
            Some(Command::Plan) => {
                let printed = ignore_closed_pipe(plan::run(&read_config()?));
                let printed = printed.map_err(|error| format!("failed to print the plan: {error}"));
                exit_code(printed, exit_code::FAILURE)
            }
            Some(Command::Rules) => {
                print_stdout("rules", &rules::for_config(&read_config()?).to_string())
            }
            Some(Command::Once {
                output,
                verbose,
                monitors,
            }) => {
                let options = once::Options { output, verbose };
                checked(once::run(read_config()?, &monitors, options))
            }
            Some(Command::Explain { output, monitor }) => {
                checked(explain::run(read_config()?, monitor, output))
            }
            Some(Command::Healthcheck { url }) => {
                let result = healthcheck::run(&path, url.as_deref());
                let code = result
                    .as_ref()
                    .err()
                    .map_or(exit_code::SUCCESS, healthcheck::Error::exit_code);
                exit_code(result, code)
            }
            Some(Command::Completions { shell }) => {
                let script = completions::script(&mut Self::command(), shell);
                print_stdout("completion script", &script)
            }
            Some(Command::Man) => print_stdout("manual page", &man::page(&Self::command())),
        };
        Ok(code)
    }
}

/// The exit code of a command that has run checks.
fn checked(result: Result<bool, once::Error>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit_code::FAILURE),
        Err(error) => {
            let code = error.exit_code();
            exit_code(Err(error), code)
        }
    }
}

/// Reads the configuration, of which only `shard` is kept; problems are printed to stderr.
fn read_config(path: &Path, shard: Option<Shard>) -> Result<Config, ExitCode> {
    let mut config = config::read(path).map_err(|invalid| {
        print_error(&invalid);
        ExitCode::from(exit_code::USAGE)
    })?;
    if let Some(shard) = shard {
        config.retain_shard(shard);
    }
    Ok(config)
}

/// The exit code of a command that has ended, `code` if it failed.
fn exit_code<E: Display>(result: Result<(), E>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format_args!("monitoringdaemon: {error}"));
            ExitCode::from(code)
        }
    }
}

/// Prints `text`, which is all that a command does. A reader that has seen enough, such as `head`, is no failure.
fn print_stdout(what: &str, text: &str) -> ExitCode {
    let printed = ignore_closed_pipe(io::stdout().write_all(text.as_bytes()));
    let printed = printed.map_err(|error| format!("failed to print the {what}: {error}"));
    exit_code(printed, exit_code::FAILURE)
}

/// Writes a line to stderr; errors are ignored, because the exit code tells the result.
fn print_error(what: &dyn Display) {
    let _ = io::stderr().write_all(format!("{what}\n").as_bytes());
}
