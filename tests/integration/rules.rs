//! The rules that are shipped and those that are printed, in the hands of Prometheus' own tools.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use monitoringdaemon::metrics::FAMILIES;
use regex::{Captures, Regex};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    dashboard::Prometheus,
    support::{
        daemon::{Daemon, config_file},
        eventually,
        pki::AUTHORITY,
        process::{helper, program, text},
        server::{Closed, Server, Step, ok},
    },
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).expect("it is in the repository")
}

/// The files of a folder of the repository.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository(folder)).expect("it is in the repository");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The output of `rules` for a configuration.
#[track_caller]
fn printed(config: &Path) -> String {
    let output = program()
        .args(["rules", "--config"])
        .arg(config)
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(output.stderr.is_empty(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("rules are UTF-8")
}

fn run(program: &str, arguments: &[&str], file: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .arg(file)
        .output()
        .expect("it has just been found")
}

/// Runs `promtool check rules` on a file.
#[track_caller]
fn check_rules(rules: &Path) -> String {
    let output = run("promtool", &["check", "rules"], rules);
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// The head of the rules for the Prometheus Operator.
const PROMETHEUS_RULE: &str = r"# For clusters with the Prometheus Operator: kubectl apply -f deploy/kubernetes/prometheus-rule.yml
# A copy of prometheus/rules/monitoringdaemon.yml: UPDATE_EXPECT=1 cargo test prometheus_operator
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: monitoringdaemon
  labels:
    app.kubernetes.io/name: monitoringdaemon
spec:
  groups:
";

#[test]
fn the_prometheus_operator_gets_the_same_rules() {
    let rules = read("prometheus/rules/monitoringdaemon.yml");
    let (_, groups) = rules.split_once("\ngroups:\n").expect("it has groups");
    let mut expected = String::from(PROMETHEUS_RULE);
    for line in groups.lines() {
        if !line.is_empty() {
            expected.push_str("  ");
        }
        expected.push_str(line);
        expected.push('\n');
    }
    let path = "deploy/kubernetes/prometheus-rule.yml";
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(repository(path), &expected).expect("it can be written");
    }
    assert_eq!(read(path), expected);
}

#[test]
fn printed_rules_are_the_golden_ones() {
    let printed = printed(&repository("tests/config/good/slo.yml"));
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(repository("tests/golden/rules.yml"), printed).expect("it can be written");
    } else {
        assert_eq!(printed, read("tests/golden/rules.yml"));
    }
}

#[test]
fn shipped_and_printed_rules_are_valid() {
    if helper("promtool").is_none() {
        return;
    }
    for file in files("prometheus/rules") {
        check_rules(&file);
    }
    for config in files("tests/config/good") {
        let rules = NamedTempFile::new().expect("a temporary file");
        fs::write(rules.path(), printed(&config)).expect("room for a temporary file");
        check_rules(rules.path());
    }
}

#[test]
fn names_with_special_characters_are_quoted_in_rules() {
    if helper("promtool").is_none() {
        return;
    }
    let names = [
        "\"", "\\", "'", "`", "a: b", "# a", "- a", "{{ . }}", "${1}", "%q", "*", "null", "~",
        "\u{2028}", "\u{2029}", "\u{feff}", "\u{fffe}", "\u{a0}", "\u{200d}", "🦀", "数", "|", ">",
        "\\u0041", " a ",
    ];
    let slo = json!({ "availability": 99.9, "latency": { "threshold": 1, "objective": 99 } });
    let monitors = names.map(|name| (name.to_owned(), json!({ "url": "http://a", "slo": slo })));
    // Some of them YAML takes as escapes alone.
    let config = json!({ "monitors": serde_json::Map::from_iter(monitors) }).to_string();
    let config: String = config
        .chars()
        .map(|c| match c {
            '\u{80}'..='\u{ffff}' => format!("\\u{:04x}", u32::from(c)),
            _ => c.to_string(),
        })
        .collect();
    let config = config_file(config);
    let rules = NamedTempFile::new().expect("a temporary file");
    let printed = printed(config.path());
    fs::write(rules.path(), &printed).expect("room for a temporary file");
    check_rules(rules.path());

    // A series of each name finds its rule.
    let code = Regex::new(r"\\u\{([0-9a-f]+)\}").expect("a regular expression");
    let series = names.iter().flat_map(|name| {
        let quoted = format!("{name:?}");
        let label = code.replace_all(&quoted, |code: &Captures<'_>| {
            format!("\\u{:0>4}", &code[1])
        });
        [
            ("monitor_check_failures_total", "reason=\"timeout\""),
            ("monitor_checks_total", "outcome=\"failure\""),
        ]
        .map(|(family, matcher)| {
            let series = format!("{family}{{monitor={label},{matcher}}}");
            json!({ "series": series, "values": "7 7" })
        })
    });
    let series: Vec<_> = series.collect();
    let test = json!({
        "rule_files": [rules.path()],
        "tests": [{
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [{
                "expr": "count(count by (monitor) (monitor_slo:bad_checks:total == 7))",
                "eval_time": "1m",
                "exp_samples": [{ "labels": "{}", "value": names.len() }],
            }],
        }],
    });
    let test = config_file(test);
    let output = run("promtool", &["test", "rules"], test.path());
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    if helper("promtool").is_none() {
        return;
    }
    for test in files("prometheus/tests") {
        let output = run("promtool", &["test", "rules"], &test);
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// The alerts of rules that are shipped or printed.
fn alerts() -> BTreeSet<String> {
    let alert = Regex::new(r"(?m)^ +- alert: (\w+)$").expect("a regular expression");
    let rules = [
        read("prometheus/rules/monitoringdaemon.yml"),
        read("src/commands/rules/burn_rates.yml"),
    ]
    .concat();
    let found: BTreeSet<_> = alert
        .captures_iter(&rules)
        .map(|found| found[1].to_owned())
        .collect();
    assert!(found.len() > 10, "{found:?}");
    found
}

#[test]
fn every_alert_is_tested_and_has_its_section_of_the_runbook() {
    let tests: String = files("prometheus/tests")
        .iter()
        .map(|file| fs::read_to_string(file).expect("it has just been found"))
        .collect();
    let runbook = read("docs/runbook.md");
    for alert in alerts() {
        let section = format!("\n## {alert}\n");
        assert!(runbook.contains(&section), "the runbook lacks {alert}");
        let fires = Regex::new(&format!(
            r"alertname: {alert}\n +eval_time: \w+\n +exp_alerts:( &\w+)?\n +- exp_labels"
        ));
        let silent = format!("{{alertname: {alert}, eval_time: ");
        assert!(
            fires.expect("a regular expression").is_match(&tests),
            "{alert} fires in no test"
        );
        assert!(tests.contains(&silent), "{alert} is silent in no test");
    }
}

#[test]
fn every_alert_links_to_its_own_section_in_the_one_runbook() {
    const BASE: &str = r#"'{{ or $externalLabels.runbook "https://github.com/monitoringdaemon/monitoringdaemon/blob/main/docs/runbook.md" }}#"#;
    for file in [
        "prometheus/rules/monitoringdaemon.yml",
        "src/commands/rules/burn_rates.yml",
    ] {
        let rules = read(file);
        for rule in rules.split("- alert: ").skip(1) {
            let alert = rule.lines().next().expect("its name");
            let link = format!("runbook_url: {BASE}{}'", alert.to_lowercase());
            assert!(rule.contains(&link), "{alert} has no {link}");
            let severities = ["severity: page", "severity: ticket"];
            assert!(severities.iter().any(|severity| rule.contains(severity)));
        }
    }
}

#[test]
fn rules_and_runbook_use_existing_metrics() {
    let rules = [
        read("prometheus/rules/monitoringdaemon.yml"),
        read("tests/golden/rules.yml"),
        read("docs/runbook.md"),
    ]
    .concat();
    let recorded = Regex::new(r"- record: (\S+)").expect("a regular expression");
    let recorded: BTreeSet<_> = recorded
        .captures_iter(&rules)
        .map(|found| found[1].to_owned())
        .collect();
    let name = Regex::new(
        r"\b(?:monitor|instance|monitor_slo):[\w:]+|\bmonitor(?:ingdaemon)?_\w+\b(?:[^:]|$)",
    )
    .expect("a regular expression");
    let mut asked = 0;
    for name in name.find_iter(&rules) {
        let name = name.as_str();
        let name = name.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
        let family = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let known = recorded.contains(name) || FAMILIES.iter().any(|f| f.name == family);
        assert!(known, "{name} is no metric");
        asked += 1;
    }
    assert!(asked > 100, "{asked}");
}

#[test]
fn the_configuration_of_alertmanager_is_valid() {
    if helper("amtool").is_none() {
        return;
    }
    let config = repository("prometheus/alertmanager.yml");
    let output = run("amtool", &["check-config"], &config);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn prometheus_loads_the_rules_and_scrapes_the_daemon() {
    if let Some(program) = helper("prometheus") {
        check_with_prometheus("full", |config| Prometheus::start(program, config));
    }
}

#[test]
fn prometheus_loads_the_rules_and_scrapes_a_daemon_with_the_compact_profile() {
    if let Some(program) = helper("prometheus") {
        check_with_prometheus("compact", |config| {
            Prometheus::with_native_histograms(program, config)
        });
    }
}

/// Holds the rules against a Prometheus that scrapes a daemon.
#[track_caller]
fn check_with_prometheus(profile: &str, start: impl FnOnce(&str) -> Prometheus) {
    let (good, closed) = (Server::ok(), Closed::new());
    let expiring = AUTHORITY.issue_until_tomorrow(&["127.0.0.1"]);
    let expiring = Server::start([expiring.tls(), Step::answer(|_| ok("hello"))]);
    let authorities = NamedTempFile::new().expect("a temporary file");
    fs::write(authorities.path(), AUTHORITY.pem()).expect("room for a temporary file");
    let slo = json!({ "availability": 99.9, "latency": { "threshold": "300ms", "objective": 99 } });
    let monitors = json!({ "metrics": { "profile": profile }, "monitors": {
        "good": { "url": good.http("/"), "check_every": 1, "slo": slo },
        "closed": { "url": format!("http://{}/", closed.address), "check_every": 1, "slo": slo },
        "expiring": { "url": expiring.https("/"), "check_every": 1 },
        // An address that this host does not have: a fault of the daemon, not of the target.
        "local": { "url": good.http("/"), "check_every": 1, "source_ip_address": "192.0.2.1", "slo": slo },
    } });
    let rules = NamedTempFile::new().expect("a temporary file");
    let config = config_file(&monitors);
    fs::write(rules.path(), printed(config.path())).expect("room for a temporary file");
    let daemon = Daemon::start_as(monitors, |command| {
        command.env("SSL_CERT_FILE", authorities.path());
    });
    // Windows of hours, at steps of minutes, would have no data for as long.
    let shipped = NamedTempFile::new().expect("a temporary file");
    let rules_text = read("prometheus/rules/monitoringdaemon.yml");
    let window = Regex::new(r"\[\d+[hd]:5m\]").expect("a regular expression");
    let short = window.replace_all(&rules_text, "[1m:1s]");
    let short = short.replace("interval: 1m", "interval: 1s");
    fs::write(shipped.path(), short).expect("room for a temporary file");
    let config = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [shipped.path(), rules.path()],
        "scrape_configs": [{
            "job_name": "monitoringdaemon",
            "static_configs": [{ "targets": [daemon.address.to_string()] }],
        }],
    });
    let prometheus = start(&config.to_string());
    let numbers = |query: &str| -> Option<Value> {
        let data = prometheus.ask("query", &[("query", query)]);
        let result = data["result"].as_array().expect("series").clone();
        (!result.is_empty()).then(|| Value::from(result))
    };
    for query in [
        r#"monitor_slo:bad_checks:total{monitor="closed",slo="availability"} > 1"#,
        r#"monitor_slo:bad_checks:total{monitor="good",slo="availability"} == 0"#,
        r#"monitor_slo:bad_checks:total{monitor="good",slo="latency"} < 5"#,
        r#"monitor_slo:allowed_bad_checks:total{monitor="good",slo="latency"} > 0"#,
        r#"monitor:latest_failures:count{monitor="closed",phase="connect",reason="connection_refused"} > 1"#,
        r#"ALERTS{alertname="MonitorDown",monitor="closed",alertstate="pending"}"#,
        r#"ALERTS{alertname="MonitoringDaemonCannotCheck",alertstate="pending"}"#,
        r#"monitor_slo:bad_checks:total{monitor="local",slo="availability"} == 0"#,
        r#"monitor_slo:allowed_bad_checks:total{monitor="local",slo="availability"} == 0"#,
        // From histograms of either kind.
        r#"0 < monitor:latency_seconds:mean1h{monitor="good"} < 1"#,
        r#"0 < monitor:latency_seconds:p95_1h{monitor="good"} < 1"#,
        r#"ALERTS{alertname="CertificateExpiresSoon",monitor="expiring",alertstate="pending"}"#,
    ] {
        eventually(query, || numbers(query));
    }
    let down = prometheus.ask("rules", &[("type", "alert")]);
    let rules = down["groups"].as_array().expect("groups").iter();
    let rules = rules.flat_map(|group| group["rules"].as_array().expect("rules").iter());
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
    }
    for silent in [r#"ALERTS{monitor="good"}"#, r#"ALERTS{monitor="local"}"#] {
        assert_eq!(numbers(silent), None);
    }
}

#[test]
fn a_rule_file_is_written_completely_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yml");
    let write = |config: &Path| {
        program()
            .args(["rules", "--config"])
            .arg(config)
            .arg("--output")
            .arg(&file)
            .output()
            .expect("the program can be started")
    };
    let good = repository("tests/config/good/slo.yml");
    let output = write(&good);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(output.stdout.is_empty(), "{}", text(&output));
    assert!(
        text(&output).contains("rules.yml written; Prometheus uses it after a reload"),
        "{}",
        text(&output)
    );
    assert_eq!(
        fs::read_to_string(&file).expect("it is there"),
        read("tests/golden/rules.yml")
    );

    // A configuration that is invalid leaves the file as it was.
    let bad = config_file(json!({ "monitors": { "one": {} } }));
    let output = write(bad.path());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(
        fs::read_to_string(&file).expect("it is there"),
        read("tests/golden/rules.yml")
    );

    let output = write(&good);
    assert!(
        text(&output).contains("rules.yml is up to date"),
        "{}",
        text(&output)
    );

    // The mode stays, a link stays a link, and the folder has no other file.
    fs::write(&file, "old").expect("room for a file");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("it is ours");
    let link = folder.path().join("link.yml");
    symlink("rules.yml", &link).expect("a link");
    let output = program()
        .args(["rules", "--config"])
        .arg(&good)
        .arg("--output")
        .arg(&link)
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(link.is_symlink());
    assert_eq!(
        fs::read_to_string(&file).expect("it is there"),
        read("tests/golden/rules.yml")
    );
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let names = fs::read_dir(folder.path()).expect("it can be listed");
    assert_eq!(names.count(), 2);

    let output = program()
        .args(["rules", "--output", "/nowhere/rules.yml", "--config"])
        .arg(&good)
        .output()
        .expect("the program can be started");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let expected =
        "monitoringdaemon: failed to write /nowhere/rules.yml: No such file or directory\n";
    assert_eq!(text(&output), expected);
}
