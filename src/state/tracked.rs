//! Follows one monitor: makes the transitions of its state, and notifies the observer behind it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::{
    LOG_TARGET,
    degraded::is_degraded,
    machine::{CheckResult, Effects, Event, Gate, MachineState, Moment, transition},
    shared::Shared,
};
use crate::check::{
    FailedCheck, Job, MonitorObserver, MonitorStatus, Reason, Report, Skip, State, StateRules,
};

/// A monitor whose state is followed.
pub(super) struct Tracked {
    pub name: Arc<str>,
    pub labels: Arc<BTreeMap<String, String>>,
    pub(crate) is_enabled: bool,
    /// Maximum time until the next result.
    pub(crate) next_result_within: Duration,
    rules: Arc<StateRules>,
    inner: Arc<dyn MonitorObserver>,
    shared: Weak<Shared>,
    /// True if the states of others depend on its results.
    is_followed: AtomicBool,
    depends_on: RwLock<Arc<[Arc<str>]>>,
    progress: Mutex<Progress>,
}

struct Progress {
    machine: MachineState,
    /// The end of the last check that says anything about the target, and whether it succeeded.
    last: Option<(Instant, bool)>,
    /// The dependencies that are down.
    blockers: Arc<[Arc<str>]>,
    /// True if the check in flight is tainted already.
    is_tainted: bool,
}

impl Moment {
    /// This moment.
    pub(super) fn now() -> Self {
        Self {
            clock: SystemTime::now(),
            instant: Instant::now(),
        }
    }
}

impl Tracked {
    pub(super) fn new(
        job: &Job,
        machine: MachineState,
        inner: Arc<dyn MonitorObserver>,
        shared: Weak<Shared>,
    ) -> Self {
        Self {
            name: job.name.clone(),
            labels: job.labels.clone(),
            is_enabled: job.enabled,
            next_result_within: job.check_every + job.timeout,
            rules: job.state_rules.clone(),
            inner,
            shared,
            is_followed: AtomicBool::new(false),
            depends_on: RwLock::default(),
            progress: Mutex::new(Progress {
                machine,
                last: None,
                blockers: Arc::default(),
                is_tainted: false,
            }),
        }
    }

    /// Takes up the state that the monitor begins with, and shows it.
    pub(super) fn begin(&self, is_cut_off: bool, in_maintenance: bool, now: Moment) {
        let mut progress = self.progress.lock();
        for event in [
            Event::Enabled(self.is_enabled),
            Event::CutOff(is_cut_off),
            Event::Maintenance(in_maintenance),
        ] {
            self.advance(&mut progress, event, now);
        }
        self.show(&progress);
        let may_have_heard = progress.machine.is_blocked() || progress.machine.waiting().is_some();
        drop(progress);
        // The dependencies may be others than those of the monitor before.
        if may_have_heard {
            self.hear();
        }
    }

    /// The state, for the monitor that takes the place of this one.
    pub(super) fn machine(&self) -> MachineState {
        self.progress.lock().machine.clone()
    }

    /// True if a dependency is down.
    pub(super) fn is_blocked(&self) -> bool {
        self.progress.lock().machine.is_blocked()
    }

    /// Notes what the monitor depends on, and whether others depend on it.
    pub(super) fn connect(&self, depends_on: &Arc<[Arc<str>]>, is_followed: bool) {
        self.is_followed.store(is_followed, Ordering::Relaxed);
        let before = std::mem::replace(&mut *self.depends_on.write(), depends_on.clone());
        if before != *depends_on {
            self.show(&self.progress.lock());
            self.hear();
        }
    }

    /// Applies an event that is not about a check.
    pub(super) fn notice(&self, event: Event, now: Moment) {
        self.advance(&mut self.progress.lock(), event, now);
    }

    /// The verdict of this monitor, which another one depends on, since the moment `since`.
    pub(super) fn gate(&self, since: Instant) -> Gate {
        let limit = self.next_result_within;
        let progress = self.progress.lock();
        if progress.machine.blocks_others() {
            return Gate::Blocked;
        }
        match progress.last {
            _ if !self.is_enabled => Gate::Open,
            Some((_, false)) => Gate::Failing(limit),
            Some((ended, true)) if ended > since => Gate::Open,
            _ => Gate::Waiting(limit),
        }
    }

    /// The end of the last check that says anything about the target, and whether it succeeded.
    pub(super) fn last_result(&self) -> Option<(Instant, bool)> {
        self.progress.lock().last
    }

    /// Until when failures wait for news of the dependencies.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        let waiting = self.progress.lock().machine.waiting();
        waiting.map(|(_, until)| until)
    }

    /// Takes notice of news of the dependencies.
    pub(super) fn hear(&self) {
        self.ask(Event::Dependencies);
    }

    /// Ends the wait for news of the dependencies, if its time has come.
    pub(super) fn end_wait(&self) {
        self.ask(Event::WaitEnded);
    }

    /// Makes an event of what is known of the dependencies.
    fn ask(&self, event: impl Fn(Gate) -> Event) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let now = Moment::now();
        let waiting = self.progress.lock().machine.waiting();
        let since = waiting.map_or(now.instant, |(since, _)| since);
        let depends_on = self.depends_on.read().clone();
        // No other monitor is asked while this one is locked.
        let (gate, blockers) = shared.gate(&self.name, &depends_on, since);
        let mut progress = self.progress.lock();
        // Of what came meanwhile, there will be news again.
        if progress.machine.waiting() == waiting {
            let is_news = progress.blockers != blockers;
            progress.blockers = blockers;
            self.advance(&mut progress, event(gate), now);
            if is_news {
                self.show(&progress);
            }
        }
    }

    /// Makes a transition, and tells of what it changed.
    fn advance(&self, progress: &mut Progress, event: Event, now: Moment) {
        let before = std::mem::replace(&mut progress.machine, MachineState::new(now));
        let lasted = now.clock.duration_since(before.status().since);
        let is_first = before.is_new();
        let was_blocking = before.blocks_others();
        let (machine, effects) = transition(before, &self.rules, event, now);
        progress.machine = machine;
        for _ in 0..effects.tainted {
            if !std::mem::take(&mut progress.is_tainted) {
                self.inner.on_tainted();
            }
        }
        if effects.is_news {
            self.log(progress, effects, lasted.unwrap_or_default(), is_first);
            self.show(progress);
        }
        if was_blocking != progress.machine.blocks_others() {
            self.signal();
        }
    }

    /// Has the states of others follow.
    fn signal(&self) {
        if self.is_followed.load(Ordering::Relaxed)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.signal(&self.name);
        }
    }

    fn status(&self, progress: &Progress) -> MonitorStatus {
        let mut status = progress.machine.status();
        status.depends_on = self.depends_on.read().clone();
        if status.state == State::Unreachable {
            status.unreachable_through = progress.blockers.clone();
        }
        status
    }

    /// Tells the observer of the state.
    fn show(&self, progress: &Progress) {
        self.inner.on_status(&self.status(progress));
    }

    /// Writes the line of a change of state; the first state of a monitor is none.
    fn log(&self, progress: &Progress, effects: Effects, lasted: Duration, is_first: bool) {
        let Some(from) = effects.from else { return };
        let status = self.status(progress);
        let to = status.state;
        if is_first {
            return;
        }
        let incident = status.incident.as_deref().filter(|_| to == State::Down);
        let through = status.unreachable_through.join(", ");
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: LOG_TARGET,
                    monitor = &*self.name,
                    from = from.as_str(),
                    to = to.as_str(),
                    seconds = lasted.as_secs_f64(),
                    reason = incident.map(|incident| incident.reason.as_str()),
                    phase = incident.map(|incident| incident.phase.as_str()),
                    unreachable_through = (!through.is_empty()).then_some(&*through),
                    "Monitor changed state"
                )
            };
        }
        match to {
            State::Down | State::Unreachable | State::Suspect | State::Degraded => line!(warn),
            _ => line!(info),
        }
    }

    fn on_success(&self, report: &Report) {
        let is_degraded = is_degraded(&self.rules.degraded_if, report);
        let is_followed = self.is_followed.load(Ordering::Relaxed);
        let mut progress = self.progress.lock();
        progress.is_tainted = false;
        if is_followed {
            progress.last = Some((Instant::now(), true));
        }
        if !progress.machine.is_steady_under(is_degraded) {
            let event = Event::Checked(CheckResult::Success { is_degraded });
            self.advance(&mut progress, event, Self::end_of(report));
        }
        drop(progress);
        if is_followed {
            self.signal();
        }
    }

    fn on_failure(&self, report: &Report) {
        let Some(failure) = &report.failure else {
            return;
        };
        let now = Self::end_of(report);
        if failure.reason == Reason::AgentError {
            let mut progress = self.progress.lock();
            progress.is_tainted = false;
            self.advance(
                &mut progress,
                Event::Checked(CheckResult::Inconclusive),
                now,
            );
            return;
        }
        let depends_on = self.depends_on.read().clone();
        let shared = self.shared.upgrade();
        let (gate, blockers) = match &shared {
            Some(shared) => shared.gate(&self.name, &depends_on, now.instant),
            None => (Gate::Open, Arc::default()),
        };
        let result = CheckResult::Failure {
            check: FailedCheck {
                ended_at: report.ended_at,
                phase: failure.phase,
                reason: failure.reason,
                address: report.address(),
            },
            error: failure.error.clone(),
            gate,
        };
        let mut progress = self.progress.lock();
        progress.last = Some((now.instant, false));
        progress.blockers = blockers;
        self.advance(&mut progress, Event::Checked(result), now);
        progress.is_tainted = false;
        let waiting = progress.machine.waiting();
        drop(progress);
        if let (Some((_, until)), Some(shared)) = (waiting, shared) {
            shared.wait(&self.name, until);
        }
        self.signal();
    }

    fn end_of(report: &Report) -> Moment {
        Moment {
            clock: report.ended_at,
            instant: Instant::now(),
        }
    }
}

impl MonitorObserver for Tracked {
    fn on_scheduled(&self, next: Instant) {
        self.inner.on_scheduled(next);
    }

    fn on_started(&self, lag: Duration) {
        self.inner.on_started(lag);
    }

    fn on_tainted(&self) {
        self.progress.lock().is_tainted = true;
        self.inner.on_tainted();
    }

    fn on_completed(&self, report: &Report) {
        match report.failure {
            None => self.on_success(report),
            Some(_) => self.on_failure(report),
        }
        self.inner.on_completed(report);
    }

    fn on_cancelled(&self) {
        self.inner.on_cancelled();
    }

    fn on_skipped(&self, slots: u64, why: Skip) {
        self.inner.on_skipped(slots, why);
    }

    fn reason_to_skip(&self) -> Option<Skip> {
        let skips = self.rules.skip_checks_if_dependency_down;
        (skips && self.progress.lock().machine.is_blocked()).then_some(Skip::Dependency)
    }

    fn awaits_confirmation(&self) -> bool {
        self.rules.confirm.retry_every.is_some()
            && self.progress.lock().machine.awaits_confirmation()
    }
}
