//! `plan`: what a configuration asks of the machine, held against a daemon that runs it.

use std::{
    fs::{self, OpenOptions},
    process::{Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use regex::Regex;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::support::{
    daemon::{Daemon, config_file},
    page::Page,
    pki::{AUTHORITY, IDENTITY},
    process::{program, text},
    server::{Server, Step, ok, response},
};

/// Runs `plan` with a configuration.
fn plan(config: &Value) -> Output {
    let config = config_file(config);
    program()
        .args(["plan", "--config"])
        .arg(config.path())
        .output()
        .expect("the program can be started")
}

/// The whole plan, of a configuration that has one.
#[track_caller]
fn planned(config: &Value) -> String {
    let output = plan(config);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(output.stderr.is_empty(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("a plan is UTF-8")
}

/// The cells of the row that begins with `what`.
#[track_caller]
fn row<'p>(plan: &'p str, what: &str) -> Vec<&'p str> {
    let mut rows = plan.lines().filter_map(|line| {
        let cells = line.trim().strip_prefix(what)?;
        cells.starts_with("  ").then(|| cells.trim())
    });
    let row = rows.next();
    let row = row.unwrap_or_else(|| panic!("no row {what:?} in {plan}"));
    row.split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}

#[track_caller]
fn number(cell: &str) -> usize {
    cell.parse().unwrap_or_else(|_| panic!("{cell:?}"))
}

/// The lines under the heading `warnings`.
fn warnings(plan: &str) -> Vec<&str> {
    let (_, warnings) = plan.split_once("\nwarnings\n").unwrap_or_default();
    warnings.lines().collect()
}

/// Sample lines with a label `monitor`, and those without.
fn samples(page: &Page) -> (usize, usize) {
    let samples = page.text.lines().filter(|line| !line.starts_with('#'));
    let (monitors, daemon): (Vec<_>, Vec<_>) =
        samples.partition(|line| line.contains("{monitor=\"") || line.contains(",monitor=\""));
    (monitors.len(), daemon.len())
}

/// Bytes, as a plan has them.
#[track_caller]
fn bytes(cell: &str) -> f64 {
    let (size, unit) = cell.split_once(' ').expect("a size with its unit");
    let unit = match unit {
        "KB" => 1e3,
        "MB" => 1e6,
        other => panic!("{other:?}"),
    };
    size.parse::<f64>().expect("a number") * unit
}

/// Holds the plan of `config` against the page of a daemon where all is well.
#[track_caller]
fn check_all_well(config: &Value) {
    let authorities = NamedTempFile::new().expect("a temporary file");
    fs::write(authorities.path(), AUTHORITY.pem()).expect("room for a temporary file");
    let daemon = Daemon::start_as(config.clone(), |command| {
        command.env("SSL_CERT_FILE", authorities.path());
    });
    let monitors = config["monitors"].as_object().map_or(0, Map::len);
    let page = daemon.until_page("all are up", |page| {
        page.values("monitor_up", &[]).len() == monitors
    });
    let down = page.sum("monitor_checks_total", &[("outcome", "failure")]);
    assert!(down < 0.5, "{}", page.text);

    let plan = planned(config);
    let (mut of_monitors, mut of_daemon) = samples(&page);
    if config["metrics"]["profile"] == "compact" {
        // In the text format, each of the native histograms has two lines more.
        let sums = page.text.lines().filter(|line| line.contains("_bucket{"));
        let (monitors, daemon): (Vec<_>, Vec<_>) = sums.partition(|line| line.contains("monitor="));
        of_monitors -= 2 * monitors.len();
        of_daemon -= 2 * daemon.len();
    }
    let planned = |what| number(row(&plan, what)[0]);
    assert_eq!(planned("series of monitors"), of_monitors, "{plan}");
    assert_eq!(planned("series of the daemon"), of_daemon, "{plan}");
    let scrape = bytes(row(&plan, "scrape size")[0]);
    #[expect(clippy::cast_precision_loss, reason = "a page is small")]
    let ratio = scrape / page.text.len() as f64;
    assert!((0.85..1.15).contains(&ratio), "{ratio} of {}", page.text);
    let files = page.value("process_open_fds", &[]);
    #[expect(clippy::cast_precision_loss, reason = "few files are open")]
    let allowed = planned("open files (peak)") as f64;
    assert!(files <= allowed, "{files} of {allowed}");
}

#[test]
fn bodies_are_counted_as_large_as_monitors_allow_them() {
    let plan_of = |keys: Value| {
        let mut monitor = json!({ "url": "http://192.0.2.1/", "body_size_limit": "100MiB" });
        let keys = keys.as_object().expect("a mapping").clone();
        monitor.as_object_mut().expect("a mapping").extend(keys);
        planned(&json!({ "monitors": { "a": monitor, "b": { "url": "http://192.0.2.1/" } } }))
    };
    let bodies = |keys| row(&plan_of(keys), "memory with the largest bodies")[1].to_owned();
    let none = plan_of(json!({}));
    assert!(!none.contains("largest bodies"), "{none}");
    // Two copies while patterns are searched for; the memory of the daemon is 11 MB.
    assert_eq!(
        bodies(json!({ "fail_if_body_matches_regexp": ["x"] })),
        "221 MB"
    );
    // 250 bytes a value on top.
    let cel =
        json!({ "fail_if_body_json_not_matches_cel": "true", "json_values_limit": 1_000_000 });
    assert_eq!(bodies(cel), "471 MB");
    // Windows of brotli, whether the body is kept or not.
    assert_eq!(bodies(json!({ "compression": "br" })), "44.7 MB");
}

#[test]
fn the_planned_series_match_a_healthy_daemon() {
    let (plain, secure) = (
        Server::ok(),
        Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]),
    );
    let named = plain.http("/").replace("127.0.0.1", "localhost");
    let mut monitors = json!({
        "plain": { "url": plain.http("/") },
        "secure": { "url": secure.https("/") },
        "named": { "url": named },
        "it's \"quoted\", \\ and 日本": { "url": plain.http("/"), "labels": { "monitors": "x" } },
        "with buckets": { "url": plain.http("/"), "duration_buckets": [0.1, 1] },
    });
    check_all_well(&json!({ "monitors": monitors.clone() }));
    let settings = json!({
        "duration_buckets": [0.01, 0.1, 1, 10],
        "response_size_buckets": [1000],
        "disabled": ["monitor_phase_seconds_total", "monitor_tls_info"],
    });
    check_all_well(&json!({ "monitors": monitors.clone(), "metrics": settings }));
    let compact = json!({ "profile": "compact" });
    check_all_well(&json!({ "monitors": monitors.clone(), "metrics": compact }));
    let monitors = monitors.as_object_mut().expect("it is one");
    monitors.retain(|name, _| name == "secure");
    check_all_well(&json!({ "monitors": monitors }));
}

#[test]
fn the_planned_series_match_a_daemon_with_failures() {
    let answers = AtomicUsize::new(0);
    let recovering = Server::answering(move |_| match answers.fetch_add(1, Ordering::Relaxed) {
        0 => response("500 Error", &[], "no"),
        _ => ok("hello"),
    });
    let config = json!({ "monitors": {
        "recovering": { "url": recovering.http("/"), "check_every": 0.2 },
    } });
    let daemon = Daemon::start(config.clone());
    let page = daemon.until_page("it is up", |page| {
        page.values("monitor_up", &[]) == [1.0]
            && page.sum("monitor_checks_total", &[("outcome", "failure")]) > 0.5
    });
    let plan = planned(&config);
    let row = row(&plan, "series of monitors");
    assert_eq!(number(row[1]), samples(&page).0, "{plan}{}", page.text);
    assert!(number(row[0]) < number(row[1]), "{plan}");
}

#[test]
fn the_tutorial_configuration_needs_little() {
    let output = program()
        .arg("plan")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let plan = text(&output);
    assert_eq!(row(&plan, "monitors"), ["2: 2 http"]);
    assert_eq!(row(&plan, "checks per second"), ["0.4"]);
    let threads = Regex::new(r"^1 on \d+ cores?$").expect("a pattern");
    let row_of_threads = row(&plan, "worker threads");
    assert!(threads.is_match(row_of_threads[0]), "{plan}");
    let average = row(&plan, "checks in flight (average)");
    assert_eq!(average, ["0.04", "2"]);
    let peak = row(&plan, "checks in flight (peak)");
    assert_eq!(peak, ["2", "2", "1000"]);
    assert_eq!(row(&plan, "example.com"), ["1", "0.2", "1"]);
    assert_eq!(row(&plan, "httpbin.org"), ["1", "0.2", "1"]);
    assert!(!plan.contains("warnings"), "{plan}");
}

#[test]
fn a_configuration_without_monitors_has_a_plan() {
    let plan = planned(&json!({}));
    assert_eq!(row(&plan, "monitors"), ["0"]);
    assert_eq!(row(&plan, "checks per second"), ["0"]);
    let peak = row(&plan, "checks in flight (peak)");
    assert_eq!(peak, ["0", "0", "1000"]);
    assert_eq!(row(&plan, "series of monitors"), ["0", "0"]);
    assert!(
        !plan.contains("HOST") && !plan.contains("warnings"),
        "{plan}"
    );
}

#[test]
fn an_invalid_configuration_has_no_plan() {
    let output = plan(&json!({ "monitors": { "a": { "url": "nowhere" } } }));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(output.stdout.is_empty(), "{}", text(&output));
    assert!(text(&output).contains(": monitors.a.url: "));
}

#[test]
fn exceeded_limits_are_warned_of() {
    let monitors = (0..2000).map(|number| {
        let url = format!("https://127.0.0.{}/{number}", number % 20);
        (number.to_string(), json!({ "url": url, "check_every": 1 }))
    });
    let config = json!({ "monitors": monitors.collect::<Map<_, _>>() });
    let plan = planned(&config);
    let peak = row(&plan, "checks in flight (peak)");
    assert_eq!(peak[1..], ["2000", "1000"], "{plan}");
    assert_eq!(row(&plan, "127.0.0.10"), ["100", "100", "100"]);
    assert!(plan.contains("\n and 10 more\n"), "{plan}");
    let warnings = warnings(&plan);
    for expected in [
        "- if all checks time out, 2000 checks are in flight at once, and the limit is 900 for targets \
             that time out: 1100 slots per second would be skipped (saturated or overrun); \
         raise dispatcher.max_concurrent_checks to 2222",
        "- 127.0.0.0 (and 19 more hosts) gets 100 requests per second, more than 10: ",
    ] {
        assert!(
            warnings.iter().any(|warning| warning.starts_with(expected)),
            "{expected:?} is missing in {plan}"
        );
    }
}

#[test]
fn the_limit_of_open_files_is_the_hard_one() {
    let config = config_file(json!({}));
    let limited = |limits: &str| {
        let script = format!("{limits} && exec \"$0\" plan --config \"$1\"");
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .arg(program().get_program())
            .arg(config.path())
            .output()
            .expect("there is a shell");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    let plan = limited("ulimit -Sn 64 && ulimit -Hn 128");
    assert_eq!(row(&plan, "open files (peak)")[2], "128");
    let [warning] = warnings(&plan)[..] else {
        panic!("{plan}");
    };
    assert!(
        warning.contains("and the system allows 128: "),
        "{warning:?}"
    );
    let plan = limited("ulimit -Sn 64 && ulimit -Hn 512");
    assert_eq!(row(&plan, "open files (peak)")[2], "512");
    assert_eq!(warnings(&plan), [""; 0]);
}

#[test]
fn a_plan_that_cannot_be_printed_is_a_failure() {
    let config = config_file(json!({}));
    let full = OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("the device exists");
    let output = program()
        .args(["plan", "--config"])
        .arg(config.path())
        .stdout(Stdio::from(full))
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).starts_with("monitoringdaemon: failed to print the plan: "));
}

#[test]
fn a_plan_is_json_for_programs() {
    let config = config_file(json!({
        "dispatcher": { "max_concurrent_checks": 5 },
        "monitors": {
            "one": { "url": "http://192.0.2.1/", "check_every": 5 },
            "two": { "type": "tcp", "target": "192.0.2.1:25", "check_every": 5 },
        },
    }));
    let output = program()
        .args(["plan", "--output", "json", "--config"])
        .arg(config.path())
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["monitors"], json!({ "http": 1, "tcp": 1 }));
    assert_eq!(plan["checks_per_second"], 0.4);
    assert_eq!(plan["limits"]["checks_in_flight"], 5);
    assert_eq!(plan["hosts"][0]["host"], "192.0.2.1");
    assert_eq!(plan["hosts"][0]["monitors"], 2);
    assert!(
        plan["worst_case"]["memory_peak_bytes"].as_u64()
            > plan["healthy"]["memory_peak_bytes"].as_u64(),
        "{plan}"
    );
    for warning in plan["warnings"].as_array().expect("a list") {
        assert!(
            warning["kind"].is_string() && warning["message"].is_string(),
            "{plan}"
        );
    }
}
