//! The monitors that run, and the handle by which they are changed.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::diff::ConfigDiff;
use crate::check::{Fingerprint, Job};

/// The monitors that run, by name.
#[derive(Default)]
pub(super) struct RunningMonitors(Mutex<HashMap<Arc<str>, Entry>>);

/// One of them.
pub(super) struct Entry {
    control: Arc<TaskControl>,
    /// What it is to be; `None` where it is to be no more.
    fingerprint: Option<Fingerprint>,
    /// What takes its place once it has stopped.
    replacement: Option<Box<Job>>,
}

/// Controls a monitor that runs.
pub(super) struct TaskControl {
    pub stop: CancellationToken,
    pending_job: Mutex<Option<Box<Job>>>,
}

impl TaskControl {
    pub fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            stop,
            pending_job: Mutex::default(),
        })
    }

    /// What the job is to be from its next check on, where that has changed.
    pub fn take_pending_job(&self) -> Option<Box<Job>> {
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

    /// Notes that `job` runs.
    pub fn add(&self, job: &Job, control: Arc<TaskControl>) {
        let entry = Entry {
            control,
            fingerprint: Some(job.fingerprint),
            replacement: None,
        };
        self.entries().insert(job.name.clone(), entry);
    }

    /// Whether a change has the monitor `name` stop.
    pub fn stop_requested(&self, name: &str) -> bool {
        let entries = self.entries();
        let entry = entries.get(name);
        entry.is_none_or(|entry| entry.fingerprint.is_none() || entry.replacement.is_some())
    }

    /// Notes that the monitor `name` has stopped, and gives what is to take its place.
    pub fn remove(&self, name: &str) -> Option<Job> {
        self.entries().remove(name)?.replacement.map(|job| *job)
    }

    /// Has the monitors of `change` stop and be renewed, and gives the jobs that can start at once.
    pub fn apply(&self, change: ChangeSet) -> Vec<Job> {
        let mut entries = self.entries();
        for name in change.stop {
            if let Some(entry) = entries.get_mut(&name) {
                entry.fingerprint = None;
                entry.replacement = None;
                entry.control.stop.cancel();
            }
        }
        let mut free = Vec::new();
        for job in change.start {
            match entries.get_mut(&job.name) {
                Some(entry) => {
                    entry.fingerprint = Some(job.fingerprint);
                    entry.replacement = Some(Box::new(job));
                    entry.control.stop.cancel();
                }
                None => free.push(job),
            }
        }
        for job in change.renew {
            match entries.get_mut(&job.name) {
                // Stopped meanwhile: then it is the new one that takes the place of the old.
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

/// What is to become of the monitors.
#[derive(Debug, Default)]
pub struct ChangeSet {
    /// Those to stop.
    pub stop: Vec<Arc<str>>,
    /// Those to start, in place of one of the same name, if any.
    pub start: Vec<Job>,
    /// Those to go on with another way of checking, on the same slots.
    pub renew: Vec<Job>,
}

pub(super) type Changes = mpsc::Receiver<(ChangeSet, oneshot::Sender<()>)>;

/// Changes what a dispatcher runs, while it runs.
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

    /// Compares what runs with what is `wanted`: names, each of which stands there once, and versions.
    #[must_use]
    pub fn diff<'w>(&self, wanted: impl IntoIterator<Item = (&'w str, Fingerprint)>) -> ConfigDiff {
        let entries = self.monitors.entries();
        let running = entries.iter();
        let running = running.filter_map(|(name, entry)| Some((&**name, entry.fingerprint?)));
        ConfigDiff::new(running, wanted)
    }

    /// Has the dispatcher do so. Monitors that `change` does not name keep their slots, their counts
    /// and the check that is in flight.
    ///
    /// It returns once the change is made; what stops or starts anew does so right after. A
    /// dispatcher that shuts down makes no change.
    pub async fn apply(&self, change: ChangeSet) {
        let (made, waiting) = oneshot::channel();
        if self.changes.send((change, made)).await.is_ok() {
            let _ = waiting.await;
        }
    }
}
