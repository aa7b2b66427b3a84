//! Runs one monitor: sleeps until its slot, waits for a permit, checks, and accounts for every slot.

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

/// A monitor with all that it takes to run it.
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
    /// Whether the last check timed out.
    pub last_timed_out: bool,
    /// Whether there was a first slot, which is run however late it is: after it, the monitor is
    /// known to be up or down, and the next one may be a day away.
    pub first_slot_run: bool,
    /// The moment from which the schedule counts.
    pub origin: Instant,
}

impl MonitorTask {
    /// Runs slot after slot until it is told to stop, and gives the job back.
    pub async fn run(mut self, first: Duration) -> Job {
        let (mut due, stop) = (first, self.control.stop.clone());
        let slots = async {
            loop {
                // A check that panics is a failed check, and a log line that does is lost. What
                // else can panic here is an observer, which then has no say in what it counts.
                let slot = AssertUnwindSafe(self.run_slot(due)).catch_unwind().await;
                due = slot.unwrap_or_else(|_| {
                    tracing::error!(target: LOG_TARGET, monitor = &*self.job.name, "An observer panicked");
                    self.schedule.next_after(due.max(self.now()))
                });
            }
        };
        tokio::select! {
            biased; // a slot that comes due together with the end is not run
            () = stop.cancelled() => {}
            () = slots => {}
        }
        self.job
    }

    /// Waits for the slot at `due`, does with it what can be done, and returns the next one.
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
        // Dropped before it is complete, a check was cancelled.
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

    /// A permit for a check, if one is free before the next slot.
    async fn acquire_permit(&self, due: Duration) -> Option<Permit<'_>> {
        // Dropped while it waits, a slot was skipped for a shutdown.
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
