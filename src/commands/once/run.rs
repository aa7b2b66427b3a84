//! Runs the selected monitors once.

use std::{io, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, interval_at},
};

use super::{Output, output::Printing, watch::watch};
use crate::{
    check::{Job, Outcome, Report, StepLimits, Steps},
    commands::{discover::discover, ignore_closed_pipe, progress::Progress, table},
    config::{self, Config},
    descriptors::{self, Budget},
    discovery,
    dispatcher::{self, ConcurrencyLimits, Shard},
    exit_code::{self, WithExitCode},
    logging,
    net::Net,
    runtime::Runtime,
    value::nearest,
};

/// The reason why monitors were not run, or their results not printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
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
    /// XML documents cannot follow each other.
    #[error("--watch needs --output table or json")]
    WatchedJunit,
    /// Writing to standard output failed.
    #[error("failed to print the results: {0}")]
    Print(#[source] io::Error),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(", did you mean {name:?}?"))
        .unwrap_or_default()
}

impl WithExitCode for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownMonitor { .. } | Self::WatchedJunit => exit_code::USAGE,
            Self::Start(_) | Self::Print(_) => exit_code::FAILURE,
        }
    }
}

/// A monitor with the result of its check.
pub(in crate::commands) struct CheckResult {
    pub job: Job,
    pub report: Report,
}

/// Options from the command line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// The output format.
    pub output: Output,
    /// True to print the steps of each check.
    pub verbose: bool,
    /// True to print failed checks only.
    pub quiet: bool,
    /// True to run the monitors of discovered targets too.
    pub discover: bool,
    /// The interval at which the monitors are run again.
    pub watch: Option<Duration>,
    /// The share of the monitors that is run.
    pub shard: Option<Shard>,
}

/// Runs the monitors with these `names`, or all, and prints the results in the order of the file.
///
/// Returns true if every check succeeded, the last time if they are run again and again.
///
/// # Errors
/// If a name is unknown, or the results cannot be printed.
pub(crate) fn run(mut config: Config, names: &[String], options: Options) -> Result<bool, Error> {
    if options.watch.is_some() && options.output == Output::Junit {
        return Err(Error::WatchedJunit);
    }
    let logging =
        logging::start(&config.log.settings(), logging::Output::Stderr).map_err(Error::Start)?;
    let runtime = Runtime::start(dispatcher::cores()).map_err(Error::Start)?;
    let net = Net::system();
    let result = runtime.block_on(async {
        if options.discover {
            add_discovered(&mut config, &net).await;
        }
        if let Some(shard) = options.shard {
            config.retain_shard(shard);
        }
        select(&mut config, names)?;
        let budget = Budget {
            checks: config.dispatcher.max_concurrent_checks,
            probes: 0,
            connections: 0,
        };
        config.dispatcher.max_concurrent_checks = budget.within(descriptors::raise_limit()).checks;
        let jobs = config.jobs(&net);
        let round = Round {
            jobs: &jobs,
            limits: config.dispatcher,
            options,
        };
        match options.watch {
            Some(interval) => watch(&round, interval).await,
            None => run_once(&round).await,
        }
    });
    runtime.shutdown_background();
    logging.finish(LOG_FLUSH_TIMEOUT);
    result
}

async fn run_once(round: &Round<'_>) -> Result<bool, Error> {
    let results = round.check_all().await;
    let printing = round.printing(table::terminal_size().map(|(_, columns)| columns));
    let printed = printing.print(&results, &mut io::stdout().lock());
    ignore_closed_pipe(printed).map_err(Error::Print)?;
    Ok(have_succeeded(&results))
}

pub(super) fn have_succeeded(results: &[CheckResult]) -> bool {
    let mut outcomes = results.iter().map(|result| result.report.outcome());
    outcomes.all(|outcome| outcome == Outcome::Success)
}

/// Adds the monitors of discovered targets. What else became of targets is logged.
async fn add_discovered(config: &mut Config, net: &Net) {
    for list in discover(config, net).await {
        let (block, source) = (&*list.block, &*list.source);
        let targets = match list.targets {
            Ok(targets) => targets,
            Err(error) => {
                let list = list.list;
                tracing::warn!(block, source, list, error, "Failed to read target list");
                continue;
            }
        };
        for target in targets {
            let address = target.address;
            match target.outcome {
                discovery::Outcome::Monitor(monitor) => config.monitors.push(monitor),
                discovery::Outcome::Dropped { .. } => {}
                discovery::Outcome::Duplicate(name) => {
                    let monitor = &*name;
                    tracing::warn!(block, monitor, "Duplicate monitor name; target ignored");
                }
                discovery::Outcome::Rejected { error } => {
                    tracing::warn!(block, target = address, error, "Target rejected");
                }
            }
        }
    }
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

/// The monitors, which may be run several times.
pub(super) struct Round<'r> {
    jobs: &'r [Job],
    limits: config::Dispatcher,
    pub options: Options,
}

/// Interval at which the progress is shown anew.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

impl Round<'_> {
    /// Options of what is printed, on a terminal of `width` characters.
    pub(super) fn printing(&self, width: Option<u16>) -> Printing {
        let Options {
            output,
            verbose,
            quiet,
            watch,
            ..
        } = self.options;
        Printing {
            output,
            verbose,
            quiet,
            width,
            has_time: watch.is_some(),
        }
    }

    /// Checks every monitor within the limits of the dispatcher.
    pub(super) async fn check_all(&self) -> Vec<CheckResult> {
        let mut limits = ConcurrencyLimits::new(
            self.limits.max_concurrent_checks,
            self.limits.max_concurrent_checks_per_host,
        );
        let Options {
            output,
            verbose,
            quiet,
            ..
        } = self.options;
        let mut checks = JoinSet::new();
        for (index, job) in self.jobs.iter().cloned().enumerate() {
            let permits = limits.for_host(job.host());
            checks.spawn(async move {
                let _permit = permits.acquire_without_deadline().await;
                let steps = if verbose {
                    Steps::record(StepLimits::EXPLAIN)
                } else {
                    Steps::none()
                };
                let report = job.check_with_steps(steps).await;
                // The table says the same.
                if output != Output::Table && !(quiet && report.failure.is_none()) {
                    job.monitor.log(&job.name, &report);
                }
                (index, CheckResult { job, report })
            });
        }
        let mut progress = Progress::new(checks.len());
        let mut ticks = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        let mut results = Vec::with_capacity(checks.len());
        loop {
            tokio::select! {
                ended = checks.join_next() => {
                    let Some(ended) = ended else { break };
                    let result = ended.expect("a check that panics is a failed check");
                    progress.advance(result.1.report.failure.is_none());
                    results.push(result);
                }
                _ = ticks.tick(), if !quiet => progress.show(),
            }
        }
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }
}
