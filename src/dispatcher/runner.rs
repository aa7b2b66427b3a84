//! Runs one monitor: sleeps until its slot, waits for a place, checks, and accounts for every slot.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::{
    places::{Place, Places},
    pulse::Pulse,
    roster::Reins,
    schedule::{Passed, Schedule, Woken},
    tally::{Cause, Tally},
};
use crate::check::{Attempt, CheckLog, Job, Observer, Outcome, Reason, Report, Skip};

/// A monitor with all that it takes to run it.
pub(super) struct Runner {
    pub job: Job,
    pub reins: Arc<Reins>,
    pub schedule: Schedule,
    pub observer: Arc<dyn Observer>,
    pub places: Places,
    pub pulse: Arc<Pulse>,
    pub tally: Arc<Tally>,
    pub log: CheckLog,
    pub last_outcome: Option<Outcome>,
    /// Whether the last check timed out.
    pub hung: bool,
    /// Whether there was a first slot, which is run however late it is: after it, the monitor is
    /// known to be up or down, and the next one may be a day away.
    pub has_begun: bool,
    /// The moment from which the schedule counts.
    pub origin: Instant,
}

impl Runner {
    /// Runs slot after slot until it is told to stop, and gives the job back.
    pub async fn run(mut self, first: Duration) -> Job {
        let (mut due, stop) = (first, self.reins.stop.clone());
        let slots = async {
            loop {
                // A check that panics is a failed check, and a log line that does is lost. What
                // else can panic here is an observer, which then has no say in what it counts.
                let slot = AssertUnwindSafe(self.slot(due)).catch_unwind().await;
                due = slot.unwrap_or_else(|_| {
                    tracing::error!(monitor = &*self.job.name, "An observer panicked");
                    self.schedule.after(due.max(self.now()))
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
    async fn slot(&mut self, due: Duration) -> Duration {
        self.observer.due(self.origin + due);
        sleep_until(self.origin + due).await;
        if std::mem::replace(&mut self.has_begun, true)
            && let Woken::Stalled { missed, next } = self.schedule.wake(due, self.now())
        {
            self.skipped(missed, Skip::Stalled, Cause::Stalled);
            return next;
        }
        if let Some(job) = self.reins.renewed() {
            self.job = *job;
        }
        let Some(place) = self.place(due).await else {
            return self.schedule.after(due);
        };
        let begun = self.now();
        let deadline = self.schedule.deadline(due, begun);
        self.tally.begun();
        let in_flight = InFlight::begin(&*self.observer, begun.saturating_sub(due));
        let report = Attempt::run(&self.job, self.origin + deadline).await;
        let waited_for = place.waited_for;
        drop(place);
        let tainted = self.pulse.taints(self.origin + begun, Instant::now());
        in_flight.complete(&report, tainted);
        self.hung = report
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == Reason::Timeout);
        self.log(&report);

        let Passed {
            overrun,
            stalled,
            next,
        } = self.schedule.passed(due, deadline, self.now());
        if overrun > 0 {
            self.skipped(overrun, Skip::Overrun, waited_for.unwrap_or(Cause::Overrun));
        }
        if stalled > 0 {
            self.skipped(stalled, Skip::Stalled, Cause::Stalled);
        }
        next
    }

    /// A place among the concurrent checks, if one is free before the next slot.
    async fn place(&self, due: Duration) -> Option<Place<'_>> {
        let waiting = Waiting(Some(&*self.observer));
        let next = self.origin + self.schedule.after(due);
        let place = self.places.take(next, self.hung).await;
        waiting.end();
        place
            .map_err(|cause| self.skipped(1, Skip::Saturated, cause))
            .ok()
    }

    fn skipped(&self, slots: u64, why: Skip, cause: Cause) {
        self.tally.skipped(slots, cause, &self.job.name);
        self.observer.skipped(slots, why);
    }

    fn log(&mut self, report: &Report) {
        let outcome = report.outcome();
        let changed = self.last_outcome.replace(outcome) != Some(outcome);
        let wanted = match self.log {
            CheckLog::All => true,
            CheckLog::Changes => changed,
            CheckLog::Failures => outcome == Outcome::Failure,
            CheckLog::None => false,
        };
        if wanted {
            let line = || self.job.monitor.log(&self.job.name, report);
            if catch_unwind(AssertUnwindSafe(line)).is_err() {
                tracing::error!(monitor = &*self.job.name, "Logging a check panicked");
            }
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A slot that waits for a place; dropped before that has an end, it was skipped for a shutdown.
struct Waiting<'o>(Option<&'o dyn Observer>);

impl Waiting<'_> {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(observer) = self.0 {
            observer.skipped(1, Skip::Shutdown);
        }
    }
}

/// A check in flight; dropped before it is complete, it was cancelled.
struct InFlight<'o>(Option<&'o dyn Observer>);

impl<'o> InFlight<'o> {
    fn begin(observer: &'o dyn Observer, lag: Duration) -> Self {
        observer.begun(lag);
        Self(Some(observer))
    }

    fn complete(mut self, report: &Report, tainted: bool) {
        if tainted && let Some(observer) = self.0 {
            observer.tainted();
        }
        if let Some(observer) = self.0.take() {
            observer.completed(report);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(observer) = self.0 {
            observer.cancelled();
        }
    }
}
