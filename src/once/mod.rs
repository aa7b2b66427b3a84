//! `once`: every monitor one time, and the results for people, programs or CI.

mod output;

use std::{io, sync::Arc, time::Duration};

use tokio::{runtime::Runtime, sync::Semaphore, task::JoinSet};

use crate::{
    app,
    check::{Job, Outcome, Report},
    cli,
    config::Config,
    logging,
    net::Net,
    value::nearest,
};

pub use output::Output;

/// Why the monitors were not run, or their results not printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name on the command line is that of no monitor.
    #[error("there is no monitor {name:?}{}", did_you_mean(.nearest.as_deref()))]
    UnknownMonitor {
        /// The name.
        name: String,
        /// The monitor that was probably meant.
        nearest: Option<String>,
    },
    /// The system gives no thread.
    #[error("failed to start: {0}")]
    Start(#[source] io::Error),
    /// Standard output is closed or full.
    #[error("failed to print the results: {0}")]
    Print(#[source] io::Error),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(", did you mean {name:?}?"))
        .unwrap_or_default()
}

impl Error {
    /// The exit code that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownMonitor { .. } => cli::USAGE,
            Self::Start(_) | Self::Print(_) => cli::FAILURE,
        }
    }
}

/// A monitor with what its one check found out.
struct Checked {
    job: Job,
    report: Report,
}

/// Runs the monitors called `names`, or all, and prints the result of each in the order of the file.
///
/// Returns whether every check succeeded.
///
/// # Errors
/// Where there is no such monitor, or the results cannot be printed.
pub fn run(mut config: Config, names: &[String], output: Output) -> Result<bool, Error> {
    select(&mut config, names)?;
    let logging =
        logging::start(&config.log.settings(), logging::Output::Stderr).map_err(Error::Start)?;
    app::raise_descriptor_limit();
    let runtime = Runtime::new().map_err(Error::Start)?;
    let checked = runtime.block_on(check_all(&config));
    runtime.shutdown_background();
    logging.finish(LOG_PATIENCE);
    output
        .print(&checked, &mut io::stdout().lock())
        .map_err(Error::Print)?;
    Ok(checked
        .iter()
        .all(|checked| checked.report.outcome() == Outcome::Success))
}

/// How long a reader of the log may hold up the end.
const LOG_PATIENCE: Duration = Duration::from_millis(400);

/// Leaves only the monitors called `names`, unless there are none.
fn select(config: &mut Config, names: &[String]) -> Result<(), Error> {
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
    if !names.is_empty() {
        config
            .monitors
            .retain(|monitor| names.contains(&monitor.name));
    }
    Ok(())
}

async fn check_all(config: &Config) -> Vec<Checked> {
    let places = Arc::new(Semaphore::new(config.dispatcher.max_concurrent_checks));
    let mut checks = JoinSet::new();
    for (index, job) in app::jobs(config, &Net::system()).into_iter().enumerate() {
        let places = places.clone();
        checks.spawn(async move {
            let _place = places.acquire().await;
            let report = job.check_once().await;
            job.monitor.log(&job.name, &report);
            (index, Checked { job, report })
        });
    }
    let mut checked = checks.join_all().await;
    checked.sort_by_key(|(index, _)| *index);
    checked.into_iter().map(|(_, checked)| checked).collect()
}
