//! The data that all states share: who depends on whom, and whether the daemon has a network.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::{sync::Notify, time::Instant};

use super::{
    dependencies::DependencyGraph,
    machine::{Gate, MachineState},
    maintenance::Timetable,
    settings::Settings,
    tracked::Tracked,
};

/// Everything that the monitors share.
#[derive(Default)]
pub(super) struct Shared {
    pub monitors: RwLock<HashMap<Arc<str>, Arc<Tracked>>>,
    pub config: RwLock<Arc<StatesConfig>>,
    pub(crate) is_cut_off: AtomicBool,
    /// Monitors with results that the states of others depend on.
    followed: Mutex<HashSet<Arc<str>>>,
    /// Until when the failures of monitors wait for news of their dependencies.
    waits: Mutex<HashMap<Arc<str>, Instant>>,
    /// The maintenance windows.
    pub(crate) timetable: Mutex<Timetable>,
    /// Wakes the task that has states follow each other.
    pub(crate) news: Notify,
    /// States of monitors that are about to start.
    pub kept: Mutex<HashMap<Arc<str>, Kept>>,
    /// True until all monitors with a past state have started.
    pub(crate) is_starting: AtomicBool,
}

/// The state of a monitor that has stopped, for the one that takes its place.
#[derive(Clone)]
pub(super) struct Kept {
    pub kind: String,
    pub target: String,
    pub machine: MachineState,
}

/// The settings for all monitors.
#[derive(Default)]
pub(super) struct StatesConfig {
    pub settings: Settings,
    pub graph: DependencyGraph,
}

impl Shared {
    /// The monitor `name`.
    pub(super) fn monitor(&self, name: &str) -> Option<Arc<Tracked>> {
        self.monitors.read().get(name).cloned()
    }

    /// Every monitor.
    pub(super) fn all(&self) -> Vec<Arc<Tracked>> {
        self.monitors.read().values().cloned().collect()
    }

    /// True if the states of others depend on the results of the monitor `name`.
    pub(super) fn is_followed(&self, name: &str) -> bool {
        let config = self.config.read();
        let self_check = &config.settings.self_check;
        !config.graph.dependents(name).is_empty() || self_check.iter().any(|known| **known == *name)
    }

    /// Notes that there is a result of the monitor `name`.
    pub(super) fn signal(&self, name: &Arc<str>) {
        if self.followed.lock().insert(name.clone()) {
            self.news.notify_one();
        }
    }

    /// Notes that failures of the monitor `name` wait until `until`.
    pub(super) fn wait(&self, name: &Arc<str>, until: Instant) {
        self.waits.lock().insert(name.clone(), until);
        self.news.notify_one();
    }

    /// The monitors with results since this was last asked.
    pub(super) fn take_signals(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.followed.lock())
    }

    /// The monitors whose failures wait.
    pub(super) fn waiting(&self) -> Vec<Arc<str>> {
        self.waits.lock().keys().cloned().collect()
    }

    /// Forgets waits that are over, and returns the monitors whose time has come by `now`.
    pub(super) fn take_ended_waits(&self, now: Instant) -> Vec<Arc<str>> {
        let mut waits = self.waits.lock();
        let ended: Vec<_> = waits
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &ended {
            waits.remove(name);
        }
        ended
    }

    /// Forgets the wait of the monitor `name`.
    pub(super) fn forget_wait(&self, name: &str) {
        self.waits.lock().remove(name);
    }

    /// The moment at which the first wait ends.
    pub(super) fn next_wait(&self) -> Option<Instant> {
        self.waits.lock().values().min().copied()
    }

    /// The results, since the moment `since`, of the dependencies of the monitor `name` and of the
    /// network of the daemon; and the dependencies that are down.
    pub(super) fn gate(
        &self,
        name: &str,
        depends_on: &[Arc<str>],
        since: Instant,
    ) -> (Gate, Arc<[Arc<str>]>) {
        let references = self.config.read().clone();
        let references = &references.settings.self_check;
        if depends_on.is_empty() && references.is_empty() {
            return (Gate::Open, Arc::default());
        }
        let monitors = self.monitors.read();
        let mut gate = Gate::Open;
        let mut blockers = Vec::new();
        for dependency in depends_on {
            let of_dependency = match monitors.get(dependency) {
                Some(tracked) => tracked.gate(since),
                None if self.starts_down(dependency) => Gate::Blocked,
                // One that runs elsewhere, or not at all, is not known here.
                None => continue,
            };
            if of_dependency == Gate::Blocked {
                blockers.push(dependency.clone());
            }
            gate = gate.narrower(of_dependency);
        }
        let references = references
            .iter()
            .filter(|reference| ***reference != *name)
            .filter_map(|reference| monitors.get(reference));
        (gate.narrower(network(references, since)), blockers.into())
    }

    /// True if the monitor `name` is about to start, and was down or unreachable before.
    fn starts_down(&self, name: &str) -> bool {
        if !self.is_starting.load(Ordering::Relaxed) {
            return false;
        }
        let kept = self.kept.lock();
        kept.get(name)
            .is_some_and(|kept| kept.machine.blocks_others())
    }

    /// Returns true if all monitors of `self_check` that run here fail; `None` if there is none.
    pub(super) fn is_without_network(&self) -> Option<bool> {
        let config = self.config.read().clone();
        let references: Vec<_> = config
            .settings
            .self_check
            .iter()
            .filter_map(|name| self.monitor(name))
            .filter(|tracked| tracked.is_enabled)
            .collect();
        let fails = |tracked: &Arc<Tracked>| matches!(tracked.last_result(), Some((_, false)));
        (!references.is_empty()).then(|| references.iter().all(fails))
    }

    /// True if the daemon is cut off.
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::Relaxed)
    }
}

/// The verdict of the `references` of `self_check` on the network since the moment `since`.
fn network<'t>(references: impl Iterator<Item = &'t Arc<Tracked>>, since: Instant) -> Gate {
    let mut gate = Gate::Open;
    for reference in references.filter(|reference| reference.is_enabled) {
        match reference.last_result() {
            Some((ended, true)) if ended > since => return Gate::Open,
            _ => gate = gate.narrower(Gate::Waiting(reference.next_result_within)),
        }
    }
    gate
}

impl Gate {
    /// Of two, the one that lets fewer failures pass; of two of a kind, the longer one.
    fn narrower(self, other: Self) -> Self {
        let width = |gate| match gate {
            Self::Blocked => (0, None),
            Self::Failing(limit) => (1, Some(limit)),
            Self::Waiting(limit) => (2, Some(limit)),
            Self::Open => (3, None),
        };
        let ((kind, limit), (other_kind, other_limit)) = (width(self), width(other));
        if kind < other_kind || kind == other_kind && limit >= other_limit {
            self
        } else {
            other
        }
    }
}
