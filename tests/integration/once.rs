//! `once`: every monitor one time, the results on standard output and the log beside them.

use std::{
    fmt::Display,
    fs::OpenOptions,
    io::{BufRead, BufReader},
    process::{Output, Stdio},
    time::Duration,
};

use quick_junit::{Report, TestCaseStatus, XmlString};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::support::{
    SOON,
    daemon::config_file,
    process::{program, text},
    server::{Server, Step, ok, response},
    terminal::Terminal,
};

/// One that succeeds, one that fails, and one that does not answer.
struct Three {
    good: Server,
    bad: Server,
    silent: Server,
}

impl Three {
    fn start() -> Self {
        Self {
            good: Server::ok(),
            bad: Server::answering(|_| response("503 Busy", &[], "later")),
            silent: Server::start([Step::Request, Step::Hang]),
        }
    }

    fn config(&self) -> String {
        let (good, bad) = (self.good.http("/a?b"), self.bad.http("/"));
        let silent = self.silent.http("/");
        format!(
            "monitors:\n  good: {{ url: '{good}' }}\n  bad: {{ url: '{bad}' }}\n  \
             silent: {{ url: '{silent}', timeout: 300ms }}\n"
        )
    }
}

/// Runs `once` with a configuration.
fn once(config: impl Display, arguments: &[&str]) -> Output {
    let config = config_file(config);
    let mut once = program();
    once.arg("once").arg("--config").arg(config.path());
    once.args(arguments)
        .output()
        .expect("the program can be started")
}

fn results(output: &Output) -> Vec<String> {
    let text = std::str::from_utf8(&output.stdout).expect("results are UTF-8");
    text.lines().map(ToOwned::to_owned).collect()
}

#[track_caller]
fn assert_matches(pattern: &str, line: &str) {
    let regex = Regex::new(&format!("^{pattern}$")).expect("a pattern");
    assert!(regex.is_match(line), "{line:?} is not {pattern:?}");
}

#[test]
fn a_table_has_a_row_for_each_monitor_in_the_order_of_the_file() {
    let three = Three::start();
    let output = once(three.config(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let rows = results(&output);
    assert_eq!(rows.len(), 4, "{rows:#?}");
    assert_matches(
        r" *MONITOR +TYPE +OUTCOME +STATUS +BYTES +SECONDS +TARGET +ADDRESS +FAILURE *",
        &rows[0],
    );
    assert_matches(
        r" *good +http +success +200 +5 +\d\.\d{3}(\d{3})? +http://\S+/a +127\.0\.0\.1 *",
        &rows[1],
    );
    assert_matches(
        r" *bad +http +failure +503 +5 +\d\.\d{3}(\d{3})? +http://\S+/ +127\.0\.0\.1 +status_code in processing: .+",
        &rows[2],
    );
    assert_matches(
        r" *silent +http +failure +- +- +0\.3\d\d +http://\S+/ +127\.0\.0\.1 +timeout in processing: .+",
        &rows[3],
    );
}

#[test]
fn json_has_a_line_for_each_monitor() {
    const MEMBERS: [&str; 12] = [
        "monitor", "type", "target", "outcome", "status", "bytes", "seconds", "phases", "reason",
        "phase", "error", "address",
    ];
    let three = Three::start();
    let output = once(three.config(), &["--output", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let lines: Vec<Value> = results(&output)
        .iter()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    for line in &lines {
        let mut members: Vec<_> = line.as_object().expect("an object").keys().collect();
        members.sort();
        let mut expected = MEMBERS;
        expected.sort_unstable();
        assert_eq!(members, expected);
        assert_eq!(line["type"], "http");
        let seconds = line["seconds"].as_f64().expect("a number");
        let phases = line["phases"].as_object().expect("phases by name").values();
        let phases: f64 = phases.map(|phase| phase.as_f64().expect("a number")).sum();
        // Sums of floats are exact to far less than a nanosecond here.
        assert!(0.0 < phases && phases <= seconds + 1e-9, "{line}");
    }
    let of = |line: &Value| {
        let fields = [
            "monitor", "outcome", "status", "bytes", "reason", "phase", "address",
        ];
        fields.map(|field| line[field].clone())
    };
    let expected = [
        json!(["good", "success", 200, 5, null, null, "127.0.0.1"]),
        json!([
            "bad",
            "failure",
            503,
            5,
            "status_code",
            "processing",
            "127.0.0.1"
        ]),
        json!([
            "silent",
            "failure",
            null,
            null,
            "timeout",
            "processing",
            "127.0.0.1"
        ]),
    ];
    assert_eq!(
        lines.iter().map(|line| json!(of(line))).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(lines[0]["target"], json!(three.good.http("/a")));
    assert_eq!(lines[0]["error"], Value::Null);
    assert!(lines[1]["error"].is_string() && lines[2]["error"].is_string());
}

#[test]
fn junit_output_is_valid_xml_for_any_name_and_error() {
    let hostile = "]]></testcase> <!-- & \"'\u{fffe}\u{1b}";
    let name = "]]></testcase> <!-- & \"' \u{fffe} 日本";
    let good = Server::ok();
    let config = json!({ "monitors": {
        name: { "url": good.http("/"), "fail_if_body_not_matches_regexp": [hostile] },
        "good": { "url": good.http("/?<&>") },
    } });
    // What YAML takes only escaped.
    let config = config.to_string().replace('\u{fffe}', "\\ufffe");
    let output = once(config, &["--output", "junit"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let xml = std::str::from_utf8(&output.stdout).expect("results are UTF-8");
    // What XML 1.0 has no characters for, not even escaped; parsers differ in whether they mind.
    let foreign = |c: char| {
        c < ' ' && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    assert_eq!(xml.find(foreign), None, "{xml:?}");

    let report = Report::deserialize_from_str(xml).expect("well-formed JUnit");
    assert_eq!((report.tests, report.failures), (2, 1));
    let cases = &report.test_suites[0].test_cases;
    assert_eq!(cases[0].name.as_str(), name.replace('\u{fffe}', "\u{fffd}"));
    let TestCaseStatus::NonSuccess { ty, message, .. } = &cases[0].status else {
        panic!("it failed: {xml}");
    };
    assert_eq!(ty.as_ref().map(XmlString::as_str), Some("body_mismatch"));
    let message = message.as_ref().expect("it says why");
    assert!(message.contains("]]></testcase> <!-- & "), "{message:?}");
    assert_eq!(cases[1].name.as_str(), "good");
    assert!(matches!(cases[1].status, TestCaseStatus::Success { .. }));
    for case in cases {
        assert_eq!(case.classname.as_ref().map(XmlString::as_str), Some("http"));
        assert!(case.time.is_some_and(|time| time > Duration::ZERO), "{xml}");
    }
}

#[test]
fn only_the_named_monitors_are_run() {
    let three = Three::start();
    let output = once(three.config(), &["--output", "json", "good"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(results(&output).len(), 1);
    let output = once(three.config(), &["--output=json", "bad", "good", "bad"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(results(&output).len(), 2);
    assert_eq!(three.good.seen().connections, 2);
    assert_eq!(three.bad.seen().connections, 1);
    assert_eq!(three.silent.seen().connections, 0);
}

#[test]
fn an_unknown_monitor_is_a_usage_error() {
    let three = Three::start();
    let output = once(three.config(), &["good", "slient"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let expected = "monitoringdaemon: unknown monitor \"slient\", did you mean \"silent\"?\n";
    assert_eq!(text(&output), expected);
    assert_eq!(three.good.seen().connections, 0);
}

#[test]
fn no_monitors_are_a_success() {
    let output = once(json!({}), &["--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(text(&output), "");
}

#[test]
fn the_log_goes_to_standard_error_and_results_alone_to_standard_output() {
    let three = Three::start();
    for (form, arguments, succeeded, failed) in [
        ("table", &[][..], 0, 0),
        ("json", &[], 1, 2),
        ("junit", &[], 1, 2),
        ("json", &["--quiet"], 0, 2),
    ] {
        let output = once(three.config(), &[&["--output", form], arguments].concat());
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            log.matches("Check succeeded monitor=good").count(),
            succeeded,
            "{form}: {log}"
        );
        assert_eq!(
            log.matches("Check failed monitor=").count(),
            failed,
            "{form}: {log}"
        );
        let results = String::from_utf8_lossy(&output.stdout);
        assert!(!results.contains("Check "), "{results}");
    }
}

#[test]
fn a_quiet_run_prints_failures_and_their_number() {
    let three = Three::start();
    let output = once(three.config(), &["--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let rows = results(&output);
    assert_eq!(rows.len(), 4, "{rows:#?}");
    assert!(rows[1].contains(" bad ") && rows[2].contains(" silent "));
    assert_eq!(rows[3], "2 of 3 checks failed");
    let output = once(three.config(), &["-q", "good"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(text(&output), "1 check succeeded\n");
    let output = once(three.config(), &["-q", "--output", "json"]);
    let monitors = results(&output).into_iter().map(|line| {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        line["monitor"].clone()
    });
    assert_eq!(monitors.collect::<Vec<_>>(), ["bad", "silent"]);
}

#[test]
fn on_a_terminal_a_table_fits_and_the_progress_is_shown() {
    let three = Three::start();
    let config = config_file(three.config());
    let mut once = program();
    once.args(["once", "--config"]).arg(config.path());
    let (shown, status) = Terminal::new(80, 24).run(&mut once, |_| false);
    assert_eq!(status.code(), Some(1), "{shown}");
    let (progress, table) = shown.split_once("\r\x1b[K").expect("the progress goes");
    assert!(
        progress.contains("2 of 3 checks done, 1 failed"),
        "{shown:?}"
    );
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() > 4, "{table}");
    for line in lines {
        assert!(line.chars().count() <= 80, "{line:?} in {table}");
        assert_eq!(line.trim_end(), line, "{table}");
    }
}

#[test]
fn monitors_are_run_again_until_a_signal_comes() {
    let three = Three::start();
    let config = config_file(three.config());
    let watched = |arguments: &[&str]| {
        let mut once = program();
        once.args(["once", "--watch", "0.05", "--config"])
            .arg(config.path());
        once.args(arguments);
        once
    };
    let redrawn = |text: &str| text.matches("\x1b[H").count() == 3;
    let (shown, status) = Terminal::new(100, 24).run(&mut watched(&["good"]), redrawn);
    assert_eq!(status.code(), Some(0), "{shown:?}");
    assert_eq!(shown.matches("\x1b[2J").count(), 1, "{shown:?}");
    assert!(shown.matches("MONITOR").count() >= 2, "{shown:?}");
    assert!(shown.contains(", every 50ms\x1b[K"), "{shown:?}");

    for (arguments, expected) in [(&["good"][..], 0), (&["bad", "good"], 1)] {
        let mut once = watched(arguments);
        let once = once.arg("--output=json").stdout(Stdio::piped());
        let mut once = once
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let stdout = BufReader::new(once.stdout.take().expect("it was asked for"));
        let mut lines = stdout.lines().map(|line| line.expect("UTF-8"));
        for _ in 0..3 * arguments.len() {
            let line = lines.next().expect("there is no end");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            assert!(line["time"].is_string(), "{line}");
        }
        let process = Pid::from_child(&once);
        kill_process(process, Signal::TERM).expect("it runs");
        // Nobody reads any more: a full pipe must not keep it.
        drop(lines);
        let status = once.wait().expect("it ends");
        assert_eq!(status.code(), Some(expected), "{arguments:?}");
    }
    let mut once = watched(&["--output", "junit"]);
    let output = once.output().expect("the program can be started");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn paused_monitors_are_run_only_by_name() {
    let good = Server::ok();
    let url = good.http("/");
    let config = config_file(json!({ "monitors": {
        "good": { "url": url },
        "paused": { "url": url, "enabled": false },
    }}));
    let monitors = |names: &[&str]| {
        let mut once = program();
        once.args(["once", "--output", "json", "--config"])
            .arg(config.path());
        let output = once
            .args(names)
            .output()
            .expect("the program can be started");
        let stdout = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let lines = stdout.lines().map(serde_json::from_str::<Value>);
        let name = |line: Value| line["monitor"].as_str().map(str::to_owned);
        lines
            .filter_map(|line| name(line.expect("JSON")))
            .collect::<Vec<_>>()
    };
    assert_eq!(monitors(&[]), ["good"]);
    assert_eq!(monitors(&["paused"]), ["paused"]);
}

#[test]
fn results_that_cannot_be_printed_are_a_failure() {
    let good = Server::ok();
    let config = config_file(json!({ "monitors": { "good": { "url": good.http("/") } } }));
    let full = OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("the device exists");
    let output = program()
        .args(["once", "--config"])
        .arg(config.path())
        .stdout(Stdio::from(full))
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("monitoringdaemon: failed to print the results: "));
}

#[test]
fn monitors_run_at_the_same_time() {
    let slow = Server::start([
        Step::Request,
        Step::Wait(Duration::from_secs(1)),
        Step::send(ok("slow")),
    ]);
    let monitors = (0..10).map(|number| {
        let monitor = json!({ "url": slow.http("/") });
        (format!("slow {number}"), monitor)
    });
    let config = json!({ "monitors": monitors.collect::<Map<_, _>>() });
    let began = Instant::now();
    let output = once(config, &["--output", "json"]);
    let took = began.elapsed();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(results(&output).len(), 10);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn checks_of_a_host_keep_to_its_limit() {
    const CHECKS: u32 = 8;
    const EACH: Duration = Duration::from_millis(50);
    let server = Server::start([Step::Request, Step::Wait(EACH), Step::send(ok("hello"))]);
    let url = server.http("/");
    let monitors = (0..CHECKS).map(|index| (format!("monitor {index}"), json!({ "url": url })));
    let monitors = Value::Object(monitors.collect());
    let config = json!({
        "dispatcher": { "max_concurrent_checks_per_host": 1 },
        "monitors": monitors,
    });
    let began = Instant::now();
    let output = once(config, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(began.elapsed() >= CHECKS * EACH, "one after the other");
}
