//! The states of all monitors, and the task that has them follow each other.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chrono::Utc;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    LOG_TARGET,
    dependencies::DependencyGraph,
    machine::{Event, MachineState, Moment},
    maintenance::Timetable,
    settings::Settings,
    shared::{Kept, Shared, StatesConfig},
    tracked::Tracked,
};
use crate::check::{DispatcherObserver, Job, MonitorObserver, PastState};

/// The states of all monitors. It stands between the dispatcher and the overseers that show them.
pub struct States {
    inner: Arc<dyn DispatcherObserver>,
    shared: Arc<Shared>,
}

/// Monitors that are told of news without giving way to checks that are due.
const BATCH: usize = 100;

/// Maximum time between two looks at the states.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// The same if there are maintenance windows, because the clock may be set meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

impl States {
    /// States that `inner` gets.
    #[must_use]
    pub fn new(inner: Arc<dyn DispatcherObserver>) -> Self {
        Self {
            inner,
            shared: Arc::default(),
        }
    }

    /// Takes over the states that monitors had before the daemon started. Call [`end_start`](Self::end_start) once
    /// the monitors have started.
    pub(crate) fn restore(&self, past: impl IntoIterator<Item = (Arc<str>, PastState)>) {
        let now = Moment::now();
        let past = past.into_iter().map(|(name, past)| {
            let kept = Kept {
                kind: past.kind,
                target: past.target,
                machine: MachineState::restored(&past.status, now),
            };
            (name, kept)
        });
        self.shared.kept.lock().extend(past);
        self.shared.is_starting.store(true, Ordering::Relaxed);
    }

    /// Notes that the configured monitors have started. Others, which have been restored, may be discovered later.
    pub(crate) fn end_start(&self) {
        if !self.shared.is_starting.swap(false, Ordering::Relaxed) {
            return;
        }
        for tracked in self.shared.all() {
            // What it was unreachable through may not run here any more.
            if tracked.is_blocked() {
                tracked.hear();
            }
        }
    }

    /// Takes over what is configured for all monitors.
    pub fn configure(&self, settings: Settings, graph: DependencyGraph) {
        let mut timetable = Timetable::new(settings.maintenance.clone());
        timetable.look(Utc::now());
        *self.shared.timetable.lock() = timetable;
        let config = StatesConfig { settings, graph };
        *self.shared.config.write() = Arc::new(config);
        for tracked in self.shared.all() {
            self.connect(&tracked);
        }
        self.follow_network();
        self.apply_maintenance(&self.shared.all());
        self.shared.news.notify_one();
    }

    /// Takes over the dependencies of all monitors.
    pub(crate) fn set_dependencies(&self, graph: DependencyGraph) {
        let settings = self.shared.config.read().settings.clone();
        *self.shared.config.write() = Arc::new(StatesConfig { settings, graph });
        for tracked in self.shared.all() {
            self.connect(&tracked);
        }
        self.shared.news.notify_one();
    }

    /// Returns true if all monitors of `self_check` fail.
    #[must_use]
    pub(crate) fn is_cut_off(&self) -> bool {
        self.shared.is_cut_off()
    }

    /// Has the states of monitors follow those that they depend on, until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let follow = async {
            loop {
                let next = Instant::now() + self.time_to_next_look();
                let next = self.shared.next_wait().map_or(next, |wait| wait.min(next));
                tokio::select! {
                    () = self.shared.news.notified() => {}
                    () = sleep_until(next) => {}
                }
                if AssertUnwindSafe(self.step()).catch_unwind().await.is_err() {
                    tracing::error!(target: LOG_TARGET, "Following the states of monitors panicked, and goes on");
                }
            }
        };
        shutdown.run_until_cancelled(follow).await;
    }

    /// Has states follow the results that came since the last step.
    async fn step(&self) {
        let signals = self.shared.take_signals();
        let config = self.shared.config.read().clone();
        let self_check = &config.settings.self_check;
        if self_check.iter().any(|name| signals.contains(name)) {
            if let Some(is_cut_off) = self.follow_network() {
                in_batches(self.shared.all(), |tracked| {
                    tracked.notice(Event::CutOff(is_cut_off), Moment::now());
                })
                .await;
            }
            self.tell(self.shared.waiting(), Tracked::hear).await;
        }
        for name in signals {
            let dependents = config.graph.dependents(&name).to_vec();
            self.tell(dependents, Tracked::hear).await;
        }
        let has_news = self.shared.timetable.lock().look(Utc::now());
        if has_news {
            let all = self.shared.all();
            for batch in all.chunks(BATCH) {
                self.apply_maintenance(batch);
                tokio::task::yield_now().await;
            }
        }
        let ended = self.shared.take_ended_waits(Instant::now());
        self.tell(ended, Tracked::end_wait).await;
    }

    /// Tells the monitors called `names`, and notes until when they wait then.
    async fn tell(&self, names: Vec<Arc<str>>, tell: impl Fn(&Tracked)) {
        in_batches(names, |name| {
            let Some(tracked) = self.shared.monitor(&name) else {
                self.shared.forget_wait(&name);
                return;
            };
            tell(&tracked);
            match tracked.waits_until() {
                Some(until) => self.shared.wait(&name, until),
                None => self.shared.forget_wait(&name),
            }
        })
        .await;
    }

    /// Finds out whether the daemon is cut off, and returns it if that changed.
    fn follow_network(&self) -> Option<bool> {
        let without_network = self.shared.is_without_network();
        self.inner
            .on_connected(without_network.map(|is_without| !is_without));
        let is_cut_off = without_network.unwrap_or(false);
        let was_cut_off = self.shared.is_cut_off.swap(is_cut_off, Ordering::Relaxed);
        if was_cut_off == is_cut_off {
            return None;
        }
        if is_cut_off {
            tracing::error!(
                target: LOG_TARGET,
                "The daemon is cut off: all monitors of self_check fail, and states are frozen"
            );
        } else {
            tracing::info!(target: LOG_TARGET, "The daemon has a network again");
        }
        Some(is_cut_off)
    }

    /// The time until a maintenance window opens or closes, or until the clock is looked at in case it was set.
    fn time_to_next_look(&self) -> Duration {
        let timetable = self.shared.timetable.lock();
        if timetable.is_empty() {
            return LONGEST_SLEEP;
        }
        let next = timetable
            .next_change()
            .map(|change| change - Utc::now())
            .and_then(|time| time.to_std().ok());
        // Just after it rather than just before.
        let next = next.map(|time| time + Duration::from_millis(5));
        next.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL)
    }

    /// Has `monitors` know whether a maintenance window is open for them.
    fn apply_maintenance(&self, monitors: &[Arc<Tracked>]) {
        let timetable = self.shared.timetable.lock();
        let shown = timetable.shown();
        for tracked in monitors {
            let is_open = timetable.is_open_for(&tracked.name, &tracked.labels);
            tracked.notice(Event::Maintenance(is_open), Moment::now());
        }
        drop(timetable);
        self.inner.on_maintenance(&shown);
    }

    /// Has `tracked` know what it depends on.
    fn connect(&self, tracked: &Tracked) {
        let depends_on = self.shared.config.read().graph.depends_on(&tracked.name);
        tracked.connect(&depends_on, self.shared.is_followed(&tracked.name));
    }
}

/// Calls `each` with each of `items`, and gives way to checks that are due in between.
async fn in_batches<T>(items: Vec<T>, mut each: impl FnMut(T)) {
    for (index, item) in items.into_iter().enumerate() {
        if index % BATCH == BATCH - 1 {
            tokio::task::yield_now().await;
        }
        each(item);
    }
}

impl Kept {
    /// The state that the monitor of `job` begins with.
    fn machine_for(self, job: &Job, now: Moment) -> MachineState {
        if self.kind == job.kind() && self.target == job.target() {
            return self.machine;
        }
        let machine = self.machine.with_other_target(now);
        if machine.status().incident.is_some() {
            tracing::info!(
                target: LOG_TARGET,
                monitor = &*job.name,
                "Incident ended because the target of the monitor changed"
            );
        }
        machine
    }
}

impl DispatcherObserver for States {
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver> {
        let now = Moment::now();
        let kept = self.shared.kept.lock().get(&job.name).cloned();
        let machine =
            kept.map_or_else(|| MachineState::new(now), |kept| kept.machine_for(job, now));
        let blocks_others = machine.blocks_others();
        let inner = self.inner.observe(job);
        let shared = Arc::downgrade(&self.shared);
        let tracked = Arc::new(Tracked::new(job, machine, inner, shared));
        let mut monitors = self.shared.monitors.write();
        monitors.insert(job.name.clone(), tracked.clone());
        drop(monitors);
        self.shared.kept.lock().remove(&job.name);
        self.connect(&tracked);
        if blocks_others {
            self.shared.signal(&job.name);
        }
        let timetable = self.shared.timetable.lock();
        let in_maintenance = timetable.is_open_for(&tracked.name, &tracked.labels);
        drop(timetable);
        tracked.begin(self.shared.is_cut_off(), in_maintenance, now);
        if let Some(until) = tracked.waits_until() {
            self.shared.wait(&tracked.name, until);
        }
        tracked
    }

    fn on_stopped(&self, job: &Job) {
        self.shared.monitors.write().remove(&job.name);
        self.inner.on_stopped(job);
    }

    fn on_replaced(&self, job: &Job) {
        if let Some(tracked) = self.shared.monitors.write().remove(&job.name) {
            let kept = Kept {
                kind: job.kind().to_owned(),
                target: job.target(),
                machine: tracked.machine(),
            };
            self.shared.kept.lock().insert(job.name.clone(), kept);
        }
        self.inner.on_replaced(job);
    }

    fn on_runtime_delay(&self, delay: Duration) {
        self.inner.on_runtime_delay(delay);
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
