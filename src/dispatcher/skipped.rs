//! Counts skipped slots minute by minute, and logs if they are too many.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::LOG_TARGET;
use crate::check::Skip;

/// Time over which slots are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// The cause of a skipped slot, apart from a shutdown, by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SkipCause {
    /// The previous check of the monitor was still running, without having waited for a permit.
    Overrun,
    /// No global permit became free in time, for this slot or the previous check.
    GlobalLimit,
    /// No permit of the host became free in time, for this slot or the previous check.
    HostLimit,
    /// The daemon was stopped or lacked CPU time.
    Stalled,
}

const CAUSES: [SkipCause; 4] = [
    SkipCause::Overrun,
    SkipCause::GlobalLimit,
    SkipCause::HostLimit,
    SkipCause::Stalled,
];

impl SkipCause {
    /// The reason of the skipped slots.
    fn reason(self) -> Skip {
        match self {
            Self::Overrun => Skip::Overrun,
            Self::GlobalLimit | Self::HostLimit => Skip::Saturated,
            Self::Stalled => Skip::Stalled,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Overrun => "raise check_every or lower timeout of monitors such as this one",
            Self::GlobalLimit => "raise dispatcher.max_concurrent_checks",
            Self::HostLimit => {
                "raise dispatcher.max_concurrent_checks_per_host, for hosts such as this monitor's"
            }
            Self::Stalled => "see why the process was stopped, or give it more CPU",
        }
    }

    /// Returns true if the daemon could not run the check, whatever its monitor and its target do.
    fn is_of_daemon(self) -> bool {
        matches!(self, Self::GlobalLimit | Self::Stalled)
    }

    /// Returns true if the cause concerns single monitors.
    fn is_per_monitor(self) -> bool {
        matches!(self, Self::Overrun | Self::HostLimit)
    }
}

/// Counters of the slots of all monitors since the start.
#[derive(Default)]
pub(super) struct SkipMonitor {
    started: AtomicU64,
    skipped: [Count; CAUSES.len()],
}

#[derive(Default)]
struct Count {
    slots: AtomicU64,
    /// An affected monitor. The lock is never waited for, because any monitor will do.
    monitor: Mutex<Option<Arc<str>>>,
}

impl SkipMonitor {
    /// Counts a started check.
    pub(super) fn count_started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts skipped slots of `monitor`.
    pub(super) fn count_skipped(&self, slots: u64, cause: SkipCause, monitor: &Arc<str>) {
        let count = &self.skipped[cause as usize];
        count.slots.fetch_add(slots, Ordering::Relaxed);
        if let Some(mut example) = count.monitor.try_lock() {
            example.get_or_insert_with(|| monitor.clone());
        }
    }

    /// Evaluates the counters every minute until `shutdown`, and logs changes.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let minutes = async {
            let (mut judge, mut last) = (SkipAlarm::default(), self.totals());
            loop {
                sleep_until(Instant::now() + WINDOW).await;
                if let Some(event) = judge.update(&self.counts_since(&mut last)) {
                    event.log();
                }
            }
        };
        shutdown.run_until_cancelled(minutes).await;
    }

    /// The slots since the start.
    pub(super) fn totals(&self) -> SlotTotals {
        SlotTotals {
            started: self.started.load(Ordering::Relaxed),
            skipped: CAUSES.map(|cause| self.skipped[cause as usize].slots.load(Ordering::Relaxed)),
        }
    }

    /// Returns the slots since `last`, which becomes now, and forgets the affected monitors.
    fn counts_since(&self, last: &mut SlotTotals) -> SlotCounts {
        let totals = self.totals();
        let slots = totals.since(&std::mem::replace(last, totals));
        SlotCounts {
            started: slots.started,
            skipped: CAUSES.map(|cause| {
                let monitor = self.skipped[cause as usize].monitor.try_lock();
                Skipped {
                    slots: slots.skipped[cause as usize],
                    monitor: monitor.and_then(|mut monitor| monitor.take()),
                }
            }),
        }
    }
}

/// Numbers of slots, by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SlotTotals {
    started: u64,
    skipped: [u64; CAUSES.len()],
}

impl SlotTotals {
    /// The slots since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            started: self.started - earlier.started,
            skipped: CAUSES
                .map(|cause| self.skipped[cause as usize] - earlier.skipped[cause as usize]),
        }
    }

    /// Returns true if the daemon itself lost too many of these slots.
    pub(super) fn lost_too_many(&self) -> bool {
        let lost = CAUSES.into_iter().filter(|cause| cause.is_of_daemon());
        let lost: u64 = lost.map(|cause| self.skipped[cause as usize]).sum();
        are_too_many(lost, self.started + self.skipped.iter().sum::<u64>())
    }
}

/// Returns true if `skipped` are more than 1 % of the `due` slots.
fn are_too_many(skipped: u64, due: u64) -> bool {
    skipped.saturating_mul(100) > due
}

/// The slots of one minute.
#[derive(Clone, Debug, Default)]
struct SlotCounts {
    started: u64,
    skipped: [Skipped; CAUSES.len()],
}

#[derive(Clone, Debug, Default)]
struct Skipped {
    slots: u64,
    monitor: Option<Arc<str>>,
}

/// The state of the alarm about skipped slots.
#[derive(Default)]
struct SkipAlarm {
    is_raised: bool,
}

/// A change of the alarm.
#[derive(Debug, PartialEq, Eq)]
enum SkipAlarmEvent {
    TooMany {
        due: u64,
        skipped: u64,
        main_cause: SkipCause,
        /// A monitor affected by the main cause, if that concerns single monitors.
        monitor: Option<Arc<str>>,
    },
    Recovered {
        due: u64,
        skipped: u64,
    },
}

impl SkipAlarm {
    fn update(&mut self, minute: &SlotCounts) -> Option<SkipAlarmEvent> {
        let skipped: u64 = minute.skipped.iter().map(|skipped| skipped.slots).sum();
        let due = minute.started + skipped;
        if due == 0 {
            return None;
        }
        let are_too_many = are_too_many(skipped, due);
        if std::mem::replace(&mut self.is_raised, are_too_many) == are_too_many {
            return None;
        }
        if !are_too_many {
            return Some(SkipAlarmEvent::Recovered { due, skipped });
        }
        let count = |cause: &SkipCause| &minute.skipped[*cause as usize];
        let chief = CAUSES.into_iter().max_by_key(|cause| count(cause).slots)?;
        let monitor = count(&chief).monitor.clone();
        Some(SkipAlarmEvent::TooMany {
            due,
            skipped,
            main_cause: chief,
            monitor: monitor.filter(|_| chief.is_per_monitor()),
        })
    }
}

impl SkipAlarmEvent {
    fn log(&self) {
        match self {
            Self::TooMany {
                due,
                skipped,
                main_cause: chief,
                monitor,
            } => tracing::warn!(
                target: LOG_TARGET,
                due,
                skipped,
                reason = chief.reason().as_str(),
                monitor = monitor.as_deref(),
                advice = chief.advice(),
                "Skipped more than 1 % of scheduled checks in the last minute"
            ),
            Self::Recovered { due, skipped } => tracing::info!(
                target: LOG_TARGET,
                due,
                skipped,
                "Skipped checks back below 1 %"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute in which so many slots were skipped: for an overrun, for want of a place, for want
    /// of one of the host, for a stall.
    fn minute(started: u64, skipped: [u64; 4]) -> SlotCounts {
        let skips = SkipMonitor::default();
        let mut last = SlotTotals::default();
        (0..started).for_each(|_| skips.count_started());
        for (cause, slots) in CAUSES.into_iter().zip(skipped) {
            if slots > 0 {
                skips.count_skipped(slots, cause, &Arc::from("first"));
                skips.count_skipped(0, cause, &Arc::from("second"));
            }
        }
        let minute = skips.counts_since(&mut last);
        assert_eq!(
            SkipAlarm::default().update(&skips.counts_since(&mut last)),
            None,
            "counts anew"
        );
        minute
    }

    #[track_caller]
    fn check(
        started: u64,
        skipped: [u64; 4],
        expected: Option<(u64, u64, SkipCause, Option<&str>)>,
    ) {
        let event = SkipAlarm::default().update(&minute(started, skipped));
        let expected = expected.map(|(due, skipped, chief, monitor)| SkipAlarmEvent::TooMany {
            due,
            skipped,
            main_cause: chief,
            monitor: monitor.map(Arc::from),
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn more_than_one_percent_is_too_many() {
        check(0, [0; 4], None);
        check(1_000, [0; 4], None);
        check(99, [1, 0, 0, 0], None);
        let too_many = |due, skipped| Some((due, skipped, SkipCause::Overrun, Some("first")));
        check(98, [1, 0, 0, 0], too_many(99, 1));
        check(0, [3, 0, 0, 0], too_many(3, 3));
        check(297, [1, 1, 1, 0], None);
    }

    #[test]
    fn the_chief_cause_is_that_of_most_slots() {
        let of = |chief, monitor| Some((110, 100, chief, monitor));
        check(10, [70, 10, 10, 10], of(SkipCause::Overrun, Some("first")));
        check(10, [10, 70, 10, 10], of(SkipCause::GlobalLimit, None));
        check(
            10,
            [10, 10, 70, 10],
            of(SkipCause::HostLimit, Some("first")),
        );
        check(10, [10, 10, 10, 70], of(SkipCause::Stalled, None));
    }

    #[test]
    fn the_daemon_is_at_fault_for_slots_without_a_place_and_for_stalls() {
        let lost_too_many = |started, skipped| SlotTotals { started, skipped }.lost_too_many();
        assert!(!lost_too_many(0, [0; 4]));
        assert!(!lost_too_many(0, [50, 0, 50, 0]), "monitors are at fault");
        assert!(lost_too_many(98, [0, 1, 0, 0]) && lost_too_many(98, [0, 0, 0, 1]));
        assert!(!lost_too_many(99, [0, 1, 0, 0]));
        assert!(lost_too_many(197, [0, 1, 0, 2]));
        assert!(!lost_too_many(250, [48, 1, 0, 1]));
    }

    #[test]
    fn it_is_said_when_it_begins_and_when_it_is_over_and_not_in_between() {
        let mut judge = SkipAlarm::default();
        let fine = minute(1_000, [0, 10, 0, 0]);
        let bad = minute(10, [0, 1, 0, 0]);
        let idle = minute(0, [0; 4]);
        let minutes = [
            &fine, &bad, &bad, &idle, &bad, &fine, &fine, &bad, &idle, &fine,
        ];
        let said = minutes.map(|minute| match judge.update(minute) {
            Some(SkipAlarmEvent::TooMany { .. }) => 'W',
            Some(SkipAlarmEvent::Recovered { .. }) => 'I',
            None => '-',
        });
        assert_eq!(said.iter().collect::<String>(), "-W---I-W-I");
    }
}
