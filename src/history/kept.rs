//! One monitor, and what is kept of its checks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::broadcast, time::Instant};

use super::{Change, Record};
use crate::check::{AnyMonitor, Certificate, Fact, Job, Observer, Outcome, Report, Skip};

/// Checks of a monitor that are kept, whatever became of them.
pub const RECENT: usize = 32;
/// Failed checks that are kept, however many have succeeded since.
pub const FAILURES: usize = 16;
/// Bytes of an error text that are kept.
const ERROR_BYTES: usize = 240;

/// A monitor with what is kept of its checks.
pub struct Kept {
    /// A number of its own for as long as the daemon runs.
    pub id: u32,
    /// Its name.
    pub name: Arc<str>,
    /// The user's own labels, sorted.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// From one slot to the next.
    pub check_every: Duration,
    monitor: Arc<dyn AnyMonitor>,
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
}

/// How a monitor stands: those that need a look come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its last check failed.
    Down,
    /// It has not been checked yet.
    Unknown,
    /// Its last check succeeded.
    Up,
}

impl PastCheck {
    /// How the monitor stood after it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(Some(self.record.outcome()))
    }
}

impl Snapshot {
    /// How the monitor stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(self.recent.first().map(|check| check.record.outcome()))
    }
}

impl Standing {
    fn of(last: Option<Outcome>) -> Self {
        match last {
            None => Self::Unknown,
            Some(Outcome::Success) => Self::Up,
            Some(Outcome::Failure) => Self::Down,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Up => "up",
        }
    }
}

#[derive(Default)]
struct State {
    /// Checks completed; the last one of `recent` has this number.
    checks: u32,
    recent: VecDeque<Record>,
    failures: VecDeque<Failed>,
    since: Option<SystemTime>,
    due: Option<Instant>,
    /// Of the last handshake that showed one: the end of what expires first.
    certificate: Option<i64>,
}

#[derive(Clone)]
struct Failed {
    number: u32,
    record: Record,
    /// Shared with the failures before it that say the same.
    error: Arc<str>,
}

/// A check that is past.
#[derive(Clone, Debug)]
pub struct PastCheck {
    /// Counted from 1, of its monitor.
    pub number: u32,
    /// All but the text.
    pub record: Record,
    /// What was wrong, for people; of a failure that is kept long enough to still have it.
    pub error: Option<Arc<str>>,
}

/// What is kept of a monitor at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its last checks, the latest first.
    pub recent: Vec<PastCheck>,
    /// Failures before those, the latest first.
    pub older_failures: Vec<PastCheck>,
    /// When it came to stand as it does.
    pub since: Option<SystemTime>,
    /// Its next slot.
    pub due: Option<Instant>,
    /// The end, in Unix seconds, of the certificate that expires first.
    pub certificate_not_after: Option<i64>,
}

impl Kept {
    pub(super) fn new(id: u32, job: &Job, changes: broadcast::Sender<Change>) -> Self {
        let labels = job.labels.iter();
        Self {
            id,
            name: job.name.clone(),
            labels: labels
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            check_every: job.check_every,
            monitor: job.monitor.clone(),
            state: Mutex::default(),
            changes,
        }
    }

    /// The word for its type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.monitor.kind()
    }

    /// What is checked, without secrets.
    #[must_use]
    pub fn target(&self) -> String {
        self.monitor.target()
    }

    /// The value of its label `name`.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(known, _)| &**known == name)
            .map(|(_, value)| &**value)
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(self.state().last_outcome())
    }

    /// All that is kept of it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let past = |failed: &Failed| PastCheck {
            number: failed.number,
            record: failed.record,
            error: Some(failed.error.clone()),
        };
        let mut failures = state.failures.iter().rev().peekable();
        let numbers = (1..=state.checks).rev();
        let recent = state.recent.iter().rev().zip(numbers);
        let recent = recent.map(|(record, number)| {
            let failed = failures.next_if(|failed| failed.number == number);
            failed.map_or_else(
                || PastCheck {
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
            since: state.since,
            due: state.due,
            certificate_not_after: state.certificate,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic between two assignments, what is kept is still worth to be shown.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, turned: bool) {
        // Nobody may be listening.
        let _ = self.changes.send(Change {
            id: self.id,
            turned,
        });
    }
}

impl State {
    fn last_outcome(&self) -> Option<Outcome> {
        self.recent.back().map(Record::outcome)
    }

    /// Returns whether the monitor turned from up to down, or back.
    fn record(&mut self, report: &Report) -> bool {
        let turned = self.last_outcome() != Some(report.outcome());
        let record = Record::of(report);
        if turned {
            self.since = Some(record.ended_at());
        }
        self.checks = self.checks.wrapping_add(1);
        push(&mut self.recent, record, RECENT);
        if let Some(failure) = &report.failure {
            let error = bounded(&failure.error);
            let known = self.failures.back().filter(|known| &*known.error == error);
            let failed = Failed {
                number: self.checks,
                record,
                error: known.map_or_else(|| error.into(), |known| known.error.clone()),
            };
            push(&mut self.failures, failed, FAILURES);
        }
        let ends = report.facts.iter().filter_map(|fact| match fact {
            Fact::Certificate(_, Certificate { not_after, .. }) => Some(*not_after),
            _ => None,
        });
        self.certificate = ends.min().or(self.certificate);
        turned
    }
}

/// Adds `item`, and takes the oldest out where there are `most`, a power of two, already.
fn push<T>(items: &mut VecDeque<T>, item: T, most: usize) {
    if items.len() == most {
        items.pop_front();
    }
    items.push_back(item);
}

/// The beginning of `text` that is kept.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES)]
}

impl Observer for Kept {
    fn due(&self, next: Instant) {
        self.state().due = Some(next);
    }

    fn begun(&self, _lag: Duration) {}

    fn completed(&self, report: &Report) {
        let turned = self.state().record(report);
        self.tell(turned);
    }

    fn cancelled(&self) {}

    fn skipped(&self, _slots: u64, _why: Skip) {}
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::check::{Attempt, CertificateRank, Failure, Monitor, Phase, Reason};

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

    fn kept() -> (Kept, broadcast::Receiver<Change>) {
        let (changes, receiver) = broadcast::channel(1000);
        (Kept::new(7, &Job::new("name", Silent), changes), receiver)
    }

    fn report(second: u64, error: Option<&str>) -> Report {
        Report {
            ended_at: UNIX_EPOCH + Duration::from_secs(second),
            duration: Duration::from_millis(20),
            phases: vec![(Phase::Connect, Duration::from_millis(15))],
            facts: Vec::new(),
            failure: error.map(|error| Failure::new(Phase::Connect, Reason::Timeout, error)),
        }
    }

    fn numbers(checks: &[PastCheck]) -> Vec<u32> {
        checks.iter().map(|check| check.number).collect()
    }

    #[test]
    fn failures_are_kept_for_longer_than_successes() {
        let (kept, _receiver) = kept();
        for second in 1..=100 {
            let error = (second <= 20).then(|| format!("error {second}"));
            kept.completed(&report(second, error.as_deref()));
        }
        let snapshot = kept.snapshot();
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
        assert_eq!(snapshot.since, Some(UNIX_EPOCH + Duration::from_secs(21)));
    }

    #[test]
    fn a_failure_among_the_last_checks_stands_there_once_with_its_text() {
        let (kept, _receiver) = kept();
        for second in 1..=30 {
            kept.completed(&report(second, (second % 10 == 0).then_some("no")));
        }
        let Snapshot {
            recent,
            older_failures,
            ..
        } = kept.snapshot();
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
        assert_eq!(kept.standing(), Standing::Down);
    }

    #[test]
    fn it_is_told_when_a_monitor_turns() {
        let (kept, mut receiver) = kept();
        assert_eq!(kept.standing(), Standing::Unknown);
        for (error, expected) in [(None, true), (None, false), (Some("x"), true)] {
            kept.completed(&report(1, error));
            let change = receiver.try_recv().expect("it is told");
            assert_eq!((change.id, change.turned), (7, expected));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let (kept, _receiver) = kept();
        for second in 0..1000 {
            let error = format!("{second} {}", "日".repeat(10_000));
            kept.completed(&report(second, Some(&error)));
        }
        let state = kept.state();
        assert!(
            state
                .failures
                .iter()
                .all(|failed| failed.error.len() <= ERROR_BYTES)
        );
        assert_eq!(state.recent.capacity(), RECENT);
        assert_eq!(state.failures.capacity(), FAILURES);
        assert_eq!(size_of::<Failed>(), 48);
        // What README says: of one that is well, and of one that never is.
        let well = size_of::<Kept>() + RECENT * size_of::<Record>();
        assert!(well < 1200, "{well}");
        let text = ERROR_BYTES + 2 * size_of::<usize>();
        let never = well + FAILURES * (size_of::<Failed>() + text);
        assert!(never < 6144, "{never}");
    }

    #[test]
    fn the_certificate_that_ends_first_is_kept_until_there_is_another() {
        let (kept, _receiver) = kept();
        let certificate = |rank, not_after| {
            let not_before = 0;
            Fact::Certificate(
                rank,
                Certificate {
                    not_before,
                    not_after,
                },
            )
        };
        let mut seen = report(1, None);
        seen.facts = vec![
            certificate(CertificateRank::Leaf, 90),
            certificate(CertificateRank::Earliest, 80),
        ];
        kept.completed(&seen);
        kept.completed(&report(2, Some("refused")));
        assert_eq!(kept.snapshot().certificate_not_after, Some(80));
    }
}
