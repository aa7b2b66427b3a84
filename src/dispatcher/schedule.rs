//! Calculates the slots of a monitor. Pure: all times are relative to the start of the dispatcher.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::check::{Job, MAX_INTERVAL, Replica};

/// Maximum delay with which a slot is run. After a longer delay, the daemon counts as stalled, because
/// running the missed slots would be a burst.
const MAX_START_DELAY: Duration = Duration::from_secs(1);

/// Time after a slot within which the previous check may end without skipping it, because timers are
/// not exact.
const TIMER_SLACK: Duration = Duration::from_millis(50);

/// Interval between the first checks of monitors: a hundred start per second.
pub(crate) const START_SPACING: Duration = Duration::from_millis(10);

/// The slots of one monitor: a fixed grid, and one slot at the start that may be off the grid.
///
/// The grid depends on the monitor's name and the wall clock, so monitors with the same interval are
/// spread over it, and a restart does not move them.
///
/// Linux's monotonic clock continues while the process is stopped, but not while the machine is
/// suspended. After a suspend, the schedule continues where it was: no slot is missed, and until a
/// restart the grid is later by the duration of the suspend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    every: Duration,
    timeout: Duration,
    /// Time of the first slot of the grid, less than an interval after the start.
    offset: Duration,
}

/// The decision when a monitor wakes for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeDecision {
    /// Run the slot.
    InTime,
    /// Skip `missed` slots; the next one is at `next`.
    Stalled { missed: u64, next: Duration },
}

/// The slots that were missed while a check ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MissedSlots {
    /// Slots missed before the deadline of the check.
    pub overrun: u64,
    /// Slots missed after the deadline, because the daemon was stalled.
    pub stalled: u64,
    /// The next slot.
    pub next: Duration,
}

impl Schedule {
    /// Creates the schedule of `job` in a dispatcher that starts at `start`.
    pub(super) fn new(job: &Job, start: SystemTime) -> Self {
        Self::from_parts(&job.name, job.replica, job.check_every, job.timeout, start)
    }

    fn from_parts(
        name: &str,
        replica: Replica,
        every: Duration,
        timeout: Duration,
        start: SystemTime,
    ) -> Self {
        // Timers have a resolution of a millisecond.
        let every = every.clamp(Duration::from_millis(1), MAX_INTERVAL);
        let timeout = timeout.min(MAX_INTERVAL);
        let start = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let every_nanos = every.as_nanos();
        let Replica { index, count } = replica;
        let shift = every_nanos * u128::from(index) / u128::from(count.max(1));
        let position = u128::from(hash(name)) % every_nanos + shift;
        let elapsed = start.as_nanos() % every_nanos;
        let phase = (every_nanos + position - elapsed) % every_nanos;
        Self {
            every,
            timeout,
            offset: nanos(phase),
        }
    }

    /// The first slot of the monitor at `index`, shortly after the start.
    pub(super) fn first_slot(&self, index: usize) -> Duration {
        let at_start = START_SPACING.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
        at_start.min(self.offset)
    }

    /// The slot after the one at `due`, at least half an interval later.
    pub(super) fn next_after(&self, due: Duration) -> Duration {
        self.align_up(due + self.every / 2)
    }

    /// The extra slot `retry_every` after the one at `due`, for a monitor whose check ended at `now`; none
    /// if a check could run into the slot of the grid at `grid`.
    pub(super) fn retry(
        &self,
        due: Duration,
        retry_every: Duration,
        grid: Duration,
        now: Duration,
    ) -> Option<Duration> {
        let retry = (due + retry_every).max(now);
        (retry <= self.latest_retry(grid)).then_some(retry)
    }

    /// The last moment at which a check may begin that ends before the slot of the grid at `grid`.
    pub(super) fn latest_retry(&self, grid: Duration) -> Duration {
        grid.saturating_sub(self.timeout)
    }

    /// True if the monitor wakes too late, at `now`, for an extra slot before the one of the grid at `grid`.
    pub(super) fn is_too_late_to_retry(
        &self,
        due: Duration,
        grid: Duration,
        now: Duration,
    ) -> bool {
        let slack = TIMER_SLACK.min(self.timeout / 10);
        self.is_too_late(due, now) || now > self.latest_retry(grid) + slack
    }

    fn is_too_late(&self, due: Duration, now: Duration) -> bool {
        now.saturating_sub(due) > MAX_START_DELAY.min(self.every)
    }

    /// Decides about the slot at `due` when the monitor wakes at `now`.
    pub(super) fn on_wake(&self, due: Duration, now: Duration) -> WakeDecision {
        if !self.is_too_late(due, now) {
            return WakeDecision::InTime;
        }
        let after = self.next_after(due);
        let next = self.align_up(now + Duration::from_nanos(1)).max(after);
        WakeDecision::Stalled {
            missed: 1 + self.slots_between(after, next),
            next,
        }
    }

    /// The deadline of a check that starts at `begun` in the slot at `due`.
    ///
    /// A deadline just after the next slot is moved to that slot. Otherwise, with a timeout as long as
    /// the interval, a target that times out would miss every second slot.
    pub(super) fn deadline(&self, due: Duration, begun: Duration) -> Duration {
        let full = begun + self.timeout;
        let next = self.next_after(due);
        let slack = TIMER_SLACK.min(self.timeout / 10);
        if next < full && full <= next + slack {
            next
        } else {
            full
        }
    }

    /// The slots missed after `due`, whose check had the `deadline` and ended at `end`.
    pub(super) fn missed_during(
        &self,
        due: Duration,
        deadline: Duration,
        end: Duration,
    ) -> MissedSlots {
        let next = self.next_after(due);
        let slack = TIMER_SLACK.min(self.every / 2);
        let next_allowed = self.align_up(end.saturating_sub(slack)).max(next);
        let overrun_until = self
            .align_up((deadline + MAX_START_DELAY).min(end))
            .clamp(next, next_allowed);
        MissedSlots {
            overrun: self.slots_between(next, overrun_until),
            stalled: self.slots_between(overrun_until, next_allowed),
            next: next_allowed,
        }
    }

    /// The first slot of the grid at or after `moment`.
    fn align_up(&self, moment: Duration) -> Duration {
        let Some(behind) = moment.checked_sub(self.offset) else {
            return self.offset;
        };
        let slots = behind.as_nanos().div_ceil(self.every.as_nanos());
        self.offset + nanos(slots * self.every.as_nanos())
    }

    /// Number of slots from the one at `from` up to, but not including, the one at `until`.
    fn slots_between(&self, from: Duration, until: Duration) -> u64 {
        let span = until.saturating_sub(from).as_nanos();
        u64::try_from(span.div_ceil(self.every.as_nanos())).unwrap_or(u64::MAX)
    }
}

fn nanos(nanos: u128) -> Duration {
    // The maximum is about five hundred years.
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// FNV-1a with the finalizer of SplitMix64, so that similar names have very different hashes.
///
/// Implemented here because it must never change: it determines each monitor's offset in its interval
/// and its shard.
pub(super) fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Slots at 3 s, 13 s, 23 s, …
    fn schedule() -> Schedule {
        Schedule {
            every: ms(10_000),
            timeout: ms(5_000),
            offset: ms(3_000),
        }
    }

    #[test]
    fn the_first_check_comes_at_the_start_and_its_successor_not_right_behind() {
        let schedule = schedule();
        assert_eq!(schedule.first_slot(0), ms(0));
        assert_eq!(schedule.first_slot(99), ms(990));
        assert_eq!(
            schedule.first_slot(100_000),
            ms(3_000),
            "never after the grid's first slot"
        );
        assert_eq!(
            schedule.next_after(ms(0)),
            ms(13_000),
            "3 s would be too soon"
        );
        assert_eq!(schedule.next_after(ms(3_000)), ms(13_000));
        assert_eq!(schedule.next_after(ms(13_000)), ms(23_000));
    }

    #[test]
    fn replicas_check_in_turn_at_evenly_spaced_times() {
        let start = UNIX_EPOCH + ms(1_234_567);
        let count = 3;
        let mut slots: Vec<_> = (0..count)
            .map(|index| {
                let replica = Replica { index, count };
                Schedule::from_parts("example", replica, ms(9_000), ms(5_000), start)
                    .align_up(ms(100_000))
            })
            .collect();
        slots.sort_unstable();
        for pair in slots.windows(2) {
            assert_eq!(pair[1].abs_diff(pair[0]), ms(3_000));
        }
    }

    #[test]
    fn a_late_slot_is_run_until_it_is_too_late() {
        let schedule = schedule();
        assert_eq!(schedule.on_wake(ms(3_000), ms(3_000)), WakeDecision::InTime);
        assert_eq!(schedule.on_wake(ms(3_000), ms(4_000)), WakeDecision::InTime);
        let stalled = |missed, next| WakeDecision::Stalled {
            missed,
            next: ms(next),
        };
        assert_eq!(schedule.on_wake(ms(3_000), ms(4_001)), stalled(1, 13_000));
        assert_eq!(schedule.on_wake(ms(3_000), ms(13_000)), stalled(2, 23_000));
        assert_eq!(schedule.on_wake(ms(3_000), ms(60_000)), stalled(6, 63_000));
        assert_eq!(
            schedule.on_wake(ms(0), ms(3_600_000)),
            stalled(360, 3_603_000),
            "off the grid"
        );
    }

    #[test]
    fn a_timeout_as_long_as_the_interval_ends_with_it() {
        let schedule = Schedule {
            timeout: ms(10_000),
            ..schedule()
        };
        assert_eq!(schedule.deadline(ms(3_000), ms(3_000)), ms(13_000));
        assert_eq!(schedule.deadline(ms(3_000), ms(3_002)), ms(13_000));
        let late = schedule.deadline(ms(3_000), ms(8_000));
        assert_eq!(
            late,
            ms(18_000),
            "a check that waited for its place has its full time"
        );
        let passed = schedule.missed_during(ms(3_000), ms(13_000), ms(13_001));
        assert_eq!(
            passed,
            MissedSlots {
                overrun: 0,
                stalled: 0,
                next: ms(13_000)
            }
        );
        let passed = schedule.missed_during(ms(3_000), late, ms(18_001));
        assert_eq!(
            passed,
            MissedSlots {
                overrun: 1,
                stalled: 0,
                next: ms(23_000)
            }
        );
    }

    #[test]
    fn slots_that_pass_while_the_daemon_stands_still_are_not_the_checks_fault() {
        let passed = schedule().missed_during(ms(3_000), ms(8_000), ms(64_000));
        assert_eq!(
            passed,
            MissedSlots {
                overrun: 0,
                stalled: 6,
                next: ms(73_000)
            }
        );
        let passed = schedule().missed_during(ms(3_000), ms(8_000), ms(8_001));
        assert_eq!(
            passed,
            MissedSlots {
                overrun: 0,
                stalled: 0,
                next: ms(13_000)
            }
        );
    }

    #[test]
    fn a_restart_keeps_the_place_in_the_interval() {
        let at = |start| {
            let start = UNIX_EPOCH + ms(start);
            let schedule =
                Schedule::from_parts("example", Replica::default(), ms(10_000), ms(5_000), start);
            (start + schedule.offset)
                .duration_since(UNIX_EPOCH)
                .expect("later")
                .as_nanos()
                % 10_000_000_000
        };
        assert_eq!(at(1_790_000_000_000), at(1_790_000_003_217));
    }

    #[test]
    fn monitors_with_one_interval_spread_over_it() {
        let mut tenths = [0; 10];
        for index in 0..1_000 {
            let name = format!("service-{index}");
            let schedule =
                Schedule::from_parts(&name, Replica::default(), ms(60_000), ms(5_000), UNIX_EPOCH);
            tenths[usize::try_from(schedule.offset.as_millis() / 6_000).expect("a tenth")] += 1;
        }
        assert!(
            tenths.iter().all(|count| (70..=130).contains(count)),
            "{tenths:?}"
        );
    }

    proptest! {
        #[test]
        fn every_slot_is_run_or_missed_and_none_twice(
            every in 1_u64..100_000,
            timeout in 1_u64..100_000,
            phase in 0_u64..100_000,
            delays in prop::collection::vec((0_u64..5_000, 0_u64..300_000), 1..30),
        ) {
            let every = ms(every);
            let timeout = ms(timeout).min(every);
            let schedule = Schedule { every, timeout, offset: ms(phase).min(every.saturating_sub(ms(1))) };
            let first = schedule.first_slot(0);
            let (mut due, mut run, mut missed) = (first, 0_u64, 0_u64);
            for (lag, duration) in delays {
                let begun = due + ms(lag);
                let next = match schedule.on_wake(due, begun) {
                    WakeDecision::Stalled { missed: slots, next } => {
                        prop_assert!(next > begun);
                        missed += slots;
                        next
                    }
                    WakeDecision::InTime => {
                        run += 1;
                        let deadline = schedule.deadline(due, begun);
                        prop_assert!(deadline > begun);
                        prop_assert!(deadline <= begun + timeout);
                        let end = begun + ms(duration);
                        let passed = schedule.missed_during(due, deadline, end);
                        missed += passed.overrun + passed.stalled;
                        prop_assert!(passed.next + TIMER_SLACK >= end);
                        passed.next
                    }
                };
                prop_assert!(next > due);
                prop_assert_eq!(next.saturating_sub(schedule.offset).as_nanos() % every.as_nanos(), 0);
                due = next;
            }
            // All slots of the grid up to the next one, and the one at the start where it is off it.
            let grid = schedule.slots_between(schedule.next_after(first), due) + 1;
            prop_assert_eq!(run + missed, grid);
        }
    }
}
