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
