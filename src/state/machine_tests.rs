//! Tests of the rules of transition: with a table, and against a model that remembers every event.

use proptest::prelude::*;

use super::*;
use crate::check::{Phase, Reason};

const LIMIT: Duration = Duration::from_secs(60);

fn start() -> Moment {
    Moment {
        clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        instant: Instant::now(),
    }
}

fn later(start: Moment, seconds: u64) -> Moment {
    let span = Duration::from_secs(seconds);
    Moment {
        clock: start.clock + span,
        instant: start.instant + span,
    }
}

fn success() -> Event {
    Event::Checked(CheckResult::Success { is_degraded: false })
}

fn failure(gate: Gate, now: Moment) -> Event {
    Event::Checked(CheckResult::Failure {
        check: FailedCheck {
            ended_at: now.clock,
            phase: Phase::Connect,
            reason: Reason::Timeout,
            address: None,
        },
        error: "no result within 5s".into(),
        gate,
    })
}

fn event(letter: char, now: Moment) -> Event {
    match letter {
        's' => success(),
        'd' => Event::Checked(CheckResult::Success { is_degraded: true }),
        'f' => failure(Gate::Open, now),
        'w' => failure(Gate::Waiting(LIMIT), now),
        'b' => failure(Gate::Blocked, now),
        'a' => Event::Checked(CheckResult::Inconclusive),
        'B' => Event::Dependencies(Gate::Blocked),
        'F' => Event::Dependencies(Gate::Failing(LIMIT)),
        'O' => Event::Dependencies(Gate::Open),
        'T' => Event::WaitEnded(Gate::Waiting(LIMIT)),
        'G' => Event::WaitEnded(Gate::Failing(LIMIT)),
        'M' => Event::Maintenance(true),
        'm' => Event::Maintenance(false),
        'C' => Event::CutOff(true),
        'c' => Event::CutOff(false),
        'P' => Event::Enabled(false),
        'p' => Event::Enabled(true),
        other => panic!("no such event: {other}"),
    }
}

fn rules(failures: u32, successes: u32) -> StateRules {
    StateRules {
        confirm: Confirm {
            failures,
            successes,
            ..Confirm::default()
        },
        ..StateRules::default()
    }
}

/// The states after each of `events`, which come a second apart; a digit is a pause of so many minutes.
fn run(rules: StateRules, events: &str) -> (MachineState, Vec<Effects>, String) {
    let start = start();
    let mut machine = MachineState::new(start);
    let (mut all, mut states, mut seconds) = (Vec::new(), Vec::new(), 0);
    for letter in events.chars() {
        if let Some(minutes) = letter.to_digit(10) {
            seconds += u64::from(minutes) * 60;
            continue;
        }
        seconds += 1;
        let now = later(start, seconds);
        let (next, effects) = transition(machine, &rules, event(letter, now), now);
        assert_eq!(
            effects.from.is_some(),
            next.since == now.clock && effects.is_news && effects.from != Some(next.state)
        );
        states.push(next.state.as_str());
        machine = next;
        all.push(effects);
    }
    (machine, all, states.join(" "))
}

#[test]
fn transitions() {
    let plain = rules(1, 1);
    let confirmed = rules(3, 2);
    let of = StateRules {
        confirm: Confirm {
            of: Some(5),
            ..confirmed.confirm
        },
        ..confirmed
    };
    let skips = StateRules {
        skip_checks_if_dependency_down: true,
        ..plain
    };
    for (rules, events, expected) in [
        // Every result counts at once.
        (plain, "sfsd", "up down up degraded"),
        (plain, "f", "down"),
        // The daemon's own failures change nothing, and are not hidden.
        (plain, "sasfa", "up unknown up down down"),
        // The first failure of all is confirmed too; the first success is enough.
        (confirmed, "fff", "suspect suspect down"),
        (confirmed, "s", "up"),
        (
            confirmed,
            "sffsfff",
            "up suspect suspect up suspect suspect down",
        ),
        (
            confirmed,
            "sfffsfss",
            "up suspect suspect down suspect down suspect up",
        ),
        (confirmed, "sffaf", "up suspect suspect unknown down"),
        (of, "sfsfsf", "up suspect up suspect up down"),
        (of, "sfsssssff", "up suspect up up up up up suspect suspect"),
        // After a recovery, failures from before do not count.
        (of, "sfffssf", "up suspect suspect down suspect up suspect"),
        // A failure waits for the dependencies, and is theirs if they are down.
        (plain, "swOs", "up suspect down up"),
        (plain, "swBO", "up suspect unreachable suspect"),
        (plain, "sw1T", "up suspect down"),
        (plain, "swT", "up suspect suspect"),
        (plain, "swF1G2T", "up suspect suspect suspect down"),
        (plain, "sws", "up suspect up"),
        (plain, "sBsb", "up up up unreachable"),
        (plain, "sbOsf", "up unreachable suspect up down"),
        (plain, "sfBOs", "up down unreachable down up"),
        (
            confirmed,
            "sffBOf",
            "up suspect suspect unreachable suspect suspect",
        ),
        (skips, "sBO", "up unreachable up"),
        // Maintenance hides the state, and what it hid is seen when it ends.
        (plain, "sMfm", "up maintenance maintenance down"),
        (plain, "sMfsm", "up maintenance maintenance maintenance up"),
        // While the daemon is cut off, nothing changes.
        (plain, "sCfcs", "up up up up up"),
        (
            confirmed,
            "sffCfffcf",
            "up suspect suspect up up up up up suspect",
        ),
        (plain, "swCc", "up suspect up up"),
        (plain, "fCsc", "down down down down"),
        (plain, "Cfc", "unknown unknown unknown"),
        (plain, "fPps", "down paused unknown up"),
    ] {
        let (_, _, states) = run(rules, events);
        assert_eq!(states, expected, "{events}");
    }
}

#[test]
fn an_incident_is_reported_once_it_can_be_seen_and_continued_by_a_relapse() {
    use IncidentChange::{Began, Continued, Ended};
    let hold = StateRules {
        confirm: Confirm {
            hold: Some(Duration::from_secs(180)),
            ..Confirm::default()
        },
        ..StateRules::default()
    };
    let changes = |rules, events: &str| -> Vec<_> {
        let (_, all, _) = run(rules, events);
        all.into_iter().filter_map(|e| e.incident).collect()
    };
    assert_eq!(changes(rules(1, 1), "sffsf"), [Began, Ended, Began]);
    assert_eq!(changes(rules(3, 2), "sfffsffss"), [Began, Ended]);
    assert_eq!(changes(hold, "sfsfs"), [Began, Ended, Continued, Ended]);
    assert_eq!(changes(hold, "sfs4fs"), [Began, Ended, Began, Ended]);
    assert_eq!(changes(rules(1, 1), "sMfsm"), [], "nobody saw it");
    assert_eq!(changes(rules(1, 1), "sMf1m"), [Began]);
    assert_eq!(changes(rules(1, 1), "sfMsm"), [Began, Ended]);
    assert_eq!(changes(rules(1, 1), "sfBOs"), [Began, Ended]);
    assert_eq!(changes(rules(1, 1), "sfP"), [Began, Ended]);

    let (machine, _, _) = run(rules(3, 1), "sfff");
    let incident = machine.status().incident.expect("one is open");
    assert_eq!(incident.checks.len(), 3);
    assert_eq!(incident.began, incident.checks[0].ended_at);
    assert!(
        incident.began < machine.since,
        "it began before it was confirmed"
    );
    let (machine, _, _) = run(hold, "sfsf");
    let incident = machine.status().incident.expect("one is open");
    assert_eq!((incident.relapses, incident.ended), (1, None));
}

#[test]
fn failures_of_a_daemon_that_is_cut_off_are_counted_as_tainted() {
    let (_, all, _) = run(rules(3, 1), "sffCfsfc");
    let tainted: Vec<_> = all.iter().map(|effects| effects.tainted).collect();
    assert_eq!(tainted, [0, 0, 0, 2, 1, 0, 1, 0]);
}

/// The same rules, in terms of everything that ever happened.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is known and changes independently of the others"
)]
struct Model {
    rules: StateRules,
    /// Results since the last confirmed change that may still count: true for a success.
    results: Vec<bool>,
    is_up: Option<bool>,
    last: Option<char>,
    inconclusive: bool,
    blocked: bool,
    maintenance: bool,
    cut_off: bool,
    paused: bool,
    waiting_until: Option<u64>,
}

impl Model {
    fn new(rules: StateRules) -> Self {
        Self {
            rules,
            results: Vec::new(),
            is_up: None,
            last: None,
            inconclusive: false,
            blocked: false,
            maintenance: false,
            cut_off: false,
            paused: false,
            waiting_until: None,
        }
    }

    fn enough_failures(&self) -> bool {
        let Confirm { failures, of, .. } = self.rules.confirm;
        let last = match of {
            Some(of) => of as usize,
            None => failures as usize,
        };
        let last = self.results.iter().rev().take(last);
        last.filter(|success| !**success).count() >= failures as usize
    }

    fn settle(&mut self, is_up: bool) {
        self.is_up = Some(is_up);
        self.results.clear();
        self.waiting_until = None;
    }

    fn blame_dependency(&mut self) {
        if self.is_up != Some(false) {
            self.results.clear();
            self.waiting_until = None;
        }
    }

    fn step(&mut self, letter: char, second: u64) {
        match letter {
            's' | 'd' | 'f' | 'w' | 'b' | 'a' if self.cut_off => {}
            'a' => self.inconclusive = true,
            's' | 'd' => {
                self.inconclusive = false;
                self.last = Some(letter);
                self.results.push(true);
                self.waiting_until = None;
                let successes = self.rules.confirm.successes as usize;
                let in_a_row = self.results.iter().rev().take_while(|s| **s).count();
                if self.is_up.is_none() || self.is_up == Some(false) && in_a_row >= successes {
                    self.settle(true);
                }
            }
            'f' | 'w' | 'b' => {
                self.inconclusive = false;
                self.last = Some('f');
                self.blocked = letter == 'b';
                if self.is_up == Some(false) {
                    self.results.push(false);
                } else if self.blocked {
                    self.blame_dependency();
                } else {
                    self.results.push(false);
                    if self.enough_failures() {
                        if letter == 'f' {
                            self.settle(false);
                        } else {
                            let until = second + LIMIT.as_secs();
                            self.waiting_until.get_or_insert(until);
                        }
                    }
                }
            }
            'B' => {
                self.blocked = true;
                if !self.cut_off {
                    self.blame_dependency();
                }
            }
            'F' | 'O' => {
                self.blocked = false;
                if letter == 'O' && self.waiting_until.is_some() && !self.cut_off {
                    self.settle(false);
                }
            }
            'T' | 'G' if self.waiting_until.is_none_or(|until| until > second) => {}
            'T' => self.settle(false),
            'G' => self.waiting_until = Some(second + LIMIT.as_secs()),
            'M' | 'm' => self.maintenance = letter == 'M',
            'C' | 'c' if self.cut_off == (letter == 'C') => {}
            'C' | 'c' => {
                self.cut_off = letter == 'C';
                if self.is_up != Some(false) {
                    self.results.clear();
                    self.waiting_until = None;
                    self.last = self.last.filter(|last| *last != 'f');
                }
            }
            'P' | 'p' => {
                self.paused = letter == 'P';
                if self.paused {
                    self.results.clear();
                    self.waiting_until = None;
                    self.is_up = None;
                    self.last = None;
                    self.inconclusive = false;
                }
            }
            _ => {}
        }
    }

    fn state(&self) -> State {
        if self.paused {
            return State::Paused;
        }
        if self.maintenance {
            return State::Maintenance;
        }
        let skips = self.rules.skip_checks_if_dependency_down;
        if self.blocked && (self.last == Some('f') || skips) {
            return State::Unreachable;
        }
        match (self.is_up, self.last) {
            (Some(false), Some('s' | 'd')) => State::Suspect,
            (Some(false), _) => State::Down,
            _ if self.inconclusive => State::Unknown,
            (_, Some('f')) => State::Suspect,
            (Some(true), Some('d')) => State::Degraded,
            (Some(true), _) => State::Up,
            (None, _) => State::Unknown,
        }
    }
}

/// Events, with results of checks as the most frequent ones.
fn letters() -> impl Strategy<Value = Vec<(char, u64)>> {
    let letter = prop_oneof![
        8 => Just('s'),
        10 => Just('f'),
        2 => Just('w'),
        1 => Just('b'),
        1 => Just('d'),
        1 => Just('a'),
        3 => prop::sample::select("BFOTGMmCcPp".chars().collect::<Vec<_>>()),
    ];
    prop::collection::vec((letter, 0_u64..40), 1..200)
}

proptest! {
    #[test]
    fn the_machine_agrees_with_the_model(
        failures in 1_u32..6,
        successes in 1_u32..4,
        of in prop::option::of(0_u32..6),
        hold in prop::option::of(1_u64..200),
        skip in any::<bool>(),
        events in letters(),
    ) {
        let confirm = Confirm {
            failures,
            successes,
            of: of.map(|more| failures + more),
            hold: hold.map(Duration::from_secs),
            retry_every: None,
        };
        let rules = StateRules { confirm, skip_checks_if_dependency_down: skip, ..StateRules::default() };
        let start = start();
        let mut machine = MachineState::new(start);
        let mut model = Model::new(rules);
        let (mut second, mut open, mut tainted, mut unconfirmed) = (0, false, 0, 0_u32);
        for (letter, pause) in events {
            second += pause;
            let now = later(start, second);
            let before = machine.status();
            let (next, effects) = transition(machine, &rules, event(letter, now), now);
            model.step(letter, second);
            let after = next.status();
            prop_assert_eq!(after.state, model.state(), "{}", letter);
            prop_assert_eq!(after.is_up, model.is_up, "{}", letter);
            prop_assert_eq!(after.in_maintenance, model.maintenance);
            // What is reported of the change is what changed.
            prop_assert_eq!(effects.from, (before.state != after.state).then_some(before.state));
            prop_assert_eq!(effects.is_news, before != after);
            let since = if before.state == after.state { before.since } else { now.clock };
            prop_assert_eq!(after.since, since);
            // A monitor goes down by a failure of its own, and neither behind a dependency nor cut off.
            if before.is_up != Some(false) && after.is_up == Some(false) {
                prop_assert!("fOTF".contains(letter));
                prop_assert!(!model.cut_off && !model.blocked);
                let incident = after.incident.as_deref().expect("it has one");
                prop_assert!(incident.checks.len() >= failures as usize);
                prop_assert!(incident.ended.is_none() && incident.began <= now.clock);
            }
            // Incidents begin and end in turn.
            match effects.incident {
                Some(IncidentChange::Began) => {
                    prop_assert!(!std::mem::replace(&mut open, true));
                }
                Some(IncidentChange::Continued) => open = true,
                Some(IncidentChange::Ended) => open = false,
                None => {}
            }
            if after.state == State::Down {
                prop_assert!(open);
            }
            let is_open = after.incident.as_deref().is_some_and(|i| i.ended.is_none());
            prop_assert_eq!(is_open, after.is_up == Some(false));
            // No failure is tainted twice.
            unconfirmed += u32::from("fwb".contains(letter));
            tainted += effects.tainted;
            prop_assert!(tainted <= unconfirmed);
            // A monitor that waits is neither down nor blocked.
            if next.waiting().is_some() {
                prop_assert!(after.is_up != Some(false) && !next.is_blocked());
                prop_assert_eq!(next.waiting().map(|w| w.1.duration_since(start.instant).as_secs()), model.waiting_until);
            }
            machine = next;
        }
    }

    #[test]
    fn a_steady_success_changes_nothing(events in letters(), degraded in any::<bool>()) {
        let rules = rules(2, 2);
        let start = start();
        let mut machine = MachineState::new(start);
        for (second, (letter, _)) in events.into_iter().enumerate() {
            let now = later(start, second as u64);
            machine = transition(machine, &rules, event(letter, now), now).0;
            if machine.is_steady_under(degraded) {
                let success = Event::Checked(CheckResult::Success { is_degraded: degraded });
                let (next, effects) = transition(machine.clone(), &rules, success, now);
                prop_assert_eq!(effects, Effects::default());
                prop_assert_eq!(next.status(), machine.status());
                prop_assert_eq!(next.failures, machine.failures);
            }
        }
    }
}
