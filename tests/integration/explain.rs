//! `explain`: one check step by step, as text and JSON, without secrets and within bounds.

use std::process::Output;

use regex::Regex;
use serde_json::{Value, json};

use crate::support::{
    daemon::{Daemon, config_file},
    process::{program, text},
    server::{Server, Step, response},
    terminal::Terminal,
};

/// The output of `explain` for a configuration of the monitor `example`.
fn explain(monitor: &Value, arguments: &[&str]) -> Output {
    let config = config_file(json!({ "monitors": { "example": monitor } }));
    let mut explain = program();
    explain.arg("explain").arg("--config").arg(config.path());
    explain
        .args(arguments)
        .output()
        .expect("the program can be started")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("steps are UTF-8")
}

/// `text` with a word in place of what differs from run to run.
fn masked(text: &str) -> String {
    let text = Regex::new(r"\d+\.\d{3} ms")
        .expect("a pattern")
        .replace_all(text, "T");
    let text = Regex::new(r"127\.0\.0\.1:\d+")
        .expect("a pattern")
        .replace_all(&text, "ADDRESS");
    let text = Regex::new(r"monitoringdaemon/\S+")
        .expect("a pattern")
        .replace_all(&text, "AGENT");
    Regex::new("(?m)^ +")
        .expect("a pattern")
        .replace_all(&text, "")
        .into_owned()
}

#[test]
fn a_check_over_http_is_printed_line_by_line() {
    let server = Server::answering(|_| {
        let headers = [
            "content-type: application/json",
            "x-request-id: 7f3a",
            "set-cookie: a=b",
        ];
        response("503 Busy", &headers, r#"{"status":"down"}"#)
    });
    let monitor = json!({
        "url": server.http("/health?token=hunter2"),
        "headers": { "X-Api-Key": "hunter2" },
        "valid_status_codes": ["2xx", 503],
        "fail_if_header_not_matches": [{ "header": "Content-Type", "regexp": "json" }],
        "fail_if_body_json_not_matches_cel": "body.status == 'up'",
    });
    let output = explain(&monitor, &["example"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let expected = r#"example (http) http://ADDRESS/health
T  address               * 127.0.0.1, without a lookup
T  connect               * to ADDRESS over TCP
T  connected             * from ADDRESS
T  request               > GET /health (query hidden) HTTP/1.1
T  request header        > connection: close
T  request header        > host: ADDRESS
T  request header        > user-agent: AGENT
T  request header        > accept: */*
T  request header        > x-api-key: (hidden, 7 bytes)
T  response              < HTTP/1.1 503 Service Unavailable
T  response header       < content-length: 17
T  response header       < content-type: application/json
T  response header       < x-request-id: 7f3a
T  response header       < set-cookie: (hidden, 3 bytes)
T  passed                + valid_status_codes: 503 is among 2xx, 503
T  passed                + fail_if_header_not_matches content-type "json": application/json
T  response body         < 17 bytes
T  response body         < begins with "{\"status\":\"down\"}"
T  not passed            ! fail_if_body_json_not_matches_cel "body.status == 'up'": false; body.status is "down"
T  failure               ! json_mismatch in transfer: "body.status == 'up'" is false, expected true
connect T, processing T, transfer T, total T
"#;
    let found = masked(&stdout(&output));
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // Headers come in the order of a hash table.
    assert_eq!(sorted(&found), sorted(expected), "{found}");
    let index = |part: &str| {
        found
            .find(part)
            .unwrap_or_else(|| panic!("{part}: {found}"))
    };
    assert!(index("request  ") < index("response  "), "{found}");
    assert!(index("response body") < index("not passed"), "{found}");
    assert!(!stdout(&output).contains('\x1b'), "colours in a pipe");
}

#[test]
fn the_json_has_the_result_and_every_step() {
    let server = Server::ok();
    let monitor = json!({ "url": server.http("/") });
    let output = explain(&monitor, &["--output", "json", "example"]);
    assert!(output.status.success(), "{}", text(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(found["monitor"], "example");
    assert_eq!(found["outcome"], "success");
    let steps = found["steps"].as_array().expect("a list of steps");
    let kinds: Vec<_> = steps.iter().map(|step| step["step"].as_str()).collect();
    for kind in [
        "address",
        "connect",
        "connected",
        "request",
        "response",
        "success",
    ] {
        assert!(kinds.contains(&Some(kind)), "{kind}: {kinds:?}");
    }
    assert!(steps.iter().all(|step| step["seconds"].is_f64()), "{found}");
    let request = steps.iter().find(|step| step["step"] == "request");
    let request = request.expect("a request");
    assert_eq!(request["phase"], "processing");
    assert_eq!(request["text"], "GET / HTTP/1.1");
}

#[test]
fn an_unknown_monitor_is_refused_with_a_suggestion() {
    let output = explain(&json!({ "url": "http://127.0.0.1:1/" }), &["exampel"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = "unknown monitor \"exampel\", did you mean \"example\"?";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn a_flooding_peer_makes_no_long_text() {
    let line = "x".repeat(98) + "\r\n";
    let server = Server::start([Step::Flood(line.repeat(1_000).into())]);
    let monitor = json!({
        "type": "tcp",
        "target": server.address.to_string(),
        "query_response": [{ "expect": "^ready$" }],
    });
    let output = explain(&monitor, &["example"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let found = stdout(&output);
    assert!(
        found.lines().count() < 700,
        "{} lines",
        found.lines().count()
    );
    assert!(found.contains("omitted"), "{found}");
    assert!(found.contains("protocol_error"), "{found}");
}

#[test]
fn once_can_print_the_steps_too() {
    let server = Server::ok();
    let config = config_file(json!({ "monitors": { "example": { "url": server.http("/") } } }));
    let once = |arguments: &[&str]| {
        let mut once = program();
        once.arg("once").arg("--config").arg(config.path());
        stdout(
            &once
                .args(arguments)
                .output()
                .expect("the program can be started"),
        )
    };
    let table = once(&["--verbose"]);
    assert!(table.contains("> GET / HTTP/1.1\n"), "{table}");
    assert!(table.contains("MONITOR"), "{table}");
    let line: Value = serde_json::from_str(&once(&["-v", "--output", "json"])).expect("JSON");
    assert!(
        line["steps"]
            .as_array()
            .is_some_and(|steps| steps.len() > 5),
        "{line}"
    );
    let line: Value = serde_json::from_str(&once(&["--output", "json"])).expect("JSON");
    assert_eq!(line.get("steps"), None, "{line}");
    let junit = once(&["-v", "--output", "junit"]);
    assert!(junit.contains("<system-out>"), "{junit}");
}

#[test]
fn the_page_and_the_json_of_a_monitor_have_the_steps_of_its_last_failure() {
    let server = Server::answering(|_| {
        response(
            "503 Busy",
            &["server: Varnish", "x-request-id: 7f3a"],
            "<b>Guru Meditation</b>",
        )
    });
    let up = Server::ok();
    let daemon = Daemon::start(json!({ "monitors": {
        "down": { "url": server.http("/?token=hunter2") },
        "up": { "url": up.http("/") },
    } }));
    daemon.until_page("both are checked", |page| page.completed() > 1.5);
    let answer = daemon.get("/api/v1/monitors/down");
    let monitor: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let evidence = &monitor["evidence"];
    assert_eq!(evidence["cause"], "cdn_error_page", "{monitor}");
    let steps = evidence["steps"].as_array().expect("a list of steps");
    let has = |kind: &str, text: &str| {
        let mut steps = steps.iter();
        steps.any(|step| step["step"] == kind && step["text"] == text)
    };
    assert!(
        has("response", "HTTP/1.1 503 Service Unavailable"),
        "{evidence}"
    );
    assert!(has("response_header", "x-request-id: 7f3a"), "{evidence}");
    assert!(
        has("response_body", r#"begins with "<b>Guru Meditation</b>""#),
        "{evidence}"
    );
    let html = String::from_utf8(daemon.get("/monitors/down").body).expect("HTML");
    assert!(html.contains("Steps of the last failure"), "{html}");
    let verdict =
        "<td>not passed</td><td class=\"bad\">! valid_status_codes: HTTP 503, expected 2xx</td>";
    assert!(html.contains(verdict), "{html}");
    assert!(
        html.contains("a content delivery network answers"),
        "{html}"
    );
    assert!(!html.contains("<b>Guru"), "{html}");
    assert!(!html.contains("hunter2") && !evidence.to_string().contains("hunter2"));
    let answer = daemon.get("/api/v1/monitors/up");
    let monitor: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(monitor.get("evidence"), None);
}

#[test]
fn a_terminal_has_colours_unless_nobody_wants_them() {
    let server = Server::answering(|_| response("503 Busy", &[], "later"));
    let config = config_file(json!({ "monitors": { "example": { "url": server.http("/") } } }));
    for (variable, has_colours) in [(None, true), (Some(("NO_COLOR", "1")), false)] {
        let mut explain = program();
        explain.arg("explain").arg("--config").arg(config.path());
        explain.arg("example").env_remove("NO_COLOR").envs(variable);
        let (shown, status) = Terminal::new(100, 40).run(&mut explain, |_| false);
        assert_eq!(status.code(), Some(1), "{shown}");
        let bad = "\x1b[31m! valid_status_codes: HTTP 503, expected 2xx\x1b[0m";
        assert_eq!(shown.contains(bad), has_colours, "{shown:?}");
        assert_eq!(shown.contains("\x1b["), has_colours, "{shown:?}");
        assert!(
            shown.contains("! valid_status_codes: HTTP 503"),
            "{shown:?}"
        );
    }
}
