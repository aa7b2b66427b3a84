//! The histories of all monitors.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;

use super::{MonitorUpdate, RecentChecks, evidence::EvidenceStore, monitor::MonitorHistory};
use crate::check::{DispatcherObserver, Job, MaintenanceWindow, MonitorObserver};

/// Number of updates that a listener may be behind. One that is further behind loses some, and must reload
/// everything.
const BROADCAST_CAPACITY: usize = 1024;

/// The histories of all monitors.
pub struct History {
    monitors: RwLock<BTreeMap<Arc<str>, Arc<MonitorHistory>>>,
    next_id: AtomicU32,
    maintenance: RwLock<Arc<[MaintenanceWindow]>>,
    updates: broadcast::Sender<MonitorUpdate>,
    evidence: Arc<EvidenceStore>,
    /// Checks before the daemon started, of monitors that have not started yet.
    past: Mutex<HashMap<Arc<str>, PastChecks>>,
}

/// The last checks of a monitor before the daemon started.
pub(crate) struct PastChecks {
    /// The type of the monitor.
    pub kind: String,
    /// The target that was checked.
    pub target: String,
    /// The checks.
    pub checks: RecentChecks,
}

impl Default for History {
    fn default() -> Self {
        Self {
            monitors: RwLock::default(),
            next_id: AtomicU32::new(1),
            maintenance: RwLock::default(),
            updates: broadcast::Sender::new(BROADCAST_CAPACITY),
            evidence: Arc::default(),
            past: Mutex::default(),
        }
    }
}

impl History {
    /// Takes over past checks of monitors that start later.
    pub(crate) fn restore(&self, past: impl IntoIterator<Item = (Arc<str>, PastChecks)>) {
        self.past.lock().extend(past);
    }

    /// Every monitor, in the order of their names.
    #[must_use]
    pub fn monitors(&self) -> Vec<Arc<MonitorHistory>> {
        let monitors = self.monitors.read();
        monitors.values().cloned().collect()
    }

    /// The monitor `name`.
    #[must_use]
    pub fn monitor(&self, name: &str) -> Option<Arc<MonitorHistory>> {
        let monitors = self.monitors.read();
        monitors.get(name).cloned()
    }

    /// The maintenance windows that are open, and when the others open next.
    #[must_use]
    pub fn maintenance(&self) -> Arc<[MaintenanceWindow]> {
        self.maintenance.read().clone()
    }

    /// Receives every update from now on.
    #[must_use]
    pub(crate) fn updates(&self) -> broadcast::Receiver<MonitorUpdate> {
        self.updates.subscribe()
    }
}

impl DispatcherObserver for History {
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (updates, evidence) = (self.updates.clone(), self.evidence.clone());
        let past = self.past.lock().remove(&job.name);
        let past = past.filter(|past| past.kind == job.kind() && past.target == job.target());
        let checks = past.map(|past| past.checks).unwrap_or_default();
        let monitor = Arc::new(MonitorHistory::new(id, job, checks, updates, evidence));
        let mut monitors = self.monitors.write();
        let replaced = monitors.insert(job.name.clone(), monitor.clone());
        drop(monitors);
        if let Some(replaced) = replaced {
            self.evidence.remove(replaced.id);
        }
        monitor.notify(true);
        monitor
    }

    fn on_maintenance(&self, windows: &Arc<[MaintenanceWindow]>) {
        *self.maintenance.write() = windows.clone();
    }

    fn on_stopped(&self, job: &Job) {
        let mut monitors = self.monitors.write();
        let gone = monitors.remove(&job.name);
        drop(monitors);
        if let Some(monitor) = gone {
            self.evidence.remove(monitor.id);
            monitor.notify(true);
        }
    }
}
