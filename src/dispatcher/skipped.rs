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

    /// Returns true if the cause concerns single monitors.
    fn is_per_monitor(self) -> bool {
        matches!(self, Self::Overrun | Self::HostLimit)
    }
}

/// Counters of the slots of all monitors in the current window.
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
            let mut judge = SkipAlarm::default();
            loop {
                sleep_until(Instant::now() + WINDOW).await;
                if let Some(event) = judge.update(&self.take_counts()) {
                    event.log();
                }
            }
        };
        shutdown.run_until_cancelled(minutes).await;
    }

    /// Returns the counters and resets them.
    fn take_counts(&self) -> SlotCounts {
        SlotCounts {
            started: self.started.swap(0, Ordering::Relaxed),
            skipped: CAUSES.map(|cause| {
                let count = &self.skipped[cause as usize];
                let monitor = count.monitor.try_lock();
                Skipped {
                    slots: count.slots.swap(0, Ordering::Relaxed),
                    monitor: monitor.and_then(|mut monitor| monitor.take()),
                }
            }),
        }
    }
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
        let are_too_many = skipped.saturating_mul(100) > due;
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
        (0..started).for_each(|_| skips.count_started());
        for (cause, slots) in CAUSES.into_iter().zip(skipped) {
            if slots > 0 {
                skips.count_skipped(slots, cause, &Arc::from("first"));
                skips.count_skipped(0, cause, &Arc::from("second"));
            }
        }
        let minute = skips.take_counts();
        assert_eq!(
            SkipAlarm::default().update(&skips.take_counts()),
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
