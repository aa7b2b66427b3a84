//! Runs one monitor: waits for its slot and a permit, checks, and accounts for every slot.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use scopeguard::{ScopeGuard, guard};
use tokio::time::{Instant, sleep_until};

use super::{
    LOG_TARGET,
    permits::{MonitorPermits, Permit},
    running::TaskControl,
    runtime_lag::RuntimeLag,
    schedule::{MissedSlots, Schedule, WakeDecision},
    skipped::{SkipCause, SkipMonitor},
};
use crate::check::{
    Attempt, Job, LoggedChecks, MonitorObserver, Outcome, Reason, Report, Skip, Steps,
};

/// A monitor with everything needed to run it.
pub(super) struct MonitorTask {
    pub job: Job,
    pub control: Arc<TaskControl>,
    pub schedule: Schedule,
    pub observer: Arc<dyn MonitorObserver>,
    pub permits: MonitorPermits,
    pub lag: Arc<RuntimeLag>,
    pub skips: Arc<SkipMonitor>,
    pub log: LoggedChecks,
    pub last_outcome: Option<Outcome>,
    /// True if the last check timed out.
    pub last_timed_out: bool,
    /// True after the first slot, which is run even if it is late, because the next one may be a day
    /// away.
    pub first_slot_run: bool,
    /// The reference for the times of the schedule.
    pub origin: Instant,
}

impl MonitorTask {
    /// Runs slots until it is stopped, and returns the job.
    pub async fn run(mut self, first: Duration) -> Job {
        let (mut due, stop) = (first, self.control.stop.clone());
        let slots = async {
            loop {
                // Panics of checks and of their log lines are caught elsewhere, so this is a panic of
                // an observer.
                let slot = AssertUnwindSafe(self.run_slot(due)).catch_unwind().await;
                due = slot.unwrap_or_else(|_| {
                    tracing::error!(target: LOG_TARGET, monitor = &*self.job.name, "An observer panicked");
                    self.schedule.next_after(due.max(self.now()))
                });
            }
        };
        tokio::select! {
            biased; // a slot that is due at the same time as the end does not run
            () = stop.cancelled() => {}
            () = slots => {}
        }
        self.job
    }

    /// Waits for the slot at `due`, runs or skips it, and returns the next one.
    async fn run_slot(&mut self, due: Duration) -> Duration {
        self.observer.on_scheduled(self.origin + due);
        sleep_until(self.origin + due).await;
        if std::mem::replace(&mut self.first_slot_run, true)
            && let WakeDecision::Stalled { missed, next } = self.schedule.on_wake(due, self.now())
        {
            self.record_skipped(missed, Skip::Stalled, SkipCause::Stalled);
            return next;
        }
        if let Some(job) = self.control.take_pending_job() {
            self.job = *job;
        }
        let Some(permit) = self.acquire_permit(due).await else {
            return self.schedule.next_after(due);
        };
        let started = self.now();
        let deadline = self.schedule.deadline(due, started);
        self.skips.count_started();
        self.observer.on_started(started.saturating_sub(due));
        // If dropped before the end, the check was cancelled.
        let in_flight = guard(&self.observer, |observer| observer.on_cancelled());
        let report = Attempt::run(&self.job, self.origin + deadline, Steps::none()).await;
        let contended = permit.contended;
        drop(permit);
        let tainted = self
            .lag
            .was_lagging_during(self.origin + started, Instant::now());
        if tainted {
            self.observer.on_tainted();
        }
        ScopeGuard::into_inner(in_flight).on_completed(&report);
        self.last_timed_out = report
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == Reason::Timeout);
        self.log_check(&report);

        let MissedSlots {
            overrun,
            stalled,
            next,
        } = self.schedule.missed_during(due, deadline, self.now());
        if overrun > 0 {
            self.record_skipped(
                overrun,
                Skip::Overrun,
                contended.unwrap_or(SkipCause::Overrun),
            );
        }
        if stalled > 0 {
            self.record_skipped(stalled, Skip::Stalled, SkipCause::Stalled);
        }
        next
    }

    /// Waits for a permit until the next slot.
    async fn acquire_permit(&self, due: Duration) -> Option<Permit<'_>> {
        // If dropped while waiting, the slot was skipped because of a shutdown.
        let waiting = guard(&self.observer, |observer| {
            observer.on_skipped(1, Skip::Shutdown);
        });
        let next = self.origin + self.schedule.next_after(due);
        let permit = self.permits.acquire(next, self.last_timed_out).await;
        ScopeGuard::into_inner(waiting);
        permit
            .map_err(|cause| self.record_skipped(1, Skip::Saturated, cause))
            .ok()
    }

    fn record_skipped(&self, slots: u64, why: Skip, cause: SkipCause) {
        self.skips.count_skipped(slots, cause, &self.job.name);
        self.observer.on_skipped(slots, why);
    }

    fn log_check(&mut self, report: &Report) {
        let outcome = report.outcome();
        let changed = self.last_outcome.replace(outcome) != Some(outcome);
        let wanted = match self.log {
            LoggedChecks::All => true,
            LoggedChecks::Changes => changed,
            LoggedChecks::Failures => outcome == Outcome::Failure,
            LoggedChecks::None => false,
        };
        if wanted {
            let line = || self.job.monitor.log(&self.job.name, report);
            if catch_unwind(AssertUnwindSafe(line)).is_err() {
                tracing::error!(target: LOG_TARGET, monitor = &*self.job.name, "Logging a check panicked");
            }
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}
