//! The configuration is read again while the daemon runs: what differs is applied, and nothing else.

use std::{
    fs,
    io::Write,
    os::fd::AsRawFd,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::support::{
    client::{Answer, ask, connect, read_to_end},
    daemon::{Daemon, config_file},
    eventually,
    page::Page,
    process::{program, text},
    server::{Request, Server, ok, response},
};

const PATH: &str = "/-/reload";

fn json_response(body: &str) -> String {
    response("200 OK", &["content-type: application/json"], body)
}

fn post(daemon: &Daemon, path: &str) -> Answer {
    ask(daemon.address, "POST", path, "content-length: 0\r\n")
}

fn config(server: &Server, monitors: &[(&str, Value)]) -> Value {
    let mut all = json!({});
    for (name, settings) in monitors {
        all[name] = json!({ "url": server.http(&format!("/{name}")), "check_every": 0.1 });
        for (key, value) in settings.as_object().expect("a mapping") {
            all[name][key] = value.clone();
        }
    }
    json!({ "log": { "checks": "none", "format": "%(message)s" }, "monitors": all })
}

fn completed(page: &Page, monitor: &str) -> f64 {
    page.sum("monitor_checks_total", &[("monitor", monitor)])
}

fn successful(page: &Page) -> f64 {
    page.value("monitoringdaemon_config_last_reload_successful", &[])
}

fn succeeded_at(page: &Page) -> f64 {
    let name = "monitoringdaemon_config_last_reload_success_timestamp_seconds";
    page.value(name, &[])
}

#[test]
fn a_reload_applies_changes_and_leaves_the_rest_alone() {
    let server = Server::ok();
    let plain = json!({});
    let before = [
        ("stays", plain.clone()),
        ("changes", plain.clone()),
        ("goes", plain.clone()),
    ];
    let mut daemon = Daemon::start(config(&server, &before));
    let first = daemon.until_page("all are checked", |page| {
        ["stays", "changes", "goes"]
            .iter()
            .all(|name| completed(page, name) >= 5.0)
    });
    let labelled = json!({ "labels": { "team": "a" } });
    let after = [
        ("comes", plain.clone()),
        ("changes", labelled),
        ("stays", plain),
    ];
    daemon.rewrite(config(&server, &after));
    daemon.signal(Signal::HUP);
    let page = daemon.until_page("it is applied", |page| {
        completed(page, "comes") >= 1.0
            && page.values("monitor_info", &[("team", "a")]) == [1.0]
            && page.values("monitor_up", &[("monitor", "goes")]).is_empty()
    });
    page.assert_slots_add_up();
    assert!(completed(&page, "stays") >= completed(&first, "stays"));
    assert!(!page.text.contains("\"goes\""), "{}", page.text);
    assert!(succeeded_at(&page) >= succeeded_at(&first));
    daemon.until_logged(
        "The configuration has been reloaded started=1 restarted=1 renewed=0 stopped=1 unchanged=1",
    );
    daemon.stop();
    let log = daemon.whole_log();
    let count = |line: &str| log.iter().filter(|known| *known == line).count();
    for (name, lives) in [("stays", 1), ("changes", 2), ("goes", 1), ("comes", 1)] {
        let started = format!("Monitoring task has been started monitor={name} type=http");
        let stopped = format!("Monitoring task has been stopped monitor={name} type=http");
        assert_eq!((count(&started), count(&stopped)), (lives, lives), "{name}");
    }
}

#[test]
fn a_reload_request_is_answered_with_its_result() {
    let server = Server::ok();
    let plain = json!({});
    let mut daemon = Daemon::start(config(
        &server,
        &[("a", plain.clone()), ("b", plain.clone())],
    ));
    let answer = daemon.get(PATH);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(post(&daemon, "/-/reload?dryrun").status, 400);

    let same = "0 added, 0 changed, 0 removed, 2 unchanged\n";
    let answer = post(&daemon, PATH);
    assert_eq!((answer.status, &*answer.text()), (200, same));
    let slow = json!({ "timeout": 0.05 });
    daemon.rewrite(config(
        &server,
        &[("new\u{fc}", plain.clone()), ("b", slow)],
    ));
    let told = "+ new\u{fc}\n~ b\n- a\n1 added, 1 changed, 1 removed, 0 unchanged\n";
    for path in ["/-/reload?dry_run=true", "/-/reload?dry_run=true", PATH] {
        let answer = post(&daemon, path);
        assert_eq!((answer.status, &*answer.text()), (200, told), "{path}");
    }
    let answer = post(&daemon, PATH);
    assert_eq!(answer.text(), same);
    daemon.stop();
}

#[test]
fn an_invalid_configuration_changes_nothing() {
    let server = Server::ok();
    let good = config(&server, &[("a", json!({}))]);
    let mut daemon = Daemon::start(good.clone());
    let before = daemon.until_page("it is checked", |page| completed(page, "a") >= 1.0);
    assert!(successful(&before) > 0.5);
    let typo = config(
        &server,
        &[("b", json!({ "tiemout": 1, "method": "hunter2 x" }))],
    );
    daemon.rewrite(typo);
    let answer = post(&daemon, PATH);
    assert_eq!(answer.status, 500);
    let text = answer.text();
    for part in ["monitors.b.tiemout: unknown key", "did you mean timeout?"] {
        assert!(text.contains(part), "{text}");
    }
    let page = daemon.page();
    assert!(successful(&page) < 0.5);
    assert!((succeeded_at(&page) - succeeded_at(&before)).abs() < 1e-9);
    let checks = completed(&page, "a");
    daemon.until_page("it goes on", |page| completed(page, "a") > checks);
    daemon.until_logged("stays in effect problems=2");
    daemon.rewrite(good);
    assert_eq!(
        post(&daemon, PATH).text(),
        "0 added, 0 changed, 0 removed, 1 unchanged\n"
    );
    assert!(successful(&daemon.page()) > 0.5);
    daemon.stop();
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_rest_is_applied() {
    let required = |page: &Page| page.value("monitoringdaemon_config_restart_required", &[]) > 0.5;
    let server = Server::ok();
    let good = config(&server, &[("a", json!({}))]);
    let mut daemon = Daemon::start(good.clone());
    assert!(!required(&daemon.page()));
    let mut elsewhere = config(&server, &[("a", json!({})), ("b", json!({}))]);
    elsewhere["log"]["level"] = json!("DEBUG");
    elsewhere["server"] = json!({ "status_page": "off" });
    daemon.rewrite(elsewhere);
    let told = "+ b\n1 added, 0 changed, 0 removed, 1 unchanged\n\
                restart required for log.level, server.status_page\n";
    for path in ["/-/reload?dry_run=true", PATH] {
        assert!(!required(&daemon.page()));
        let answer = post(&daemon, path);
        assert_eq!((answer.status, &*answer.text()), (200, told), "{path}");
    }
    let page = daemon.until_page("the other is checked", |page| completed(page, "b") >= 1.0);
    assert!(required(&page) && successful(&page) > 0.5);
    daemon.until_logged("take effect after a restart only keys=log.level,server.status_page");
    assert_eq!(daemon.get("/").status, 200, "it is as it was");
    daemon.rewrite(good);
    assert_eq!(
        post(&daemon, PATH).text(),
        "- b\n0 added, 0 changed, 1 removed, 1 unchanged\n"
    );
    assert!(!required(&daemon.page()));
    daemon.stop();
}

/// Number of log lines that contain this text.
fn count(log: &[String], text: &str) -> usize {
    log.iter().filter(|line| line.contains(text)).count()
}

const RELOADED: &str = "The configuration has been reloaded";

#[test]
fn reload_requests_are_merged_and_sources_left_alone() {
    let (server, targets) = (Server::ok(), Server::answering(|_| json_response("[]")));
    let mut with = config(&server, &[("a", json!({}))]);
    with["templates"] = json!({ "t": { "type": "http" } });
    with["discovery"] = json!({ "d": {
        "template": "t",
        "http_sd_configs": [{ "url": targets.http("/"), "refresh_interval": "1h" }],
    } });
    let mut daemon = Daemon::start_as(with, |command| {
        command.arg("--min-reload-interval=300ms");
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(900) {
        assert_eq!(post(&daemon, PATH).status, 200);
        daemon.signal(Signal::HUP);
    }
    let most = began.elapsed().as_millis() / 300 + 2;
    daemon.stop();
    let reloads = count(&daemon.whole_log(), RELOADED);
    assert!(
        (2..=most).contains(&(reloads as u128)),
        "{reloads} and not {most}"
    );
    assert_eq!(targets.seen().requests.len(), 1);
}

#[test]
fn a_changed_file_rebuilds_discovered_monitors_without_a_new_request() {
    let targets = Server::answering(|_| json_response(r#"[{"targets": ["localhost"]}]"#));
    let (server, secret) = (
        Server::ok(),
        NamedTempFile::new().expect("a temporary file"),
    );
    fs::write(secret.path(), "old\n").expect("room for it");
    let mut with = config(&server, &[]);
    let authorization = json!({ "credentials_file": secret.path() });
    with["templates"] = json!({ "t": {
        "type": "http", "check_every": 0.1, "authorization": authorization,
    } });
    let url = server.http("/discovered");
    with["discovery"] = json!({ "d": {
        "template": "t",
        "http_sd_configs": [{ "url": targets.http("/"), "refresh_interval": "1h" }],
        "relabel_configs": [{ "target_label": "__address__", "replacement": url }],
    } });
    let mut daemon = Daemon::start(with);
    daemon.until_page("it is checked", |page| page.completed() >= 1.0);
    fs::write(secret.path(), "new\n").expect("room for it");
    eventually("the new one is used", || {
        let seen = server.seen();
        let mut requests = seen.requests.iter();
        let is_new = |request: &Request| request.header("authorization") == Some("Bearer new");
        requests.any(is_new).then_some(())
    });
    daemon.stop();
    assert_eq!(targets.seen().requests.len(), 1);
    let log = daemon.whole_log();
    assert_eq!(count(&log, RELOADED), 1, "{log:#?}");
}

#[test]
fn a_reload_with_other_files_reports_only_real_changes() {
    let (server, secret) = (
        Server::ok(),
        NamedTempFile::new().expect("a temporary file"),
    );
    fs::write(secret.path(), "one\n").expect("room for it");
    let mut daemon = Daemon::start(config(&server, &[("a", json!({}))]));
    let with = json!({ "authorization": { "credentials_file": secret.path() } });
    daemon.rewrite(config(&server, &[("a", json!({})), ("b", with.clone())]));
    assert_eq!(post(&daemon, PATH).status, 200);
    // Until it is known to have looked at the files: with another way of knowing, once too often.
    fs::write(secret.path(), "two\n").expect("room for it");
    daemon.until_logged("reloaded started=0 restarted=0 renewed=1 stopped=0 unchanged=1");
    daemon.rewrite(config(&server, &[("b", with)]));
    assert_eq!(post(&daemon, PATH).status, 200);
    fs::write(secret.path(), "three\n").expect("room for it");
    daemon.until_logged("reloaded started=0 restarted=0 renewed=1 stopped=0 unchanged=0");
    daemon.stop();
    let log = daemon.whole_log();
    assert_eq!(count(&log, RELOADED), 4, "{log:#?}");
    assert_eq!(count(&log, "unexpectedly"), 0, "{log:#?}");
    assert_eq!(count(&log, "was not reloaded"), 0, "{log:#?}");
}

#[test]
fn requests_of_other_sites_and_hosts_change_nothing() {
    let server = Server::ok();
    let mut with = config(&server, &[("a", json!({}))]);
    with["server"] = json!({ "allowed_hosts": ["x", "y.test:80"] });
    let mut daemon = Daemon::start(with);
    let post_with = |headers: &str| ask(daemon.address, "POST", PATH, headers).status;
    for headers in [
        "origin: http://evil.test\r\n",
        "origin: null\r\n",
        "origin: http://x:1\r\n",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
    ] {
        assert_eq!(post_with(headers), 403, "{headers}");
    }
    let own = "origin: http://x\r\nsec-fetch-site: same-origin\r\n";
    assert_eq!(post_with(own), 200);
    for (host, path, status) in [
        ("x", "/metrics", 200),
        ("X:1234", "/", 200),
        ("y.test:80", "/metrics", 200),
        ("y.test", "/metrics", 421),
        ("evil.test", "/metrics", 421),
        ("127.0.0.1", "/api/v1/monitors", 421),
        ("10.0.0.1:9115", "/-/healthy", 200),
        ("10.0.0.1:9115", "/-/ready", 200),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(send(&daemon, &request).status, status, "{host} {path}");
    }
    daemon.stop();
}

/// Sends a request as it stands there.
fn send(daemon: &Daemon, request: &str) -> Answer {
    let mut stream = connect(daemon.address);
    stream
        .write_all(request.as_bytes())
        .expect("an open connection");
    Answer::parse(&read_to_end(&mut stream).expect("an answer"))
}

#[test]
fn reloading_over_http_can_be_turned_off() {
    let server = Server::ok();
    let mut with = config(&server, &[("a", json!({}))]);
    with["server"] = json!({ "enable_lifecycle": false });
    let mut daemon = Daemon::start(with.clone());
    with["monitors"]["b"] = with["monitors"]["a"].clone();
    daemon.rewrite(with);
    for path in [PATH, "/-/reload?dry_run=true"] {
        assert_eq!(post(&daemon, path).status, 403);
    }
    daemon.signal(Signal::HUP);
    daemon.until_page("the other is checked", |page| completed(page, "b") >= 1.0);
    daemon.stop();
}

#[test]
fn a_secret_that_is_replaced_is_used_from_the_next_check_on() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = Server::answering({
        let seen = seen.clone();
        move |request| {
            let header = request
                .header("authorization")
                .unwrap_or_default()
                .to_owned();
            seen.lock().expect("nothing panics with it").push(header);
            ok("hello")
        }
    });
    let secret = NamedTempFile::new().expect("a temporary file");
    fs::write(secret.path(), "old\n").expect("room for it");
    let authorization = json!({ "credentials_file": secret.path() });
    let other = json!({});
    let settings = json!({ "authorization": authorization });
    let mut daemon = Daemon::start(config(&server, &[("a", settings), ("b", other)]));
    daemon.until_page("it is checked", |page| completed(page, "a") >= 2.0);
    fs::write(secret.path(), "new\n").expect("room for it");
    eventually("the new one is used", || {
        let seen = seen.lock().expect("nothing panics with it");
        seen.iter()
            .any(|header| header == "Bearer new")
            .then_some(())
    });
    let page = daemon.page();
    page.assert_slots_add_up();
    assert!(
        completed(&page, "a") >= 3.0,
        "it has not begun anew: {}",
        page.text
    );
    daemon.until_logged("reloaded started=0 restarted=0 renewed=1 stopped=0 unchanged=1");
    fs::remove_file(secret.path()).expect("it is there");
    daemon.until_logged("Reload rejected; the running configuration stays in effect");
    daemon.stop();
}

#[test]
fn a_file_that_is_watched_is_read_when_it_changes() {
    let server = Server::ok();
    let mut daemon = Daemon::start_as(config(&server, &[("a", json!({}))]), |command| {
        command.arg("--watch");
    });
    daemon.until_page("it is checked", |page| completed(page, "a") >= 1.0);
    daemon.rewrite(config(&server, &[("b", json!({}))]));
    // What is only asked does not make the change known.
    assert_eq!(post(&daemon, "/-/reload?dry_run=true").status, 200);
    daemon.until_page("the other is checked", |page| completed(page, "b") >= 1.0);
    daemon.rewrite(json!({ "log": { "checks": "none", "format": "%(message)s" } }));
    daemon.until_logged("stopped=1 unchanged=0");
    daemon.rewrite(config(&server, &[("c", json!({}))]));
    daemon.until_page("it goes on without any", |page| completed(page, "c") >= 1.0);
    daemon.until_logged("More than half of the monitors are gone from the configuration stopped=1");
    daemon.stop();
}

#[test]
fn a_new_file_in_an_included_folder_is_a_change() {
    let (server, folder) = (
        Server::ok(),
        tempfile::tempdir().expect("a temporary directory"),
    );
    let mut with = config(&server, &[("a", json!({}))]);
    with["include"] = json!([folder.path().join("*.yml")]);
    let mut daemon = Daemon::start_as(with, |command| {
        command.arg("--watch");
    });
    daemon.until_page("it is checked", |page| completed(page, "a") >= 1.0);
    let included = json!({ "monitors": { "b": { "url": server.http("/b"), "check_every": 0.1 } } });
    fs::write(folder.path().join("b.yml"), included.to_string()).expect("room for it");
    daemon.until_page("the other is checked", |page| completed(page, "b") >= 1.0);
    let broken = folder.path().join("c.yml");
    fs::write(&broken, "monitors: {b: {url: ").expect("room for it");
    daemon.until_logged("c.yml:2:1: ");
    assert!(successful(&daemon.page()) < 0.5);
    let mended = json!({ "monitors": { "c": { "url": server.http("/c"), "check_every": 0.1 } } });
    fs::write(&broken, mended.to_string()).expect("room for it");
    daemon.until_page("all is well again", |page| completed(page, "c") >= 1.0);
    assert!(successful(&daemon.page()) > 0.5);
    daemon.stop();
}

#[test]
fn many_reloads_leave_unchanged_monitors_alone() {
    const RELOADS: u32 = 100;
    let server = Server::ok();
    let stays = |name| (name, json!({}));
    let with = |number: u32| {
        let changes = json!({ "labels": { "number": number.to_string() } });
        config(&server, &[stays("one"), stays("two"), ("changes", changes)])
    };
    let mut daemon = Daemon::start(with(0));
    let before = daemon.until_page("all are checked", |page| completed(page, "changes") >= 1.0);
    for number in 1..=RELOADS {
        daemon.rewrite(with(number));
        assert_eq!(
            post(&daemon, PATH).text(),
            "~ changes\n0 added, 1 changed, 0 removed, 2 unchanged\n"
        );
        daemon.page().assert_slots_add_up();
    }
    let page = daemon.page();
    for name in ["one", "two"] {
        assert!(completed(&page, name) >= completed(&before, name));
    }
    assert_eq!(page.values("monitor_info", &[]).len(), 3);
    let descriptors = |page: &Page| page.value("process_open_fds", &[]);
    assert!(descriptors(&page) < descriptors(&before) + 20.0);
    daemon.stop();
    let started = "Monitoring task has been started monitor=one type=http";
    let log = daemon.whole_log();
    assert_eq!(log.iter().filter(|line| *line == started).count(), 1);
}

#[test]
fn validate_diff_and_dry_run_report_changes() {
    let server = Server::ok();
    let old = config_file(config(&server, &[("a", json!({})), ("b", json!({}))]));
    let new = config_file(config(
        &server,
        &[("b", json!({ "check_every": "1h" })), ("c", json!({}))],
    ));
    let diff = |with: &str| {
        let mut validate = program();
        validate
            .args(["validate", "--diff", with, "--config"])
            .arg(new.path());
        validate.output().expect("the program can be started")
    };
    let output = diff(&old.path().display().to_string());
    let valid = format!("{} is valid: 2 monitors\n", new.path().display());
    let told = "+ c\n~ b\n- a\n1 added, 1 changed, 1 removed, 0 unchanged\n";
    assert_eq!(text(&output), format!("{valid}{told}"));
    assert_eq!(output.status.code(), Some(0));

    let mut daemon = Daemon::start(config(&server, &[("a", json!({}))]));
    daemon.rewrite(config(&server, &[("z", json!({}))]));
    let output = diff(&format!("http://{}", daemon.address));
    let told = "+ z\n- a\n1 added, 0 changed, 1 removed, 0 unchanged\n";
    assert_eq!(text(&output), format!("{valid}{told}"));
    daemon.rewrite(json!({ "monitors": 7 }));
    let output = diff(&format!("http://{}/", daemon.address));
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("the daemon responded with 500: "),
        "{complaint}"
    );
    assert!(
        complaint.contains("monitors: expected a mapping"),
        "{complaint}"
    );
    daemon.stop();
    let output = diff("/nowhere");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn monitors_are_sharded_with_their_number_of_replicas() {
    let server = Server::ok();
    let names: Vec<_> = (0..20).map(|number| format!("monitor {number}")).collect();
    let monitors: Vec<_> = names
        .iter()
        .map(|name| {
            (
                &**name,
                json!({ "replicas": if name.ends_with('7') { 2 } else { 1 } }),
            )
        })
        .collect();
    let daemons: Vec<_> = (0..3)
        .map(|index| {
            Daemon::start_as(config(&server, &monitors), |command| {
                command.arg(format!("--shard={index}/3"));
            })
        })
        .collect();
    let ready = |daemon: &Daemon| {
        eventually("all have started", || {
            (daemon.get("/-/ready").status == 200).then(|| daemon.page())
        })
    };
    let pages: Vec<_> = daemons.iter().map(ready).collect();
    for name in &names {
        let here = |page: &&Page| !page.values("monitor_info", &[("monitor", name)]).is_empty();
        let expected = if name.ends_with('7') { 2 } else { 1 };
        assert_eq!(pages.iter().filter(here).count(), expected, "{name}");
    }
    let mut plain = program();
    let output = plain.args(["--shard", "3/3"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("invalid shard: expected 0 to 2 of 3"),
        "{complaint}"
    );
}

#[test]
fn many_reloads_at_once_are_survived() {
    let server = Server::ok();
    let mut daemon = Daemon::start(config(&server, &[("a", json!({}))]));
    let address = daemon.address;
    let storm: Vec<_> = (0..200)
        .map(|_| thread::spawn(move || ask(address, "POST", PATH, "content-length: 0\r\n")))
        .collect();
    for _ in 0..50 {
        daemon.signal(Signal::HUP);
    }
    for answer in storm {
        let answer = answer.join().expect("an answer");
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    daemon.page().assert_slots_add_up();
    assert_eq!(post(&daemon, PATH).status, 200);
    daemon.stop();
}

#[test]
fn a_file_that_was_replaced_where_it_is_mounted_from_is_a_warning() {
    let server = Server::ok();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("body");
    fs::write(&path, "hello").expect("room for a file");
    let body = fs::File::open(&path).expect("it is there");
    // As a container sees a mounted file: by a name that outlives those that the host gives it.
    let seen = format!("/proc/{}/fd/{}", std::process::id(), body.as_raw_fd());
    let post = json!({ "method": "POST", "body_file": seen });
    let mut daemon = Daemon::start(config(&server, &[("one", post)]));
    daemon.until_page("it is checked", |page| completed(page, "one") >= 1.0);
    fs::remove_file(&path).expect("it is there");
    let warning = "Watched file has been deleted or replaced where it is mounted from";
    let line = daemon.until_logged(warning);
    assert!(line.contains(&format!("file={seen}")), "{line}");
    daemon.signal(Signal::HUP);
    daemon.until_logged("The configuration has been reloaded");
    daemon.stop();
    let warnings = daemon.whole_log();
    let warnings = warnings.iter().filter(|line| line.contains(warning));
    assert_eq!(warnings.count(), 1);
}
