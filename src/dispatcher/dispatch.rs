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
    health::Health,
    monitor_task::MonitorTask,
    permits::ConcurrencyLimits,
    running::{ChangeSet, Changes, DispatcherHandle, RunningMonitors, TaskControl},
    runtime_lag::RuntimeLag,
    schedule::Schedule,
    skipped::SkipMonitor,
};
use crate::check::{DispatcherObserver, Job, LoggedChecks, Tracer};

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;

/// Settings of the dispatcher.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Maximum number of concurrent checks.
    pub max_concurrent_checks: usize,
    /// Maximum number of concurrent checks of one host; `None` is no limit.
    pub max_concurrent_checks_per_host: Option<usize>,
    /// The checks that are logged.
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

/// Number of monitors that are started before due checks may run.
const START_BATCH: usize = 100;

/// Number of monitors that start or stop together with a line for each; of more, their number is logged.
const MAX_LOGGED_MONITORS: usize = 100;

/// Runs monitors until it is stopped.
pub struct Dispatcher {
    settings: Settings,
    observer: Arc<dyn DispatcherObserver>,
    limits: ConcurrencyLimits,
    tracer: Option<Arc<dyn Tracer>>,
    shutdown: CancellationToken,
    /// One task for each monitor, which returns its job at the end.
    tasks: JoinSet<Job>,
    running: Arc<RunningMonitors>,
    /// Changes requested with the handle, if there is a handle.
    changes: Option<Changes>,
    /// Measurements over all monitors; set at the first start.
    watchdogs: Option<Watchdogs>,
    /// The tasks of the measurements; they end with the shutdown.
    background_tasks: JoinSet<()>,
}

/// Measurements over all monitors.
#[derive(Clone)]
struct Watchdogs {
    lag: Arc<RuntimeLag>,
    skips: Arc<SkipMonitor>,
}

impl Dispatcher {
    /// Creates a dispatcher that reports to `observer` and stops when `shutdown` is cancelled.
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
            tracer: None,
            shutdown,
            tasks: JoinSet::new(),
            running: Arc::default(),
            changes: None,
            watchdogs: None,
            background_tasks: JoinSet::new(),
        }
    }

    /// Traces the checks with `tracer`.
    #[must_use]
    pub fn with_tracer(mut self, tracer: Arc<dyn Tracer>) -> Self {
        self.tracer = Some(tracer);
        self
    }

    /// Returns a handle that changes the monitors. With a handle, the dispatcher keeps running without monitors.
    pub fn handle(&mut self) -> DispatcherHandle {
        let (handle, changes) = DispatcherHandle::new(self.running.clone());
        self.changes = Some(changes);
        handle
    }

    /// Returns the health of the dispatcher.
    ///
    /// Must be called within a tokio runtime.
    pub(crate) fn health(&mut self) -> Health {
        let watchdogs = self.watchdogs(Instant::now());
        Health {
            lag: watchdogs.lag,
            skips: watchdogs.skips,
            running: self.running.clone(),
        }
    }

    /// Starts a task for each of `jobs`. Their first checks run right away, shortly after each other.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(&mut self, jobs: Vec<Job>) {
        tracing::info!(target: LOG_TARGET, "Dispatcher is starting up");
        let is_logged = jobs.len() <= MAX_LOGGED_MONITORS;
        if !is_logged {
            let enabled = jobs.iter().filter(|job| job.enabled).count();
            tracing::info!(
                target: LOG_TARGET,
                monitors = enabled,
                paused = jobs.len() - enabled,
                "Monitoring tasks have been started"
            );
        }
        self.start_tasks(0, jobs, is_logged);
    }

    /// Starts a task for each of `jobs`; `first` is the index of the first one among all that start now.
    fn start_tasks(&mut self, first: usize, jobs: impl IntoIterator<Item = Job>, is_logged: bool) {
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
                tracer: self.tracer.clone(),
                last_outcome: None,
                last_timed_out: false,
                first_slot_run: false,
                schedule,
                origin,
                job,
            };
            if is_logged {
                let message = if runner.job.enabled {
                    "Monitoring task has been started"
                } else {
                    "Monitor is paused"
                };
                tracing::info!(
                    target: LOG_TARGET,
                    monitor = &*runner.job.name,
                    r#type = runner.job.kind(),
                    "{message}"
                );
            }
            let due = schedule.first_slot(first + index);
            self.tasks.spawn(runner.run(due));
        }
    }

    /// Runs until the shutdown, or until no monitor is left, and stops every monitor.
    ///
    /// Checks in flight are cancelled at once. Dropping the future also stops the tasks, without logging.
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
                    // Its task has reacted to the shutdown first.
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
        let is_logged = self.tasks.len() + usize::from(first.is_some()) <= MAX_LOGGED_MONITORS;
        let mut stopped = 0;
        let mut next = match first {
            Some(job) => Some(Ok(job)),
            None => self.tasks.join_next().await,
        };
        while let Some(ended) = next {
            stopped += usize::from(ended.as_ref().is_ok_and(|job| job.enabled));
            let is_logged = is_logged && self.is_logged(&ended);
            self.on_task_ended(ended, is_logged);
            next = self.tasks.join_next().await;
        }
        if !is_logged {
            tracing::info!(
                target: LOG_TARGET,
                monitors = stopped,
                "Monitoring tasks have been stopped"
            );
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
                let is_logged = ended
                    .as_ref()
                    .is_ok_and(|job| self.running.is_logged(&job.name));
                let next = self.on_task_ended(ended, is_logged);
                self.start_tasks(0, next, is_logged);
            }
            Event::BackgroundTaskEnded(ended) => log_task_failure(ended),
            Event::Change(change, made) => {
                // Whoever changes the monitors logs their numbers.
                let is_logged = change.stop.len() + change.start.len() <= MAX_LOGGED_MONITORS;
                let mut free = self.running.apply(change, is_logged).into_iter();
                let mut started = 0;
                while free.len() > 0 && !self.shutdown.is_cancelled() {
                    self.start_tasks(started, free.by_ref().take(START_BATCH), is_logged);
                    started += START_BATCH;
                    tokio::task::yield_now().await;
                }
                // The requester may be gone.
                let _ = made.send(());
            }
        }
    }

    /// Returns true if the end of a monitor's task is logged by itself, and not by number.
    fn is_logged(&self, ended: &Result<Job, JoinError>) -> bool {
        let job = ended.as_ref().ok();
        job.is_some_and(|job| self.running.is_logged(&job.name))
    }

    /// Handles the end of a monitor's task, and returns the replacement.
    fn on_task_ended(&self, ended: Result<Job, JoinError>, is_logged: bool) -> Option<Job> {
        match ended {
            Ok(job) => {
                let next = self.running.remove(&job.name);
                match &next {
                    Some(_) => self.observer.on_replaced(&job),
                    None => self.observer.on_stopped(&job),
                }
                if job.enabled && is_logged {
                    tracing::info!(
                        target: LOG_TARGET,
                        monitor = &*job.name,
                        r#type = job.kind(),
                        "Monitoring task has been stopped"
                    );
                }
                next
            }
            Err(error) => {
                tracing::error!(target: LOG_TARGET, %error, "Monitoring task ended unexpectedly");
                None
            }
        }
    }

    /// Returns the measurements, which start at `now` the first time.
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

/// An event that a running dispatcher handles.
enum Event {
    Stopped(Result<Job, JoinError>),
    BackgroundTaskEnded(Result<(), JoinError>),
    Change(ChangeSet, oneshot::Sender<()>),
}

/// Logs the unexpected end of a measurement's task.
fn log_task_failure(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(target: LOG_TARGET, %error, "Internal watchdog task ended unexpectedly");
    }
}
