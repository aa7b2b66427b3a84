//! Heartbeats of a daemon that runs, as an outside watcher gets them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{
    daemon::Daemon,
    eventually,
    page::Page,
    pause,
    pki::{AUTHORITY, Authority, IDENTITY},
    server::{Closed, Server, Step, ok, response},
};

const HEARTBEATS: &str = "monitoringdaemon_heartbeats_total";

fn config(heartbeat: &Value, target: &Server) -> Value {
    json!({
        "log": { "checks": "none", "format": "%(message)s" },
        "heartbeat": heartbeat,
        "monitors": { "web": { "url": target.http("/"), "check_every": 0.2 } },
    })
}

fn count(page: &Page, outcome: &str) -> f64 {
    page.sum(HEARTBEATS, &[("outcome", outcome)])
}

fn until_sent(watcher: &Server, requests: usize) {
    eventually("heartbeats", || {
        (watcher.seen().requests.len() >= requests).then_some(())
    });
}

#[test]
fn a_daemon_that_does_its_work_sends_heartbeats_and_hides_where() {
    let (watcher, target) = (Server::ok(), Server::ok());
    let heartbeat = json!({
        "url": watcher.http("/ping/hunter2?token=hunter2"),
        "every": "1s",
        "method": "post",
        "headers": { "X-Team": "hunter2" },
        "basic_auth": { "username": "daemon", "password": "hunter2" },
    });
    let mut daemon = Daemon::start(config(&heartbeat, &target));
    let page = daemon.page();
    assert!(count(&page, "sent") < 1.0, "none before the first interval");
    let page = daemon.until_page("two heartbeats", |page| count(page, "sent") >= 2.0);
    assert_eq!(page.values(HEARTBEATS, &[]).len(), 3, "all outcomes");
    let request = &watcher.seen().requests[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, "/ping/hunter2?token=hunter2");
    assert_eq!(request.header("x-team"), Some("hunter2"));
    assert_eq!(
        request.header("authorization"),
        Some("Basic ZGFlbW9uOmh1bnRlcjI=")
    );
    assert!(
        request
            .header("user-agent")
            .is_some_and(|agent| agent.starts_with("monitoringdaemon/"))
    );
    let line = daemon.until_logged("Heartbeats are accepted");
    assert!(line.contains(&watcher.http("")), "{line}");
    daemon.stop();
    let log = daemon.whole_log().join("\n");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn a_failed_heartbeat_is_sent_again_and_logged_once() {
    let target = Server::ok();
    let answers = Arc::new(AtomicUsize::new(0));
    let counted = answers.clone();
    let watcher = Server::answering(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        // The first of the second heartbeat fails.
        1 => response("503 Service Unavailable", &[], "hunter2"),
        _ => ok(""),
    });
    let heartbeat = json!({ "url": watcher.http("/"), "every": "4s" });
    let mut daemon = Daemon::start(config(&heartbeat, &target));
    let page = daemon.until_page("two heartbeats", |page| count(page, "sent") >= 2.0);
    assert!(count(&page, "failed") < 1.0);
    assert_eq!(answers.load(Ordering::Relaxed), 3, "one was sent again");

    // One that refuses, and one that nobody listens for.
    let refusing = Server::answering(|_| response("302 Found", &["Location: /hunter2"], "hunter2"));
    let closed = Closed::new();
    for (url, error) in [
        (refusing.http("/hunter2"), "HTTP 302, expected 2xx"),
        (
            format!("http://{}/hunter2", closed.address),
            "Connection refused",
        ),
    ] {
        let failed = count(&daemon.page(), "failed");
        let heartbeat = json!({ "url": url, "every": "1s" });
        daemon.rewrite(config(&heartbeat, &target));
        daemon.signal(Signal::HUP);
        let line = daemon.until_logged(error);
        assert!(
            line.starts_with("Heartbeat failed watcher=http://"),
            "{line}"
        );
        daemon.until_page("two more", |page| count(page, "failed") >= failed + 2.0);
    }
    assert!(
        refusing
            .seen()
            .requests
            .iter()
            .all(|request| request.target == "/hunter2"),
        "no redirect is followed"
    );
    daemon.stop();
    let log = daemon.whole_log();
    let lines = |start: &str| log.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        (lines("Heartbeat failed"), lines("Heartbeats are accepted")),
        (2, 1)
    );
    assert!(!log.join("\n").contains("hunter2"), "{log:?}");
}

#[test]
fn a_watcher_that_hangs_delays_neither_the_next_heartbeat_nor_the_stop() {
    let target = Server::ok();
    let watcher = Server::start([Step::Request, Step::Hang]);
    let heartbeat = json!({ "url": watcher.http("/"), "every": "1s", "timeout": "500ms" });
    let mut daemon = Daemon::start(config(&heartbeat, &target));
    let line = daemon.until_logged("Heartbeat failed");
    assert!(line.ends_with("no answer within 500ms\""), "{line}");
    daemon.until_page("two failures", |page| count(page, "failed") >= 2.0);
    daemon.stop();
}

#[test]
fn a_daemon_that_is_cut_off_sends_none() {
    let watcher = Server::ok();
    let is_down = Arc::new(AtomicBool::new(false));
    let down = is_down.clone();
    let target = Server::answering(move |_| {
        if down.load(Ordering::Relaxed) {
            response("500 Internal Server Error", &[], "")
        } else {
            ok("")
        }
    });
    let heartbeat = json!({ "url": watcher.http("/"), "every": "1s" });
    let mut config = config(&heartbeat, &target);
    config["self_check"] = json!({ "monitors": ["web", "other"] });
    config["monitors"]["other"] = json!({ "url": target.http("/"), "check_every": 0.2 });
    let daemon = Daemon::start(config);
    until_sent(&watcher, 1);
    is_down.store(true, Ordering::Relaxed);
    let line = daemon.until_logged("Heartbeat withheld");
    assert!(line.ends_with("reason=cut_off"), "{line}");
    let before = count(&daemon.page(), "sent");
    let page = daemon.until_page("two more", |page| count(page, "withheld") >= 2.0);
    assert!(count(&page, "sent") < before + 1.0);
    is_down.store(false, Ordering::Relaxed);
    daemon.until_page("heartbeats again", |page| count(page, "sent") > before);
}

#[test]
fn a_daemon_without_places_for_its_checks_sends_none() {
    let watcher = Server::ok();
    let hanging = Server::start([Step::Request, Step::Hang]);
    let heartbeat = json!({ "url": watcher.http("/"), "every": "1s" });
    let monitor = json!({ "url": hanging.http("/"), "check_every": 0.3 });
    let mut config = config(&heartbeat, &hanging);
    config["dispatcher"] = json!({ "max_concurrent_checks": 1 });
    config["monitors"] = json!({ "a": monitor, "b": monitor, "c": monitor });
    let daemon = Daemon::start(config);
    let line = daemon.until_logged("Heartbeat withheld");
    assert!(line.ends_with("reason=slots_lost"), "{line}");
    assert!(count(&daemon.page(), "sent") < 1.0);
}

#[test]
fn a_daemon_that_was_stopped_does_not_vouch_for_that_time() {
    let (watcher, target) = (Server::ok(), Server::ok());
    let heartbeat = json!({ "url": watcher.http("/"), "every": "3s" });
    let daemon = Daemon::start(config(&heartbeat, &target));
    until_sent(&watcher, 1);
    daemon.signal(Signal::STOP);
    pause(Duration::from_secs(2));
    daemon.signal(Signal::CONT);
    let line = daemon.until_logged("Heartbeat withheld");
    let reason = line.rsplit_once("reason=").map(|(_, reason)| reason);
    assert!(
        matches!(reason, Some("stalled" | "overdue" | "slots_lost")),
        "{line}"
    );
    let before = count(&daemon.page(), "sent");
    daemon.until_page("heartbeats again", |page| count(page, "sent") > before);
}

#[test]
fn heartbeats_follow_the_configuration_and_the_files_in_it() {
    let target = Server::ok();
    let watcher = Server::start([IDENTITY.tls(), Step::answer(|_| ok(""))]);
    let authority = NamedTempFile::new().expect("a temporary file");
    let heartbeat = json!({
        "url": watcher.https("/"),
        "every": "1s",
        "tls_config": { "ca_file": authority.path() },
    });
    let other = Authority::new("another root");
    std::fs::write(authority.path(), other.pem()).expect("room for it");
    let daemon = Daemon::start(config(&Value::Null, &target));
    assert_eq!(daemon.page().values(HEARTBEATS, &[]).len(), 0);
    daemon.rewrite(config(&heartbeat, &target));
    daemon.signal(Signal::HUP);
    let line = daemon.until_logged("Heartbeat failed");
    assert!(line.contains("certificate"), "{line}");

    std::fs::write(authority.path(), AUTHORITY.pem()).expect("room for it");
    daemon.until_page("heartbeats", |page| count(page, "sent") >= 1.0);

    daemon.rewrite(config(&Value::Null, &target));
    daemon.signal(Signal::HUP);
    daemon.until_page("no heartbeats", |page| {
        page.values(HEARTBEATS, &[]).is_empty()
    });
}
