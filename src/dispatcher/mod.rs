//! Decides when checks run: each monitor on its own grid of slots, in a task of its own.
//!
//! What a check finds out goes to the monitor's [`Observer`](crate::check::Observer); what becomes of it there is not known here.

mod places;
mod pulse;
mod roster;
mod runner;
mod schedule;
mod shard;
mod tally;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::SystemTime};

use tokio::{
    sync::oneshot,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::check::{CheckLog, Job, Overseer};
use places::Room;
pub(crate) use places::{for_those_that_hang, of_which_may_hang};
use pulse::Pulse;
pub use roster::{Change, Difference, Handle};
use roster::{Changes, Reins, Roster};
use runner::Runner;
pub(crate) use schedule::START_SPACING;
use schedule::Schedule;
pub use shard::Shard;
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

/// Monitors that are started without giving way to checks that are due.
const AT_A_TIME: usize = 100;

/// Runs monitors until it is stopped.
pub struct Dispatcher {
    settings: Settings,
    overseer: Arc<dyn Overseer>,
    room: Room,
    shutdown: CancellationToken,
    /// One task for each monitor; it ends when it is told to and returns the job that it ran.
    tasks: JoinSet<Job>,
    roster: Arc<Roster>,
    /// What comes by the handle, where there is one.
    changes: Option<Changes>,
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
            roster: Arc::default(),
            changes: None,
            watch: None,
            keepers: JoinSet::new(),
        }
    }

    /// What changes the monitors while the dispatcher runs. One that has it goes on without any.
    pub fn handle(&mut self) -> Handle {
        let (handle, changes) = Handle::new(self.roster.clone());
        self.changes = Some(changes);
        handle
    }

    /// Starts a task for each of `jobs`, whose first checks come right away, one shortly after the other.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(&mut self, jobs: Vec<Job>) {
        tracing::info!("Dispatcher is starting up");
        self.start_tasks(0, jobs);
    }

    /// Starts a task for each of `jobs`, which are the `first`-th and those after it of all that
    /// start at the same time.
    fn start_tasks(&mut self, first: usize, jobs: impl IntoIterator<Item = Job>) {
        let (clock, origin) = (SystemTime::now(), Instant::now());
        let watch = self.watch(origin);
        for (index, job) in jobs.into_iter().enumerate() {
            let schedule = Schedule::new(&job, clock);
            let reins = Reins::new(self.shutdown.child_token());
            self.roster.add(&job, reins.clone());
            let runner = Runner {
                reins,
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
            let due = schedule.first(first + index);
            self.tasks.spawn(runner.run(due));
        }
    }

    /// Waits until the shutdown is asked for, or there is nothing to run, and stops every monitor.
    ///
    /// Checks in flight are given up at once. Dropping the future ends the tasks too, but silently.
    pub async fn run(mut self) {
        let mut changes = self.changes.take();
        let mut first = None;
        if !self.tasks.is_empty() || changes.is_some() {
            let shutdown = self.shutdown.clone();
            while let Some(event) = shutdown
                .run_until_cancelled(self.next_event(&mut changes))
                .await
            {
                match event {
                    // By the shutdown, which its task has heard of first.
                    Event::Stopped(Ok(job)) if !self.roster.is_to_stop(&job.name) => {
                        first = Some(job);
                        break;
                    }
                    event => self.react(event).await,
                }
            }
        }
        tracing::info!("Dispatcher is shutting down");
        self.shutdown.cancel();
        drop(changes);
        while let Some(ended) = self.keepers.join_next().await {
            report(ended);
        }
        if let Some(job) = first {
            self.stopped(Ok(job));
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.stopped(ended);
        }
        tracing::info!("Dispatcher shutting down finished successfully");
    }

    async fn next_event(&mut self, changes: &mut Option<Changes>) -> Event {
        let change = async {
            match changes {
                Some(changes) => changes.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(ended) = self.tasks.join_next() => Event::Stopped(ended),
            Some(ended) = self.keepers.join_next() => Event::KeeperEnded(ended),
            Some((change, made)) = change => Event::Change(change, made),
            else => std::future::pending().await,
        }
    }

    async fn react(&mut self, event: Event) {
        match event {
            Event::Stopped(ended) => {
                let next = self.stopped(ended);
                self.start_tasks(0, next);
            }
            Event::KeeperEnded(ended) => report(ended),
            Event::Change(change, made) => {
                let mut free = self.roster.apply(change).into_iter();
                let mut started = 0;
                while free.len() > 0 && !self.shutdown.is_cancelled() {
                    self.start_tasks(started, free.by_ref().take(AT_A_TIME));
                    started += AT_A_TIME;
                    tokio::task::yield_now().await;
                }
                // Whoever asked for it may have gone away.
                let _ = made.send(());
            }
        }
    }

    /// Takes leave of a monitor, and gives what is to take its place.
    fn stopped(&self, ended: Result<Job, JoinError>) -> Option<Job> {
        match ended {
            Ok(job) => {
                let next = self.roster.ended(&job.name);
                self.overseer.stopped(&job);
                tracing::info!(
                    monitor = &*job.name,
                    r#type = job.kind(),
                    "Monitoring task has been stopped"
                );
                next
            }
            Err(error) => {
                tracing::error!(%error, "Monitoring task has ended by itself");
                None
            }
        }
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

/// What a dispatcher that runs reacts to.
enum Event {
    Stopped(Result<Job, JoinError>),
    KeeperEnded(Result<(), JoinError>),
    Change(Change, oneshot::Sender<()>),
}

/// Tells of a part of the watch that has ended, which none should before the shutdown.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "The watch over all monitors has ended in part");
    }
}
