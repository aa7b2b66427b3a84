//! The history of one monitor: its last checks and failures.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::broadcast, time::Instant};

use super::{
    MonitorUpdate, Record,
    evidence::{Evidence, EvidenceStore},
    recent::{CheckEntry, RecentChecks},
};
use crate::check::{
    AnyMonitor, CertificateValidity, Job, MonitorObserver, MonitorStatus, Report, Skip, State,
};

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

impl Snapshot {
    /// Time of the last change of state; `None` before the first check.
    #[must_use]
    pub(crate) fn since(&self) -> Option<SystemTime> {
        let is_new = self.status.state == State::Unknown && self.recent.is_empty();
        (!is_new).then_some(self.status.since)
    }
}

#[derive(Default)]
struct CheckLog {
    checks: RecentChecks,
    status: MonitorStatus,
    due: Option<Instant>,
    /// The certificate that expires first, of the last handshake that showed one.
    certificate: Option<CertificateValidity>,
}

/// The history of a monitor at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The last checks, the latest first.
    pub(crate) recent: Vec<CheckEntry>,
    /// Failures before those, the latest first.
    pub(crate) older_failures: Vec<CheckEntry>,
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
        checks: RecentChecks,
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
            check_log: Mutex::new(CheckLog {
                checks,
                ..CheckLog::default()
            }),
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
    pub(crate) fn snapshot(&self) -> Snapshot {
        let check_log = self.check_log();
        let (recent, older_failures) = check_log.checks.entries();
        Snapshot {
            recent,
            older_failures,
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

impl MonitorObserver for MonitorHistory {
    fn on_scheduled(&self, next: Instant) {
        self.check_log().due = Some(next);
    }

    fn on_started(&self, _lag: Duration) {}

    fn on_completed(&self, report: &Report) {
        let mut check_log = self.check_log();
        let error = report.failure.as_ref().map(|failure| &*failure.error);
        check_log.checks.push(Record::new(report), error);
        let certificate = report.expiring_certificate();
        check_log.certificate = certificate.or(check_log.certificate);
        drop(check_log);
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
    use crate::{
        check::{Attempt, CertificateRole, Fact, Failure, Monitor, Phase, Reason},
        history::{MAX_FAILURES, MAX_RECENT_CHECKS, PastFailure, recent::MAX_ERROR_BYTES},
    };

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
            MonitorHistory::new(
                7,
                &Job::new("name", Silent),
                RecentChecks::default(),
                updates,
                Arc::default(),
            ),
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
        let checks = &state.checks;
        let mut failures = checks.failures().iter();
        assert!(failures.all(|failed| failed.error.len() <= MAX_ERROR_BYTES));
        assert_eq!(checks.recent().capacity(), MAX_RECENT_CHECKS);
        assert_eq!(checks.failures().capacity(), MAX_FAILURES);
        assert_eq!(size_of::<PastFailure>(), 48);
        // What README says: of one that is well, and of one that never is.
        let well = size_of::<MonitorHistory>() + MAX_RECENT_CHECKS * size_of::<Record>();
        assert!(well < 1200, "{well}");
        let text = MAX_ERROR_BYTES + 2 * size_of::<usize>();
        let never = well + MAX_FAILURES * (size_of::<PastFailure>() + text);
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
