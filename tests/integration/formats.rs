//! The formats of `/metrics`, in the hands of programs that read them.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    dashboard::Prometheus,
    support::{
        client::{Answer, ask},
        daemon::Daemon,
        eventually,
        process::{helper, skip, text},
        server::{Closed, Server, Step, ok},
    },
};

/// Names that a page has to escape.
const HOSTILE: &str = "it's \"quoted\", \\ and 日本 }";

/// The delay of the server that is slow.
const DELAY: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

fn metrics(daemon: &Daemon, accept: &str) -> Answer {
    ask(
        daemon.address,
        "GET",
        "/metrics",
        &format!("accept: {accept}\r\n"),
    )
}

/// A daemon that has checked a target that is well and one that is not.
fn checked_daemon(metrics: &Value) -> (Daemon, Server, Closed) {
    let (good, closed) = (Server::ok(), Closed::new());
    let daemon = Daemon::start(json!({ "metrics": metrics, "monitors": {
        HOSTILE: { "url": good.http("/"), "labels": { "team": HOSTILE } },
        "closed": { "url": format!("http://{}/", closed.address) },
    } }));
    daemon.until_page("both are checked", |page| page.completed() > 1.5);
    (daemon, good, closed)
}

/// The number of samples that the parser of client_python finds on a page of OpenMetrics; `None` if it is not installed.
#[track_caller]
fn strictly_parsed(page: &str) -> Option<usize> {
    const COUNT: &str = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        page = sys.stdin.buffer.read().decode()\n\
        print(sum(len(family.samples) for family in parse(page)))";
    let python = helper("python3")?;
    // Where CI installs it.
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci-tools");
    let run = |script: &str| {
        let mut command = Command::new(python);
        command.env("PYTHONPATH", &tools).args(["-B", "-c", script]);
        command
    };
    let is_installed = run("import prometheus_client").output();
    if !is_installed
        .expect("it has just been found")
        .status
        .success()
    {
        skip("OpenMetrics is not parsed: Python has no prometheus_client");
        return None;
    }
    let mut python = run(COUNT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it has just been found");
    let mut stdin = python.stdin.take().expect("it was asked for");
    stdin.write_all(page.as_bytes()).expect("it reads the page");
    drop(stdin);
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}{page}", text(&output));
    text(&output).trim().parse().ok()
}

/// The number of lines with samples.
fn samples(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn the_strict_parser_of_client_python_reads_openmetrics() {
    for settings in [
        json!({}),
        json!({ "created_samples": true, "native_histograms": {} }),
        json!({ "profile": "compact", "created_samples": true }),
    ] {
        let (daemon, ..) = checked_daemon(&settings);
        let answer = metrics(&daemon, OPEN_METRICS);
        let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(answer.header("content-type"), Some(format));
        let page = answer.text();
        if let Some(parsed) = strictly_parsed(&page) {
            assert_eq!(parsed, samples(&page), "{page}");
        }
        let has_created = settings["created_samples"] == true;
        assert_eq!(page.contains("_created{"), has_created, "{page}");
    }
    // It has exemplars, and metrics of every type.
    let golden = "tests/golden/metrics.openmetrics.txt";
    let golden = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(golden));
    let golden = golden.expect("it is in the repository");
    assert!(golden.contains("# {trace_id="));
    if let Some(parsed) = strictly_parsed(&golden) {
        assert_eq!(parsed, samples(&golden));
    }
}

#[test]
fn promtool_finds_nothing_wrong_with_the_compact_profile() {
    let (daemon, ..) = checked_daemon(&json!({ "profile": "compact" }));
    daemon.page().assert_promtool_is_content();
}

#[test]
fn every_format_is_compressed_if_that_is_accepted() {
    let (daemon, ..) = checked_daemon(&json!({ "profile": "compact" }));
    for (accept, begins) in [
        (OPEN_METRICS, "application/openmetrics-text; version=1.0.0"),
        (
            PROTOBUF,
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
        ),
        ("x/y;;=,\"", "text/plain; version=0.0.4"),
    ] {
        let plain = metrics(&daemon, accept);
        let zipped = metrics(&daemon, &format!("{accept}\r\naccept-encoding: gzip"));
        for answer in [&plain, &zipped] {
            assert_eq!(answer.status, 200);
            let kind = answer.header("content-type").expect("it has one");
            assert!(kind.starts_with(begins), "{kind}");
        }
        assert_eq!(zipped.header("content-encoding"), Some("gzip"));
        assert!(zipped.body.len() < plain.body.len() / 2);
    }
}

#[test]
fn prometheus_stores_native_histograms() {
    let Some(program) = helper("prometheus") else {
        return;
    };
    let slow = Server::start([Step::Wait(DELAY), Step::answer(|_| ok("hello"))]);
    for classic in [true, false] {
        let daemon = Daemon::start(json!({
            "metrics": { "native_histograms": { "factor": 1.1 }, "classic_histograms": classic },
            "monitors": { "slow": { "url": slow.http("/"), "check_every": 1 } },
        }));
        let config = json!({
            "global": { "scrape_interval": "1s" },
            "scrape_configs": [{
                "job_name": "monitoringdaemon",
                "static_configs": [{ "targets": [daemon.address.to_string()] }],
            }],
        });
        let prometheus = Prometheus::with_native_histograms(program, &config.to_string());
        let value = |query: &str| -> Option<f64> {
            let data = prometheus.ask("query", &[("query", query)]);
            data["result"][0]["value"][1].as_str()?.parse().ok()
        };
        let histogram = r#"monitor_check_duration_seconds{outcome="success"}"#;
        eventually("some checks are stored", || {
            value(&format!("histogram_count({histogram}) > 4"))
        });
        // Both are of one scrape, and the check in between may have ended.
        let missing = value(&format!(
            "abs(histogram_count({histogram}) - on (monitor) monitor_checks_total{{outcome=\"success\"}})"
        ));
        assert!(missing.is_some_and(|missing| missing < 1.5), "{missing:?}");
        let mean = value(&format!(
            "histogram_sum({histogram}) / histogram_count({histogram})"
        ));
        let mean = mean.expect("it was just there");
        let delay = DELAY.as_secs_f64();
        assert!(mean >= delay, "{mean}");
        let quantile = |q: f64| {
            let quantile = value(&format!("histogram_quantile({q}, {histogram})"));
            quantile.expect("it was just there")
        };
        // Within one bucket, whose bounds differ by less than a tenth.
        let (least, median, most) = (quantile(0.0), quantile(0.5), quantile(1.0));
        assert!(least > delay / 1.1 && least <= median && median <= most);
        assert!(least <= mean && mean <= most * 1.1, "{least} {mean} {most}");
        let faster = value(&format!("histogram_fraction(-Inf, 0.08, {histogram})"));
        assert_eq!(faster, Some(0.0));
        let daemons = value("histogram_count(monitoringdaemon_check_start_lag_seconds)");
        assert!(daemons.is_some_and(|count| count > 4.5), "{daemons:?}");
    }
}
