//! Whether the runtime that runs checks was starved while one ran: of CPU time, or by a stopped process.
//!
//! A task beats on that runtime. A beat that comes late says that whatever came due meanwhile, a
//! check's answer too, was seen late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::check::Overseer;

/// From one beat to when the next one is due.
const BEAT: Duration = Duration::from_millis(100);

/// How late a beat may come. Timers are off by a millisecond and a busy scheduler by some ten, so
/// that this is neither; and latencies are as long as this, so that more would change what they say.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// What is known of the beats. Two numbers without a lock: every check asks.
pub(super) struct Pulse {
    /// The moment that the others are counted from, in nanoseconds.
    origin: Instant,
    /// When the next beat is due.
    due: AtomicU64,
    /// When the last beat came that was late; 0 where none was.
    late: AtomicU64,
}

impl Pulse {
    /// A pulse whose first beat is due shortly after `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            due: AtomicU64::new(nanos(BEAT)),
            late: AtomicU64::new(0),
        }
    }

    /// Beats until `shutdown`, and tells `overseer` how late each beat was.
    pub async fn keep(self: Arc<Self>, overseer: Arc<dyn Overseer>, shutdown: CancellationToken) {
        let stopped = Stopped(&self);
        let beats = async {
            loop {
                sleep_until(self.due()).await;
                overseer.runtime_delay(self.beat(Instant::now()));
            }
        };
        shutdown.run_until_cancelled(beats).await;
        drop(stopped);
    }

    /// Whether the runtime was starved at some moment of a check that began at `begun` and ends at
    /// `end`, which is now.
    pub fn taints(&self, begun: Instant, end: Instant) -> bool {
        // In this order: a beat notes that it was late before it sets the next one's time.
        let due = self.due.load(Ordering::Acquire);
        let late = self.late.load(Ordering::Acquire);
        let overdue = self.nanos(end).saturating_sub(due);
        overdue > nanos(LATE) || late > self.nanos(begun)
    }

    /// When the next beat is due.
    fn due(&self) -> Instant {
        self.origin + Duration::from_nanos(self.due.load(Ordering::Acquire))
    }

    /// Notes the beat that comes at `now`, and returns how late it is.
    fn beat(&self, now: Instant) -> Duration {
        let delay = now - self.due();
        let now = self.nanos(now);
        if delay > LATE {
            self.late.store(now, Ordering::Release);
        }
        self.due.store(now + nanos(BEAT), Ordering::Release);
        delay
    }

    fn nanos(&self, moment: Instant) -> u64 {
        nanos(moment - self.origin)
    }
}

/// A beat that never comes is not late.
struct Stopped<'p>(&'p Pulse);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.due.store(u64::MAX, Ordering::Release);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A pulse whose beats came so late each, and when each was due and came.
    fn beats(delays: &[u64], until: Duration) -> (Pulse, Vec<(Duration, Duration)>) {
        let pulse = Pulse::new(Instant::now());
        let mut beats = Vec::new();
        for delay in delays {
            let due = pulse.due() - pulse.origin;
            let came = due + ms(*delay);
            beats.push((due, came));
            if came <= until {
                assert_eq!(pulse.beat(pulse.origin + came), ms(*delay));
            } else {
                break;
            }
        }
        (pulse, beats)
    }

    #[track_caller]
    fn check(delays: &[u64], begun: u64, end: u64, expected: bool) {
        let (pulse, beats) = beats(delays, ms(end));
        let moment = |millis| pulse.origin + ms(millis);
        let tainted = pulse.taints(moment(begun), moment(end));
        assert_eq!(tainted, expected, "{beats:?}");
    }

    #[test]
    fn a_check_is_tainted_by_a_beat_that_came_late_meanwhile() {
        check(&[0, 0, 0, 0, 0], 150, 450, false);
        check(&[0, 100, 0, 0], 150, 450, false);
        // Due at 200 ms, came at 301 ms.
        check(&[0, 101, 0, 0], 150, 450, true);
        check(&[0, 101, 0, 0], 250, 260, false);
        check(&[0, 101, 0, 0], 250, 301, true);
        check(&[0, 101, 0, 0], 300, 302, true);
        check(&[0, 101, 0, 0], 301, 320, false);
        check(&[0, 101, 0, 0], 0, 199, false);
    }

    #[test]
    fn a_check_is_tainted_by_a_beat_that_has_not_come_yet() {
        check(&[0, 5_000], 150, 300, false);
        check(&[0, 5_000], 150, 301, true);
        check(&[0, 5_000], 2_000, 2_001, true);
    }

    #[test]
    fn a_pulse_that_has_stopped_taints_nothing() {
        let (pulse, _) = beats(&[0], ms(1_000));
        drop(Stopped(&pulse));
        let moment = |millis| pulse.origin + ms(millis);
        assert!(!pulse.taints(moment(0), moment(100_000)));
    }

    proptest! {
        #[test]
        fn a_check_is_tainted_if_and_only_if_a_late_beat_overlaps_it(
            mut delays in prop::collection::vec(
                prop_oneof![30 => 0_u64..3, 1 => 90_u64..110, 1 => 0_u64..3_000],
                100,
            ),
            begun in 0_u64..10_000,
            takes in prop_oneof![0_u64..300, 0_u64..10_000],
        ) {
            let (begun, end) = (ms(begun), ms(begun + takes));
            // One that never comes.
            delays.push(1_000_000);
            let (pulse, beats) = beats(&delays, end);
            // What a beat is late by when the check ends is what can be known of it then.
            let overlaps = |(due, came): &(Duration, Duration)| {
                let known = (*came).min(end);
                known.saturating_sub(*due) > LATE && *came > begun
            };
            let tainted = pulse.taints(pulse.origin + begun, pulse.origin + end);
            prop_assert_eq!(tainted, beats.iter().any(overlaps), "{:?}", beats);
        }
    }
}
