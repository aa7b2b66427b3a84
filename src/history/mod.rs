//! What is kept of reports, for people who look: so many checks of each monitor, in memory.

mod kept;
mod record;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::broadcast;

use crate::check::{Job, Observer, Overseer};

pub use kept::{FAILURES, Kept, PastCheck, RECENT, Snapshot, Standing};
pub use record::Record;

/// Changes that somebody who listens may be behind before they count as all.
const BEHIND: usize = 1024;

/// What is kept of all monitors.
pub struct History {
    monitors: RwLock<BTreeMap<Arc<str>, Arc<Kept>>>,
    next_id: AtomicU32,
    changes: broadcast::Sender<Change>,
}

/// Something new of the monitor `id`.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Of which one.
    pub id: u32,
    /// Whether it went up or down, appeared or is gone, and was not just checked once more.
    pub turned: bool,
}

impl Default for History {
    fn default() -> Self {
        Self {
            monitors: RwLock::default(),
            next_id: AtomicU32::new(1),
            changes: broadcast::Sender::new(BEHIND),
        }
    }
}

impl History {
    /// Every monitor, in the order of their names.
    #[must_use]
    pub fn monitors(&self) -> Vec<Arc<Kept>> {
        let monitors = self.monitors.read().unwrap_or_else(PoisonError::into_inner);
        monitors.values().cloned().collect()
    }

    /// The monitor `name`.
    #[must_use]
    pub fn monitor(&self, name: &str) -> Option<Arc<Kept>> {
        let monitors = self.monitors.read().unwrap_or_else(PoisonError::into_inner);
        monitors.get(name).cloned()
    }

    /// Is told of every change from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

impl Overseer for History {
    fn observe(&self, job: &Job) -> Arc<dyn Observer> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let kept = Arc::new(Kept::new(id, job, self.changes.clone()));
        let mut monitors = self
            .monitors
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        monitors.insert(job.name.clone(), kept.clone());
        drop(monitors);
        kept.tell(true);
        kept
    }

    fn stopped(&self, job: &Job) {
        let mut monitors = self
            .monitors
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let gone = monitors.remove(&job.name);
        drop(monitors);
        if let Some(kept) = gone {
            kept.tell(true);
        }
    }
}
