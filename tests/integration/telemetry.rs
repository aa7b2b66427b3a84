//! Traces, log lines and metrics over OTLP, as a collector gets them; and collectors that misbehave.

use std::{
    io::{Read, Write},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{
    daemon::Daemon,
    eventually,
    process::{helper, skip},
    server::{Closed, Request, Server, Step, ok, response},
};
use rustix::process::Signal;

/// The daemon must stop within a second, whatever a collector does; twice that on a busy machine.
const STOP: Duration = Duration::from_secs(2);

const EXPORTED: &str = "monitoringdaemon_telemetry_exported_total";

const TRACES: &[(&str, &str)] = &[("signal", "traces")];

/// A collector that accepts everything.
fn collector() -> Server {
    Server::start([Step::answer(|_| {
        response("200 OK", &["Content-Type: application/x-protobuf"], "")
    })])
}

/// The requests for `path` that came to `collector` so far.
fn requests(collector: &Server, path: &str) -> Vec<Request> {
    let mut requests = collector.seen().requests;
    requests.retain(|request| request.target == path);
    requests
}

/// The contents of the bodies of `requests`, as the judge reads them; none if it cannot be run.
fn decoded(signal: &str, requests: &[Request]) -> Option<Vec<Value>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = || {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", root.join("target/ci-tools"));
        python
    };
    helper("python3")?;
    let has_modules = python()
        .args(["-c", "import opentelemetry.proto, opentelemetry.semconv"])
        .output();
    if !has_modules.is_ok_and(|output| output.status.success()) {
        skip(
            "what OTLP has is not tested: .ci/requirements.txt is not installed in target/ci-tools",
        );
        return None;
    }
    let files: Vec<_> = requests
        .iter()
        .map(|request| {
            let mut file = NamedTempFile::new().expect("a temporary file");
            file.write_all(&request.body).expect("room for it");
            file
        })
        .collect();
    let arguments = files
        .iter()
        .map(|file| format!("{signal}={}", file.path().display()));
    let output = python()
        .arg(root.join("tests/otlp/conform.py"))
        .args(arguments)
        .output()
        .expect("python3 can be run");
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problems}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// The configuration of a daemon that checks `url` once, with its traces and log lines for `collector`.
fn config(url: &str, collector: &str) -> Value {
    json!({
        "log": { "format": "logfmt" },
        "telemetry": {
            "resource": { "deployment.environment.name": "test" },
            "traces": { "endpoint": collector, "headers": { "X-Scope-OrgID": "tenant" } },
            "logs": { "endpoint": collector, "compression": "none" },
        },
        "monitors": { "web": { "url": url, "check_every": "1h", "propagate": true } },
    })
}

/// Whatever came with the trace of a check that failed.
fn failed_check() -> (Server, Server, Daemon, String) {
    let collector = collector();
    let target = Server::answering(|_| response("500 Internal Server Error", &[], "sorry"));
    let url = target.http("/path?token=hunter2");
    let daemon = Daemon::start(config(&url, &collector.http("/")));
    let line = daemon.until_logged("Check failed");
    eventually("traces and log lines", || {
        let logged = requests(&collector, "/v1/logs");
        let contains = |request: &Request| {
            let found = request.body.windows(12);
            found.into_iter().any(|part| part == b"Check failed")
        };
        let is_there = !requests(&collector, "/v1/traces").is_empty();
        (is_there && logged.iter().any(contains)).then_some(())
    });
    (collector, target, daemon, line)
}

#[test]
fn a_failed_check_is_a_trace_by_the_conventions() {
    let (collector, target, _daemon, line) = failed_check();
    let requests = requests(&collector, "/v1/traces");
    let request = &requests[0];
    assert_eq!(request.method, "POST");
    assert_eq!(
        request.header("content-type"),
        Some("application/x-protobuf")
    );
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(request.header("x-scope-orgid"), Some("tenant"));
    let Some(spans) = decoded("traces", &requests) else {
        return;
    };
    let root = &spans[0];
    assert_eq!(root["name"], "GET web");
    assert_eq!(
        (&root["kind"], &root["parent"]),
        (&json!("CLIENT"), &json!(""))
    );
    let expected = json!({
        "monitoringdaemon.monitor.name": "web",
        "monitoringdaemon.monitor.type": "http",
        "monitoringdaemon.failure.phase": "processing",
        "server.address": "127.0.0.1",
        "server.port": target.address.port(),
        "network.peer.address": "127.0.0.1",
        "url.full": target.http("/path"),
        "http.request.method": "GET",
        "http.response.status_code": 500,
        "error.type": "status_code",
    });
    assert_eq!(root["attributes"], expected);
    assert_eq!(root["error"], "HTTP 500, expected 2xx");
    assert_eq!(root["resource"]["service.name"], "monitoringdaemon");
    assert_eq!(root["resource"]["deployment.environment.name"], "test");
    let phases: Vec<_> = spans[1..].iter().map(|span| span["name"].clone()).collect();
    assert_eq!(phases, ["connect", "processing", "transfer"]);
    assert!(
        spans[1..]
            .iter()
            .all(|span| span["parent"] == root["span_id"])
    );
    let processing = &spans[2];
    assert_eq!(processing["attributes"]["error.type"], "status_code");
    let shown = processing["events"]["request"].as_str().expect("an event");
    assert!(shown.starts_with("GET /path"), "{shown}");
    assert!(
        processing["events"]["response"]
            .as_str()
            .is_some_and(|text| text.contains("500"))
    );
    assert!(
        !spans
            .iter()
            .any(|span| span.to_string().contains("hunter2"))
    );

    // The target, the log line and the trace have one identity.
    let header = target.request();
    let header = header.header("traceparent").expect("it is propagated");
    let id = root["trace_id"].as_str().expect("an id");
    assert!(header.starts_with(&format!(
        "00-{id}-{}-",
        root["span_id"].as_str().unwrap_or("?")
    )));
    assert!(line.ends_with(&format!(" trace_id={id}")), "{line}");
}

#[test]
fn a_log_line_has_the_trace_of_its_check() {
    let (collector, _target, _daemon, line) = failed_check();
    let Some(records) = decoded("logs", &requests(&collector, "/v1/logs")) else {
        return;
    };
    let record = records
        .iter()
        .find(|record| record["body"] == "Check failed");
    let record = record.expect("the line of the check");
    assert_eq!(record["severity"], 13);
    assert_eq!(record["severity_text"], "WARNING");
    let id = record["trace_id"].as_str().expect("an id");
    assert!(id.len() == 32 && line.contains(id), "{line}");
    let attributes = &record["attributes"];
    assert_eq!(attributes["monitor"], "web");
    assert_eq!(attributes["status"], 500);
    assert_eq!(attributes["logger.name"], "monitoringdaemon.monitors.http");
    assert!(attributes["seconds"].is_f64(), "{attributes}");
    let started = records
        .iter()
        .find(|record| record["body"] == "Dispatcher is starting up");
    let started = started.expect("lines of the start are exported too");
    assert_eq!(
        (&started["severity"], &started["trace_id"]),
        (&json!(9), &json!(""))
    );
}

#[test]
fn of_successes_a_share_is_exported_and_the_target_is_told() {
    for (share, flags) in [(1.0, "01"), (0.0, "00")] {
        let (collector, target) = (collector(), Server::ok());
        let mut config = config(&target.http("/"), &collector.http("/custom"));
        config["telemetry"]["traces"]["sample"] = json!({ "successes": share });
        let mut daemon = Daemon::start(config);
        let line = daemon.until_logged("Check succeeded");
        assert!(line.contains(" trace_id="), "its identity was sent: {line}");
        let header = target.request();
        let header = header.header("traceparent").expect("it is propagated");
        assert!(header.ends_with(flags), "{header}");
        // At the end, what is left is sent.
        daemon.stop();
        let traces = requests(&collector, "/custom").len();
        let logs = usize::from(!requests(&collector, "/v1/logs").is_empty());
        assert_eq!(logs, 0, "a path is used as it is");
        assert!(traces > 0, "the log lines at least");
        let kinds: Vec<_> = collector.seen().requests;
        let has_traces = kinds
            .iter()
            .any(|request| request.header("content-encoding").is_some());
        assert_eq!(has_traces, share > 0.5);
    }
}

/// Keeps a daemon with failing checks busy with a collector that answers with `step`, and returns its page.
#[track_caller]
fn assert_harmless(what: &str, endpoint: &str) {
    let target = Closed::new();
    let monitors: serde_json::Map<_, _> = (0..20)
        .map(|index| {
            let monitor =
                json!({ "type": "tcp", "target": target.address.to_string(), "check_every": 0.1 });
            (format!("m{index}"), monitor)
        })
        .collect();
    let mut daemon = Daemon::start(json!({
        "telemetry": {
            "traces": { "endpoint": endpoint, "timeout": 1 },
            "logs": { "endpoint": endpoint, "timeout": 1 },
            "metrics": { "endpoint": endpoint, "timeout": 1, "every": 1 },
        },
        "monitors": monitors,
    }));
    daemon.until_logged("monitoringdaemon.telemetry");
    let page = daemon.until_page(what, |page| {
        page.sum("monitor_checks_total", &[("outcome", "failure")]) >= 300.0
    });
    let skipped = page.sum("monitor_checks_skipped_total", &[("reason", "saturated")]);
    assert!(skipped < 1.0, "{what}: {skipped} slots are skipped");
    daemon.signal(Signal::TERM);
    let (status, took) = daemon.wait();
    assert!(status.success(), "{what}: {status}");
    assert!(took < STOP, "{what}: stopping took {took:?}");
}

#[test]
fn a_collector_that_misbehaves_costs_no_check_anything() {
    let closed = Closed::new();
    assert_harmless("closed", &format!("http://{}", closed.address));
    let silent = Server::start([Step::Request, Step::Hang]);
    assert_harmless("silent", &silent.http("/"));
    let broken = Server::answering(|_| response("500 Internal Server Error", &[], "no"));
    assert_harmless("broken", &broken.http("/"));
    let busy =
        Server::answering(|_| response("503 Service Unavailable", &["Retry-After: 3600"], ""));
    assert_harmless("busy", &busy.http("/"));
    let garbage = Server::answering(|_| "\u{0}\u{1}garbage\r\n\r\n".to_owned());
    assert_harmless("garbage", &garbage.http("/"));
    let huge = Server::answering(|_| ok(&"x".repeat(8 << 20)));
    assert_harmless("huge", &huge.http("/"));
}

#[test]
fn what_a_busy_collector_refuses_is_sent_again() {
    let refusals = AtomicUsize::new(0);
    let collector = Server::answering(move |_| {
        let count = refusals.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            response("429 Too Many Requests", &["Retry-After: 0"], "")
        } else {
            response("200 OK", &[], "")
        }
    });
    let target = Server::answering(|_| response("500 Internal Server Error", &[], ""));
    let mut config = config(&target.http("/"), &collector.http("/"));
    config["telemetry"]["logs"] = Value::Null;
    let daemon = Daemon::start(config);
    daemon.until_page("an exported trace", |page| page.sum(EXPORTED, TRACES) > 0.0);
    let sent = requests(&collector, "/v1/traces");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].body, sent[1].body);
}

#[test]
fn items_that_a_collector_rejects_are_counted() {
    // partial_success { rejected_spans: 1 }
    let collector = Server::answering(|_| response("200 OK", &[], "\u{a}\u{2}\u{8}\u{1}"));
    let target = Server::answering(|_| response("500 Internal Server Error", &[], ""));
    let mut config = config(&target.http("/"), &collector.http("/"));
    config["telemetry"]["logs"] = Value::Null;
    let daemon = Daemon::start(config);
    let rejected = [("reason", "rejected"), ("signal", "traces")];
    let dropped = "monitoringdaemon_telemetry_dropped_total";
    let page = daemon.until_page("a rejection", |page| page.sum(dropped, &rejected) > 0.0);
    assert_eq!(page.values(EXPORTED, TRACES), [0.0]);
    daemon.until_logged("Collector rejected telemetry");
}

#[test]
fn a_reload_changes_the_collector() {
    let (first, second) = (collector(), collector());
    let target = Server::answering(|_| response("500 Internal Server Error", &[], ""));
    let config_of = |collector: &Server| {
        let mut config = config(&target.http("/"), &collector.http("/"));
        config["monitors"]["web"]["check_every"] = json!(0.2);
        config["telemetry"]["logs"] = Value::Null;
        config
    };
    let daemon = Daemon::start(config_of(&first));
    eventually("a trace", || {
        (!requests(&first, "/v1/traces").is_empty()).then_some(())
    });
    daemon.rewrite(config_of(&second));
    daemon.signal(Signal::HUP);
    eventually("a trace elsewhere", || {
        (!requests(&second, "/v1/traces").is_empty()).then_some(())
    });
    let mut without = config_of(&second);
    without["telemetry"] = Value::Null;
    daemon.rewrite(without);
    daemon.signal(Signal::HUP);
    daemon.until_page("no telemetry", |page| page.values(EXPORTED, &[]).is_empty());
}

/// A daemon with traces and metrics for `collector`, which checks `url` five times a second.
fn daemon_with_metrics(url: &str, collector: &str, metrics: &Value) -> Daemon {
    let mut telemetry = json!({
        "traces": { "endpoint": collector },
        "metrics": { "endpoint": collector, "every": 1 },
    });
    for (key, value) in metrics.as_object().expect("a mapping") {
        telemetry["metrics"][key] = value.clone();
    }
    Daemon::start(json!({
        "log": { "format": "logfmt" },
        "telemetry": telemetry,
        "monitors": { "web": { "url": url, "check_every": 0.2 } },
    }))
}

/// Waits until `collector` has a request for the path of metrics in which `name` is.
#[track_caller]
fn until_exported(collector: &Server, name: &str) {
    eventually(name, || {
        let is_there = |request: &Request| {
            let plain = unpacked(&request.body);
            plain
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        let requests = requests(collector, "/v1/metrics");
        requests.iter().any(is_there).then_some(())
    });
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(body);
    decoder.read_to_end(&mut plain).expect("gzip");
    plain
}

/// The sum of these points' values.
fn total(points: &[&Value]) -> f64 {
    let value = |point: &&Value| point["value"].as_f64().expect("a number");
    points.iter().map(value).sum()
}

fn points_of<'p>(points: &'p [Value], name: &str, outcome: &str) -> Vec<&'p Value> {
    let is_its =
        |point: &&Value| point["name"] == name && point["attributes"]["outcome"] == outcome;
    points.iter().filter(is_its).collect()
}

#[test]
fn metrics_are_cumulative_by_the_conventions() {
    let collector = collector();
    let target = Server::answering(|_| response("500 Internal Server Error", &[], "sorry"));
    let url = target.http("/");
    let mut daemon = daemon_with_metrics(&url, &collector.http("/"), &json!({}));
    until_exported(&collector, "monitor_check_failures_total");
    daemon.until_page("an export", |page| {
        page.sum(EXPORTED, &[("signal", "metrics")]) > 0.0
    });
    daemon.stop();
    let log = daemon.whole_log();
    let logged = log.iter().filter(|line| line.contains("Check failed"));
    let logged = f64::from(u32::try_from(logged.count()).expect("a few"));
    // The last export has little time, and the machine may be busy.
    let has_last = !log
        .iter()
        .any(|line| line.contains("Telemetry was not exported"));
    let sent = requests(&collector, "/v1/metrics");
    assert_eq!(sent[0].header("content-encoding"), Some("gzip"));
    let Some(points) = decoded("metrics", &sent) else {
        return;
    };
    let checks = points_of(&points, "monitor_checks_total", "failure");
    assert!(checks.iter().all(|of| of["temporality"] == "CUMULATIVE"));
    let values: Vec<_> = checks.iter().map(|of| of["value"].as_f64()).collect();
    assert!(values.is_sorted(), "{values:?}");
    assert!(values.last() >= Some(&Some(1.0)), "{values:?}");
    assert!(
        !has_last || values.last() == Some(&Some(logged)),
        "{values:?}"
    );
    let starts: Vec<_> = checks.iter().map(|of| &of["start"]).collect();
    assert!(starts.iter().all(|start| *start == starts[0]));
    let traced = points_of(&points, "monitor_check_duration_seconds", "failure");
    let has_trace = |point: &&Value| {
        let exemplars = point["exemplars"].as_array();
        exemplars.is_some_and(|exemplars| !exemplars.is_empty())
    };
    assert!(traced.iter().any(has_trace), "{traced:?}");
    assert_eq!(points[0]["resource"]["service.name"], "monitoringdaemon");
}

#[test]
fn deltas_of_metrics_add_up_to_the_checks() {
    // Every other request is refused, and sent again.
    let (count, accepted) = (AtomicUsize::new(0), Arc::new(Mutex::new(Vec::new())));
    let seen = accepted.clone();
    let collector = Server::answering(move |request| {
        if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return response("503 Service Unavailable", &["Retry-After: 0"], "");
        }
        seen.lock()
            .expect("nothing panics with it")
            .push(request.clone());
        response("200 OK", &[], "")
    });
    let target = Server::ok();
    let url = target.http("/");
    let settings = json!({ "temporality": "delta" });
    let mut daemon = daemon_with_metrics(&url, &collector.http("/"), &settings);
    daemon.until_page("two exports and more checks", |page| {
        page.sum(EXPORTED, &[("signal", "metrics")]) > 0.0 && page.completed() >= 12.0
    });
    // What was exported before is not exported again.
    let endpoint = collector.http("/");
    daemon.rewrite(json!({
        "log": { "format": "logfmt" },
        "telemetry": {
            "metrics": { "endpoint": endpoint, "every": 1, "temporality": "delta", "timeout": 5 },
        },
        "monitors": { "web": { "url": url, "check_every": 0.2 } },
    }));
    daemon.signal(Signal::HUP);
    daemon.until_logged("The configuration has been reloaded");
    let page = daemon.until_page("checks after the reload", |page| page.completed() >= 20.0);
    daemon.until_page("exports after the reload", |later| {
        later.sum(EXPORTED, &[("signal", "metrics")]) > page.sum(EXPORTED, &[("signal", "metrics")])
    });
    daemon.stop();
    let succeeded = |line: &&String| line.contains("Check succeeded");
    let logged = daemon.whole_log().iter().filter(succeeded).count();
    let mut accepted = accepted.lock().expect("nothing panics with it").clone();
    accepted.retain(|request| request.target == "/v1/metrics");
    let Some(points) = decoded("metrics", &accepted) else {
        return;
    };
    let checks = points_of(&points, "monitor_checks_total", "success");
    assert!(checks.len() > 2, "{checks:?}");
    assert!(checks.iter().all(|of| of["temporality"] == "DELTA"));
    let durations = points_of(&points, "monitor_check_duration_seconds", "success");
    // A check may end between the two.
    assert!((total(&durations) - total(&checks)).abs() < 2.5);
    // If the last request of all is refused, what was counted in its second is lost.
    let missing = f64::from(u32::try_from(logged).expect("a few")) - total(&checks);
    assert!(
        (0.0..=15.0).contains(&missing),
        "{missing} of {logged} are missing"
    );
}

#[test]
fn points_that_are_not_delivered_are_counted() {
    let closed = Closed::new();
    let target = Server::ok();
    let endpoint = format!("http://{}", closed.address);
    let daemon = daemon_with_metrics(&target.http("/"), &endpoint, &json!({}));
    let lost = [("reason", "undelivered"), ("signal", "metrics")];
    let dropped = "monitoringdaemon_telemetry_dropped_total";
    let page = daemon.until_page("lost points", |page| page.sum(dropped, &lost) > 50.0);
    assert_eq!(page.values(EXPORTED, &[("signal", "metrics")]), [0.0]);
}
