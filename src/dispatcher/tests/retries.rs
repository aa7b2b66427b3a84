//! Tests of extra slots while a change is not confirmed, slots skipped because of a dependency, and paused monitors.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::check::{Confirm, Phase, StateRules};

/// Wants up to `failures` failures to confirm each other, and skips slots while it `is_blocked`.
#[derive(Default)]
struct Confirming {
    ledger: Arc<Ledger>,
    failures: u32,
    in_a_row: AtomicU32,
    is_blocked: std::sync::atomic::AtomicBool,
}

impl DispatcherObserver for Arc<Confirming> {
    fn observe(&self, _: &Job) -> Arc<dyn MonitorObserver> {
        self.clone()
    }

    fn on_stopped(&self, _: &Job) {}
}

impl MonitorObserver for Confirming {
    fn on_started(&self, lag: Duration) {
        self.ledger.on_started(lag);
    }

    fn on_completed(&self, report: &Report) {
        match report.outcome() {
            Outcome::Success => self.in_a_row.store(0, Ordering::Relaxed),
            Outcome::Failure => _ = self.in_a_row.fetch_add(1, Ordering::Relaxed),
        }
        self.ledger.on_completed(report);
    }

    fn on_cancelled(&self) {
        self.ledger.on_cancelled();
    }

    fn on_skipped(&self, slots: u64, why: Skip) {
        self.ledger.on_skipped(slots, why);
    }

    fn reason_to_skip(&self) -> Option<Skip> {
        let is_blocked = self.is_blocked.load(Ordering::Relaxed);
        is_blocked.then_some(Skip::Dependency)
    }

    fn awaits_confirmation(&self) -> bool {
        (1..self.failures).contains(&self.in_a_row.load(Ordering::Relaxed))
    }
}

fn refused() -> Result<(), Failure> {
    Err(Failure::new(
        Phase::Connect,
        Reason::ConnectionRefused,
        "no",
    ))
}

/// A job of a target that is down, checked every minute and again after `retry_every`.
fn down(takes: Duration, timeout: Duration, retry_every: Option<Duration>) -> Job {
    let monitor = StandIn {
        end: refused,
        ..StandIn::new([takes])
    };
    Job {
        state_rules: StateRules {
            confirm: Confirm {
                retry_every,
                ..Confirm::default()
            },
            ..StateRules::default()
        }
        .shared(),
        ..job("down", monitor, ms(60_000), timeout)
    }
}

async fn run_confirming(confirming: Confirming, job: Job, span: Duration) -> Entries {
    let confirming = Arc::new(confirming);
    let shutdown = CancellationToken::new();
    let overseer = Arc::new(confirming.clone());
    let mut dispatcher = Dispatcher::new(Settings::default(), overseer, shutdown.clone());
    dispatcher.start(vec![job]);
    let running = tokio::spawn(dispatcher.run());
    tokio::time::sleep(span).await;
    shutdown.cancel();
    running.await.expect("it does not panic");
    let entries = confirming.ledger.entries();
    entries.clone()
}

fn wanting(failures: u32) -> Confirming {
    Confirming {
        failures,
        ..Confirming::default()
    }
}

/// The times of checks after the first one.
fn times(entries: &Entries) -> Vec<Duration> {
    let first = entries.started[0];
    entries.started.iter().map(|begun| *begun - first).collect()
}

#[tokio::test(start_paused = true)]
async fn a_suspect_monitor_is_checked_again_soon_and_only_until_it_is_confirmed() {
    let job = down(ms(20), ms(5_000), Some(ms(5_000)));
    let entries = run_confirming(wanting(3), job, ms(600_000)).await;
    let times = times(&entries);
    // The first slot may lie so close to the grid that there is no room behind it.
    let soon = times
        .windows(2)
        .filter(|pair| pair[1].abs_diff(pair[0]) <= ms(5_001));
    assert!((1..=2).contains(&soon.count()), "{times:?}");
    assert_eq!(entries.skipped, [0; Skip::ALL.len()]);
    let grid: Vec<_> = times.iter().rev().take(8).collect();
    for pair in grid.windows(2) {
        assert!(
            pair[0].abs_diff(*pair[1]).abs_diff(ms(60_000)) <= ms(2),
            "{times:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn extra_slots_never_delay_the_grid() {
    for (takes, timeout, retry_every) in [
        (ms(20), ms(5_000), ms(7_000)),
        (ms(4_000), ms(5_000), ms(1_000)),
        // Hangs until its timeout, and longer than the interval of retries.
        (ms(1_000_000), ms(20_000), ms(500)),
        (ms(1_000_000), ms(60_000), ms(500)),
        (ms(59_900), ms(60_000), ms(30_000)),
    ] {
        let span = ms(3_600_000);
        let with = down(takes, timeout, Some(retry_every));
        // The clock of the calendar is not paused, but little of it passes until the start.
        let phase = Schedule::new(&with, SystemTime::now()).first_slot(usize::MAX);
        let started = Instant::now();
        let with = run_confirming(wanting(u32::MAX), with, span).await;
        let without = down(takes, timeout, None);
        let without = run_confirming(wanting(u32::MAX), without, span).await;
        // The first interval is shorter than the others.
        assert!(with.skipped(Skip::Overrun) <= 1, "{:?}", with.skipped);
        assert!(with.skipped.iter().sum::<u64>() <= 1, "{:?}", with.skipped);
        for slot in (2..59).map(|n| started + phase + n * ms(60_000)) {
            let near =
                |begun: &&Instant| begun.max(&&slot).duration_since(*(*begun).min(&slot)) <= ms(70);
            let found = with.started.iter().find(near);
            assert!(
                found.is_some(),
                "no check at {slot:?} with checks that take {takes:?}"
            );
        }
        let has_room = timeout + retry_every <= ms(60_000) && timeout < ms(60_000);
        assert_eq!(with.started.len() > without.started.len() + 50, has_room);
        assert_eq!(with.most_running, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn extra_slots_are_accounted_like_others() {
    let job = down(ms(20), ms(5_000), Some(ms(5_000)));
    let entries = run_confirming(wanting(u32::MAX), job, ms(3_600_000)).await;
    let ended = entries.outcomes.len() as u64 + entries.cancelled;
    assert_eq!(entries.started.len() as u64, ended);
    // Eleven extra slots fit between two of the grid.
    assert!(
        (600..=720).contains(&entries.started.len()),
        "{}",
        entries.started.len()
    );
}

#[tokio::test(start_paused = true)]
async fn slots_are_skipped_while_a_dependency_is_down() {
    let confirming = Confirming {
        is_blocked: true.into(),
        ..Confirming::default()
    };
    let job = down(ms(20), ms(5_000), Some(ms(5_000)));
    let entries = run_confirming(confirming, job, ms(600_000)).await;
    assert_eq!(entries.started, []);
    assert!((10..=11).contains(&entries.skipped(Skip::Dependency)));
    assert_eq!(entries.slots(), entries.skipped(Skip::Dependency));
}

#[tokio::test(start_paused = true)]
async fn a_paused_monitor_has_no_slots() {
    let paused = Job {
        enabled: false,
        ..job("paused", StandIn::new([ms(1)]), ms(1_000), ms(1_000))
    };
    let entries = run(vec![paused], 10, ms(60_000)).await;
    assert_eq!(entries, Entries::default());
}
