//! The running monitors, and the handle that changes them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::diff::ConfigDiff;
use crate::check::{Fingerprint, Job, MAX_INTERVAL};

/// The running monitors by name.
#[derive(Default)]
pub(super) struct RunningMonitors(Mutex<HashMap<Arc<str>, Entry>>);

/// A running monitor.
pub(super) struct Entry {
    control: Arc<TaskControl>,
    check_every: Duration,
    /// The desired fingerprint; `None` if the monitor is stopping.
    fingerprint: Option<Fingerprint>,
    /// The job that starts once the monitor has stopped.
    replacement: Option<Box<Job>>,
    /// False if its stop is one of so many that they are logged by number.
    is_logged: bool,
}

/// Stops or changes the task of a monitor, and knows its next slot.
pub(super) struct TaskControl {
    pub stop: CancellationToken,
    pending_job: Mutex<Option<Box<Job>>>,
    /// The slot that the task waits for or runs; `None` before the first one.
    slot: Mutex<Option<Instant>>,
}

impl TaskControl {
    pub(super) fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            stop,
            pending_job: Mutex::default(),
            slot: Mutex::default(),
        })
    }

    /// Notes the slot that the task waits for.
    pub(super) fn set_slot(&self, due: Instant) {
        *self.slot.lock() = Some(due);
    }

    /// Takes the job for the next check, if it has changed.
    pub(super) fn take_pending_job(&self) -> Option<Box<Job>> {
        self.pending_job.lock().take()
    }

    fn set_pending_job(&self, job: Job) {
        *self.pending_job.lock() = Some(Box::new(job));
    }
}

impl RunningMonitors {
    fn entries(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.0.lock()
    }

    /// Adds a running monitor.
    pub(super) fn add(&self, job: &Job, control: Arc<TaskControl>) {
        let entry = Entry {
            control,
            check_every: job.check_every.min(MAX_INTERVAL),
            fingerprint: Some(job.fingerprint),
            replacement: None,
            is_logged: true,
        };
        self.entries().insert(job.name.clone(), entry);
    }

    /// Returns true if, by `now`, some monitor should have come to its next slot more than `leeway` ago.
    pub(super) fn has_overdue_slot(&self, now: Instant, leeway: Duration) -> bool {
        let entries = self.entries();
        let mut running = entries
            .values()
            .filter(|entry| !entry.control.stop.is_cancelled());
        running.any(|entry| {
            let slot = *entry.control.slot.lock();
            // The check of one slot may wait until the next one, and then run for as long.
            slot.is_some_and(|due| now > due + 2 * entry.check_every + leeway)
        })
    }

    /// Returns true if a change stops the monitor `name`.
    pub(super) fn stop_requested(&self, name: &str) -> bool {
        let entries = self.entries();
        let entry = entries.get(name);
        entry.is_none_or(|entry| entry.fingerprint.is_none() || entry.replacement.is_some())
    }

    /// Returns true if the stop of the monitor `name` is logged by itself.
    pub(super) fn is_logged(&self, name: &str) -> bool {
        self.entries().get(name).is_none_or(|entry| entry.is_logged)
    }

    /// Removes the stopped monitor `name`, and returns its replacement.
    pub(super) fn remove(&self, name: &str) -> Option<Job> {
        self.entries().remove(name)?.replacement.map(|job| *job)
    }

    /// Stops and updates the monitors in `change`, and returns the jobs that can start now.
    ///
    /// `is_logged` is false if there are so many that they are logged by number.
    pub(super) fn apply(&self, change: ChangeSet, is_logged: bool) -> Vec<Job> {
        let mut entries = self.entries();
        for name in change.stop {
            if let Some(entry) = entries.get_mut(&name) {
                entry.fingerprint = None;
                entry.replacement = None;
                entry.is_logged = is_logged;
                entry.control.stop.cancel();
            }
        }
        let mut free = Vec::new();
        for job in change.start {
            match entries.get_mut(&job.name) {
                Some(entry) => {
                    entry.fingerprint = Some(job.fingerprint);
                    entry.replacement = Some(Box::new(job));
                    entry.is_logged = is_logged;
                    entry.control.stop.cancel();
                }
                None => free.push(job),
            }
        }
        for job in change.renew {
            match entries.get_mut(&job.name) {
                // It is stopping, so the new job replaces it.
                Some(entry) if entry.control.stop.is_cancelled() => {
                    entry.fingerprint = Some(job.fingerprint);
                    entry.replacement = Some(Box::new(job));
                }
                Some(entry) => {
                    entry.fingerprint = Some(job.fingerprint);
                    entry.control.set_pending_job(job);
                }
                None => free.push(job),
            }
        }
        free
    }
}

/// A change of the running monitors.
#[derive(Debug, Default)]
pub struct ChangeSet {
    /// Monitors to stop.
    pub stop: Vec<Arc<str>>,
    /// Jobs to start. A running monitor of the same name is replaced.
    pub start: Vec<Job>,
    /// Jobs to continue with other settings on the same slots.
    pub renew: Vec<Job>,
}

pub(super) type Changes = mpsc::Receiver<(ChangeSet, oneshot::Sender<()>)>;

/// Changes the monitors of a running dispatcher.
#[derive(Clone)]
pub struct DispatcherHandle {
    monitors: Arc<RunningMonitors>,
    changes: mpsc::Sender<(ChangeSet, oneshot::Sender<()>)>,
}

impl DispatcherHandle {
    pub(super) fn new(monitors: Arc<RunningMonitors>) -> (Self, Changes) {
        let (changes, receiver) = mpsc::channel(1);
        (Self { monitors, changes }, receiver)
    }

    /// Compares the running monitors with the `desired` ones: unique names with fingerprints.
    #[must_use]
    pub fn diff<'w>(
        &self,
        desired: impl IntoIterator<Item = (&'w str, Fingerprint)>,
    ) -> ConfigDiff {
        let entries = self.monitors.entries();
        let running = entries
            .iter()
            .filter_map(|(name, entry)| Some((&**name, entry.fingerprint?)));
        ConfigDiff::new(running, desired)
    }

    /// Applies `change`. Other monitors keep their slots, their counts and the check in flight.
    ///
    /// Returns once the change is made; monitors stop and start right after. A dispatcher that is
    /// shutting down ignores changes.
    pub async fn apply(&self, change: ChangeSet) {
        let (made, waiting) = oneshot::channel();
        if self.changes.send((change, made)).await.is_ok() {
            let _ = waiting.await;
        }
    }
}
