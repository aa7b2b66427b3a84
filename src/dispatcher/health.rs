//! The health of the dispatcher: answers whether it runs checks when they are due.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    running::RunningMonitors,
    runtime_lag::RuntimeLag,
    skipped::{SkipMonitor, SlotTotals},
};

/// Time that a slot may be overdue beyond two intervals of its monitor, in which the check before it may have waited
/// and run.
const OVERDUE_LEEWAY: Duration = Duration::from_secs(5);

/// A reason for which checks did not run when they were due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A monitor has not come to its next slot for more than two of its intervals.
    Overdue,
    /// The daemon was stopped, or got no CPU time, for more than a second.
    Stalled,
    /// More than 1 % of the slots were skipped because the daemon had no place for their checks, or was stopped.
    SlotsLost,
}

impl Fault {
    /// Its name in logs.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Stalled => "stalled",
            Self::SlotsLost => "slots_lost",
        }
    }
}

/// The health of a running dispatcher.
#[derive(Clone)]
pub(crate) struct Health {
    pub(super) lag: Arc<RuntimeLag>,
    pub(super) skips: Arc<SkipMonitor>,
    pub(super) running: Arc<RunningMonitors>,
}

/// A moment, and the slots that were accounted for until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HealthMark {
    at: Instant,
    slots: SlotTotals,
}

impl Health {
    /// The present moment.
    #[must_use]
    pub(crate) fn mark(&self) -> HealthMark {
        HealthMark {
            at: Instant::now(),
            slots: self.skips.totals(),
        }
    }

    /// The most serious fault of the daemon since `mark`, if there was any.
    #[must_use]
    pub(crate) fn fault_since(&self, mark: &HealthMark) -> Option<Fault> {
        let now = Instant::now();
        if self.running.has_overdue_slot(now, OVERDUE_LEEWAY) {
            return Some(Fault::Overdue);
        }
        if self.lag.was_stalled_during(mark.at, now) {
            return Some(Fault::Stalled);
        }
        let slots = self.skips.totals().since(&mark.slots);
        slots.lost_too_many().then_some(Fault::SlotsLost)
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        check::{Attempt, Failure, Job, Monitor},
        dispatcher::running::{ChangeSet, TaskControl},
    };

    struct Idle;

    impl Monitor for Idle {
        fn kind(&self) -> &'static str {
            "http"
        }

        fn target(&self) -> String {
            "nowhere".to_owned()
        }

        async fn check(&self, _: &Attempt) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_monitor_that_comes_to_no_further_slot_is_overdue() {
        let health = Health {
            lag: Arc::new(RuntimeLag::new(Instant::now())),
            skips: Arc::default(),
            running: Arc::default(),
        };
        let mut job = Job::new("stuck", Idle);
        job.check_every = Duration::from_secs(30);
        let control = TaskControl::new(CancellationToken::new());
        health.running.add(&job, control.clone());
        let faults = |after: u64| {
            let now = Instant::now() + Duration::from_secs(after);
            health.running.has_overdue_slot(now, OVERDUE_LEEWAY)
        };
        assert!(!faults(1_000), "it has no slot yet");
        control.set_slot(Instant::now() + Duration::from_secs(10));
        // The check at 10 s waits until 40 s for a place, and runs until 70 s.
        assert!(!faults(75) && faults(76));
        assert_eq!(health.fault_since(&health.mark()), None);
        let stop = ChangeSet {
            stop: vec!["stuck".into()],
            ..ChangeSet::default()
        };
        health.running.apply(stop, true);
        assert!(!faults(76), "it stops");
    }
}
