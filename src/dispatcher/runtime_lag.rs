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

use scopeguard::guard;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::check::DispatcherObserver;

/// From one beat to when the next one is due.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// How late a beat may come. Timers are off by a millisecond and a busy scheduler by some ten, so
/// that this is neither; and latencies are as long as this, so that more would change what they say.
pub(super) const LAG_THRESHOLD: Duration = Duration::from_millis(100);

/// What is known of the beats. Two numbers without a lock: every check asks.
pub(super) struct RuntimeLag {
    /// The moment that the others are counted from, in nanoseconds.
    origin: Instant,
    /// When the next beat is due.
    next_due: AtomicU64,
    /// When the last beat came that was late; 0 where none was.
    last_late: AtomicU64,
}

impl RuntimeLag {
    /// A lag whose first beat is due shortly after `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            next_due: AtomicU64::new(nanos(SAMPLE_INTERVAL)),
            last_late: AtomicU64::new(0),
        }
    }

    /// Beats until `shutdown`, and tells `observer` how late each beat was.
    pub async fn run(
        self: Arc<Self>,
        observer: Arc<dyn DispatcherObserver>,
        shutdown: CancellationToken,
    ) {
        let _stopped = guard(&self, |lag| lag.stop());
        let samples = async {
            loop {
                sleep_until(self.next_sample()).await;
                observer.on_runtime_delay(self.sample(Instant::now()));
            }
        };
        shutdown.run_until_cancelled(samples).await;
    }

    /// Whether the runtime was starved at some moment of a check that began at `started` and ends at
    /// `end`, which is now.
    pub fn was_lagging_during(&self, started: Instant, end: Instant) -> bool {
        // In this order: a beat notes that it was late before it sets the next one's time.
        let due = self.next_due.load(Ordering::Acquire);
        let late = self.last_late.load(Ordering::Acquire);
        let overdue = self.nanos(end).saturating_sub(due);
        overdue > nanos(LAG_THRESHOLD) || late > self.nanos(started)
    }

    /// A sample that is never taken is not late.
    fn stop(&self) {
        self.next_due.store(u64::MAX, Ordering::Release);
    }

    /// When the next sample is due.
    fn next_sample(&self) -> Instant {
        self.origin + Duration::from_nanos(self.next_due.load(Ordering::Acquire))
    }

    /// Notes the beat that comes at `now`, and returns how late it is.
    fn sample(&self, now: Instant) -> Duration {
        let delay = now - self.next_sample();
        let now = self.nanos(now);
        if delay > LAG_THRESHOLD {
            self.last_late.store(now, Ordering::Release);
        }
        self.next_due
            .store(now + nanos(SAMPLE_INTERVAL), Ordering::Release);
        delay
    }

    fn nanos(&self, moment: Instant) -> u64 {
        nanos(moment - self.origin)
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

    /// A lag whose beats came so late each, and when each was due and came.
    fn beats(delays: &[u64], until: Duration) -> (RuntimeLag, Vec<(Duration, Duration)>) {
        let lag = RuntimeLag::new(Instant::now());
        let mut beats = Vec::new();
        for delay in delays {
            let due = lag.next_sample() - lag.origin;
            let came = due + ms(*delay);
            beats.push((due, came));
            if came <= until {
                assert_eq!(lag.sample(lag.origin + came), ms(*delay));
            } else {
                break;
            }
        }
        (lag, beats)
    }

    #[track_caller]
    fn check(delays: &[u64], started: u64, end: u64, expected: bool) {
        let (lag, beats) = beats(delays, ms(end));
        let moment = |millis| lag.origin + ms(millis);
        let tainted = lag.was_lagging_during(moment(started), moment(end));
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
        let (lag, _) = beats(&[0], ms(1_000));
        lag.stop();
        let moment = |millis| lag.origin + ms(millis);
        assert!(!lag.was_lagging_during(moment(0), moment(100_000)));
    }

    proptest! {
        #[test]
        fn a_check_is_tainted_if_and_only_if_a_late_beat_overlaps_it(
            mut delays in prop::collection::vec(
                prop_oneof![30 => 0_u64..3, 1 => 90_u64..110, 1 => 0_u64..3_000],
                100,
            ),
            started in 0_u64..10_000,
            takes in prop_oneof![0_u64..300, 0_u64..10_000],
        ) {
            let (started, end) = (ms(started), ms(started + takes));
            // One that never comes.
            delays.push(1_000_000);
            let (lag, beats) = beats(&delays, end);
            // What a beat is late by when the check ends is what can be known of it then.
            let overlaps = |(due, came): &(Duration, Duration)| {
                let known = (*came).min(end);
                known.saturating_sub(*due) > LAG_THRESHOLD && *came > started
            };
            let tainted = lag.was_lagging_during(lag.origin + started, lag.origin + end);
            prop_assert_eq!(tainted, beats.iter().any(overlaps), "{:?}", beats);
        }
    }
}
