//! Counters over the probes of all modules, for `/metrics`.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};

use crate::{
    check::Outcome,
    counter::{counter, gauge},
};

/// The counters of probes. They outlive a change of the configuration.
#[derive(Debug)]
pub struct ProbeStats {
    is_enabled: AtomicBool,
    completed: Mutex<BTreeMap<String, [u64; Outcome::ALL.len()]>>,
    in_flight: IntGauge,
    rejected: [IntCounter; Rejection::ALL.len()],
}

impl Default for ProbeStats {
    fn default() -> Self {
        Self {
            is_enabled: AtomicBool::default(),
            completed: Mutex::default(),
            in_flight: gauge(),
            rejected: Rejection::ALL.map(|_| counter()),
        }
    }
}

/// Why a request was not probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It has no target, or something else is wrong with it.
    BadRequest,
    /// As many probes run as may.
    Saturated,
    /// There is no module of that name, or none that can be used.
    UnknownModule,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::BadRequest, Self::Saturated, Self::UnknownModule];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Saturated => "saturated",
            Self::UnknownModule => "unknown_module",
        }
    }
}

impl ProbeStats {
    /// True if there are modules.
    #[must_use]
    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Counts a probe of one module.
    #[cfg(test)]
    pub(crate) fn fill_for_tests(&self) {
        self.set_enabled(true);
        self.retain_modules(["http_2xx".to_owned()].iter());
        self.complete("http_2xx", Outcome::Success);
    }

    pub(super) fn set_enabled(&self, is_enabled: bool) {
        self.is_enabled.store(is_enabled, Ordering::Relaxed);
    }

    /// Makes the counters of these modules exist, and removes those of others.
    pub(super) fn retain_modules<'m>(&self, modules: impl Iterator<Item = &'m String>) {
        let mut completed = self.completed.lock();
        let mut old = std::mem::take(&mut *completed);
        *completed = modules
            .map(|name| (name.clone(), old.remove(name).unwrap_or_default()))
            .collect();
    }

    /// Counts a probe from its beginning to the end of the returned guard.
    pub(super) fn begin(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(self)
    }

    pub(super) fn complete(&self, module: &str, outcome: Outcome) {
        if let Some(counts) = self.completed.lock().get_mut(module) {
            counts[outcome as usize] += 1;
        }
    }

    pub(super) fn reject(&self, why: Rejection) {
        self.rejected[why as usize].inc();
    }

    /// The probes that have ended, by module and outcome.
    #[must_use]
    pub fn completed(&self) -> Vec<(String, [u64; Outcome::ALL.len()])> {
        let completed = self.completed.lock();
        completed
            .iter()
            .map(|(module, counts)| (module.clone(), *counts))
            .collect()
    }

    /// Number of probes that run.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.get().try_into().unwrap_or_default()
    }

    /// Number of requests that were not probed for this reason.
    #[must_use]
    pub fn rejected(&self, why: Rejection) -> u64 {
        self.rejected[why as usize].get()
    }
}

/// A probe that runs.
pub(super) struct InFlight<'s>(&'s ProbeStats);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}
