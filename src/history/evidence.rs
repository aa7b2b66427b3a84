//! The steps of each monitor's last failure, in memory, within a limit for all monitors.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;

use crate::check::{Cause, Report, Step};

/// Bytes of the evidence of all monitors. If it is more, the oldest is removed.
pub(crate) const MAX_EVIDENCE_BYTES: usize = 8 << 20;

/// The steps of a check that failed.
#[derive(Debug)]
pub struct Evidence {
    /// When the check ended.
    pub(crate) ended_at: SystemTime,
    /// The well-known cause, if it is one.
    pub cause: Option<Cause>,
    /// The steps in their order.
    pub steps: Box<[Step]>,
}

impl Evidence {
    fn bytes(&self) -> usize {
        let texts: usize = self.steps.iter().map(|step| step.text.len()).sum();
        size_of::<Self>() + size_of_val(&*self.steps) + texts
    }
}

/// The evidence of all monitors.
#[derive(Default)]
pub(super) struct EvidenceStore(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_monitor: HashMap<u32, (u64, Arc<Evidence>)>,
    /// Monitors by the age of their evidence.
    by_age: BTreeMap<u64, u32>,
    next: u64,
    bytes: usize,
}

impl EvidenceStore {
    /// Keeps the steps of a check of `monitor` in place of older ones, if it failed.
    pub(super) fn keep(&self, monitor: u32, report: &Report) {
        if report.failure.is_none() || report.steps.is_empty() {
            return;
        }
        let evidence = Evidence {
            ended_at: report.ended_at,
            cause: report.cause,
            steps: report.steps.clone().into(),
        };
        let mut kept = self.0.lock();
        kept.remove(monitor);
        let age = kept.next;
        kept.next += 1;
        kept.bytes += evidence.bytes();
        kept.by_age.insert(age, monitor);
        kept.by_monitor.insert(monitor, (age, Arc::new(evidence)));
        while kept.bytes > MAX_EVIDENCE_BYTES
            && let Some((_, oldest)) = kept.by_age.pop_first()
        {
            kept.remove(oldest);
        }
    }

    /// The steps of the last failure of `monitor`, if they are kept.
    pub(super) fn find(&self, monitor: u32) -> Option<Arc<Evidence>> {
        let kept = self.0.lock();
        let (_, evidence) = kept.by_monitor.get(&monitor)?;
        Some(evidence.clone())
    }

    /// Removes the evidence of a monitor that is gone.
    pub(super) fn remove(&self, monitor: u32) {
        self.0.lock().remove(monitor);
    }
}

impl Kept {
    fn remove(&mut self, monitor: u32) {
        if let Some((age, evidence)) = self.by_monitor.remove(&monitor) {
            self.by_age.remove(&age);
            self.bytes -= evidence.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::{Failure, Phase, Reason, StepKind};

    fn report(text: &str, steps: usize) -> Report {
        let step = Step {
            at: Duration::ZERO,
            phase: None,
            kind: StepKind::Failure,
            text: text.into(),
        };
        Report {
            ended_at: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            phases: Vec::new(),
            facts: Vec::new(),
            failure: Some(Failure::new(Phase::Connect, Reason::Timeout, "late")),
            steps: vec![step; steps],
            cause: None,
            trace: None,
        }
    }

    #[test]
    fn the_last_failure_of_a_monitor_is_kept() {
        let store = EvidenceStore::default();
        store.keep(1, &report("a", 1));
        store.keep(1, &report("b", 1));
        let unheard = report("c", 0);
        store.keep(1, &unheard);
        let mut succeeded = report("d", 1);
        succeeded.failure = None;
        store.keep(1, &succeeded);
        let evidence = store.find(1).expect("it is kept");
        assert_eq!(&*evidence.steps[0].text, "b");
        store.remove(1);
        assert!(store.find(1).is_none());
        assert_eq!(store.0.lock().bytes, 0);
    }

    #[test]
    fn the_memory_of_all_monitors_is_bounded() {
        let store = EvidenceStore::default();
        let text = "x".repeat(1_000);
        for monitor in 0..20_000 {
            store.keep(monitor, &report(&text, 10));
        }
        let kept = store.0.lock();
        assert!(kept.bytes <= MAX_EVIDENCE_BYTES);
        assert!(kept.bytes > MAX_EVIDENCE_BYTES * 9 / 10);
        assert_eq!(kept.by_age.len(), kept.by_monitor.len());
        assert!(
            kept.by_monitor.contains_key(&19_999),
            "the last one is kept"
        );
        assert!(!kept.by_monitor.contains_key(&0), "the oldest one is not");
    }
}
