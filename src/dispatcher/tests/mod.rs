//! Runs of the dispatcher on a paused clock, with fake monitors.

mod changes;
mod retries;
mod steps;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    check::{Attempt, Failure, Monitor, MonitorObserver, Outcome, Reason, Report, Skip},
    dispatcher::runtime_lag,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A monitor whose checks take a given time each, and then do what they are told.
struct StandIn {
    takes: Vec<Duration>,
    checks: Arc<AtomicUsize>,
    end: fn() -> Result<(), Failure>,
    host: Option<String>,
}

impl StandIn {
    fn new(takes: impl IntoIterator<Item = Duration>) -> Self {
        Self {
            takes: takes.into_iter().collect(),
            checks: Arc::default(),
            end: || Ok(()),
            host: None,
        }
    }

    /// A check that no deadline lets come to an end.
    fn hanging() -> Self {
        Self::new([ms(1_000_000_000)])
    }

    fn of(self, host: impl Into<String>) -> Self {
        Self {
            host: Some(host.into()),
            ..self
        }
    }
}

impl Monitor for StandIn {
    fn kind(&self) -> &'static str {
        "stand_in"
    }

    fn target(&self) -> String {
        "nowhere".to_owned()
    }

    fn host(&self) -> Option<String> {
        self.host.clone()
    }

    async fn check(&self, _: &Attempt) -> Result<(), Failure> {
        let check = self.checks.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.takes[check % self.takes.len()]).await;
        (self.end)()
    }
}

/// The slots of several monitors: started, completed or skipped.
#[derive(Default)]
struct Ledger(Mutex<Entries>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entries {
    started: Vec<Instant>,
    lags: Vec<Duration>,
    outcomes: Vec<Outcome>,
    /// Which of the outcomes are those of tainted checks.
    tainted: Vec<usize>,
    reasons: Vec<Reason>,
    cancelled: u64,
    skipped: [u64; Skip::ALL.len()],
    running: usize,
    most_running: usize,
}

impl Ledger {
    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().expect("no test panics while it holds this")
    }
}

impl Entries {
    fn skipped(&self, why: Skip) -> u64 {
        self.skipped[why as usize]
    }

    /// Slots that were started or skipped; those that are due but wait for a place are neither.
    fn slots(&self) -> u64 {
        self.started.len() as u64 + self.skipped.iter().sum::<u64>()
    }
}

impl MonitorObserver for Ledger {
    fn on_started(&self, lag: Duration) {
        let mut entries = self.entries();
        entries.started.push(Instant::now());
        entries.lags.push(lag);
        entries.running += 1;
        entries.most_running = entries.most_running.max(entries.running);
    }

    fn on_tainted(&self) {
        let mut entries = self.entries();
        let next = entries.outcomes.len();
        entries.tainted.push(next);
    }

    fn on_completed(&self, report: &Report) {
        let mut entries = self.entries();
        entries.running -= 1;
        entries.outcomes.push(report.outcome());
        entries
            .reasons
            .extend(report.failure.as_ref().map(|failure| failure.reason));
    }

    fn on_cancelled(&self) {
        let mut entries = self.entries();
        entries.running -= 1;
        entries.cancelled += 1;
    }

    fn on_skipped(&self, slots: u64, why: Skip) {
        self.entries().skipped[why as usize] += slots;
    }
}

/// One ledger of all monitors, and one of those of each host.
#[derive(Default)]
struct Books {
    all: Arc<Ledger>,
    runtime_delays: Mutex<Vec<Duration>>,
    /// True if it panics on a delay.
    is_faulty: bool,
    hosts: Mutex<BTreeMap<String, Arc<Ledger>>>,
    /// Who appeared and who is gone, in that order.
    comings_and_goings: Mutex<Vec<String>>,
}

impl Books {
    fn all(&self) -> Entries {
        self.all.entries().clone()
    }

    /// Who appeared (`+`) and who is gone (`-`) since this was last asked.
    fn comings_and_goings(&self) -> Vec<String> {
        let mut all = self.comings_and_goings.lock();
        std::mem::take(all.as_mut().expect("no test panics with it"))
    }

    fn note(&self, what: char, job: &Job) {
        let mut all = self.comings_and_goings.lock();
        let all = all.as_mut().expect("no test panics with it");
        all.push(format!("{what}{}", job.name));
    }

    fn host(&self, host: &str) -> Entries {
        let hosts = self.hosts.lock().expect("no test panics with it");
        hosts[host].entries().clone()
    }
}

impl DispatcherObserver for Books {
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver> {
        self.note('+', job);
        let mut hosts = self.hosts.lock().expect("no test panics with it");
        let host = job
            .host()
            .map(|host| hosts.entry(host).or_default().clone());
        Arc::new(Entry {
            ledgers: host.into_iter().chain([self.all.clone()]).collect(),
        })
    }

    fn on_stopped(&self, job: &Job) {
        self.note('-', job);
    }

    fn on_runtime_delay(&self, delay: Duration) {
        assert!(!self.is_faulty, "ouch");
        let mut delays = self.runtime_delays.lock().expect("no test panics with it");
        delays.push(delay);
    }
}

/// Writes what becomes of the slots of one monitor to several ledgers.
struct Entry {
    ledgers: Vec<Arc<Ledger>>,
}

impl MonitorObserver for Entry {
    fn on_started(&self, lag: Duration) {
        self.ledgers
            .iter()
            .for_each(|ledger| ledger.on_started(lag));
    }

    fn on_tainted(&self) {
        self.ledgers.iter().for_each(|ledger| ledger.on_tainted());
    }

    fn on_completed(&self, report: &Report) {
        self.ledgers
            .iter()
            .for_each(|ledger| ledger.on_completed(report));
    }

    fn on_cancelled(&self) {
        self.ledgers.iter().for_each(|ledger| ledger.on_cancelled());
    }

    fn on_skipped(&self, slots: u64, why: Skip) {
        self.ledgers
            .iter()
            .for_each(|ledger| ledger.on_skipped(slots, why));
    }
}

fn job(name: &str, monitor: StandIn, check_every: Duration, timeout: Duration) -> Job {
    Job {
        check_every,
        timeout,
        ..Job::new(name, monitor)
    }
}

/// A dispatcher that runs, with its books, until it is stopped.
struct Running {
    books: Arc<Books>,
    handle: DispatcherHandle,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(settings: Settings, jobs: Vec<Job>) -> Self {
        Self::start_with(Books::default(), settings, jobs)
    }

    fn start_with(books: Books, settings: Settings, jobs: Vec<Job>) -> Self {
        let books = Arc::new(books);
        let shutdown = CancellationToken::new();
        let mut dispatcher = Dispatcher::new(settings, books.clone(), shutdown.clone());
        let handle = dispatcher.handle();
        dispatcher.start(jobs);
        Self {
            books,
            handle,
            shutdown,
            task: tokio::spawn(dispatcher.run()),
        }
    }

    async fn stop(self) -> Arc<Books> {
        self.shutdown.cancel();
        self.task.await.expect("the dispatcher does not panic");
        let running = self.books.all().running;
        assert_eq!(running, 0, "a check goes on after the shutdown");
        self.books
    }
}

/// Runs `jobs` for `span`, then stops them, and returns what became of their slots.
async fn run(jobs: Vec<Job>, places: usize, span: Duration) -> Entries {
    run_of_hosts(jobs, places, None, span).await.all()
}

/// As [`run`], with so many places for each host.
async fn run_of_hosts(
    jobs: Vec<Job>,
    places: usize,
    each_host: Option<usize>,
    span: Duration,
) -> Arc<Books> {
    let settings = Settings {
        max_concurrent_checks: places,
        max_concurrent_checks_per_host: each_host,
        ..Settings::default()
    };
    let running = Running::start(settings, jobs);
    tokio::time::sleep(span).await;
    running.stop().await
}

#[tokio::test(start_paused = true)]
async fn slots_are_a_grid_that_does_not_drift() {
    let takes = [ms(3), ms(700), ms(4_990), ms(4_999)];
    let jobs = vec![job("example", StandIn::new(takes), ms(5_000), ms(5_000))];
    let started = Instant::now();
    let entries = run(jobs, 10, ms(2 * 3_600_000)).await;
    assert!(
        entries.started[0] - started < ms(20),
        "the first check comes right at the start"
    );
    for pair in entries.started[1..].windows(2) {
        let drift = (pair[1] - pair[0]).abs_diff(ms(5_000));
        assert!(drift <= ms(2), "{drift:?}");
    }
    let first_to_last = *entries.started.last().expect("checks") - entries.started[1];
    let intervals = u32::try_from(entries.started.len() - 2).expect("few");
    assert!(first_to_last.abs_diff(ms(5_000) * intervals) <= ms(2));
    assert_eq!(entries.skipped, [0; Skip::ALL.len()]);
    assert!(entries.started.len() > 1_400);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_as_long_as_the_interval_is_still_checked_every_time() {
    let jobs = vec![job("hanging", StandIn::hanging(), ms(5_000), ms(5_000))];
    let entries = run(jobs, 10, ms(600_000)).await;
    // The first interval is another one, and may be shorter than the timeout.
    assert!(entries.skipped(Skip::Overrun) <= 1);
    assert!(
        (118..=121).contains(&entries.started.len()),
        "{}",
        entries.started.len()
    );
    assert!(
        entries
            .reasons
            .iter()
            .all(|reason| *reason == Reason::Timeout)
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_that_waited_for_its_place_has_its_full_time_and_runs_over_the_next_slot() {
    let jobs = vec![
        job("first", StandIn::hanging(), ms(8_000), ms(8_000)),
        job("second", StandIn::hanging(), ms(8_000), ms(8_000)),
    ];
    let entries = run(jobs, 1, ms(80_000)).await;
    assert_eq!(entries.most_running, 1);
    assert!(entries.skipped(Skip::Overrun) + entries.skipped(Skip::Saturated) > 0);
    assert!(
        entries
            .reasons
            .iter()
            .all(|reason| *reason == Reason::Timeout)
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_checks_run_at_once_than_there_are_places() {
    let monitor = || StandIn::new([ms(4_000)]);
    let jobs = (0..10)
        .map(|n| job(&format!("monitor-{n}"), monitor(), ms(5_000), ms(5_000)))
        .collect();
    let entries = run(jobs, 3, ms(50_000)).await;
    assert_eq!(entries.most_running, 3);
    assert!(entries.skipped(Skip::Saturated) > 0);
    let slots = entries.slots();
    assert!(
        (95..=120).contains(&slots),
        "ten monitors, ten slots each, and those at the start: {slots}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hundred_monitors_are_all_checked_within_a_second() {
    let jobs = (0..100)
        .map(|n| {
            job(
                &format!("monitor-{n}"),
                StandIn::new([ms(1)]),
                ms(60_000),
                ms(5_000),
            )
        })
        .collect();
    let entries = run(jobs, 1000, ms(1_000)).await;
    assert_eq!(entries.started.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_hangs_or_panics_keeps_neither_itself_nor_others_from_the_next_slot() {
    let failing = || {
        Err(Failure::new(
            crate::check::Phase::Connect,
            Reason::ConnectionRefused,
            "",
        ))
    };
    let jobs = vec![
        job(
            "failing",
            StandIn {
                end: failing,
                ..StandIn::new([ms(1)])
            },
            ms(1_000),
            ms(500),
        ),
        job(
            "panicking",
            StandIn {
                end: || panic!("ouch"),
                ..StandIn::new([ms(1)])
            },
            ms(1_000),
            ms(500),
        ),
        job("hanging", StandIn::hanging(), ms(1_000), ms(500)),
        job("healthy", StandIn::new([ms(1)]), ms(1_000), ms(500)),
    ];
    let entries = run(jobs, 10, ms(100_000)).await;
    let count = |reason| {
        entries
            .reasons
            .iter()
            .filter(|known| **known == reason)
            .count()
    };
    let succeeded = entries
        .outcomes
        .iter()
        .filter(|o| **o == Outcome::Success)
        .count();
    for count in [
        count(Reason::ConnectionRefused),
        count(Reason::AgentError),
        count(Reason::Timeout),
        succeeded,
    ] {
        assert!((98..=102).contains(&count), "{count}");
    }
    assert!(entries.lags.iter().all(|lag| *lag <= ms(2)));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_up_checks_in_flight_and_slots_that_wait() {
    let jobs = (0..5)
        .map(|n| {
            job(
                &format!("monitor-{n}"),
                StandIn::hanging(),
                ms(60_000),
                ms(60_000),
            )
        })
        .collect();
    let entries = run(jobs, 3, ms(1_000)).await;
    assert_eq!((entries.started.len(), entries.cancelled), (3, 3));
    assert_eq!(entries.skipped(Skip::Shutdown), 2);
    assert!(entries.outcomes.is_empty());
}

/// `number` monitors of one host, checked every 10 s.
fn of_host(host: &str, number: usize, monitor: impl Fn() -> StandIn) -> Vec<Job> {
    let job = |n| {
        let name = format!("{host}-{n}");
        job(&name, monitor().of(host), ms(10_000), ms(5_000))
    };
    (0..number).map(job).collect()
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_has_no_more_than_its_places_and_keeps_no_other_host_waiting() {
    let mut jobs = of_host("slow", 1_000, StandIn::hanging);
    jobs.extend(of_host("healthy", 2, || StandIn::new([ms(1)])));
    let everywhere = StandIn::new([ms(1)]);
    jobs.push(job("everywhere", everywhere, ms(10_000), ms(5_000)));
    let books = run_of_hosts(jobs, 5, Some(2), ms(100_000)).await;

    let slow = books.host("slow");
    assert_eq!(slow.most_running, 2);
    // Two places, for 5 s each, in 100 s.
    assert!((36..=42).contains(&slow.started.len()), "{slow:?}");
    let saturated = slow.skipped(Skip::Saturated);
    assert!((8_000..=10_500).contains(&saturated), "{saturated}");
    let slots = slow.slots();
    assert!((9_900..=11_100).contains(&slots), "{slots}");
    assert_eq!(
        slow.started.len() as u64,
        slow.outcomes.len() as u64 + slow.cancelled
    );

    let healthy = books.host("healthy");
    assert_eq!(healthy.skipped, [0; Skip::ALL.len()]);
    assert!((20..=22).contains(&healthy.started.len()), "{healthy:?}");
    let all = books.all();
    let lags = || healthy.lags.iter().max();
    assert!(lags() <= Some(&ms(2)), "{:?}", lags());
    let everywhere = all.started.len() - slow.started.len() - healthy.started.len();
    assert!((10..=11).contains(&everywhere), "{everywhere}");
}

#[tokio::test(start_paused = true)]
async fn a_tenth_of_the_places_is_left_to_those_that_do_not_hang() {
    let mut jobs = of_host("dead", 100, StandIn::hanging);
    jobs.extend(of_host("healthy", 2, || StandIn::new([ms(1)])));
    let books = run_of_hosts(jobs, 20, None, ms(400_000)).await;
    let dead = books.host("dead");
    assert!(dead.skipped(Skip::Saturated) > 1_000, "{dead:?}");
    let healthy = books.host("healthy");
    // By half of the time, each of the dead has been found to hang.
    let later = &healthy.lags[healthy.lags.len() / 2..];
    assert!(later.len() > 30, "{healthy:?}");
    assert!(later.iter().all(|lag| *lag <= ms(2)), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_longest_for_a_host_is_the_first_to_be_checked_or_skipped() {
    let jobs = of_host("slow", 8, || StandIn::new([ms(3_000)]));
    let books = run_of_hosts(jobs, 5, Some(1), ms(1_000_000)).await;
    let slow = books.host("slow");
    assert_eq!(slow.most_running, 1);
    assert!(slow.skipped(Skip::Saturated) > 100, "{slow:?}");
    let checks = slow.started.iter().zip(&slow.lags);
    let due: Vec<_> = checks.map(|(started, lag)| *started - *lag).collect();
    let in_order = |pair: &[Instant]| pair[0] <= pair[1] + ms(2);
    assert!(due.windows(2).all(in_order), "{due:?}");
    // Nobody who waited past its next slot was checked for the one before.
    assert!(slow.lags.iter().all(|lag| *lag < ms(15_000)), "{slow:?}");
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_their_host_hold_no_place_of_the_whole() {
    let mut jobs = of_host("slow", 50, StandIn::hanging);
    jobs.extend(of_host("other", 1, StandIn::hanging));
    let books = run_of_hosts(jobs, 2, Some(1), ms(900)).await;
    assert_eq!(books.host("slow").started.len(), 1);
    assert_eq!(books.host("other").started.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_up_slots_that_wait_for_their_host_and_those_behind_them() {
    let mut jobs = of_host("slow", 5, StandIn::hanging);
    jobs.extend(of_host("other", 5, StandIn::hanging));
    let all = run_of_hosts(jobs, 4, Some(3), ms(200)).await.all();
    assert_eq!((all.started.len(), all.cancelled), (4, 4));
    assert_eq!(all.skipped(Skip::Shutdown), 6);
    assert_eq!(all.outcomes, []);
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_without_monitors_ends_by_itself() {
    let books = Arc::new(Books::default());
    let mut dispatcher = Dispatcher::new(Settings::default(), books, CancellationToken::new());
    dispatcher.start(Vec::new());
    dispatcher.run().await;
}

#[tokio::test(start_paused = true)]
async fn slots_missed_while_the_daemon_stood_still_are_counted_and_not_made_up_for() {
    let jobs = (0..10)
        .map(|n| {
            job(
                &format!("monitor-{n}"),
                StandIn::new([ms(1)]),
                ms(10_000),
                ms(5_000),
            )
        })
        .collect();
    let running = Running::start(Settings::default(), jobs);
    tokio::time::sleep(ms(100_000)).await;
    let before = running.books.all();
    // The clock jumps, as it does for a process that was stopped and goes on.
    tokio::time::advance(ms(600_000)).await;
    tokio::time::sleep(ms(1)).await;
    let after = running.books.all();
    assert!(after.started.len() - before.started.len() <= 2, "a burst");
    assert!(
        (590..=610).contains(&after.skipped(Skip::Stalled)),
        "{after:?}"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_standstill_checks_keep_to_their_grid_and_come_in_no_herd() {
    let jobs = of_host("healthy", 40, || StandIn::new([ms(1)]));
    let running = Running::start(Settings::default(), jobs);
    tokio::time::sleep(ms(100_000)).await;
    let before = running.books.all();
    tokio::time::advance(ms(30_000)).await;
    tokio::time::sleep(ms(20_000)).await;
    let after = running.stop().await.all();

    // Three each, but for those that came due in the last second and are run late.
    let stalled = after.skipped(Skip::Stalled);
    assert!((105..=120).contains(&stalled), "{stalled}");
    let herd = &after.started[before.started.len()..];
    let at_once = herd.iter().filter(|started| **started - herd[0] < ms(10));
    assert!(at_once.count() <= 15, "{herd:?}");

    let of_a_round = |started: &[Instant]| -> Vec<_> {
        let in_interval = |started: &Instant| (*started - before.started[0]).as_millis() % 10_000;
        started[started.len() - 40..]
            .iter()
            .map(in_interval)
            .collect()
    };
    let (last, next) = (of_a_round(&before.started), of_a_round(&after.started));
    for a in &last {
        let is_near = |b: &u128| [0, 1, 2, 9_998, 9_999].contains(&a.abs_diff(*b));
        assert!(next.iter().any(is_near), "{a} of {last:?} in {next:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_standstill_no_slot_is_run_that_waited_for_a_place_past_its_time() {
    let jobs = of_host("slow", 40, StandIn::hanging);
    let settings = Settings {
        max_concurrent_checks: 10,
        ..Settings::default()
    };
    let running = Running::start(settings, jobs);
    tokio::time::sleep(ms(104_000)).await;
    tokio::time::advance(ms(30_000)).await;
    tokio::time::sleep(ms(20_000)).await;
    let entries = running.stop().await.all();
    let longest = entries.lags.iter().max();
    assert!(longest < Some(&ms(15_000)), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_check_is_run_however_late() {
    let day = ms(86_400_000);
    let jobs = vec![job("daily", StandIn::new([ms(1)]), day, ms(5_000))];
    let running = Running::start(Settings::default(), jobs);
    // The machine is so busy that nothing runs for a while.
    tokio::time::advance(ms(10_000)).await;
    tokio::time::sleep(ms(10)).await;
    assert_eq!(running.books.all().outcomes, [Outcome::Success]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_the_daemon_stood_still_for_is_tainted_and_no_other() {
    let mut jobs = of_host("slow", 1, || StandIn::new([ms(4_000)]));
    jobs.push(job("quick", StandIn::new([ms(1)]), ms(1_000), ms(500)));
    let running = Running::start(Settings::default(), jobs);
    tokio::time::sleep(ms(1_050)).await;
    while running.books.all().running > 1 {
        tokio::time::sleep(ms(5)).await;
    }
    assert_eq!(running.books.host("slow").running, 1);
    assert!(running.books.all().tainted.is_empty());
    tokio::time::advance(ms(3_000)).await;
    tokio::time::sleep(ms(20_000)).await;
    let books = running.stop().await;
    assert_eq!(books.host("slow").tainted, [0]);
    assert_eq!(books.all().tainted.len(), 1);
    let delays = books.runtime_delays.lock().expect("no test panics with it");
    let late: Vec<_> = delays.iter().filter(|delay| **delay > ms(10)).collect();
    assert_eq!(late.len(), 1, "{late:?}");
    assert!((ms(2_890)..=ms(3_010)).contains(late[0]), "{late:?}");
}

#[tokio::test]
async fn a_check_that_blocks_its_thread_is_tainted() {
    #[expect(clippy::disallowed_methods, reason = "blocks, which is the point")]
    fn block() {
        std::thread::sleep(2 * runtime_lag::LAG_THRESHOLD + ms(100));
    }

    let blocking = StandIn {
        end: || {
            block();
            Ok(())
        },
        ..StandIn::new([ms(1)])
    };
    let jobs = vec![job("blocking", blocking, ms(10_000), ms(5_000))];
    let running = Running::start(Settings::default(), jobs);
    while running.books.all().outcomes.is_empty() {
        tokio::task::yield_now().await;
    }
    let all = running.stop().await.all();
    assert_eq!(all.tainted, [0]);
}

#[tokio::test(start_paused = true)]
async fn checks_go_on_without_a_pulse_and_none_is_tainted() {
    let books = Books {
        is_faulty: true,
        ..Books::default()
    };
    let jobs = of_host("healthy", 2, || StandIn::new([ms(1)]));
    let running = Running::start_with(books, Settings::default(), jobs);
    tokio::time::sleep(ms(100_000)).await;
    let all = running.stop().await.all();
    assert!((20..=22).contains(&all.outcomes.len()), "{all:?}");
    assert!(all.tainted.is_empty());
}

#[tokio::test(start_paused = true)]
async fn slots_that_are_skipped_are_told_of_once_and_once_more_when_that_is_over() {
    let log = Log::start();
    // Eight minutes in which checks take long, and 27 in which they do not; twice in an hour.
    let takes = [vec![ms(5_000); 100], vec![ms(1); 800]].concat();
    let checks = Arc::new(AtomicUsize::new(0));
    let jobs = of_host("slow", 5, || StandIn {
        checks: checks.clone(),
        ..StandIn::new(takes.clone())
    });
    run_of_hosts(jobs, 5, Some(1), ms(3_600_000)).await;
    let log = log.text();
    let lines = log.lines().filter(|line| line.contains("kipped "));
    let levels: Vec<_> = lines
        .map(|line| line.trim_start().split(' ').next())
        .collect();
    assert_eq!(levels, ["WARN", "INFO", "WARN", "INFO"].map(Some), "{log}");
    assert!(
        log.contains("reason=\"saturated\" monitor=\"slow-"),
        "{log}"
    );
    assert!(log.contains("max_concurrent_checks_per_host"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_run_over_by_a_check_that_had_to_wait_is_lost_for_want_of_a_place() {
    let log = Log::start();
    let slow_once = |takes| StandIn::new([vec![ms(takes)], vec![ms(1); 100]].concat());
    let blocker = job("blocker", slow_once(1_000), ms(86_400_000), ms(5_000));
    let waiting = || job("waiting", slow_once(30_000), ms(10_000), ms(40_000));
    for (jobs, reason) in [
        (vec![blocker, waiting()], "reason=\"saturated\" advice"),
        (
            vec![waiting()],
            "reason=\"overrun\" monitor=\"waiting\" advice",
        ),
    ] {
        let entries = run(jobs, 1, ms(61_000)).await;
        let skipped = entries.skipped(Skip::Overrun);
        assert_eq!(entries.skipped.iter().sum::<u64>(), skipped);
        let log = log.text();
        let last = log.lines().rfind(|line| line.contains("WARN"));
        assert!(last.is_some_and(|line| line.contains(reason)), "{log}");
    }
}

/// The log of this thread.
struct Log {
    file: tempfile::NamedTempFile,
    _logging: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn start() -> Self {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_max_level(tracing::Level::INFO)
            .with_writer(Mutex::new(file.reopen().expect("it is there")))
            .finish();
        Self {
            file,
            _logging: tracing::subscriber::set_default(subscriber),
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file.path()).expect("it is there")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_slot_is_begun_or_skipped(
        monitors in prop::collection::vec(
            (
                100_u64..20_000,
                1_u64..=100,
                prop::collection::vec(0_u64..30_000, 1..5),
                prop::option::of("[ab]"),
            ),
            1..12,
        ),
        places in 1_usize..6,
        each_host in prop::option::of(1_usize..4),
        span in 1_000_u64..200_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O");
        let intervals: Vec<_> = monitors.iter().map(|(every, ..)| *every).collect();
        let books = runtime.block_on(async {
            let jobs = monitors.into_iter().enumerate().map(|(n, (every, share, takes, host))| {
                let timeout = ms((every * share / 100).max(1));
                let takes = takes.into_iter().map(ms);
                let monitor = StandIn { host, ..StandIn::new(takes) };
                job(&format!("monitor-{n}"), monitor, ms(every), timeout)
            });
            run_of_hosts(jobs.collect(), places, each_host, ms(span)).await
        });
        for host in books.hosts.lock().expect("no test panics with it").values() {
            prop_assert!(each_host.is_none_or(|each| host.entries().most_running <= each));
        }
        let entries = books.all();
        let ended = entries.outcomes.len() as u64 + entries.cancelled;
        prop_assert_eq!(entries.started.len() as u64, ended);
        prop_assert!(entries.most_running <= places);
        // Of each monitor: the slot at the start, where it is off the grid, and those of the grid.
        // One that has come due and waits, or is just being passed by a check, is in neither count
        // until the end, which cancels the check and skips the slot.
        let (mut least, mut most) = (0, 0);
        for every in intervals {
            least += (span / every).saturating_sub(2);
            most += span / every + 2;
        }
        prop_assert!((least..=most).contains(&entries.slots()), "{} {least} {most}", entries.slots());
    }
}
