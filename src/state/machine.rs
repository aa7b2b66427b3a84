//! The rules of transition: a pure function from a state and an event to the next state and its effects.
//!
//! `docs/states.md` draws them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::check::{
    Confirm, ErrorText, FailedCheck, Incident, IncidentEnd, MonitorStatus, State, StateRules,
};

/// Everything that the state of one monitor depends on.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is known and changes independently of the others"
)]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MachineState {
    is_enabled: bool,
    in_maintenance: bool,
    is_cut_off: bool,
    /// True if a dependency is down.
    is_blocked: bool,
    /// True if a check succeeded although a dependency is down.
    defies_block: bool,
    /// The confirmed state: up or down.
    confirmed: Option<bool>,
    last: LastResult,
    /// True if the last check failed on the daemon's side.
    is_inconclusive: bool,
    /// Results since the last confirmed change, the last one in the lowest bit: 1 for a failure.
    failures: u64,
    /// Successes in a row since the last confirmed change.
    successes: u32,
    /// Failed checks that may confirm that the monitor is down.
    run: Option<Box<FailureRun>>,
    /// Set while enough failures wait for what is known of the dependencies.
    pending: Option<Pending>,
    recovered_at: Option<Instant>,
    incident: Option<Arc<Incident>>,
    state: State,
    since: SystemTime,
}

/// The last result that says anything about the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastResult {
    /// There is none that counts.
    None,
    Success {
        is_degraded: bool,
    },
    Failure,
}

#[derive(Clone, Debug, PartialEq)]
struct FailureRun {
    began: Moment,
    checks: Vec<FailedCheck>,
    error: ErrorText,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    /// End of the check that would have confirmed the change.
    since: Instant,
    until: Instant,
}

/// A moment on both clocks: on the wall clock for what is shown, on the other for what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The wall clock.
    pub clock: SystemTime,
    /// The monotonic clock.
    pub instant: Instant,
}

/// Something that may change the state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A check ended.
    Checked(CheckResult),
    /// News of the dependencies.
    Dependencies(Gate),
    /// The time passed that failures wait for news of the dependencies.
    WaitEnded(Gate),
    /// Maintenance windows: whether one is open.
    Maintenance(bool),
    /// The network of the daemon: whether it is cut off.
    CutOff(bool),
    /// The key `enabled`.
    Enabled(bool),
}

/// The result of a check, as far as the state depends on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CheckResult {
    /// The target is as it should be.
    Success {
        /// True if a limit of `degraded_if_…` was violated.
        is_degraded: bool,
    },
    /// The target is not as it should be.
    Failure {
        /// The failed check.
        check: FailedCheck,
        /// The text of the failure.
        error: ErrorText,
        /// The results of the dependencies so far.
        gate: Gate,
    },
    /// The check failed on the daemon's side.
    Inconclusive,
}

/// The results of the dependencies and of the network of the daemon since a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// All dependencies are up.
    Open,
    /// A dependency has had no result yet: wait at most so long.
    Waiting(Duration),
    /// A dependency fails as well, which is not confirmed: wait for so long at a time.
    Failing(Duration),
    /// A dependency is down or unreachable.
    Blocked,
}

/// The effects of a transition, beside the next state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// The state before, if it changed.
    pub from: Option<State>,
    /// True if anything that is shown of the state changed.
    pub(crate) is_news: bool,
    /// The change of the incident.
    pub incident: Option<IncidentChange>,
    /// Number of failures that do not count because the daemon was cut off.
    pub tainted: u32,
}

/// A change of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncidentChange {
    /// It is reported as a new one.
    Began,
    /// A relapse continues it.
    Continued,
    /// The recovery is confirmed.
    Ended,
}

impl MachineState {
    /// The state of a monitor that has not been checked yet.
    #[must_use]
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            is_enabled: true,
            in_maintenance: false,
            is_cut_off: false,
            is_blocked: false,
            defies_block: false,
            confirmed: None,
            last: LastResult::None,
            is_inconclusive: false,
            failures: 0,
            successes: 0,
            run: None,
            pending: None,
            recovered_at: None,
            incident: None,
            state: State::Unknown,
            since: now.clock,
        }
    }

    /// The state of a monitor that was in the state `past` before the daemon started.
    ///
    /// Failures and successes that had not confirmed anything are lost.
    #[must_use]
    pub(crate) fn restored(past: &MonitorStatus, now: Moment) -> Self {
        let succeeded = match past.state {
            State::Up | State::Degraded => Some(true),
            State::Down | State::Unreachable => Some(false),
            // It contradicts what is confirmed.
            State::Suspect => Some(past.is_up == Some(false)),
            State::Maintenance => past.is_up,
            State::Unknown => past.is_up.filter(|is_up| *is_up),
            State::Paused => None,
        };
        let last = match succeeded {
            None => LastResult::None,
            Some(false) => LastResult::Failure,
            Some(true) => LastResult::Success {
                is_degraded: past.is_degraded,
            },
        };
        let incident = past.incident.clone();
        let ended = incident.as_ref().and_then(|incident| incident.ended);
        let recovered_at = ended.and_then(|ended| {
            let ago = now.clock.duration_since(ended).unwrap_or_default();
            now.instant.checked_sub(ago)
        });
        Self {
            is_enabled: past.state != State::Paused,
            in_maintenance: past.in_maintenance,
            is_blocked: past.state == State::Unreachable,
            confirmed: past.is_up,
            last,
            is_inconclusive: past.state == State::Unknown && past.is_up.is_some(),
            recovered_at,
            incident,
            state: past.state,
            // The clock may have been set back.
            since: past.since.min(now.clock),
            ..Self::new(now)
        }
    }

    /// The state of a monitor that takes the place of this one with another target.
    #[must_use]
    pub(crate) fn with_other_target(self, now: Moment) -> Self {
        let mut before = self;
        before.end_incident(IncidentEnd::TargetChanged, now, &mut Effects::default());
        let ended =
            |incident: &Arc<Incident>| incident.end_reason == Some(IncidentEnd::TargetChanged);
        Self {
            incident: before.incident.filter(ended),
            ..Self::new(now)
        }
    }

    /// True if a success would change nothing.
    #[must_use]
    pub(crate) fn is_steady_under(&self, is_degraded: bool) -> bool {
        self.confirmed == Some(true)
            && self.last == LastResult::Success { is_degraded }
            && self.failures == 0
            && !self.is_inconclusive
            && (self.defies_block || !self.is_blocked)
    }

    /// Returns true if nothing is known of the target yet.
    #[must_use]
    pub(crate) fn is_new(&self) -> bool {
        self.state == State::Unknown && self.confirmed.is_none() && !self.is_inconclusive
    }

    /// True if the last result contradicts the confirmed state.
    #[must_use]
    pub(crate) fn awaits_confirmation(&self) -> bool {
        let is_unconfirmed = match (self.confirmed, self.last) {
            (Some(false), LastResult::Success { .. }) => true,
            (None | Some(true), LastResult::Failure) => !self.is_blocked,
            _ => false,
        };
        is_unconfirmed && self.is_enabled && !self.is_cut_off
    }

    /// True if a dependency is down.
    #[must_use]
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Returns true if others that depend on this monitor are unreachable because of it.
    #[must_use]
    pub(crate) fn blocks_others(&self) -> bool {
        self.is_enabled && (self.confirmed == Some(false) || self.is_blocked && !self.defies_block)
    }

    /// The moment from which failures wait for news of the dependencies, and until when.
    #[must_use]
    pub(crate) fn waiting(&self) -> Option<(Instant, Instant)> {
        let pending = self.pending?;
        Some((pending.since, pending.until))
    }

    /// The state with all that is shown of it.
    #[must_use]
    pub(crate) fn status(&self) -> MonitorStatus {
        MonitorStatus {
            state: self.state,
            since: self.since,
            is_up: self.confirmed,
            is_degraded: self.last == LastResult::Success { is_degraded: true },
            in_maintenance: self.in_maintenance,
            depends_on: Arc::default(),
            unreachable_through: Arc::default(),
            incident: self.incident.clone(),
        }
    }

    fn visible(&self, rules: &StateRules) -> State {
        let is_failing = self.last == LastResult::Failure;
        if !self.is_enabled {
            State::Paused
        } else if self.in_maintenance {
            State::Maintenance
        } else if self.is_blocked && (is_failing || rules.skip_checks_if_dependency_down) {
            State::Unreachable
        } else {
            match (self.confirmed, self.last) {
                (Some(false), LastResult::Success { .. }) => State::Suspect,
                (Some(false), _) => State::Down,
                _ if self.is_inconclusive => State::Unknown,
                (_, LastResult::Failure) => State::Suspect,
                (None, _) => State::Unknown,
                (Some(true), LastResult::Success { is_degraded: true }) => State::Degraded,
                (Some(true), _) => State::Up,
            }
        }
    }
}

/// Returns the state after `event`, which happens `now`, and what it causes.
#[must_use]
pub(crate) fn transition(
    before: MachineState,
    rules: &StateRules,
    event: Event,
    now: Moment,
) -> (MachineState, Effects) {
    let shown = before.status();
    let mut machine = before;
    let mut effects = Effects::default();
    match event {
        Event::Checked(result) if machine.is_cut_off => {
            effects.tainted = matches!(result, CheckResult::Failure { .. }).into();
        }
        Event::Checked(CheckResult::Inconclusive) => machine.is_inconclusive = true,
        Event::Checked(CheckResult::Success { is_degraded }) => {
            machine.succeed(rules.confirm, is_degraded, now, &mut effects);
        }
        Event::Checked(CheckResult::Failure { check, error, gate }) => {
            machine.fail(rules.confirm, check, error, gate, now);
        }
        Event::Dependencies(gate) => machine.hear(rules.confirm, gate, now),
        Event::WaitEnded(gate) => machine.stop_waiting(rules.confirm, gate, now),
        Event::Maintenance(is_open) => machine.in_maintenance = is_open,
        Event::CutOff(is_cut_off) if is_cut_off == machine.is_cut_off => {}
        Event::CutOff(is_cut_off) => {
            machine.is_cut_off = is_cut_off;
            effects.tainted = machine.discard_unconfirmed_failures();
        }
        Event::Enabled(is_enabled) => machine.enable(is_enabled, now, &mut effects),
    }
    let state = machine.visible(rules);
    if state != shown.state {
        machine.since = now.clock;
        machine.state = state;
        effects.from = Some(shown.state);
    }
    machine.report_incident(now, &mut effects);
    effects.is_news = machine.status() != shown;
    (machine, effects)
}

impl MachineState {
    fn succeed(&mut self, confirm: Confirm, is_degraded: bool, now: Moment, effects: &mut Effects) {
        self.is_inconclusive = false;
        self.last = LastResult::Success { is_degraded };
        self.defies_block = true;
        self.failures <<= 1;
        self.forget_old_failures(confirm);
        self.successes = self.successes.saturating_add(1);
        self.pending = None;
        match self.confirmed {
            // There is no recovery to confirm.
            None => self.confirm(true),
            Some(false) if self.successes >= confirm.successes => {
                self.confirm(true);
                self.recovered_at = Some(now.instant);
                self.end_incident(IncidentEnd::Recovered, now, effects);
            }
            _ => {}
        }
    }

    fn fail(
        &mut self,
        confirm: Confirm,
        check: FailedCheck,
        error: ErrorText,
        gate: Gate,
        now: Moment,
    ) {
        self.is_inconclusive = false;
        self.last = LastResult::Failure;
        self.successes = 0;
        self.set_blocked(gate == Gate::Blocked);
        self.defies_block = false;
        if self.confirmed == Some(false) {
            return;
        }
        if self.is_blocked {
            // These failures are the dependency's.
            self.forget_failures();
            return;
        }
        self.failures = self.failures << 1 | 1;
        let run = self.run.get_or_insert_with(|| {
            Box::new(FailureRun {
                began: now,
                checks: Vec::new(),
                error: error.clone(),
            })
        });
        run.checks.push(check);
        run.error = error;
        self.forget_old_failures(confirm);
        if self.failures.count_ones() < confirm.failures {
            return;
        }
        match gate {
            Gate::Open => self.go_down(confirm, now),
            Gate::Waiting(limit) | Gate::Failing(limit) => {
                self.pending.get_or_insert(Pending {
                    since: now.instant,
                    until: now.instant + limit,
                });
            }
            Gate::Blocked => {}
        }
    }

    /// Takes notice of news of the dependencies.
    fn hear(&mut self, confirm: Confirm, gate: Gate, now: Moment) {
        self.set_blocked(gate == Gate::Blocked);
        if self.confirmed == Some(false) || self.is_cut_off {
            return;
        }
        if self.is_blocked {
            self.forget_failures();
        } else if gate == Gate::Open && self.pending.is_some() {
            self.go_down(confirm, now);
        }
    }

    fn set_blocked(&mut self, is_blocked: bool) {
        if self.is_blocked != is_blocked {
            self.is_blocked = is_blocked;
            self.defies_block = false;
        }
    }

    fn stop_waiting(&mut self, confirm: Confirm, gate: Gate, now: Moment) {
        let Some(pending) = self.pending.filter(|pending| pending.until <= now.instant) else {
            return;
        };
        match gate {
            // It is confirmed soon, or succeeds.
            Gate::Failing(limit) => {
                self.pending = Some(Pending {
                    until: now.instant + limit,
                    ..pending
                });
            }
            Gate::Blocked => self.hear(confirm, gate, now),
            Gate::Open | Gate::Waiting(_) => self.go_down(confirm, now),
        }
    }

    fn enable(&mut self, is_enabled: bool, now: Moment, effects: &mut Effects) {
        self.is_enabled = is_enabled;
        if !is_enabled {
            self.forget_failures();
            self.confirmed = None;
            self.last = LastResult::None;
            self.is_inconclusive = false;
            self.successes = 0;
            self.recovered_at = None;
            self.end_incident(IncidentEnd::Paused, now, effects);
        }
    }

    /// Forgets failures that confirmed nothing, and returns their number.
    fn discard_unconfirmed_failures(&mut self) -> u32 {
        if self.confirmed == Some(false) {
            return 0;
        }
        let count = self.failures.count_ones();
        self.forget_failures();
        if self.last == LastResult::Failure {
            self.last = LastResult::None;
        }
        count
    }

    /// Keeps only failures that the next result is counted together with.
    fn forget_old_failures(&mut self, confirm: Confirm) {
        let kept = match confirm.of {
            Some(of) => low_bits(of),
            // Those in a row at the end.
            None => low_bits(self.failures.trailing_ones()),
        };
        self.failures &= kept;
        let count = self.failures.count_ones() as usize;
        if count == 0 {
            self.run = None;
        } else if let Some(run) = &mut self.run {
            let excess = run.checks.len().saturating_sub(count);
            run.checks.drain(..excess);
        }
    }

    fn forget_failures(&mut self) {
        self.failures = 0;
        self.run = None;
        self.pending = None;
    }

    fn confirm(&mut self, is_up: bool) {
        self.confirmed = Some(is_up);
        self.successes = 0;
        self.forget_failures();
    }

    fn go_down(&mut self, confirm: Confirm, now: Moment) {
        let run = self.run.take();
        self.confirm(false);
        let Some(run) = run else { return };
        let FailureRun {
            began,
            checks,
            error,
        } = *run;
        let Some(last) = checks.last().copied() else {
            return;
        };
        let is_relapse = |hold| {
            let recovered = self.recovered_at?;
            let incident = self.incident.as_deref()?;
            (began.instant.saturating_duration_since(recovered) <= hold).then_some(incident)
        };
        let incident = match confirm.hold.and_then(is_relapse) {
            Some(incident) => Incident {
                reported: None,
                ended: None,
                end_reason: None,
                relapses: incident.relapses.saturating_add(1),
                phase: last.phase,
                reason: last.reason,
                error,
                checks,
                ..incident.clone()
            },
            None => Incident {
                began: checks.first().map_or(now.clock, |first| first.ended_at),
                reported: None,
                ended: None,
                phase: last.phase,
                reason: last.reason,
                error,
                checks,
                relapses: 0,
                end_reason: None,
            },
        };
        self.incident = Some(Arc::new(incident));
    }

    /// Reports an incident that is visible and was not reported yet.
    fn report_incident(&mut self, now: Moment, effects: &mut Effects) {
        if self.state != State::Down {
            return;
        }
        let Some(incident) = &mut self.incident else {
            return;
        };
        if incident.reported.is_some() || incident.ended.is_some() {
            return;
        }
        let incident = Arc::make_mut(incident);
        incident.reported = Some(now.clock);
        effects.incident = Some(if incident.relapses == 0 {
            IncidentChange::Began
        } else {
            IncidentChange::Continued
        });
    }

    fn end_incident(&mut self, why: IncidentEnd, now: Moment, effects: &mut Effects) {
        let Some(incident) = self.incident.take_if(|incident| incident.ended.is_none()) else {
            return;
        };
        // Of one that began and ended within a maintenance window, nobody has heard.
        if incident.reported.is_none() && incident.relapses == 0 {
            return;
        }
        let mut incident = Arc::unwrap_or_clone(incident);
        incident.ended = Some(now.clock);
        incident.end_reason = Some(why);
        effects.incident = Some(IncidentChange::Ended);
        self.incident = Some(Arc::new(incident));
    }
}

/// A mask of the lowest `count` bits.
fn low_bits(count: u32) -> u64 {
    1_u64.checked_shl(count).map_or(u64::MAX, |bit| bit - 1)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
