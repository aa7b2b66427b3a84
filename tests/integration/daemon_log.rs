//! The lines that the daemon logs.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use regex::Regex;
use serde_json::{Value, json};

use crate::support::{
    client,
    daemon::Daemon,
    eventually,
    pki::{AUTHORITY, IDENTITY},
    server::{Closed, Frame, Server, Step, ok, response},
};

/// A line without its time; panics if it has none.
#[track_caller]
fn without_time(line: &str) -> &str {
    let time = Regex::new(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] ").expect("a pattern");
    let time = time.find(line);
    let time = time.unwrap_or_else(|| panic!("no time in {line:?}"));
    &line[time.end()..]
}

/// Answers 200, 200, 500, 500, and so on from the start.
fn changing() -> Server {
    let asked = AtomicUsize::new(0);
    Server::answering(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 4 {
        0 | 1 => ok("hello"),
        _ => response("500 Error", &[], "no"),
    })
}

#[test]
fn a_run_logs_the_lines_of_the_tutorial_in_order() {
    let (good, bad, closed) = (
        Server::ok(),
        Server::answering(|_| response("500 Error", &[], "no")),
        Closed::new(),
    );
    let mut daemon = Daemon::start_yaml(&format!(
        r#"
log:
  level: "INFO"
  format: "[%(asctime)s] [%(levelname)s] [%(name)s]: %(message)s"

monitors:

  example:
    method: "GET"
    url: "{}"
    timeout: 5
    check_every: 5

  with a space:
    method: "post"
    url: "{}"
    timeout: 5
    check_every: 5

  closed:
    url: "http://user:password@{}/"
    check_every: 5
"#,
        good.http(""),
        bad.http("/path?token=x"),
        closed.address,
    ));
    for monitor in ["example", "\"with a space\"", "closed"] {
        daemon.until_logged(&format!("monitor={monitor} method="));
    }
    let address = daemon.address;
    daemon.stop();
    assert_eq!(daemon.whole_stderr(), [""; 0]);
    let log = daemon.whole_log();
    let lines: Vec<_> = log.iter().map(|line| without_time(line)).collect();
    assert_lifecycle(&lines, address, &["example", "\"with a space\"", "closed"]);

    let http = r"\[monitoringdaemon\.monitors\.http\]: Check";
    let url = |address| regex::escape(&format!("http://{address}/"));
    let seconds = r"seconds=\d+\.\d{3}(\d{3})?";
    let patterns = [
        format!(
            r"\[INFO\] {http} succeeded monitor=example method=GET url={} status=200 bytes=5 {seconds}",
            url(good.address)
        ),
        format!(
            r#"\[WARNING\] {http} failed monitor="with a space" method=POST url={}path reason=status_code phase=processing status=500 bytes=2 {seconds} error="[^"]+""#,
            url(bad.address)
        ),
        format!(
            r#"\[WARNING\] {http} failed monitor=closed method=GET url={} reason=connection_refused phase=connect {seconds} error="[^"]+""#,
            url(closed.address)
        ),
    ];
    let patterns = patterns.map(|pattern| Regex::new(&format!("^{pattern}$")).expect("a pattern"));
    let checks: Vec<_> = lines.iter().filter(|line| is_check(line)).collect();
    for pattern in &patterns {
        let found = checks.iter().any(|line| pattern.is_match(line));
        assert!(found, "no {pattern} among {checks:#?}");
    }
    for line in checks {
        let known = patterns.iter().any(|pattern| pattern.is_match(line));
        assert!(known, "what is {line:?}");
    }
}

fn is_check(line: &str) -> bool {
    line.contains("]: Check ")
}

/// Asserts that everything but checks is said in its order, and that checks lie where they can be.
#[track_caller]
fn assert_lifecycle(lines: &[&str], address: SocketAddr, monitors: &[&str]) {
    const DISPATCHER: &str = "[INFO] [monitoringdaemon.dispatcher]: ";
    let (starting, stopping) = ("Dispatcher is starting up", "Dispatcher is shutting down");
    let others = lines.iter().filter(|line| !is_check(line));
    let mut others: Vec<_> = others.map(ToString::to_string).collect();
    let first = others.remove(0);
    let start = Regex::new(
        r#"^\[INFO\] \[monitoringdaemon\.app\]: Starting monitoringdaemon version=\S+ revision=\S+ config=\S+ monitors=(\d+) types="(\d+) http"$"#,
    );
    let start = start.expect("a pattern").captures(&first);
    let start = start.unwrap_or_else(|| panic!("{first}"));
    let count = monitors.len().to_string();
    assert_eq!((&start[1], &start[2]), (&*count, &*count), "{first}");

    let of_all = |what: &str| {
        let monitors = monitors.iter();
        let line = |monitor| {
            format!("{DISPATCHER}Monitoring task has been {what} monitor={monitor} type=http")
        };
        monitors.map(line).collect::<Vec<_>>()
    };
    let mut expected = vec![
        format!("[INFO] [monitoringdaemon.app]: Server is listening address={address}"),
        format!("{DISPATCHER}{starting}"),
    ];
    expected.extend(of_all("started"));
    expected.push(format!("{DISPATCHER}{stopping}"));
    let stopped = expected.len()..expected.len() + monitors.len();
    expected.extend(of_all("stopped"));
    expected.push(format!(
        "{DISPATCHER}Dispatcher shutting down finished successfully"
    ));
    assert_eq!(others.len(), expected.len(), "{lines:#?}");
    // They stop in any order.
    others[stopped.clone()].sort_unstable();
    expected[stopped].sort_unstable();
    assert_eq!(others, expected);

    let place = |text: &str| lines.iter().position(|line| line.ends_with(text));
    let between = place(starting).expect("it started")..place(stopping).expect("it stopped");
    let checks = lines.iter().enumerate().filter(|(_, line)| is_check(line));
    for (at, line) in checks {
        assert!(between.contains(&at), "{line}");
    }
}

#[test]
fn many_monitors_are_logged_by_their_number() {
    let server = Server::ok();
    let monitors = |count: usize| {
        let monitor = |index| {
            let monitor = json!({ "url": server.http("/"), "check_every": "1h" });
            (format!("monitor {index}"), monitor)
        };
        let monitors: serde_json::Map<_, _> = (0..count).map(monitor).collect();
        json!({ "monitors": monitors, "log": { "format": "%(message)s", "checks": "none" } })
    };
    for (count, expected) in [(100, 0), (101, 1)] {
        let mut daemon = Daemon::start(monitors(count));
        daemon.until_page("it is ready", |page| page.completed() > 0.5);
        daemon.stop();
        let log = daemon.whole_log();
        let number = |text: &str| log.iter().filter(|line| line.starts_with(text)).count();
        for word in ["started", "stopped"] {
            let each = number(&format!("Monitoring task has been {word} monitor="));
            let all = number(&format!("Monitoring tasks have been {word} monitors=101"));
            assert_eq!((each, all), (count * (1 - expected), expected), "{word}");
        }
    }
    // So are those that a reload changes.
    let mut daemon = Daemon::start(monitors(1));
    daemon.rewrite(monitors(150));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.until_logged("The configuration has been reloaded started=149");
    daemon.rewrite(monitors(1));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.until_logged(
        "The configuration has been reloaded started=0 restarted=0 renewed=0 stopped=149",
    );
    daemon.until_page("the others have stopped", |page| {
        page.sum("monitoringdaemon_monitors", &[]) < 1.5
    });
    daemon.stop();
    let log = daemon.whole_log();
    let each = log
        .iter()
        .filter(|line| line.starts_with("Monitoring task has been"));
    assert_eq!(each.count(), 2, "{log:#?}");
}

#[test]
fn times_have_the_format_of_datefmt() {
    let server = Server::ok();
    let mut daemon = Daemon::start(json!({
        "log": { "format": "%(asctime)s|%(message)s", "datefmt": "%Y-%m-%dT%H:%M:%S%z" },
        "monitors": { "one": { "url": server.http("/") } },
    }));
    daemon.until_logged("Check succeeded");
    daemon.stop();
    let time = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}\|").expect("a pattern");
    for line in daemon.whole_log() {
        assert!(time.is_match(&line), "{line}");
    }
}

/// A daemon with one good and one failing monitor that has checked both.
fn whole_log_in(format: &str) -> Vec<String> {
    let (good, closed) = (Server::ok(), Closed::new());
    let mut daemon = Daemon::start(json!({
        "log": { "format": format },
        "monitors": {
            "a good \"one\"": { "url": good.http("/") },
            "closed": { "url": format!("http://{}/", closed.address) },
        },
    }));
    daemon.until_logged("Check succeeded");
    daemon.until_logged("Check failed");
    daemon.stop();
    daemon.whole_log()
}

/// The fields that both structured formats have, in order.
#[track_caller]
fn check_structured(lines: &[BTreeMap<String, Value>]) {
    let time = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$").expect("a pattern");
    for line in lines {
        let moment = line["time"].as_str().expect("a text");
        assert!(time.is_match(moment), "{line:?}");
    }
    let find = |message: &str| {
        let line = lines.iter().find(|line| line["message"] == message);
        line.unwrap_or_else(|| panic!("no {message:?} among {lines:#?}"))
    };
    let succeeded = find("Check succeeded");
    assert_eq!(succeeded["level"], "INFO");
    assert_eq!(succeeded["name"], "monitoringdaemon.monitors.http");
    assert_eq!(succeeded["monitor"], "a good \"one\"");
    assert_eq!(
        (&succeeded["status"], &succeeded["bytes"]),
        (&json!(200), &json!(5))
    );
    assert!(
        succeeded["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    let keys: Vec<_> = succeeded.keys().map(String::as_str).collect();
    let expected = [
        "bytes", "level", "message", "method", "monitor", "name", "seconds", "status", "time",
        "url",
    ];
    assert_eq!(keys, expected);

    let failed = find("Check failed");
    assert_eq!(failed["level"], "WARNING");
    assert_eq!(failed["reason"], "connection_refused");
    assert_eq!(failed["phase"], "connect");
    assert!(failed["seconds"].is_number() && failed["error"].is_string());
    assert!(!failed.contains_key("status") && !failed.contains_key("bytes"));

    for message in [
        "Dispatcher is starting up",
        "Dispatcher is shutting down",
        "Dispatcher shutting down finished successfully",
    ] {
        let line = find(message);
        assert_eq!(line["name"], "monitoringdaemon.dispatcher");
        assert_eq!(line.len(), 4, "{line:?}");
    }
    for message in [
        "Monitoring task has been started",
        "Monitoring task has been stopped",
    ] {
        let line = find(message);
        assert_eq!(line["type"], "http");
        assert_eq!(line.len(), 6, "{line:?}");
    }
}

#[test]
fn json_lines_are_objects_with_numeric_fields() {
    let log = whole_log_in("json");
    let lines = log
        .iter()
        .map(|line| serde_json::from_str(line).expect("an object"));
    check_structured(&lines.collect::<Vec<_>>());
}

#[test]
fn logfmt_lines_have_the_same_keys() {
    let log = whole_log_in("logfmt");
    let lines = log.iter().map(|line| parse_logfmt(line));
    check_structured(&lines.collect::<Vec<_>>());
}

#[track_caller]
fn parse_logfmt(line: &str) -> BTreeMap<String, Value> {
    let pair = Regex::new(r#"^([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)(?: |$)"#).expect("a pattern");
    let mut pairs = BTreeMap::new();
    let mut rest = line;
    while !rest.is_empty() {
        let found = pair.captures(rest);
        let found = found.unwrap_or_else(|| panic!("{rest:?} of {line:?}"));
        // A quoted text, or a number; what is neither stands for itself.
        let value = serde_json::from_str(&found[2]).unwrap_or_else(|_| json!(found[2]));
        assert_eq!(pairs.insert(found[1].to_owned(), value), None, "{line}");
        rest = &rest[found[0].len()..];
    }
    pairs
}

#[test]
fn checks_write_the_lines_that_are_selected() {
    let (good, bad) = ("succeeded", "failed");
    let selections: [(&str, &[&str]); 4] = [
        ("all", &[good, good, bad, bad, good]),
        ("changes", &[good, bad, good]),
        ("failures", &[bad, bad]),
        ("none", &[]),
    ];
    let daemons = selections.map(|(checks, expected)| {
        let server = changing();
        let daemon = Daemon::start(json!({
            "log": { "checks": checks, "format": "%(message)s" },
            "monitors": { "changing": { "url": server.http("/"), "check_every": 1 } },
        }));
        (daemon, server, expected)
    });
    for (mut daemon, _server, expected) in daemons {
        daemon.until_page("five checks", |page| page.completed() >= 5.0);
        daemon.stop();
        let log = daemon.whole_log();
        let outcomes = log.iter().filter_map(|line| line.strip_prefix("Check "));
        let outcomes = outcomes.filter_map(|rest| rest.split(' ').next());
        // A daemon that is stopped late has checked once more.
        let outcomes: Vec<_> = outcomes.take(expected.len().max(1)).collect();
        assert_eq!(outcomes, expected, "{log:#?}");
    }
}

/// The log of a run with a failed check.
fn log_at(configured: &str, environment: &str) -> Vec<String> {
    let server = Server::answering(|_| response("500 Error", &[], "no"));
    let config = json!({
        "log": { "level": configured, "format": "%(levelname)s %(message)s" },
        "monitors": { "bad": { "url": server.http("/"), "check_every": 0.2 } },
    });
    let mut daemon = Daemon::start_unserved(config, |command| {
        command.env("RUST_LOG", environment);
    });
    // The second comes when the first has been dealt with.
    eventually("two checks", || {
        (server.seen().requests.len() >= 2).then_some(())
    });
    daemon.stop();
    daemon.whole_log()
}

#[test]
fn rust_log_overrides_the_configured_level() {
    let has = |log: &[String], level: &str| log.iter().any(|line| line.starts_with(level));
    let log = log_at("INFO", "");
    assert!(has(&log, "INFO") && has(&log, "WARNING"), "{log:#?}");
    let log = log_at("INFO", "warning");
    assert!(!has(&log, "INFO") && has(&log, "WARNING"), "{log:#?}");
    let log = log_at("ERROR", "info");
    assert!(has(&log, "INFO") && has(&log, "WARNING"), "{log:#?}");
    let log = log_at("INFO", "error,monitoringdaemon.dispatcher=info");
    assert!(
        has(&log, "INFO Dispatcher") && !has(&log, "WARNING"),
        "{log:#?}"
    );
    let log = log_at("CRITICAL", "");
    assert_eq!(log, [""; 0]);
}

#[test]
fn an_invalid_rust_log_is_reported_and_ignored() {
    let log = log_at("INFO", "a=b=c");
    assert!(
        log[0].starts_with("WARNING Invalid RUST_LOG ignored"),
        "{log:#?}"
    );
    assert!(
        log.iter().any(|line| line.starts_with("INFO Dispatcher")),
        "{log:#?}"
    );
}

#[test]
fn log_lines_and_pages_hide_secrets() {
    let echo = || {
        Step::answer(|request| {
            let all = format!("{request:?}").replace(char::is_control, "");
            response("200 s3cr3t", &[&format!("x-echo: {all}")], &all)
        })
    };
    let plain = Server::start([echo()]);
    let tls = Server::start([IDENTITY.tls(), echo()]);
    let http2 = vec![Frame::Head(200), Frame::Data("s3cr3t".into()), Frame::End];
    let http2 = Server::start([IDENTITY.tls_h2(), Step::Http2(http2)]);
    let garbage = Server::start([Step::Request, Step::send("s3cr3t\r\n\r\n")]);
    let monitor = |url: &str, codes: Value| {
        json!({
            "url": url.replacen("://", "://s3cr3t-user:s3cr3t-password@", 1),
            "method": "POST",
            "headers": { "X-Api-Key": "s3cr3t-key" },
            "body": "s3cr3t-body",
            "valid_status_codes": codes,
        })
    };
    let token = json!({
        "url": plain.http("/path?s3cr3t-query"),
        "authorization": { "credentials": "s3cr3t-token" },
    });
    let login = json!({
        "url": tls.https("/path?s3cr3t-query#s3cr3t-fragment"),
        "basic_auth": { "username": "s3cr3t-user", "password": "s3cr3t-password" },
    });
    let mut authorities = tempfile::NamedTempFile::new().expect("a temporary file");
    std::io::Write::write_all(&mut authorities, AUTHORITY.pem().as_bytes())
        .expect("room for a temporary file");
    let config = json!({
        "log": { "level": "TRACE" },
        "monitors": {
            "plain": monitor(&plain.http("/path?s3cr3t-query"), json!([200])),
            "tls": monitor(&tls.https("/path?s3cr3t-query"), json!([200])),
            "http2": monitor(&http2.https("/path?s3cr3t-query"), json!([200])),
            "failing": monitor(&tls.https("/path?s3cr3t-query"), json!([404])),
            "garbage": monitor(&garbage.http("/path?s3cr3t-query"), json!([200])),
            "token": token,
            "login": login,
        },
    });
    let mut daemon = Daemon::start_as(config, |command| {
        command.env(
            "RUST_LOG",
            "trace,h2=trace,hyper=trace,reqwest=trace,rustls=trace",
        );
        command.env("SSL_CERT_FILE", authorities.path());
    });
    let page = daemon.until_page("a check of each", |page| {
        let checks = |monitor| page.sum("monitor_checks_total", &[("monitor", monitor)]);
        [
            "plain", "tls", "http2", "failing", "garbage", "token", "login",
        ]
        .into_iter()
        .all(|monitor| checks(monitor) >= 1.0)
    });
    daemon.until_logged("Check succeeded monitor=login");
    let paths = ["/-/healthy", "/-/ready", "/", "/s3cr3t"].map(|path| daemon.get(path));
    let wrong = client::ask(daemon.address, "POST", "/metrics", "x: s3cr3t\r\n");
    daemon.stop();
    let told = [
        page.text,
        format!("{paths:?} {wrong:?}"),
        daemon.whole_log().join("\n"),
        daemon.whole_stderr().join("\n"),
    ];
    let told = told.join("\n");
    // The last is base64 of "s3cr3t".
    for secret in ["s3cr3t", "path?", "czNjcjN0"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}
