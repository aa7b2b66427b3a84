//! Observes monitors for the store. Nothing here waits for the disk.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    codes::Account,
    journal::{Entry, ErrorNote, Event},
};
use crate::{
    check::{
        DispatcherObserver, Incident, IncidentEnd, Job, MonitorObserver, MonitorStatus, Report,
        Skip,
    },
    history::{Record, truncated},
};

/// Checks that may wait to be written. More are not recorded.
const MAX_QUEUED_CHECKS: usize = 100_000;
/// Changes of state that may wait to be written, beside the checks.
const MAX_QUEUED_CHANGES: usize = 100_000;
/// Incidents of a monitor that may wait to be written.
const MAX_QUEUED_INCIDENTS: usize = 32;

/// Observes all monitors.
pub(super) struct Recorder {
    queue: Arc<Queue>,
    /// Cancelled when the daemon stops, which ends no monitor.
    shutdown: CancellationToken,
    monitors: Mutex<Monitors>,
}

/// The monitors by their names.
#[derive(Default)]
struct Monitors {
    known: HashMap<Arc<str>, Known>,
    running: HashMap<Arc<str>, Arc<Monitor>>,
    next_id: u32,
}

/// A monitor that the store has, or will have.
pub(super) struct Known {
    pub id: u32,
    pub kind: String,
    pub target: String,
}

/// Data that waits to be written.
#[derive(Default)]
pub(super) struct Queue {
    entries: Mutex<Vec<Entry>>,
    changed: Mutex<Vec<Arc<Monitor>>>,
    dropped: AtomicU64,
}

/// A monitor that runs or has run.
pub(super) struct Monitor {
    pub id: u32,
    pub name: Arc<str>,
    pub kind: &'static str,
    pub target: String,
    latest: Mutex<Latest>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Latest {
    status: Option<MonitorStatus>,
    account: Option<Account>,
    incidents: Vec<Arc<Incident>>,
    /// The text of the last failure that is in the queue.
    error: Option<Box<str>>,
    is_changed: bool,
    is_gone: bool,
}

/// Data of a monitor that is written besides its checks.
pub(super) struct Change {
    pub monitor: Arc<Monitor>,
    /// Its state; `None` before there is one.
    pub status: Option<MonitorStatus>,
    pub incidents: Vec<Arc<Incident>>,
    pub(crate) is_gone: bool,
}

impl Recorder {
    /// Observes monitors of which the store has `known`.
    pub(super) fn new(known: HashMap<Arc<str>, Known>, shutdown: CancellationToken) -> Self {
        let next_id = known.values().map(|known| known.id + 1).max();
        let monitors = Monitors {
            known,
            running: HashMap::new(),
            next_id: next_id.unwrap_or(1),
        };
        Self {
            queue: Arc::default(),
            shutdown,
            monitors: Mutex::new(monitors),
        }
    }

    /// Data that waits to be written.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Every monitor that runs, for a store that has begun anew.
    pub(super) fn write_all_again(&self) {
        let monitors = self.monitors.lock();
        for monitor in monitors.running.values() {
            let mut latest = monitor.latest.lock();
            latest.error = None;
            if let Some(account) = latest.account {
                self.queue.push_change(monitor.id, Event::Account(account));
            }
            monitor.mark_changed(&mut latest);
        }
    }

    /// Forgets a monitor that the store has forgotten.
    pub(super) fn forget(&self, name: &str) {
        let mut monitors = self.monitors.lock();
        if !monitors.running.contains_key(name) {
            monitors.known.remove(name);
        }
    }
}

impl Queue {
    /// Takes the entries and changes, and the number of checks that had no room.
    pub(super) fn take(&self) -> (Vec<Entry>, Vec<Change>, u64) {
        let monitors = std::mem::take(&mut *self.changed.lock());
        let changes = monitors.into_iter().map(|monitor| {
            let mut latest = monitor.latest.lock();
            latest.is_changed = false;
            Change {
                status: latest.status.clone(),
                incidents: std::mem::take(&mut latest.incidents),
                is_gone: latest.is_gone,
                monitor: monitor.clone(),
            }
        });
        let changes = changes.collect();
        let entries = std::mem::take(&mut *self.entries.lock());
        (entries, changes, self.dropped.swap(0, Ordering::Relaxed))
    }

    /// Adds a check, if there is room.
    fn push_check(&self, monitor: u32, event: Event) -> bool {
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_QUEUED_CHECKS {
            drop(entries);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        entries.push(Entry {
            monitor,
            at: Instant::now(),
            event,
        });
        true
    }

    fn push_change(&self, monitor: u32, event: Event) {
        let mut entries = self.entries.lock();
        if entries.len() < MAX_QUEUED_CHECKS + MAX_QUEUED_CHANGES {
            entries.push(Entry {
                monitor,
                at: Instant::now(),
                event,
            });
        }
    }
}

impl Monitor {
    /// Notes that there is something to write.
    fn mark_changed(self: &Arc<Self>, latest: &mut Latest) {
        if !std::mem::replace(&mut latest.is_changed, true) {
            self.queue.changed.lock().push(self.clone());
        }
    }
}

impl Latest {
    fn add_incident(&mut self, incident: Arc<Incident>) {
        self.incidents.retain(|known| known.began != incident.began);
        if self.incidents.len() < MAX_QUEUED_INCIDENTS {
            self.incidents.push(incident);
        }
    }
}

impl DispatcherObserver for Recorder {
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver> {
        let mut monitors = self.monitors.lock();
        let (kind, target) = (job.kind(), job.target());
        let Monitors { known, next_id, .. } = &mut *monitors;
        let known = known.entry(job.name.clone()).or_insert_with(|| {
            let id = *next_id;
            *next_id += 1;
            Known {
                id,
                kind: kind.to_owned(),
                target: target.clone(),
            }
        });
        let id = known.id;
        if known.kind != kind || known.target != target {
            kind.clone_into(&mut known.kind);
            known.target.clone_from(&target);
            self.queue.push_change(id, Event::Retargeted);
        }
        let monitor = Arc::new(Monitor {
            id,
            name: job.name.clone(),
            kind,
            target,
            latest: Mutex::default(),
            queue: self.queue.clone(),
        });
        monitors.running.insert(job.name.clone(), monitor.clone());
        monitor.mark_changed(&mut monitor.latest.lock());
        Arc::new(Observer(monitor))
    }

    fn on_stopped(&self, job: &Job) {
        if self.shutdown.is_cancelled() {
            return;
        }
        let Some(monitor) = self.monitors.lock().running.remove(&job.name) else {
            return;
        };
        self.queue.push_change(monitor.id, Event::Stopped);
        let mut latest = monitor.latest.lock();
        latest.is_gone = true;
        let status = latest.status.take();
        let incident = status.and_then(|status| status.incident);
        if let Some(incident) = incident.filter(|incident| incident.ended.is_none()) {
            latest.add_incident(Arc::new(Incident {
                ended: Some(SystemTime::now()),
                end_reason: Some(IncidentEnd::Removed),
                ..Arc::unwrap_or_clone(incident)
            }));
        }
        monitor.mark_changed(&mut latest);
    }

    fn on_replaced(&self, _: &Job) {
        // The next monitor of this name goes on.
    }
}

/// Observes one monitor.
struct Observer(Arc<Monitor>);

impl MonitorObserver for Observer {
    fn on_started(&self, _lag: Duration) {}

    fn on_completed(&self, report: &Report) {
        let monitor = &self.0;
        let record = Record::new(report);
        let Some(failure) = &report.failure else {
            let error = ErrorNote::None;
            monitor
                .queue
                .push_check(monitor.id, Event::Checked { record, error });
            return;
        };
        let text = truncated(&failure.error);
        let mut latest = monitor.latest.lock();
        let is_same = latest.error.as_deref() == Some(text);
        let error = if is_same {
            ErrorNote::Same
        } else {
            ErrorNote::Text(text.into())
        };
        let is_kept = monitor
            .queue
            .push_check(monitor.id, Event::Checked { record, error });
        if !is_same {
            latest.error = is_kept.then(|| text.into());
        }
    }

    fn on_cancelled(&self) {}

    fn on_skipped(&self, _slots: u64, _why: Skip) {}

    fn on_status(&self, status: &MonitorStatus) {
        let monitor = &self.0;
        let mut latest = monitor.latest.lock();
        let account = Account::new(status);
        if latest.account.replace(account) != Some(account) {
            monitor
                .queue
                .push_change(monitor.id, Event::Account(account));
        }
        let known = latest.status.as_ref();
        let known = known.and_then(|status| status.incident.as_ref());
        if let Some(incident) = &status.incident
            && known != Some(incident)
        {
            latest.add_incident(incident.clone());
        }
        latest.status = Some(status.clone());
        monitor.mark_changed(&mut latest);
    }
}
