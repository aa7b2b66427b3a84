//! The history of one monitor: its last checks and failures.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::broadcast, time::Instant};

use super::{
    MonitorUpdate, Record,
    evidence::{Evidence, EvidenceStore},
};
use crate::check::{
    AnyMonitor, CertificateValidity, Job, MonitorObserver, MonitorStatus, Reason, Report, Skip,
    State,
};

/// Number of checks kept of each monitor, successful or not.
pub const MAX_RECENT_CHECKS: usize = 32;
/// Number of failed checks kept of each monitor, however many have succeeded since.
pub const MAX_FAILURES: usize = 16;
/// Bytes kept of an error text.
const MAX_ERROR_BYTES: usize = 240;

/// A monitor with its last checks and failures.
pub struct MonitorHistory {
    /// A number that no other monitor has for as long as the daemon runs.
    pub id: u32,
    /// Its name.
    pub name: Arc<str>,
    /// The user's own labels, sorted.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Time from one slot to the next.
    pub check_every: Duration,
    monitor: Arc<dyn AnyMonitor>,
    check_log: Mutex<CheckLog>,
    updates: broadcast::Sender<MonitorUpdate>,
    evidence: Arc<EvidenceStore>,
}

impl CheckEntry {
    /// The state in which the check found the target.
    #[must_use]
    pub fn state(&self) -> State {
        match self.record.failure() {
            None => State::Up,
            Some((_, Reason::AgentError)) => State::Unknown,
            Some(_) => State::Down,
        }
    }
}

impl Snapshot {
    /// Time of the last change of state; `None` before the first check.
    #[must_use]
    pub fn since(&self) -> Option<SystemTime> {
        let is_new = self.status.state == State::Unknown && self.recent.is_empty();
        (!is_new).then_some(self.status.since)
    }
}

#[derive(Default)]
struct CheckLog {
    /// Number of completed checks, and the number of the last one in `recent`.
    checks: u32,
    recent: VecDeque<Record>,
    failures: VecDeque<FailedCheck>,
    status: MonitorStatus,
    due: Option<Instant>,
    /// The certificate that expires first, of the last handshake that showed one.
    certificate: Option<CertificateValidity>,
}

#[derive(Clone)]
struct FailedCheck {
    number: u32,
    record: Record,
    /// Shared by consecutive failures with the same text.
    error: Arc<str>,
}

/// A past check.
#[derive(Clone, Debug)]
pub struct CheckEntry {
    /// Number among the checks of its monitor, from 1.
    pub number: u32,
    /// Everything but the error text.
    pub record: Record,
    /// The error text, if it failed and is among the last [`MAX_FAILURES`].
    pub error: Option<Arc<str>>,
}

/// The history of a monitor at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The last checks, the latest first.
    pub recent: Vec<CheckEntry>,
    /// Failures before those, the latest first.
    pub older_failures: Vec<CheckEntry>,
    /// The state of the monitor.
    pub status: MonitorStatus,
    /// The next slot.
    pub due: Option<Instant>,
    /// The certificate that expires first: of the verified chain, or else of those that the peer sent.
    pub certificate: Option<CertificateValidity>,
}

impl MonitorHistory {
    pub(super) fn new(
        id: u32,
        job: &Job,
        updates: broadcast::Sender<MonitorUpdate>,
        evidence: Arc<EvidenceStore>,
    ) -> Self {
        let labels = job.labels.iter();
        Self {
            id,
            name: job.name.clone(),
            labels: labels
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            check_every: job.check_every,
            monitor: job.monitor.clone(),
            check_log: Mutex::default(),
            updates,
            evidence,
        }
    }

    /// The steps of the last failure, if they are kept.
    #[must_use]
    pub fn evidence(&self) -> Option<Arc<Evidence>> {
        self.evidence.find(self.id)
    }

    /// The type of the monitor.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.monitor.kind()
    }

    /// The target, without secrets.
    #[must_use]
    pub fn target(&self) -> String {
        self.monitor.target()
    }

    /// The value of the label `name`.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(known, _)| &**known == name)
            .map(|(_, value)| &**value)
    }

    /// The state of the monitor.
    #[must_use]
    pub fn state(&self) -> State {
        self.check_log().status.state
    }

    /// The whole history at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let check_log = self.check_log();
        let past = |failed: &FailedCheck| CheckEntry {
            number: failed.number,
            record: failed.record,
            error: Some(failed.error.clone()),
        };
        let mut failures = check_log.failures.iter().rev().peekable();
        let numbers = (1..=check_log.checks).rev();
        let recent = check_log.recent.iter().rev().zip(numbers);
        let recent = recent.map(|(record, number)| {
            let failed = failures.next_if(|failed| failed.number == number);
            failed.map_or_else(
                || CheckEntry {
                    number,
                    record: *record,
                    error: None,
                },
                past,
            )
        });
        Snapshot {
            recent: recent.collect(),
            older_failures: failures.map(past).collect(),
            status: check_log.status.clone(),
            due: check_log.due,
            certificate: check_log.certificate,
        }
    }

    fn check_log(&self) -> MutexGuard<'_, CheckLog> {
        // Even after a panic between two assignments, the history is worth showing.
        self.check_log.lock()
    }

    /// Sends an update to all listeners.
    pub(super) fn notify(&self, state_changed: bool) {
        // There may be no listener.
        let _ = self.updates.send(MonitorUpdate {
            id: self.id,
            state_changed,
        });
    }
}

impl CheckLog {
    fn record(&mut self, report: &Report) {
        let record = Record::new(report);
        self.checks = self.checks.wrapping_add(1);
        push(&mut self.recent, record, MAX_RECENT_CHECKS);
        if let Some(failure) = &report.failure {
            let error = truncated(&failure.error);
            let known = self.failures.back().filter(|known| &*known.error == error);
            let failed = FailedCheck {
                number: self.checks,
                record,
                error: known.map_or_else(|| error.into(), |known| known.error.clone()),
            };
            push(&mut self.failures, failed, MAX_FAILURES);
        }
        self.certificate = report.expiring_certificate().or(self.certificate);
    }
}

/// Adds `item`, and removes the oldest one if there are `max` already. `max` is a power of two.
fn push<T>(items: &mut VecDeque<T>, item: T, max: usize) {
    if items.len() == max {
        items.pop_front();
    }
    items.push_back(item);
}

/// The part of `text` that is kept.
fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR_BYTES)]
}

impl MonitorObserver for MonitorHistory {
    fn on_scheduled(&self, next: Instant) {
        self.check_log().due = Some(next);
    }

    fn on_started(&self, _lag: Duration) {}

    fn on_completed(&self, report: &Report) {
        self.check_log().record(report);
        self.evidence.keep(self.id, report);
        self.notify(false);
    }

    fn on_cancelled(&self) {}

    fn on_skipped(&self, _slots: u64, _why: Skip) {}

    fn on_status(&self, status: &MonitorStatus) {
        self.check_log().status = status.clone();
        self.notify(true);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::check::{Attempt, CertificateRole, Fact, Failure, Monitor, Phase};

    struct Silent;

    impl Monitor for Silent {
        fn kind(&self) -> &'static str {
            "silent"
        }

        fn target(&self) -> String {
            "nothing".to_owned()
        }

        async fn check(&self, _: &Attempt) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn history() -> (MonitorHistory, broadcast::Receiver<MonitorUpdate>) {
        let (updates, receiver) = broadcast::channel(1000);
        (
            MonitorHistory::new(7, &Job::new("name", Silent), updates, Arc::default()),
            receiver,
        )
    }

    fn report(second: u64, error: Option<&str>) -> Report {
        Report {
            ended_at: UNIX_EPOCH + Duration::from_secs(second),
            duration: Duration::from_millis(20),
            phases: vec![(Phase::Connect, Duration::from_millis(15))],
            facts: Vec::new(),
            failure: error.map(|error| Failure::new(Phase::Connect, Reason::Timeout, error)),
            steps: Vec::new(),
            cause: None,
            trace: None,
        }
    }

    fn numbers(checks: &[CheckEntry]) -> Vec<u32> {
        checks.iter().map(|check| check.number).collect()
    }

    #[test]
    fn failures_are_kept_for_longer_than_successes() {
        let (history, _receiver) = history();
        for second in 1..=100 {
            let error = (second <= 20).then(|| format!("error {second}"));
            history.on_completed(&report(second, error.as_deref()));
        }
        let snapshot = history.snapshot();
        let expected: Vec<_> = (69..=100).rev().collect();
        assert_eq!(numbers(&snapshot.recent), expected);
        let expected: Vec<_> = (5..=20).rev().collect();
        assert_eq!(numbers(&snapshot.older_failures), expected);
        let oldest = snapshot.older_failures.last().expect("16 of them");
        assert_eq!(oldest.error.as_deref(), Some("error 5"));
        assert_eq!(
            oldest.record.ended_at(),
            UNIX_EPOCH + Duration::from_secs(5)
        );
    }

    #[test]
    fn a_recent_failure_is_listed_once_with_its_error() {
        let (history, _receiver) = history();
        for second in 1..=30 {
            history.on_completed(&report(second, (second % 10 == 0).then_some("no")));
        }
        let Snapshot {
            recent,
            older_failures,
            ..
        } = history.snapshot();
        assert!(older_failures.is_empty());
        let failed: Vec<_> = recent
            .iter()
            .filter(|check| check.error.is_some())
            .collect();
        assert_eq!(failed.len(), 3);
        assert_eq!(failed[0].number, 30);
        assert_eq!(
            failed[0].record.failure(),
            Some((Phase::Connect, Reason::Timeout))
        );
        assert_eq!(failed[0].state(), State::Down);
    }

    #[test]
    fn a_change_of_state_is_announced_apart_from_checks() {
        let (history, mut receiver) = history();
        assert_eq!(history.state(), State::Unknown);
        assert_eq!(history.snapshot().since(), None);
        history.on_completed(&report(1, None));
        history.on_status(&MonitorStatus {
            state: State::Suspect,
            since: UNIX_EPOCH,
            ..MonitorStatus::default()
        });
        for expected in [false, true] {
            let change = receiver.try_recv().expect("it is announced");
            assert_eq!((change.id, change.state_changed), (7, expected));
        }
        assert_eq!(history.state(), State::Suspect);
        assert_eq!(history.snapshot().since(), Some(UNIX_EPOCH));
    }

    #[test]
    fn kept_errors_are_bounded() {
        let (history, _receiver) = history();
        for second in 0..1000 {
            let error = format!("{second} {}", "日".repeat(10_000));
            history.on_completed(&report(second, Some(&error)));
        }
        let state = history.check_log();
        assert!(
            state
                .failures
                .iter()
                .all(|failed| failed.error.len() <= MAX_ERROR_BYTES)
        );
        assert_eq!(state.recent.capacity(), MAX_RECENT_CHECKS);
        assert_eq!(state.failures.capacity(), MAX_FAILURES);
        assert_eq!(size_of::<FailedCheck>(), 48);
        // What README says: of one that is well, and of one that never is.
        let well = size_of::<MonitorHistory>() + MAX_RECENT_CHECKS * size_of::<Record>();
        assert!(well < 1200, "{well}");
        let text = MAX_ERROR_BYTES + 2 * size_of::<usize>();
        let never = well + MAX_FAILURES * (size_of::<FailedCheck>() + text);
        assert!(never < 6144, "{never}");
    }

    #[test]
    fn the_earliest_expiry_is_kept_until_the_next_handshake() {
        let (history, _receiver) = history();
        let certificate = |role, not_after| {
            let not_before = 0;
            Fact::Certificate(
                role,
                CertificateValidity {
                    not_before,
                    not_after,
                },
            )
        };
        let mut seen = report(1, None);
        seen.facts = vec![
            certificate(CertificateRole::Leaf, 90),
            certificate(CertificateRole::EarliestExpiry, 80),
        ];
        history.on_completed(&seen);
        history.on_completed(&report(2, Some("refused")));
        let end = |history: &MonitorHistory| {
            let certificate = history.snapshot().certificate;
            certificate.map(|certificate| certificate.not_after)
        };
        assert_eq!(end(&history), Some(80));
        // Where a chain was verified, what else the peer sent does not matter.
        seen.facts.push(certificate(CertificateRole::Verified, 85));
        history.on_completed(&seen);
        assert_eq!(end(&history), Some(85));
    }
}
