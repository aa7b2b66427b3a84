//! Detects checks during which the runtime lacked CPU time or the process was stopped.
//!
//! A task on the runtime of the checks takes samples at a fixed interval. If a sample is late,
//! everything that was due meanwhile, such as the response to a check, was also handled late.

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

/// Interval between samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum delay of a sample. Timers are off by one millisecond and a busy scheduler by about ten, so a
/// longer delay has another cause. Latencies have this order of magnitude.
pub(super) const LAG_THRESHOLD: Duration = Duration::from_millis(100);

/// Delay of a sample from which on the runtime was not only slow, but stopped: checks started late by as much.
const STALL_THRESHOLD: Duration = Duration::from_secs(1);

/// Times of samples. Atomic, because every check reads them.
pub(super) struct RuntimeLag {
    /// The reference for the other times, which are in nanoseconds.
    origin: Instant,
    /// Time at which the next sample is due.
    next_due: AtomicU64,
    /// Time of the last late sample; 0 if there was none.
    last_late: AtomicU64,
    /// Time of the last sample that was late by more than [`STALL_THRESHOLD`]; 0 if there was none.
    last_stall: AtomicU64,
}

impl RuntimeLag {
    /// Creates a measurement whose first sample is due one interval after `origin`.
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            next_due: AtomicU64::new(nanos(SAMPLE_INTERVAL)),
            last_late: AtomicU64::new(0),
            last_stall: AtomicU64::new(0),
        }
    }

    /// Takes samples until `shutdown`, and passes their delays to `observer`.
    pub(super) async fn run(
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

    /// Returns true if the runtime was late at some time during a check from `started` to `end`, which is
    /// now.
    pub(super) fn was_lagging_during(&self, started: Instant, end: Instant) -> bool {
        self.was_late_during(LAG_THRESHOLD, &self.last_late, started, end)
    }

    /// Returns true if the runtime was stopped at some time from `started` to `end`, which is now.
    pub(super) fn was_stalled_during(&self, started: Instant, end: Instant) -> bool {
        self.was_late_during(STALL_THRESHOLD, &self.last_stall, started, end)
    }

    /// Returns true if a sample from `started` to `end` was late by more than `threshold`, or is by now; `last` is
    /// the last such sample.
    fn was_late_during(
        &self,
        threshold: Duration,
        last: &AtomicU64,
        started: Instant,
        end: Instant,
    ) -> bool {
        // In this order, because `sample` writes them in the opposite order.
        let due = self.next_due.load(Ordering::Acquire);
        let late = last.load(Ordering::Acquire);
        let overdue = self.nanos(end).saturating_sub(due);
        overdue > nanos(threshold) || late > self.nanos(started)
    }

    /// Ends the measurement, so that a missing sample does not count as late.
    fn stop(&self) {
        self.next_due.store(u64::MAX, Ordering::Release);
    }

    /// The time at which the next sample is due.
    fn next_sample(&self) -> Instant {
        self.origin + Duration::from_nanos(self.next_due.load(Ordering::Acquire))
    }

    /// Records a sample at `now`, and returns its delay.
    fn sample(&self, now: Instant) -> Duration {
        let delay = now - self.next_sample();
        let now = self.nanos(now);
        if delay > LAG_THRESHOLD {
            self.last_late.store(now, Ordering::Release);
        }
        if delay > STALL_THRESHOLD {
            self.last_stall.store(now, Ordering::Release);
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
    fn a_stall_is_longer_than_a_lag() {
        let (lag, _) = beats(&[0, 1_000, 1_001, 0], ms(3_000));
        let was_stalled =
            |from, to| lag.was_stalled_during(lag.origin + ms(from), lag.origin + ms(to));
        // Due at 1300 ms, came at 2301 ms.
        assert!(was_stalled(0, 2_500) && was_stalled(2_300, 2_301));
        assert!(!was_stalled(2_301, 2_500));
        assert!(!was_stalled(2_400, 3_500) && was_stalled(2_400, 3_502));
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
