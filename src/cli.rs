//! The command line: parses commands and flags, and runs the command.

use std::{
    fmt::Display,
    io::{self, Write},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    app::RunOptions,
    commands::{
        blackbox, completions, explain, healthcheck, history, ignore_closed_pipe, import, man,
        once, plan, rules, run, schema, targets, validate,
    },
    config::{self, Config},
    dispatcher::Shard,
    exit_code::{self, WithExitCode},
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

/// Flags of the whole program, and the commands that do not use them.
const UNUSED_FLAGS: [(&str, &[&str]); 2] = [
    (
        "config",
        &["blackbox", "completions", "import", "man", "schema"],
    ),
    (
        "shard",
        &[
            "blackbox",
            "completions",
            "healthcheck",
            "history",
            "import",
            "man",
            "schema",
        ],
    ),
];

/// Availability monitoring you can audit: scheduled checks with reasons for failures, exported to Prometheus
#[derive(Debug, Parser)]
#[command(
    name = "monitoringdaemon",
    version,
    long_version = LONG_VERSION,
    arg_required_else_help = false,
    after_help = "Without a command, the daemon runs: it checks every monitor on its schedule, and serves metrics and a \
        status page.",
    args_override_self = true
)]
pub struct Cli {
    /// Configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = config::DEFAULT_FILE
    )]
    config: PathBuf,

    /// Also reload when the configuration files change (SIGHUP and POST /-/reload always do)
    #[arg(long)]
    watch: bool,

    /// Interval at which to look for changed files: the configuration, files it refers to, and the server's
    /// certificate
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    poll_interval: Duration,

    /// Minimum time between two reloads
    #[arg(long, hide = true, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    min_reload_interval: Duration,

    /// Time between batches that are written to the store
    #[arg(long, hide = true, value_name = "DURATION", default_value = "4s", value_parser = interval)]
    storage_interval: Duration,

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
    Plan {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        output: plan::Output,
    },
    /// Probe on request as blackbox_exporter does, with its command line and its configuration
    Blackbox(blackbox::Flags),
    /// Print a JSON Schema of the configuration, for editors
    Schema,
    /// Print a configuration made from that of another program, and what was left out
    Import(import::Options),
    /// Print Prometheus recording and alerting rules for the configured SLOs
    Rules {
        /// Write the rules to FILE instead, completely or not at all
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run every monitor once, print the results, and exit with status 1 if a check failed
    ///
    /// Results are not states: `confirm`, `depends_on` and `maintenance` are ignored. Paused monitors run only if
    /// they are named.
    Once {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        output: once::Output,

        /// Also print the steps of each check, as `explain` does
        #[arg(long, short)]
        verbose: bool,

        /// Print failed checks only, and the number of them under the table
        #[arg(long, short)]
        quiet: bool,

        /// Also run the monitors of targets that are discovered now
        #[arg(long)]
        discover: bool,

        /// Run the monitors again every SECONDS until a signal comes; on a terminal, the last results are shown
        #[arg(long, value_name = "SECONDS", value_parser = interval)]
        watch: Option<Duration>,

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
    /// Look up the targets of `discovery` once, and print which monitor each one becomes or why none
    ///
    /// The exit status is 1 if a list could not be read, or a target was refused.
    Targets {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        output: targets::Output,
    },
    /// Print, prune or check the stored history of monitors
    History(history::Options),
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

/// An interval from a hundredth of a second to a day: a number of seconds, or a value with a unit.
fn interval(text: &str) -> Result<Duration, String> {
    const ALLOWED: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(24);
    let node = match text.parse() {
        Ok(seconds) => Node::Float(seconds),
        Err(_) => Node::Text(text.to_owned()),
    };
    let interval = Duration::from_node(&node)?;
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

/// The commands and their flags. The help of a command shows no flag that it does not use.
fn clap_command() -> clap::Command {
    let mut command = Cli::command();
    for (flag, commands) in UNUSED_FLAGS {
        let arguments = command.get_arguments();
        let hidden: Vec<_> = arguments
            .filter(|argument| argument.get_id() == flag)
            .map(|argument| argument.clone().hide(true))
            .collect();
        for name in commands {
            command = command.mut_subcommand(name, |command| command.args(&hidden));
        }
    }
    command
}

/// Does what the command line says, by the name that the program was called by.
#[must_use]
pub fn main() -> ExitCode {
    if blackbox::is_called_blackbox_exporter() {
        let BlackboxCli { flags } = BlackboxCli::parse();
        blackbox::run(&flags)
    } else {
        let matches = clap_command().get_matches();
        let cli = Cli::from_arg_matches(&matches);
        cli.unwrap_or_else(|error| error.format(&mut clap_command()).exit())
            .run()
    }
}

/// A command that failed.
struct Failed {
    /// The exit code of the program.
    code: u8,
    /// The message for stderr.
    message: String,
}

impl<E: WithExitCode> From<E> for Failed {
    fn from(error: E) -> Self {
        let message = if error.has_location() {
            error.to_string()
        } else {
            format!("monitoringdaemon: {error}")
        };
        Self {
            code: error.exit_code(),
            message,
        }
    }
}

/// Output that could not be written to stdout.
#[derive(Debug, thiserror::Error)]
#[error("failed to print the {what}: {source}")]
struct PrintError {
    what: &'static str,
    source: io::Error,
}

impl WithExitCode for PrintError {
    fn exit_code(&self) -> u8 {
        exit_code::FAILURE
    }
}

impl Cli {
    /// Runs the command. Problems are printed to stderr.
    #[must_use]
    pub fn run(self) -> ExitCode {
        self.run_command().unwrap_or_else(|failed| {
            print_error(&failed.message);
            ExitCode::from(failed.code)
        })
    }

    fn run_command(self) -> Result<ExitCode, Failed> {
        let Self {
            config: path,
            watch,
            poll_interval,
            min_reload_interval,
            storage_interval,
            shard,
            command,
        } = self;
        let read_config = || read_config(&path, shard);
        match command {
            None => {
                let config = read_config()?;
                let options = RunOptions {
                    config_path: Some(path),
                    watch,
                    shard,
                    poll_interval,
                    min_reload_interval,
                    storage_interval,
                    ..RunOptions::default()
                };
                run::run(config, options)?;
            }
            Some(Command::Blackbox(flags)) => return Ok(blackbox::run(&flags)),
            Some(Command::Schema) => print_stdout("schema", schema::text())?,
            Some(Command::Import(options)) => {
                let is_complete = import::run(&options, &mut io::stdout(), &mut io::stderr())?;
                return Ok(exit_code::of(is_complete));
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
                let (text, code) = validate::run(&options)?;
                print_stdout("result", &text)?;
                return Ok(ExitCode::from(code));
            }
            Some(Command::Plan { output }) => {
                print_stdout("plan", &plan::text(&read_config()?, output))?;
            }
            Some(Command::Rules { output }) => {
                let rules = rules::for_config(&read_config()?).to_string();
                match output {
                    Some(file) => print_error(&rules::write(&file, &rules)?),
                    None => print_stdout("rules", &rules)?,
                }
            }
            Some(Command::Once {
                output,
                verbose,
                quiet,
                discover,
                watch,
                monitors,
            }) => {
                let options = once::Options {
                    output,
                    verbose,
                    quiet,
                    discover,
                    watch,
                    shard,
                };
                // Discovered monitors may have the names that are asked for.
                let config = read_whole_config(&path)?;
                return Ok(exit_code::of(once::run(config, &monitors, options)?));
            }
            Some(Command::Explain { output, monitor }) => {
                return Ok(exit_code::of(explain::run(
                    read_config()?,
                    monitor,
                    output,
                )?));
            }
            Some(Command::Targets { output }) => {
                let config = read_whole_config(&path)?;
                return Ok(exit_code::of(targets::run(&config, shard, output)?));
            }
            Some(Command::History(options)) => {
                return Ok(exit_code::of(history::run(options, &path)?));
            }
            Some(Command::Healthcheck { url }) => healthcheck::run(&path, url.as_deref())?,
            Some(Command::Completions { shell }) => {
                let script = completions::script(&mut clap_command(), shell);
                print_stdout("completion script", &script)?;
            }
            Some(Command::Man) => print_stdout("manual page", &man::page(&clap_command()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads the configuration.
fn read_whole_config(path: &Path) -> Result<Config, Failed> {
    config::read(path).map_err(|invalid| Failed {
        code: exit_code::USAGE,
        // Each problem begins with the file and the line.
        message: invalid.to_string(),
    })
}

/// Reads the configuration, of which only `shard` is kept.
fn read_config(path: &Path, shard: Option<Shard>) -> Result<Config, Failed> {
    let mut config = read_whole_config(path)?;
    if let Some(shard) = shard {
        config.retain_shard(shard);
    }
    Ok(config)
}

/// Prints `text`, which is all that a command does. A reader that has seen enough, such as `head`, is no failure.
fn print_stdout(what: &'static str, text: &str) -> Result<(), PrintError> {
    let printed = ignore_closed_pipe(io::stdout().write_all(text.as_bytes()));
    printed.map_err(|source| PrintError { what, source })
}

/// Writes a line to stderr; errors are ignored, because the exit code tells the result.
fn print_error(what: &dyn Display) {
    let line = crate::text::without_os_codes(format!("{what}\n"));
    let _ = io::stderr().write_all(line.as_bytes());
}
