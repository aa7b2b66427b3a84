//! Decides when checks run: each monitor on its own grid of slots, in a task of its own.
//!
//! What a check finds out goes to the monitor's [`Observer`](crate::check::Observer); what becomes of it there is not known here.

mod places;
mod pulse;
mod runner;
mod schedule;
mod tally;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::SystemTime};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::check::{CheckLog, Job, Overseer};
use places::Room;
pub(crate) use places::{for_those_that_hang, of_which_may_hang};
use pulse::Pulse;
use runner::Runner;
pub(crate) use schedule::START_SPACING;
use schedule::Schedule;
use tally::Tally;

/// How the dispatcher runs checks.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Checks in flight at once, over all monitors.
    pub max_concurrent_checks: usize,
    /// Checks of one host in flight at once, over all monitors of it; any number where there is none.
    pub max_concurrent_checks_per_host: Option<usize>,
    /// Which checks write a line.
    pub log: CheckLog,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_checks: 1000,
            max_concurrent_checks_per_host: None,
            log: CheckLog::default(),
        }
    }
}

/// Runs monitors until it is stopped.
pub struct Dispatcher {
    settings: Settings,
    overseer: Arc<dyn Overseer>,
    room: Room,
    shutdown: CancellationToken,
    /// One task for each monitor; it ends with the shutdown and returns the job that it ran.
    tasks: JoinSet<Job>,
    /// What watches over all monitors, from the first start on.
    watch: Option<Watch>,
    /// The tasks that keep the watch; they end with the shutdown.
    keepers: JoinSet<()>,
}

/// What watches over all monitors.
#[derive(Clone)]
struct Watch {
    pulse: Arc<Pulse>,
    tally: Arc<Tally>,
}

impl Dispatcher {
    /// A dispatcher that reports to `overseer` and stops when `shutdown` is cancelled.
    #[must_use]
    pub fn new(
        settings: Settings,
        overseer: Arc<dyn Overseer>,
        shutdown: CancellationToken,
    ) -> Self {
        let room = Room::new(
            settings.max_concurrent_checks,
            settings.max_concurrent_checks_per_host,
        );
        Self {
            settings,
            overseer,
            room,
            shutdown,
            tasks: JoinSet::new(),
            watch: None,
            keepers: JoinSet::new(),
        }
    }

    /// Starts a task for each of `jobs`, whose first checks come right away, one shortly after the other.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(&mut self, jobs: Vec<Job>) {
        tracing::info!("Dispatcher is starting up");
        let (clock, origin) = (SystemTime::now(), Instant::now());
        let watch = self.watch(origin);
        for (index, job) in jobs.into_iter().enumerate() {
            let schedule = Schedule::new(&job.name, job.check_every, job.timeout, clock);
            let runner = Runner {
                observer: self.overseer.observe(&job),
                places: self.room.of(job.host()),
                pulse: watch.pulse.clone(),
                tally: watch.tally.clone(),
                log: self.settings.log,
                last_outcome: None,
                hung: false,
                has_begun: false,
                schedule,
                origin,
                job,
            };
            tracing::info!(
                monitor = &*runner.job.name,
                r#type = runner.job.kind(),
                "Monitoring task has been started"
            );
            self.tasks
                .spawn(runner.run(schedule.first(index), self.shutdown.child_token()));
        }
    }

    /// Waits until the shutdown is asked for, or there is nothing to run, and stops every monitor.
    ///
    /// Checks in flight are given up at once. Dropping the future ends the tasks too, but silently.
    pub async fn run(mut self) {
        if !self.tasks.is_empty() {
            tokio::join!(self.shutdown.cancelled(), ended(&mut self.keepers));
        }
        tracing::info!("Dispatcher is shutting down");
        self.shutdown.cancel();
        ended(&mut self.keepers).await;
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(job) => {
                    self.overseer.stopped(&job);
                    tracing::info!(
                        monitor = &*job.name,
                        r#type = job.kind(),
                        "Monitoring task has been stopped"
                    );
                }
                Err(error) => tracing::error!(%error, "Monitoring task has ended by itself"),
            }
        }
        tracing::info!("Dispatcher shutting down finished successfully");
    }

    /// The watch, which begins at `now` unless it has before.
    fn watch(&mut self, now: Instant) -> Watch {
        let begin = || {
            let pulse = Arc::new(Pulse::new(now));
            let tally = Arc::new(Tally::default());
            let shutdown = || self.shutdown.child_token();
            let beats = pulse.clone().keep(self.overseer.clone(), shutdown());
            self.keepers.spawn(beats);
            self.keepers.spawn(tally.clone().keep(shutdown()));
            Watch { pulse, tally }
        };
        self.watch.get_or_insert_with(begin).clone()
    }
}

/// Waits until the watch has ended, no part of which should before the shutdown.
async fn ended(keepers: &mut JoinSet<()>) {
    while let Some(ended) = keepers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "The watch over all monitors has ended in part");
        }
    }
}
