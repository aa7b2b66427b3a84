//! Runs the selected monitors once.

use std::{
    io::{self, Write},
    time::Duration,
};

use tokio::task::JoinSet;

use super::Output;
use crate::{
    check::{Job, Outcome, Report, StepLimits, Steps},
    commands::{
        explain::{self, Style},
        ignore_closed_pipe,
    },
    config::Config,
    descriptors::{self, Budget},
    dispatcher::{self, ConcurrencyLimits},
    exit_code, logging,
    net::Net,
    runtime,
    value::nearest,
};

/// The reason why monitors were not run, or their results not printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name on the command line is not the name of a monitor.
    #[error("unknown monitor {name:?}{}", did_you_mean(.nearest.as_deref()))]
    UnknownMonitor {
        /// The name.
        name: String,
        /// The monitor that was probably meant.
        nearest: Option<String>,
    },
    /// A thread could not be started.
    #[error("failed to start: {0}")]
    Start(#[source] io::Error),
    /// Writing to standard output failed.
    #[error("failed to print the results: {0}")]
    Print(#[source] io::Error),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(", did you mean {name:?}?"))
        .unwrap_or_default()
}

impl Error {
    /// The exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownMonitor { .. } => exit_code::USAGE,
            Self::Start(_) | Self::Print(_) => exit_code::FAILURE,
        }
    }
}

/// A monitor with the result of its check.
pub(in crate::commands) struct CheckResult {
    pub job: Job,
    pub report: Report,
}

/// Options of the output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The output format.
    pub output: Output,
    /// True to print the steps of each check.
    pub verbose: bool,
}

/// Runs the monitors with these `names`, or all, and prints the results in the order of the file.
///
/// Returns true if every check succeeded.
///
/// # Errors
/// If a name is unknown, or the results cannot be printed.
pub fn run(mut config: Config, names: &[String], options: Options) -> Result<bool, Error> {
    select(&mut config, names)?;
    let logging =
        logging::start(&config.log.settings(), logging::Output::Stderr).map_err(Error::Start)?;
    let budget = Budget {
        checks: config.dispatcher.max_concurrent_checks,
        connections: 0,
    };
    config.dispatcher.max_concurrent_checks = budget.within(descriptors::raise_limit()).checks;
    let runtime = runtime::build(dispatcher::cores()).map_err(Error::Start)?;
    let results = runtime.block_on(check_all(&config, options.verbose));
    runtime.shutdown_background();
    logging.finish(LOG_FLUSH_TIMEOUT);
    let mut out = io::stdout().lock();
    let printed = print(&results, options, &mut out);
    ignore_closed_pipe(printed).map_err(Error::Print)?;
    Ok(results
        .iter()
        .all(|result| result.report.outcome() == Outcome::Success))
}

fn print(results: &[CheckResult], options: Options, out: &mut impl Write) -> io::Result<()> {
    if options.verbose && options.output == Output::Table {
        let style = Style::for_stdout();
        for result in results {
            explain::write(result, style, out)?;
            writeln!(out)?;
        }
    }
    options.output.print(results, out)
}

/// Maximum wait for the log to be written at the end.
pub(in crate::commands) const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(400);

/// Keeps only the monitors with these `names`; without names, all that are not paused.
pub(in crate::commands) fn select(config: &mut Config, names: &[String]) -> Result<(), Error> {
    for name in names {
        if !config.monitors.iter().any(|monitor| monitor.name == *name) {
            let known: Vec<_> = config
                .monitors
                .iter()
                .map(|monitor| &*monitor.name)
                .collect();
            let nearest = nearest(name, &known).map(ToOwned::to_owned);
            return Err(Error::UnknownMonitor {
                name: name.clone(),
                nearest,
            });
        }
    }
    config.monitors.retain(|monitor| {
        if names.is_empty() {
            monitor.enabled
        } else {
            names.contains(&monitor.name)
        }
    });
    Ok(())
}

/// Checks every monitor within the limits of the dispatcher.
async fn check_all(config: &Config, verbose: bool) -> Vec<CheckResult> {
    let limits = config.dispatcher;
    let mut limits = ConcurrencyLimits::new(
        limits.max_concurrent_checks,
        limits.max_concurrent_checks_per_host,
    );
    let mut checks = JoinSet::new();
    for (index, job) in config.jobs(&Net::system()).into_iter().enumerate() {
        let permits = limits.for_host(job.host());
        checks.spawn(async move {
            let _permit = permits.acquire_without_deadline().await;
            let steps = if verbose {
                Steps::record(StepLimits::EXPLAIN)
            } else {
                Steps::none()
            };
            let report = job.check_with_steps(steps).await;
            job.monitor.log(&job.name, &report);
            (index, CheckResult { job, report })
        });
    }
    let mut results = checks.join_all().await;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
