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
    Attempt, Job, LoggedChecks, MAX_INTERVAL, MonitorObserver, Outcome, Reason, Report, Skip,
    StepLimits, Steps, TraceStart, Tracer,
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
    /// Traces checks, if the daemon does.
    pub tracer: Option<Arc<dyn Tracer>>,
    pub last_outcome: Option<Outcome>,
    /// True if the last check timed out.
    pub last_timed_out: bool,
    /// True after the first slot, which is run even if it is late, because the next one may be a day
    /// away.
    pub first_slot_run: bool,
    /// The reference for the times of the schedule.
    pub origin: Instant,
}

/// A time at which a check is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    /// A slot of the grid, or the first one.
    Grid(Duration),
    /// An extra slot while a change is not confirmed, before the slot of the grid at `grid`.
    Retry { due: Duration, grid: Duration },
}

impl MonitorTask {
    /// Runs slots until it is stopped, and returns the job.
    #[expect(
        clippy::manual_async_fn,
        reason = "the future of an async function has room for the task twice"
    )]
    pub(super) fn run(mut self, first: Duration) -> impl Future<Output = Job> + Send {
        async move {
            let stop = self.control.stop.clone();
            if !self.job.enabled {
                stop.cancelled().await;
                return self.job;
            }
            tokio::select! {
                biased; // a slot that is due at the same time as the end does not run
                () = stop.cancelled() => {}
                () = self.run_slots(first) => {}
            }
            self.job
        }
    }

    /// Runs slots, the first of which is at `first`.
    async fn run_slots(&mut self, first: Duration) {
        let mut slot = Slot::Grid(first);
        loop {
            // Panics of checks and of their log lines are caught elsewhere, so this is a panic of an observer.
            let next = AssertUnwindSafe(self.run_slot(slot)).catch_unwind().await;
            slot = next.unwrap_or_else(|_| {
                tracing::error!(target: LOG_TARGET, monitor = &*self.job.name, "An observer panicked");
                match slot {
                    Slot::Grid(due) => Slot::Grid(self.schedule.next_after(due.max(self.now()))),
                    Slot::Retry { grid, .. } => Slot::Grid(grid),
                }
            });
        }
    }

    /// Waits for `slot`, runs or skips it, and returns the next one.
    async fn run_slot(&mut self, slot: Slot) -> Slot {
        let (Slot::Grid(due) | Slot::Retry { due, .. }) = slot;
        self.control.set_slot(self.origin + due);
        self.observer.on_scheduled(self.origin + due);
        sleep_until(self.origin + due).await;
        // In a box, so that a sleeping monitor does not hold the memory of a check.
        Box::pin(self.run_due_slot(slot, due)).await
    }

    /// Runs or skips `slot`, which was due at `due`, and returns the next one.
    async fn run_due_slot(&mut self, slot: Slot, due: Duration) -> Slot {
        let has_run = std::mem::replace(&mut self.first_slot_run, true);
        let late = match slot {
            Slot::Grid(_) if has_run => match self.schedule.on_wake(due, self.now()) {
                WakeDecision::InTime => None,
                WakeDecision::Stalled { missed, next } => Some((missed, next)),
            },
            Slot::Grid(_) => None,
            Slot::Retry { grid, .. } => self
                .schedule
                .is_too_late_to_retry(due, grid, self.now())
                .then_some((1, grid)),
        };
        if let Some((missed, next)) = late {
            self.record_skipped(missed, Skip::Stalled, SkipCause::Stalled);
            return Slot::Grid(next);
        }
        if let Some(job) = self.control.take_pending_job() {
            self.job = *job;
        }
        if let Some(why) = self.observer.reason_to_skip() {
            self.observer.on_skipped(1, why);
            return Slot::Grid(self.grid_after(slot));
        }
        let Some(permit) = self.acquire_permit(slot).await else {
            return Slot::Grid(self.grid_after(slot));
        };
        let started = self.now();
        let deadline = match slot {
            Slot::Grid(due) => self.schedule.deadline(due, started),
            // It does not delay the slot of the grid.
            Slot::Retry { grid, .. } => grid.min(started + self.job.timeout.min(MAX_INTERVAL)),
        };
        self.skips.count_started();
        self.observer.on_started(started.saturating_sub(due));
        // If dropped before the end, the check was cancelled.
        let in_flight = guard(&self.observer, |observer| observer.on_cancelled());
        let trace = self.trace();
        let steps = self.steps(trace);
        let deadline_at = self.origin + deadline;
        let mut report = Attempt::run(&self.job, deadline_at, steps, trace).await;
        let contended = permit.contended;
        drop(permit);
        let tainted = self
            .lag
            .was_lagging_during(self.origin + started, Instant::now());
        if tainted {
            self.observer.on_tainted();
        }
        if let (Some(tracer), Some(_)) = (&self.tracer, &report.trace) {
            tracer.end(&self.job, &mut report);
        }
        ScopeGuard::into_inner(in_flight).on_completed(&report);
        self.last_timed_out = report
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == Reason::Timeout);
        self.log_check(&report);

        let grid = match slot {
            Slot::Grid(due) => self.account_for_missed(due, deadline, contended),
            // It ended before that, or the slot is found to be late.
            Slot::Retry { grid, .. } => grid,
        };
        self.retry(due, grid).unwrap_or(Slot::Grid(grid))
    }

    /// Accounts for the slots of the grid that passed during the check of the one at `due`, and returns
    /// the next one.
    fn account_for_missed(
        &self,
        due: Duration,
        deadline: Duration,
        contended: Option<SkipCause>,
    ) -> Duration {
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

    /// The extra slot after the one at `due`, if the last result awaits confirmation and there is room for
    /// a check before the slot of the grid at `grid`.
    fn retry(&self, due: Duration, grid: Duration) -> Option<Slot> {
        let retry_every = self.job.state_rules.confirm.retry_every?;
        if !self.observer.awaits_confirmation() {
            return None;
        }
        let due = self.schedule.retry(due, retry_every, grid, self.now())?;
        Some(Slot::Retry { due, grid })
    }

    /// The slot of the grid after `slot`.
    fn grid_after(&self, slot: Slot) -> Duration {
        match slot {
            Slot::Grid(due) => self.schedule.next_after(due),
            Slot::Retry { grid, .. } => grid,
        }
    }

    /// Waits for a permit until the next slot.
    async fn acquire_permit(&self, slot: Slot) -> Option<Permit<'_>> {
        // If dropped while waiting, the slot was skipped because of a shutdown.
        let waiting = guard(&self.observer, |observer| {
            observer.on_skipped(1, Skip::Shutdown);
        });
        let until = match slot {
            Slot::Grid(due) => self.schedule.next_after(due),
            Slot::Retry { grid, .. } => self.schedule.latest_retry(grid),
        };
        let permits = &self.permits;
        let permit = permits
            .acquire(self.origin + until, self.last_timed_out)
            .await;
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

    /// The trace of the next check, if it has one.
    fn trace(&self) -> Option<TraceStart> {
        match &self.tracer {
            Some(tracer) => {
                let last_failed = self.last_outcome == Some(Outcome::Failure);
                tracer.start(&self.job, last_failed)
            }
            None => TraceStart::unrecorded(&self.job),
        }
    }

    /// The steps of the next check: told if it is the first one, the last one failed, or its trace may be
    /// exported, so that monitors that are well cost nothing.
    fn steps(&self, trace: Option<TraceStart>) -> Steps {
        match self.last_outcome {
            _ if trace.is_some_and(|trace| trace.is_recorded) => {
                Steps::record(StepLimits::EVIDENCE)
            }
            Some(Outcome::Success) => Steps::none(),
            Some(Outcome::Failure) | None => Steps::record(StepLimits::EVIDENCE),
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}
