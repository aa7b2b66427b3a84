//! Runs one monitor once and records the steps of its check.

use std::io::{self, Write};

use clap::ValueEnum;

use super::{Style, write};
use crate::{
    check::{Outcome, StepLimits, Steps},
    commands::{
        ignore_closed_pipe,
        once::{self, CheckResult, Error},
    },
    config::Config,
    dispatcher, logging,
    net::Net,
    runtime::Runtime,
};

/// The output format of `explain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A line per step
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Runs the monitor called `name` once and prints its check step by step.
///
/// Returns whether the check succeeded.
///
/// # Errors
/// If there is no such monitor, or the steps cannot be printed.
pub(crate) fn run(mut config: Config, name: String, output: Output) -> Result<bool, Error> {
    once::select(&mut config, &[name])?;
    let logging =
        logging::start(&config.log.settings(), logging::Output::Stderr).map_err(Error::Start)?;
    let runtime = Runtime::start(dispatcher::cores()).map_err(Error::Start)?;
    let mut jobs = config.jobs(&Net::system()).into_iter();
    let job = jobs.next().expect("one monitor was selected");
    let steps = Steps::record(StepLimits::EXPLAIN);
    let report = runtime.block_on(job.check_with_steps(steps));
    runtime.shutdown_background();
    logging.finish(once::LOG_FLUSH_TIMEOUT);
    let succeeded = report.outcome() == Outcome::Success;
    let result = CheckResult { job, report };
    let mut out = io::stdout().lock();
    let printed = match output {
        Output::Text => write(&result, Style::for_stdout(), &mut out),
        Output::Json => once::write_json(&result, false, &mut out),
    };
    ignore_closed_pipe(printed.and_then(|()| out.flush())).map_err(Error::Print)?;
    Ok(succeeded)
}
