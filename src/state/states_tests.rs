//! Tests of the states that observers are notified of.

use std::{
    collections::HashMap,
    sync::atomic::AtomicBool,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::*;
use crate::{
    check::{
        Attempt, Confirm, Failure, IncidentEnd, Monitor, MonitorStatus, Phase, Reason, Report,
        Skip, State, StateRules,
    },
    state::{Member, dependencies::Dependency},
};

struct Silent(&'static str);

impl Monitor for Silent {
    fn kind(&self) -> &'static str {
        "silent"
    }

    fn target(&self) -> String {
        self.0.to_owned()
    }

    async fn check(&self, _: &Attempt) -> Result<(), Failure> {
        Ok(())
    }
}

/// Keeps what it is told.
#[derive(Default)]
struct Notes {
    monitors: Mutex<HashMap<Arc<str>, Arc<Note>>>,
    connected: Mutex<Vec<Option<bool>>>,
    /// True if it panics at the next change of the network.
    is_faulty: AtomicBool,
}

#[derive(Default)]
struct Note {
    states: Mutex<Vec<MonitorStatus>>,
    tainted: Mutex<u32>,
}

impl DispatcherObserver for Notes {
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver> {
        let mut monitors = self.monitors.lock();
        monitors.entry(job.name.clone()).or_default().clone()
    }

    fn on_stopped(&self, _: &Job) {}

    fn on_connected(&self, is_connected: Option<bool>) {
        assert!(!self.is_faulty.swap(false, Ordering::Relaxed), "as asked");
        self.connected.lock().push(is_connected);
    }
}

impl MonitorObserver for Note {
    fn on_started(&self, _: Duration) {}

    fn on_tainted(&self) {
        *self.tainted.lock() += 1;
    }

    fn on_completed(&self, _: &Report) {}

    fn on_cancelled(&self) {}

    fn on_skipped(&self, _: u64, _: Skip) {}

    fn on_status(&self, status: &MonitorStatus) {
        self.states.lock().push(status.clone());
    }
}

impl Notes {
    /// The states that the monitor `name` had, in turn.
    fn states(&self, name: &str) -> Vec<State> {
        let monitors = self.monitors.lock();
        let states = monitors[name].states.lock();
        let mut states: Vec<_> = states.iter().map(|status| status.state).collect();
        states.dedup();
        states
    }

    /// The last reported status of the monitor `name`.
    fn status(&self, name: &str) -> MonitorStatus {
        let monitors = self.monitors.lock();
        let states = monitors[name].states.lock();
        states.last().expect("it was told of one").clone()
    }
}

fn report(reason: Option<Reason>) -> Report {
    Report {
        ended_at: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        duration: Duration::from_millis(20),
        phases: Vec::new(),
        facts: Vec::new(),
        failure: reason.map(|reason| Failure::new(Phase::Connect, reason, "no")),
        steps: Vec::new(),
        cause: None,
        trace: None,
    }
}

fn states() -> (Arc<Notes>, States) {
    let notes = Arc::new(Notes::default());
    (notes.clone(), States::new(notes))
}

#[test]
fn a_check_that_says_nothing_about_the_target_leaves_it_up_or_down() {
    let (notes, states) = states();
    let observer = states.observe(&Job::new("example", Silent("here")));
    for (reason, is_up, state) in [
        (Some(Reason::AgentError), None, State::Unknown),
        (None, Some(true), State::Up),
        (Some(Reason::AgentError), Some(true), State::Unknown),
        (Some(Reason::Timeout), Some(false), State::Down),
        (Some(Reason::AgentError), Some(false), State::Down),
        (None, Some(true), State::Up),
    ] {
        observer.on_completed(&report(reason));
        let shown = notes.status("example");
        assert_eq!((shown.is_up, shown.state), (is_up, state));
    }
}

#[test]
fn a_monitor_with_other_settings_keeps_its_state_and_one_with_another_target_does_not() {
    let (notes, states) = states();
    let job = Job::new("example", Silent("here"));
    let down = |job: &Job| {
        states
            .observe(job)
            .on_completed(&report(Some(Reason::Timeout)));
    };
    down(&job);
    states.on_replaced(&job);
    let changed = Job {
        state_rules: StateRules {
            confirm: Confirm {
                failures: 3,
                ..Confirm::default()
            },
            ..StateRules::default()
        }
        .shared(),
        ..job.clone()
    };
    let observer = states.observe(&changed);
    assert_eq!(notes.status("example").state, State::Down);
    assert!(notes.status("example").incident.is_some());
    observer.on_completed(&report(None));
    observer.on_completed(&report(Some(Reason::Timeout)));
    assert_eq!(
        notes.status("example").state,
        State::Suspect,
        "by the new rules"
    );

    states.on_replaced(&changed);
    states.observe(&Job::new("example", Silent("there")));
    assert_eq!(notes.status("example").state, State::Unknown);
    assert_eq!(notes.status("example").incident, None, "it ended before");

    down(&job);
    states.on_replaced(&job);
    states.observe(&Job::new("example", Silent("there")));
    let shown = notes.status("example");
    assert_eq!((shown.state, shown.is_up), (State::Unknown, None));
    let incident = shown.incident.expect("the one of the other target");
    assert!(incident.ended.is_some());
    assert_eq!(incident.end_reason, Some(IncidentEnd::TargetChanged));

    down(&job);
    states.on_stopped(&job);
    states.observe(&job);
    assert_eq!(notes.status("example").state, State::Unknown, "it was gone");
    assert!(states.shared.kept.lock().is_empty());
}

#[test]
fn a_monitor_that_is_not_enabled_is_paused_and_begins_anew_afterwards() {
    let (notes, states) = states();
    let mut job = Job::new("example", Silent("here"));
    states
        .observe(&job)
        .on_completed(&report(Some(Reason::Timeout)));
    for (enabled, state) in [(false, State::Paused), (true, State::Unknown)] {
        states.on_replaced(&job);
        job.enabled = enabled;
        states.observe(&job);
        let shown = notes.status("example");
        assert_eq!((shown.state, shown.is_up), (state, None));
        let incident = shown.incident.expect("the last one");
        assert!(incident.ended.is_some(), "nobody knows how it goes on");
    }
}

fn past(target: &str, state: State, is_up: Option<bool>) -> PastState {
    PastState {
        kind: "silent".to_owned(),
        target: target.to_owned(),
        status: MonitorStatus {
            state,
            since: UNIX_EPOCH,
            is_up,
            ..MonitorStatus::default()
        },
    }
}

#[test]
fn a_state_before_the_start_goes_on() {
    for (state, is_up) in [
        (State::Up, Some(true)),
        (State::Degraded, Some(true)),
        (State::Down, Some(false)),
        (State::Suspect, Some(true)),
        (State::Suspect, Some(false)),
        (State::Unknown, Some(true)),
    ] {
        let (notes, states) = states();
        let mut past = past("here", state, is_up);
        past.status.is_degraded = state == State::Degraded;
        states.restore([("example".into(), past)]);
        let observer = states.observe(&Job::new("example", Silent("here")));
        states.end_start();
        let shown = notes.status("example");
        assert_eq!((shown.state, shown.is_up), (state, is_up));
        assert_eq!(shown.since, UNIX_EPOCH, "{state}");
        observer.on_completed(&report(None));
        assert_eq!(notes.status("example").state, State::Up);
    }
}

#[test]
fn a_past_state_of_another_target_or_of_the_future_does_not_go_on() {
    let (notes, states) = states();
    let mut future = past("here", State::Up, Some(true));
    future.status.since = SystemTime::now() + Duration::from_hours(24);
    states.restore([
        ("example".into(), past("there", State::Down, Some(false))),
        ("other".into(), future),
    ]);
    states.observe(&Job::new("example", Silent("here")));
    assert_eq!(notes.status("example").state, State::Unknown);
    states.observe(&Job::new("other", Silent("here")));
    let shown = notes.status("other");
    assert_eq!(shown.state, State::Up);
    assert!(shown.since <= SystemTime::now(), "the clock was set back");
}

#[test]
fn a_monitor_stays_unreachable_until_the_dependency_has_started() {
    let (notes, states) = states();
    let unreachable = past("client", State::Unreachable, Some(true));
    let start = |with_router: bool| {
        let members = [member("client", &["router"]), member("router", &[])];
        states.configure(Settings::default(), DependencyGraph::new(&members).0);
        states.restore([
            ("client".into(), unreachable.clone()),
            ("router".into(), past("router", State::Down, Some(false))),
        ]);
        states.observe(&Job::new("client", Silent("client")));
        let shown = notes.status("client");
        assert_eq!(shown.state, State::Unreachable);
        assert_eq!(shown.since, UNIX_EPOCH);
        if with_router {
            states.observe(&Job::new("router", Silent("router")));
        }
        states.end_start();
        notes.status("client").state
    };
    assert_eq!(start(true), State::Unreachable);
    states.on_stopped(&Job::new("client", Silent("client")));
    states.on_stopped(&Job::new("router", Silent("router")));
    // Another daemon runs the router now.
    assert_ne!(start(false), State::Unreachable);
}

fn member(name: &str, depends_on: &[&str]) -> Member {
    let depends_on = depends_on.iter().map(|on| Dependency::Name((*on).into()));
    Member {
        name: name.into(),
        labels: Arc::default(),
        depends_on: depends_on.collect(),
    }
}

/// States whose task runs, with three monitors: `server` and `client` depend on `router`, and `client` on
/// `server` too.
struct Followed {
    notes: Arc<Notes>,
    states: Arc<States>,
    observers: HashMap<&'static str, Arc<dyn MonitorObserver>>,
    _task: tokio::task::JoinSet<()>,
}

const EVERY: Duration = Duration::from_secs(60);

impl Followed {
    fn start(self_check: &[&str]) -> Self {
        let (notes, states) = states();
        let members = [
            member("router", &[]),
            member("server", &["router"]),
            member("client", &["router", "server"]),
        ];
        let (graph, left_out) = DependencyGraph::new(&members);
        assert_eq!(left_out, []);
        let settings = Settings {
            self_check: self_check.iter().map(|name| (*name).into()).collect(),
            maintenance: Vec::new(),
        };
        states.configure(settings, graph);
        let states = Arc::new(states);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(states.clone().run(CancellationToken::new()));
        let observers = ["router", "server", "client", "other"].map(|name| {
            let mut job = Job::new(name, Silent("here"));
            let rules = Arc::make_mut(&mut job.state_rules);
            rules.skip_checks_if_dependency_down = name == "client";
            (name, states.observe(&job))
        });
        let followed = Self {
            notes,
            states,
            observers: observers.into(),
            _task: task,
        };
        for name in ["router", "server", "client", "other"] {
            followed.succeeds(name);
        }
        followed
    }

    fn succeeds(&self, name: &str) {
        self.observers[name].on_completed(&report(None));
    }

    fn fails(&self, name: &str) {
        self.observers[name].on_completed(&report(Some(Reason::Timeout)));
    }

    /// The state of `name` once the others have followed.
    async fn state(&self, name: &str) -> State {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.notes.status(name).state
    }
}

#[tokio::test(start_paused = true)]
async fn in_whatever_order_they_are_checked_what_is_behind_a_router_is_not_down() {
    for order in [["router", "server"], ["server", "router"]] {
        let all = Followed::start(&[]);
        for name in order {
            tokio::time::sleep(Duration::from_secs(1)).await;
            all.fails(name);
        }
        assert_eq!(all.state("router").await, State::Down);
        assert_eq!(all.state("server").await, State::Unreachable);
        let status = all.notes.status("server");
        assert_eq!(status.is_up, Some(true), "as it was last confirmed");
        assert_eq!(*status.unreachable_through, [Arc::from("router")]);
        assert_eq!(status.incident, None);
        assert!(!all.notes.states("server").contains(&State::Down));
        // The one that skips its checks is unreachable at once.
        assert_eq!(all.state("client").await, State::Unreachable);
        let why = all.observers["client"].reason_to_skip();
        assert_eq!(why, Some(Skip::Dependency));
        assert_eq!(all.observers["server"].reason_to_skip(), None);

        all.succeeds("router");
        assert_eq!(all.state("server").await, State::Suspect);
        all.succeeds("server");
        assert_eq!(all.state("server").await, State::Up);
        assert_eq!(all.state("client").await, State::Up);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_one_result_of_the_dependency_and_no_longer_than_it_may_take() {
    let all = Followed::start(&[]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    all.fails("server");
    assert_eq!(all.state("server").await, State::Suspect);
    all.succeeds("router");
    assert_eq!(all.state("server").await, State::Down);

    let all = Followed::start(&[]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    all.fails("server");
    // The interval and the timeout of the router, which is not checked any more.
    tokio::time::sleep(EVERY + Duration::from_secs(4)).await;
    assert_eq!(all.state("server").await, State::Suspect);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(all.state("server").await, State::Down);
}

#[tokio::test(start_paused = true)]
async fn states_follow_a_graph_that_changes() {
    let all = Followed::start(&[]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    all.fails("router");
    all.fails("server");
    assert_eq!(all.state("server").await, State::Unreachable);
    let (graph, _) = DependencyGraph::new(&[member("server", &[])]);
    all.states.set_dependencies(graph);
    assert_ne!(all.state("server").await, State::Unreachable);
    assert!(all.notes.status("server").depends_on.is_empty());
    all.fails("server");
    assert_eq!(all.state("server").await, State::Down);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_cut_off_freezes_states_and_counts_failures_as_tainted() {
    let all = Followed::start(&["router", "other"]);
    assert_eq!(all.state("other").await, State::Up);
    assert_eq!(all.notes.connected.lock().last(), Some(&Some(true)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for name in ["server", "other", "router", "client", "server"] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        all.fails(name);
    }
    for name in ["server", "other", "router", "client"] {
        assert_eq!(all.state(name).await, State::Up, "{name}");
        assert!(!all.notes.states(name).contains(&State::Down), "{name}");
    }
    let tainted = |name: &str| *all.notes.monitors.lock()[name].tainted.lock();
    assert_eq!(all.notes.connected.lock().last(), Some(&Some(false)));
    assert_eq!(tainted("server"), 2);
    assert_eq!(tainted("client"), 1);
    assert_eq!(all.notes.status("server").is_up, Some(true));

    all.succeeds("other");
    assert_eq!(all.state("other").await, State::Up);
    assert_eq!(all.notes.connected.lock().last(), Some(&Some(true)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    all.fails("client");
    tokio::time::sleep(Duration::from_secs(1)).await;
    all.succeeds("server");
    all.succeeds("router");
    assert_eq!(all.state("client").await, State::Down);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_observer_is_survived() {
    let all = Followed::start(&["other"]);
    assert_eq!(all.state("other").await, State::Up);
    all.notes.is_faulty.store(true, Ordering::Relaxed);
    for is_connected in [false, true, false] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if is_connected {
            all.succeeds("other");
        } else {
            all.fails("other");
        }
        all.state("other").await;
    }
    let is_faulty = all.notes.is_faulty.load(Ordering::Relaxed);
    assert!(!is_faulty, "it has panicked");
    assert_eq!(all.notes.connected.lock().last(), Some(&Some(false)));
}

#[tokio::test(start_paused = true)]
async fn one_of_several_references_that_fails_is_down() {
    let all = Followed::start(&["router", "other"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    all.fails("router");
    assert_eq!(
        all.state("router").await,
        State::Suspect,
        "the other one was not heard of"
    );
    all.succeeds("other");
    assert_eq!(all.state("router").await, State::Down);
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_is_still_down_when_a_window_closes_is_down_then() {
    use crate::value::{Fields, Path, Problems, yaml};
    let window = |monitors: &str| {
        let now = Utc::now();
        let (from, until) = (
            now - chrono::TimeDelta::hours(1),
            now + chrono::TimeDelta::hours(1),
        );
        let text = format!(
            "planned: {{monitors: {monitors}, from: '{}', until: '{}'}}",
            from.to_rfc3339(),
            until.to_rfc3339()
        );
        let node = yaml::parse(&text).expect("YAML");
        let problems = Problems::default();
        let fields = Fields::from_node(&node, Path::default(), &problems).expect("a mapping");
        let maintenance = crate::state::read_maintenance(&fields);
        assert_eq!(problems.count(), 0);
        Settings {
            self_check: Vec::new(),
            maintenance,
        }
    };
    let all = Followed::start(&[]);
    all.states
        .configure(window("oth.*"), DependencyGraph::default());
    assert_eq!(all.state("other").await, State::Maintenance);
    assert_eq!(all.state("router").await, State::Up);
    all.fails("other");
    let status = all.notes.status("other");
    assert_eq!(
        (status.state, status.is_up),
        (State::Maintenance, Some(false))
    );
    assert!(status.in_maintenance);
    // A new monitor begins within the window.
    let observer = all.states.observe(&Job::new("others", Silent("here")));
    observer.on_completed(&report(None));
    assert_eq!(all.state("others").await, State::Maintenance);
    all.states
        .configure(window("router"), DependencyGraph::default());
    assert_eq!(all.state("other").await, State::Down);
    let incident = all.notes.status("other").incident.expect("it is open");
    assert!(incident.reported.is_some());
}
