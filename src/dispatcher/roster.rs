//! What runs, and how that differs from what is wanted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::check::{Job, Version};

/// The monitors that run, by name.
#[derive(Default)]
pub(super) struct Roster(Mutex<HashMap<Arc<str>, Entry>>);

/// One monitor that runs.
pub(super) struct Entry {
    reins: Arc<Reins>,
    /// What it is to be; `None` where it is to be no more.
    version: Option<Version>,
    /// What takes its place once it has stopped.
    next: Option<Box<Job>>,
}

/// What holds a monitor that runs.
pub(super) struct Reins {
    pub stop: CancellationToken,
    renewed: Mutex<Option<Box<Job>>>,
}

impl Reins {
    pub fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            stop,
            renewed: Mutex::default(),
        })
    }

    /// What the job is to be from its next check on, where that has changed.
    pub fn renewed(&self) -> Option<Box<Job>> {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.take()
    }

    fn renew(&self, job: Job) {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        *renewed = Some(Box::new(job));
    }
}

impl Roster {
    fn entries(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `job` runs.
    pub fn add(&self, job: &Job, reins: Arc<Reins>) {
        let entry = Entry {
            reins,
            version: Some(job.version),
            next: None,
        };
        self.entries().insert(job.name.clone(), entry);
    }

    /// Whether a change has the monitor `name` stop.
    pub fn is_to_stop(&self, name: &str) -> bool {
        let entries = self.entries();
        let entry = entries.get(name);
        entry.is_none_or(|entry| entry.version.is_none() || entry.next.is_some())
    }

    /// Notes that the monitor `name` has stopped, and gives what is to take its place.
    pub fn ended(&self, name: &str) -> Option<Job> {
        self.entries().remove(name)?.next.map(|job| *job)
    }

    /// Has the monitors of `change` stop and be renewed, and gives the jobs that can start at once.
    pub fn apply(&self, change: Change) -> Vec<Job> {
        let mut entries = self.entries();
        for name in change.stop {
            if let Some(entry) = entries.get_mut(&name) {
                entry.version = None;
                entry.next = None;
                entry.reins.stop.cancel();
            }
        }
        let mut free = Vec::new();
        for job in change.start {
            match entries.get_mut(&job.name) {
                Some(entry) => {
                    entry.version = Some(job.version);
                    entry.next = Some(Box::new(job));
                    entry.reins.stop.cancel();
                }
                None => free.push(job),
            }
        }
        for job in change.renew {
            match entries.get_mut(&job.name) {
                // Stopped meanwhile: then it is the new one that takes the place of the old.
                Some(entry) if entry.reins.stop.is_cancelled() => {
                    entry.version = Some(job.version);
                    entry.next = Some(Box::new(job));
                }
                Some(entry) => {
                    entry.version = Some(job.version);
                    entry.reins.renew(job);
                }
                None => free.push(job),
            }
        }
        free
    }
}

/// How the monitors that run differ from those that are wanted, which it names by their index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those that do not run yet.
    pub started: Vec<usize>,
    /// Those that run with other settings.
    pub restarted: Vec<usize>,
    /// Those that run with the same settings, of which a file has other contents.
    pub renewed: Vec<usize>,
    /// Those that run and are not wanted, by name, in the order of their names.
    pub stopped: Vec<Arc<str>>,
    /// How many stay as they are.
    pub unchanged: usize,
}

impl Difference {
    /// How many are started, begin anew or are renewed, are stopped, and stay as they are.
    #[must_use]
    pub fn lengths(&self) -> (usize, usize, usize, usize) {
        let changed = self.restarted.len() + self.renewed.len();
        (
            self.started.len(),
            changed,
            self.stopped.len(),
            self.unchanged,
        )
    }

    /// Tells those that are `wanted` from those that are `running`; no name stands twice in either.
    #[must_use]
    pub fn between<'r, 'w>(
        running: impl IntoIterator<Item = (&'r str, Version)>,
        wanted: impl IntoIterator<Item = (&'w str, Version)>,
    ) -> Self {
        let mut running: HashMap<_, _> = running.into_iter().collect();
        let mut difference = Self::default();
        for (index, (name, version)) in wanted.into_iter().enumerate() {
            match running.remove(name) {
                None => difference.started.push(index),
                Some(known) if known == version => difference.unchanged += 1,
                Some(known) if known.settings == version.settings => {
                    difference.renewed.push(index);
                }
                Some(_) => difference.restarted.push(index),
            }
        }
        difference.stopped = running.into_keys().map(Into::into).collect();
        difference.stopped.sort();
        difference
    }
}

/// What is to become of the monitors.
#[derive(Debug, Default)]
pub struct Change {
    /// Those to stop.
    pub stop: Vec<Arc<str>>,
    /// Those to start, in place of one of the same name where there is one.
    pub start: Vec<Job>,
    /// Those to go on with another way of checking, on the same slots.
    pub renew: Vec<Job>,
}

pub(super) type Changes = mpsc::Receiver<(Change, oneshot::Sender<()>)>;

/// Changes what a dispatcher runs, while it runs.
#[derive(Clone)]
pub struct Handle {
    roster: Arc<Roster>,
    changes: mpsc::Sender<(Change, oneshot::Sender<()>)>,
}

impl Handle {
    pub(super) fn new(roster: Arc<Roster>) -> (Self, Changes) {
        let (changes, receiver) = mpsc::channel(1);
        (Self { roster, changes }, receiver)
    }

    /// Tells what runs from what is `wanted`: names, each of which stands there once, and versions.
    #[must_use]
    pub fn difference<'w>(
        &self,
        wanted: impl IntoIterator<Item = (&'w str, Version)>,
    ) -> Difference {
        let entries = self.roster.entries();
        let running = entries.iter();
        let running = running.filter_map(|(name, entry)| Some((&**name, entry.version?)));
        Difference::between(running, wanted)
    }

    /// Has the dispatcher do so. Monitors that `change` does not name keep their slots, their counts
    /// and the check that is in flight.
    ///
    /// It returns once the change is made; what stops or starts anew does so right after. A
    /// dispatcher that shuts down makes no change.
    pub async fn apply(&self, change: Change) {
        let (made, waiting) = oneshot::channel();
        if self.changes.send((change, made)).await.is_ok() {
            let _ = waiting.await;
        }
    }
}
