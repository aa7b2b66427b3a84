//! The dispatcher itself: starts, changes and stops the tasks of monitors.

use std::{sync::Arc, time::SystemTime};

use tokio::{
    sync::oneshot,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    LOG_TARGET,
    monitor_task::MonitorTask,
    permits::ConcurrencyLimits,
    running::{ChangeSet, Changes, DispatcherHandle, RunningMonitors, TaskControl},
    runtime_lag::RuntimeLag,
    schedule::Schedule,
    skipped::SkipMonitor,
};
use crate::check::{DispatcherObserver, Job, LoggedChecks};

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;

/// How the dispatcher runs checks.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Checks in flight at once, over all monitors.
    pub max_concurrent_checks: usize,
    /// Checks of one host in flight at once, over all monitors of it; any number where there is none.
    pub max_concurrent_checks_per_host: Option<usize>,
    /// Which checks write a line.
    pub log: LoggedChecks,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent_checks: 1000,
            max_concurrent_checks_per_host: None,
            log: LoggedChecks::default(),
        }
    }
}

/// Monitors that are started without giving way to checks that are due.
const START_BATCH: usize = 100;

/// Runs monitors until it is stopped.
pub struct Dispatcher {
    settings: Settings,
    observer: Arc<dyn DispatcherObserver>,
    limits: ConcurrencyLimits,
    shutdown: CancellationToken,
    /// One task for each monitor; it ends when it is told to and returns the job that it ran.
    tasks: JoinSet<Job>,
    running: Arc<RunningMonitors>,
    /// Changes requested with the handle, if there is a handle.
    changes: Option<Changes>,
    /// What watches over all monitors, from the first start on.
    watchdogs: Option<Watchdogs>,
    /// The tasks that keep the watch; they end with the shutdown.
    background_tasks: JoinSet<()>,
}

/// What watches over all monitors.
#[derive(Clone)]
struct Watchdogs {
    lag: Arc<RuntimeLag>,
    skips: Arc<SkipMonitor>,
}

impl Dispatcher {
    /// A dispatcher that reports to `observer` and stops when `shutdown` is cancelled.
    #[must_use]
    pub fn new(
        settings: Settings,
        observer: Arc<dyn DispatcherObserver>,
        shutdown: CancellationToken,
    ) -> Self {
        let limits = ConcurrencyLimits::new(
            settings.max_concurrent_checks,
            settings.max_concurrent_checks_per_host,
        );
        Self {
            settings,
            observer,
            limits,
            shutdown,
            tasks: JoinSet::new(),
            running: Arc::default(),
            changes: None,
            watchdogs: None,
            background_tasks: JoinSet::new(),
        }
    }

    /// What changes the monitors while the dispatcher runs. One that has it goes on without any.
    pub fn handle(&mut self) -> DispatcherHandle {
        let (handle, changes) = DispatcherHandle::new(self.running.clone());
        self.changes = Some(changes);
        handle
    }

    /// Starts a task for each of `jobs`, whose first checks come right away, one shortly after the other.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(&mut self, jobs: Vec<Job>) {
        tracing::info!(target: LOG_TARGET, "Dispatcher is starting up");
        self.start_tasks(0, jobs);
    }

    /// Starts a task for each of `jobs`, which are the `first`-th and those after it of all that
    /// start at the same time.
    fn start_tasks(&mut self, first: usize, jobs: impl IntoIterator<Item = Job>) {
        let (clock, origin) = (SystemTime::now(), Instant::now());
        let watchdogs = self.watchdogs(origin);
        for (index, job) in jobs.into_iter().enumerate() {
            let schedule = Schedule::new(&job, clock);
            let control = TaskControl::new(self.shutdown.child_token());
            self.running.add(&job, control.clone());
            let runner = MonitorTask {
                control,
                observer: self.observer.observe(&job),
                permits: self.limits.for_host(job.host()),
                lag: watchdogs.lag.clone(),
                skips: watchdogs.skips.clone(),
                log: self.settings.log,
                last_outcome: None,
                last_timed_out: false,
                first_slot_run: false,
                schedule,
                origin,
                job,
            };
            tracing::info!(
                target: LOG_TARGET,
                monitor = &*runner.job.name,
                r#type = runner.job.kind(),
                "Monitoring task has been started"
            );
            let due = schedule.first_slot(first + index);
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
                    Event::Stopped(Ok(job)) if !self.running.stop_requested(&job.name) => {
                        first = Some(job);
                        break;
                    }
                    event => self.handle_event(event).await,
                }
            }
        }
        tracing::info!(target: LOG_TARGET, "Dispatcher is shutting down");
        self.shutdown.cancel();
        drop(changes);
        while let Some(ended) = self.background_tasks.join_next().await {
            log_task_failure(ended);
        }
        if let Some(job) = first {
            self.on_task_ended(Ok(job));
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.on_task_ended(ended);
        }
        tracing::info!(target: LOG_TARGET, "Dispatcher shutting down finished successfully");
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
            Some(ended) = self.background_tasks.join_next() => Event::BackgroundTaskEnded(ended),
            Some((change, made)) = change => Event::Change(change, made),
            else => std::future::pending().await,
        }
    }

    async fn handle_event(&mut self, event: Event) {
        match event {
            Event::Stopped(ended) => {
                let next = self.on_task_ended(ended);
                self.start_tasks(0, next);
            }
            Event::BackgroundTaskEnded(ended) => log_task_failure(ended),
            Event::Change(change, made) => {
                let mut free = self.running.apply(change).into_iter();
                let mut started = 0;
                while free.len() > 0 && !self.shutdown.is_cancelled() {
                    self.start_tasks(started, free.by_ref().take(START_BATCH));
                    started += START_BATCH;
                    tokio::task::yield_now().await;
                }
                // Whoever asked for it may have gone away.
                let _ = made.send(());
            }
        }
    }

    /// Takes leave of a monitor, and gives what is to take its place.
    fn on_task_ended(&self, ended: Result<Job, JoinError>) -> Option<Job> {
        match ended {
            Ok(job) => {
                let next = self.running.remove(&job.name);
                self.observer.on_stopped(&job);
                tracing::info!(
                    target: LOG_TARGET,
                    monitor = &*job.name,
                    r#type = job.kind(),
                    "Monitoring task has been stopped"
                );
                next
            }
            Err(error) => {
                tracing::error!(target: LOG_TARGET, %error, "Monitoring task ended unexpectedly");
                None
            }
        }
    }

    /// The watch, which begins at `now` unless it has before.
    fn watchdogs(&mut self, now: Instant) -> Watchdogs {
        let begin = || {
            let lag = Arc::new(RuntimeLag::new(now));
            let skips = Arc::new(SkipMonitor::default());
            let shutdown = || self.shutdown.child_token();
            let sampling = lag.clone().run(self.observer.clone(), shutdown());
            self.background_tasks.spawn(sampling);
            self.background_tasks.spawn(skips.clone().run(shutdown()));
            Watchdogs { lag, skips }
        };
        self.watchdogs.get_or_insert_with(begin).clone()
    }
}

/// What a dispatcher that runs reacts to.
enum Event {
    Stopped(Result<Job, JoinError>),
    BackgroundTaskEnded(Result<(), JoinError>),
    Change(ChangeSet, oneshot::Sender<()>),
}

/// Tells of a part of the watch that has ended, which none should before the shutdown.
fn log_task_failure(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(target: LOG_TARGET, %error, "Internal watchdog task ended unexpectedly");
    }
}
