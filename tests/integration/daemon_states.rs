//! States of monitors in a daemon that runs.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    daemon::Daemon,
    page::Page,
    server::{Server, ok, response},
};

/// A server that answers with status 500 where it is told to.
struct Moody {
    server: Server,
    down: Arc<Mutex<BTreeSet<String>>>,
}

impl Moody {
    fn start() -> Self {
        let down: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let known = down.clone();
        let server = Server::answering(move |request| {
            let down = known.lock().expect("no test panics with it");
            if down.contains(request.target.as_str()) {
                response("500 Internal Server Error", &[], "")
            } else {
                ok("")
            }
        });
        Self { server, down }
    }

    fn set(&self, path: &str, is_up: bool) {
        let mut down = self.down.lock().expect("no test panics with it");
        if is_up {
            down.remove(path);
        } else {
            down.insert(path.to_owned());
        }
    }

    fn monitor(&self, path: &str, keys: &Value) -> Value {
        let mut monitor = json!({ "url": self.server.http(path), "check_every": 0.2 });
        for (key, value) in keys.as_object().expect("a mapping") {
            monitor[key] = value.clone();
        }
        monitor
    }
}

fn config(monitors: &Value) -> Value {
    json!({ "log": { "checks": "none", "format": "%(message)s" }, "monitors": monitors })
}

fn is(page: &Page, monitor: &str, state: &str) -> bool {
    let labels = [("monitor", monitor), ("state", state)];
    page.values("monitor_state", &labels) == [1.0]
}

fn is_up(page: &Page, monitor: &str) -> Vec<f64> {
    page.values("monitor_up", &[("monitor", monitor)])
}

fn monitor_json(daemon: &Daemon, monitor: &str) -> Value {
    let answer = daemon.get(&format!("/api/v1/monitors/{monitor}"));
    serde_json::from_str(&answer.text()).expect("JSON")
}

#[test]
fn a_change_is_confirmed_by_quick_checks_and_survives_a_reload() {
    let moody = Moody::start();
    let keys = |successes| {
        json!({
            "check_every": 20,
            "timeout": 1,
            "confirm": { "failures": 3, "successes": successes, "retry_every": "100ms" },
        })
    };
    moody.set("/shop", false);
    let monitors = |successes| config(&json!({ "shop": moody.monitor("/shop", &keys(successes)) }));
    let mut daemon = Daemon::start(monitors(2));
    // Long before the second slot of the grid.
    let page = daemon.until_page("it is down", |page| is(page, "shop", "down"));
    assert_eq!(is_up(&page, "shop"), [0.0]);
    page.assert_slots_add_up();
    let failures = page.sum("monitor_checks_total", &[("outcome", "failure")]);
    assert!((3.0..=4.0).contains(&failures), "{failures}");
    let shop = monitor_json(&daemon, "shop");
    assert_eq!(
        (&shop["state"], &shop["up"]),
        (&json!("down"), &json!(false))
    );
    let incident = &shop["incident"];
    assert_eq!(incident["reason"], "status_code");
    assert_eq!(incident["ended"], Value::Null);
    let checks = incident["checks"].as_array().expect("a list");
    assert_eq!(checks.len(), 3);
    assert_eq!(checks[0]["address"], "127.0.0.1");

    daemon.rewrite(monitors(1));
    daemon.signal(Signal::HUP);
    daemon.until_logged("The configuration has been reloaded started=0 restarted=1");
    assert_eq!(
        monitor_json(&daemon, "shop")["incident"]["began"],
        incident["began"]
    );
    daemon.until_page("it is checked anew", |page| {
        page.sum("monitor_checks_total", &[]) >= 1.0
    });
    assert!(is(&daemon.page(), "shop", "down"), "it is remembered");
    daemon.stop();
    let log = daemon.whole_log();
    let states: Vec<_> = log
        .iter()
        .filter(|line| line.starts_with("Monitor changed state"))
        .collect();
    assert_eq!(states.len(), 1, "{states:?}");
    assert!(states[0].contains("from=suspect to=down"), "{states:?}");
    assert!(states[0].contains("reason=status_code phase=processing"));
}

#[test]
fn a_recovery_is_confirmed_as_well() {
    let moody = Moody::start();
    let keys = json!({ "confirm": { "failures": 2, "successes": 3 } });
    moody.set("/shop", false);
    let daemon = Daemon::start(config(&json!({ "shop": moody.monitor("/shop", &keys) })));
    daemon.until_page("it is down", |page| is(page, "shop", "down"));
    moody.set("/shop", true);
    let page = daemon.until_page("a success is seen", |page| is(page, "shop", "suspect"));
    assert_eq!(is_up(&page, "shop"), [0.0]);
    let success = page.values("monitor_last_check_success", &[]);
    assert_eq!(success, [1.0]);
    let page = daemon.until_page("it is up", |page| is(page, "shop", "up"));
    assert_eq!(is_up(&page, "shop"), [1.0]);
    assert!(monitor_json(&daemon, "shop")["incident"]["ended"].is_string());
    let badge = daemon.get("/badge/shop.svg").text();
    assert!(badge.contains("up"), "{badge}");
}

#[test]
fn a_paused_monitor_is_shown_and_not_checked() {
    let moody = Moody::start();
    let monitors = |enabled| {
        config(&json!({
            "planned": moody.monitor("/planned", &json!({ "enabled": enabled })),
            "runs": moody.monitor("/runs", &json!({})),
        }))
    };
    let mut daemon = Daemon::start(monitors(false));
    let page = daemon.until_page("the other one is checked", |page| {
        page.sum("monitor_checks_total", &[("monitor", "runs")]) >= 3.0
    });
    assert!(is(&page, "planned", "paused"));
    assert_eq!(is_up(&page, "planned"), [0.0; 0]);
    let of_planned = [("monitor", "planned")];
    let slots = page.values("monitor_checks_scheduled_total", &of_planned);
    assert_eq!(slots, [0.0]);
    assert_eq!(page.values("monitor_info", &of_planned), [1.0]);
    let running = page.values("monitoringdaemon_monitors", &[("type", "http")]);
    assert_eq!(running, [1.0]);
    let overview = daemon.get("/").text();
    assert!(overview.contains("paused"), "{overview}");
    daemon.rewrite(monitors(true));
    daemon.signal(Signal::HUP);
    daemon.until_page("it is checked", |page| is(page, "planned", "up"));
    daemon.until_logged("Monitor is paused monitor=planned type=http");
    daemon.stop();
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the server must be slow, and serves nobody else"
)]
fn a_slow_success_is_degraded_and_up() {
    let server = Server::answering(|_| {
        std::thread::sleep(Duration::from_millis(30));
        ok("")
    });
    let slow = json!({
        "url": server.http("/"),
        "check_every": 0.2,
        "degraded_if_slower_than": "10ms",
    });
    let daemon = Daemon::start(config(&json!({ "slow": slow })));
    let page = daemon.until_page("it is checked", |page| is(page, "slow", "degraded"));
    assert_eq!(is_up(&page, "slow"), [1.0]);
    assert_eq!(page.values("monitor_degraded", &[]), [1.0]);
    assert_eq!(monitor_json(&daemon, "slow")["degraded"], true);
}

#[test]
fn what_is_behind_a_monitor_that_is_down_is_unreachable() {
    let moody = Moody::start();
    let skips = json!({
        "depends_on": { "labels": { "role": "gateway" } },
        "skip_checks_if_dependency_down": true,
    });
    let mut daemon = Daemon::start(config(&json!({
        "gateway": moody.monitor("/gateway", &json!({ "labels": { "role": "gateway" } })),
        "shop": moody.monitor("/shop", &json!({ "depends_on": "gateway" })),
        "skips": moody.monitor("/skips", &skips),
        "elsewhere": moody.monitor("/elsewhere", &json!({})),
    })));
    let all = ["gateway", "shop", "skips", "elsewhere"];
    daemon.until_page("all are up", |page| {
        all.iter().all(|monitor| is(page, monitor, "up"))
    });
    for path in ["/shop", "/skips", "/elsewhere", "/gateway"] {
        moody.set(path, false);
    }
    let page = daemon.until_page("the gateway alone is to blame", |page| {
        is(page, "gateway", "down")
            && is(page, "shop", "unreachable")
            && is(page, "skips", "unreachable")
            && is(page, "elsewhere", "down")
    });
    assert_eq!(
        (is_up(&page, "shop"), is_up(&page, "skips")),
        (vec![1.0], vec![1.0])
    );
    let depends_on = [("monitor", "skips"), ("depends_on", "gateway")];
    assert_eq!(page.values("monitor_dependency_info", &depends_on), [1.0]);
    let shop = monitor_json(&daemon, "shop");
    assert_eq!(shop["unreachable_through"], json!(["gateway"]));
    assert_eq!(shop["incident"], Value::Null);
    let page = daemon.until_page("checks are skipped", |page| {
        page.skipped("dependency") >= 3.0
    });
    page.assert_slots_add_up();

    // Behind the router, one was down all the time.
    moody.set("/skips", true);
    moody.set("/gateway", true);
    daemon.until_page("they have a state of their own again", |page| {
        is(page, "gateway", "up") && is(page, "shop", "down") && is(page, "skips", "up")
    });
    daemon.stop();
    let log = daemon.whole_log();
    let changes: Vec<_> = log
        .iter()
        .filter(|line| line.starts_with("Monitor changed state monitor=shop "))
        .collect();
    let downs = changes
        .iter()
        .filter(|line| line.contains("to=down"))
        .count();
    assert_eq!(downs, 1, "{changes:?}");
    let through = "to=unreachable";
    let told = changes.iter().find(|line| line.contains(through));
    let told = told.unwrap_or_else(|| panic!("{changes:?}"));
    assert!(told.ends_with("unreachable_through=gateway"), "{told}");
}

#[test]
fn a_daemon_that_is_cut_off_calls_nothing_down() {
    let moody = Moody::start();
    let mut settings = config(&json!({
        "a": moody.monitor("/a", &json!({})),
        "b": moody.monitor("/b", &json!({})),
        "shop": moody.monitor("/shop", &json!({})),
    }));
    settings["self_check"] = json!({ "monitors": ["a", "b"] });
    let mut daemon = Daemon::start(settings);
    let page = daemon.until_page("all are up", |page| {
        ["a", "b", "shop"]
            .iter()
            .all(|monitor| is(page, monitor, "up"))
    });
    assert_eq!(page.values("monitoringdaemon_connected", &[]), [1.0]);
    for path in ["/a", "/b", "/shop"] {
        moody.set(path, false);
    }
    daemon.until_page("it is cut off", |page| {
        page.values("monitoringdaemon_connected", &[]) == [0.0]
    });
    let failures = |page: &Page| {
        let of_shop = [("monitor", "shop"), ("outcome", "failure")];
        page.sum("monitor_checks_total", &of_shop)
    };
    let before = failures(&daemon.page());
    let page = daemon.until_page("checks go on", |page| failures(page) >= before + 5.0);
    for monitor in ["a", "b", "shop"] {
        assert!(!is(&page, monitor, "down"), "{monitor} is down");
        assert_eq!(is_up(&page, monitor), [1.0]);
    }
    let tainted = page.sum("monitor_checks_tainted_total", &[("monitor", "shop")]);
    assert!(tainted >= 5.0, "{tainted} are tainted");

    // One reference is enough. The shop is really down, as is seen now.
    moody.set("/b", true);
    daemon.until_page("it is connected, and sees what is down", |page| {
        page.values("monitoringdaemon_connected", &[]) == [1.0]
            && is(page, "a", "down")
            && is(page, "b", "up")
            && is(page, "shop", "down")
    });
    daemon.stop();
    let log = daemon.whole_log();
    let position = |start: &str| {
        let found = log.iter().position(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {log:?}"))
    };
    let cut_off = position("The daemon is cut off");
    let connected = position("The daemon has a network again");
    let first_down = log.iter().position(|line| line.contains("to=down"));
    assert!(
        cut_off < connected && Some(connected) < first_down,
        "{log:?}"
    );
}

#[test]
fn a_window_by_the_clock_holds_back_what_it_covers_and_ends() {
    let moody = Moody::start();
    let time = |offset: i64| {
        let time = chrono::Utc::now() + chrono::Duration::seconds(offset);
        time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let monitors = json!({
        "shop": moody.monitor("/shop", &json!({ "labels": { "team": "storage" } })),
        "other": moody.monitor("/other", &json!({})),
    });
    let mut settings = config(&monitors);
    settings["maintenance"] = json!({
        "migration": { "from": time(-60), "until": time(12), "labels": { "team": "storage" } },
        "later": { "from": time(3_600), "until": time(7_200) },
    });
    moody.set("/shop", false);
    moody.set("/other", false);
    let mut daemon = Daemon::start(settings);
    let in_maintenance = |page: &Page| {
        let of_shop = [("monitor", "shop")];
        page.values("monitor_in_maintenance", &of_shop)
    };
    let page = daemon.until_page("it is down in maintenance", |page| {
        is(page, "other", "down") && is(page, "shop", "maintenance") && is_up(page, "shop") == [0.0]
    });
    assert_eq!(in_maintenance(&page), [1.0]);
    let of_shop = [("monitor", "shop"), ("outcome", "failure")];
    assert!(page.sum("monitor_maintenance_checks_total", &of_shop) >= 1.0);
    assert_eq!(
        page.values("monitor_maintenance_checks_total", &[]).len(),
        2
    );
    let all: Value = serde_json::from_str(&daemon.get("/api/v1/monitors").text()).expect("JSON");
    let windows = all["maintenance"].as_array().expect("a list");
    let shown: Vec<_> = windows
        .iter()
        .map(|window| (window["name"].as_str(), window["open"].as_bool()))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("migration"), Some(true)),
            (Some("later"), Some(false))
        ]
    );
    let page = daemon.until_page("the window ends, and it is down", |page| {
        is(page, "shop", "down")
    });
    assert_eq!(in_maintenance(&page), [0.0]);
    assert!(monitor_json(&daemon, "shop")["incident"]["reported"].is_string());
    daemon.stop();
    let log = daemon.whole_log();
    let changes: Vec<_> = log
        .iter()
        .filter(|line| line.contains("monitor=shop ") && line.contains("to=down"))
        .collect();
    assert_eq!(changes.len(), 1, "{log:?}");
    assert!(changes[0].contains("from=maintenance"), "{changes:?}");
}
