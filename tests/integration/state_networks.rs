//! States of a daemon behind a router that goes away and comes back.

use std::{env, process::Command};

use serde_json::{Value, json};

use crate::support::{daemon::Daemon, networks::in_networks, page::Page};

/// The daemon's host, the router 10.7.1.1 beside it, and the host 10.7.2.2 behind that.
const SETUP: &str = r#"
set -e
ip link set lo up
unshare --net sleep 120 &
ROUTER=$!
unshare --net sleep 120 &
host=$!
trap 'kill $ROUTER $host' EXIT
for process in $ROUTER $host; do
    while [ "$(readlink /proc/$process/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
done
router() { nsenter --target $ROUTER --net "$@"; }
host() { nsenter --target $host --net "$@"; }
ip link add near type veth peer name far netns $ROUTER
router ip link add inner type veth peer name end netns $host
ip address add 10.7.1.2/24 dev near
router ip address add 10.7.1.1/24 dev far
router ip address add 10.7.2.1/24 dev inner
host ip address add 10.7.2.2/24 dev end
ip link set near up
router ip link set far up
router ip link set inner up
host ip link set end up
ip route add default via 10.7.1.1
host ip route add default via 10.7.2.1
router sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
export ROUTER
"$@"
"#;

/// Has the router leave the network of the daemon, or come back.
#[track_caller]
fn set_router(state: &str) {
    let router = env::var("ROUTER").expect("the script exports it");
    let status = Command::new("nsenter")
        .args([
            "--target", &router, "--net", "ip", "link", "set", "far", state,
        ])
        .status();
    assert!(status.expect("nsenter can be started").success());
}

fn ping(target: &str, keys: &Value) -> Value {
    let mut monitor = json!({
        "type": "icmp",
        "target": target,
        "check_every": 0.4,
        "timeout": 0.3,
        "confirm": { "failures": 2 },
    });
    for (key, value) in keys.as_object().expect("a mapping") {
        monitor[key] = value.clone();
    }
    monitor
}

fn is(page: &Page, monitor: &str, state: &str) -> bool {
    let labels = [("monitor", monitor), ("state", state)];
    page.values("monitor_state", &labels) == [1.0]
}

fn all_are(page: &Page, monitors: &[&str], state: &str) -> bool {
    monitors.iter().all(|monitor| is(page, monitor, state))
}

#[test]
fn an_outage_behind_a_router_is_one_outage() {
    let name = "state_networks::an_outage_behind_a_router_is_one_outage";
    in_networks(name, SETUP, &[], async || {
        let behind = json!({ "depends_on": "gateway" });
        let mut daemon = Daemon::start(json!({
            "log": { "checks": "none", "format": "%(message)s" },
            "monitors": {
                "gateway": ping("10.7.1.1", &json!({})),
                "one": ping("10.7.2.2", &behind),
                "two": ping("10.7.2.2", &behind),
                // Behind what is behind it.
                "three": ping("10.7.2.2", &json!({ "depends_on": "one" })),
            },
        }));
        let behind = ["one", "two", "three"];
        let all = ["gateway", "one", "two", "three"];
        daemon.until_page("all are up", |page| all_are(page, &all, "up"));
        for _ in 0..2 {
            set_router("down");
            let page = daemon.until_page("the router is gone", |page| {
                is(page, "gateway", "down") && all_are(page, &behind, "unreachable")
            });
            let are_up = page.values("monitor_up", &[]);
            assert_eq!(are_up.iter().filter(|up| **up > 0.5).count(), 3);
            set_router("up");
            daemon.until_page("it is back", |page| all_are(page, &all, "up"));
        }
        daemon.stop();
        let log = daemon.whole_log();
        let downs: Vec<_> = log.iter().filter(|line| line.contains("to=down")).collect();
        let is_of_gateway = |line: &&String| line.contains("monitor=gateway ");
        assert!(
            downs.len() == 2 && downs.iter().all(is_of_gateway),
            "{downs:?}"
        );
    });
}

#[test]
fn a_daemon_without_a_router_is_cut_off() {
    let name = "state_networks::a_daemon_without_a_router_is_cut_off";
    in_networks(name, SETUP, &[], async || {
        let mut daemon = Daemon::start(json!({
            "log": { "checks": "none", "format": "%(message)s" },
            "self_check": { "monitors": ["gateway", "resolver"] },
            "monitors": {
                "gateway": ping("10.7.1.1", &json!({})),
                "resolver": ping("10.7.2.2", &json!({})),
                "shop": ping("10.7.2.2", &json!({})),
            },
        }));
        let all = ["gateway", "resolver", "shop"];
        daemon.until_page("all are up", |page| all_are(page, &all, "up"));
        set_router("down");
        daemon.until_page("it is cut off", |page| {
            page.values("monitoringdaemon_connected", &[]) == [0.0]
        });
        let failures = |page: &Page| {
            page.sum(
                "monitor_checks_total",
                &[("monitor", "shop"), ("outcome", "failure")],
            )
        };
        let before = failures(&daemon.page());
        let page = daemon.until_page("checks go on", |page| failures(page) >= before + 5.0);
        assert_eq!(
            page.values("monitor_up", &[]),
            [1.0; 3],
            "states are frozen"
        );
        set_router("up");
        daemon.until_page("all are up again", |page| {
            page.values("monitoringdaemon_connected", &[]) == [1.0] && all_are(page, &all, "up")
        });
        daemon.stop();
        let log = daemon.whole_log();
        assert!(!log.iter().any(|line| line.contains("to=down")), "{log:?}");
    });
}
