//! Every query of the dashboards against a real Prometheus that scrapes a real daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::rr::RecordType;
use monitoringdaemon::metrics::FAMILIES;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use url::form_urlencoded;

use crate::{
    dns_answers::{monitor, soa},
    support::{
        client::get_in_one_piece,
        daemon::Daemon,
        eventually_within,
        nameserver::{Act, NameServer},
        pki::{AUTHORITY, IDENTITY},
        process::{helper, listening_port, text},
        server::{Closed, Server, Step, ok, response},
    },
};

/// Time that Prometheus may take to have data for every query.
const PATIENCE: Duration = Duration::from_mins(1);

const SCRAPE_INTERVAL: u64 = 1;

/// The time range of the dashboard, in seconds.
const RANGE: u64 = 900;

/// Has all that a dashboard can show, and characters that mean something in a regular expression.
const CHANGING: &str = "it's changing (https) 1.0+";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Prometheus with a folder of its own; dropped, it is killed.
pub struct Prometheus {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    pub fn start(program: &str, config: &str) -> Self {
        Self::start_with(program, config, &[])
    }

    /// One that stores native histograms.
    pub fn with_native_histograms(program: &str, config: &str) -> Self {
        Self::start_with(program, config, &["--enable-feature=native-histograms"])
    }

    fn start_with(program: &str, config: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("room for a temporary file");
        let mut process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=error"])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("it has just been found");
        let port = eventually_within(PATIENCE, "Prometheus listens", || {
            let ended = process.try_wait().expect("a child of this process");
            assert_eq!(ended, None, "Prometheus ends by itself");
            listening_port(process.id())
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let prometheus = Self {
            process,
            address,
            _folder: folder,
        };
        eventually_within(PATIENCE, "Prometheus is ready", || {
            (get_in_one_piece(address, "/-/ready").status == 200).then_some(())
        });
        prometheus
    }

    /// The data that the API answers.
    #[track_caller]
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let parameters = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let answer = get_in_one_piece(self.address, &format!("/api/v1/{path}?{parameters}"));
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(answer["status"], "success", "{parameters}: {answer}");
        answer["data"].clone()
    }

    /// Returns whether a query has a value at all.
    #[track_caller]
    fn has_data(&self, query: &Query) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        // Subqueries are evaluated at multiples of a minute: at the next one they see everything so far.
        let end = now.next_multiple_of(60);
        let data = if query.is_instant {
            let parameters = [("query", &*query.expression), ("time", &end.to_string())];
            self.ask("query", &parameters)
        } else {
            // The last step has to be `end`. Counted from the start of the range, steps of two minutes would
            // end a minute before it, and see nothing of the first minute of a daemon.
            let start = end - RANGE / query.step * query.step;
            let parameters = [
                ("query", &*query.expression),
                ("start", &start.to_string()),
                ("end", &end.to_string()),
                ("step", &query.step.to_string()),
            ];
            self.ask("query_range", &parameters)
        };
        let series = data["result"].as_array().expect("series");
        if series
            .iter()
            .any(|series| !series["histogram"].is_null() || !series["histograms"].is_null())
        {
            return true;
        }
        let values = series.iter().flat_map(|series| {
            let many = series["values"].as_array().map(Vec::as_slice);
            many.unwrap_or(std::slice::from_ref(&series["value"]))
        });
        let mut numbers = values.map(|value| {
            let number = value[1].as_str().expect("a number in a text");
            number.parse::<f64>().expect("a number in a text")
        });
        numbers.any(f64::is_finite)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail for one that has ended only.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A query as Grafana sends it.
#[derive(Debug)]
struct Query {
    panel: String,
    expression: String,
    is_instant: bool,
    /// In seconds.
    step: u64,
    /// True if every kind of monitor has data for it.
    is_general: bool,
}

/// The values of the variables.
#[derive(Clone, Copy)]
struct Choice<'a> {
    monitors: &'a str,
    label: &'a str,
    value: &'a str,
    /// The monitor of the dashboard that has one.
    monitor: &'a str,
}

/// The queries of panels, and of the panels in their rows.
fn queries(panels: &Value, is_general: bool, choice: Choice<'_>) -> Vec<Query> {
    let mut found = Vec::new();
    for panel in panels.as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let step = match panel["interval"].as_str() {
                None => 0,
                Some("1m") => 60,
                Some("2m") => 120,
                Some(other) => panic!("a minimum step of {other} is not known here"),
            };
            let points = panel["maxDataPoints"].as_u64().unwrap_or(1000);
            let step = step.max(SCRAPE_INTERVAL).max(RANGE.div_ceil(points));
            let expression = target["expr"].as_str().expect("an expression");
            found.push(Query {
                panel: panel["title"].as_str().expect("a title").to_owned(),
                expression: interpolated(expression, step, choice),
                is_instant: target["instant"] == json!(true),
                step,
                is_general,
            });
        }
        // What some types alone have is in rows that are closed.
        let is_general = is_general && panel["collapsed"] != json!(true);
        found.extend(queries(&panel["panels"], is_general, choice));
    }
    found
}

/// Those of the annotations that come from Prometheus.
fn annotations(dashboard: &Value, choice: Choice<'_>) -> Vec<Query> {
    let all = dashboard["annotations"]["list"].as_array().expect("a list");
    let from_prometheus = all.iter().filter(|annotation| annotation["builtIn"] != 1);
    let query = |annotation: &Value| Query {
        panel: annotation["name"].as_str().expect("a name").to_owned(),
        expression: interpolated(
            annotation["target"]["expr"].as_str().expect("a query"),
            SCRAPE_INTERVAL,
            choice,
        ),
        is_instant: false,
        step: SCRAPE_INTERVAL,
        is_general: true,
    };
    from_prometheus.map(query).collect()
}

/// An expression with its variables replaced as by Grafana.
#[track_caller]
fn interpolated(expression: &str, step: u64, choice: Choice<'_>) -> String {
    let rate_interval = (step + SCRAPE_INTERVAL).max(4 * SCRAPE_INTERVAL);
    // The longest name first: one may begin as another is called.
    let result = expression
        .replace("$__rate_interval", &format!("{rate_interval}s"))
        .replace("$__interval", &format!("{step}s"))
        .replace("$__range", &format!("{RANGE}s"))
        .replace("${monitor:doublequote}", &format!("\"{}\"", choice.monitor))
        .replace("$monitor", choice.monitors)
        .replace("$type", ".+")
        .replace("$label", choice.label)
        .replace("$value", choice.value)
        .replace("$instance", ".+");
    assert!(!result.contains('$'), "an unknown variable in {result}");
    result
}

/// A chosen value, as Grafana puts it into a regular expression within a text.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        if "^$*{}[]+?.()|".contains(c) {
            escaped.push_str(r"\\");
        }
        escaped.push(c);
    }
    escaped
}

fn dashboards() -> Vec<Value> {
    let files = fs::read_dir(repository("grafana/dashboards")).expect("it is in the repository");
    let read = |path: PathBuf| fs::read(path).expect("it has just been found");
    let dashboards = files.map(|file| read(file.expect("it has just been found").path()));
    let dashboards: Vec<Value> = dashboards
        .map(|text| serde_json::from_slice(&text).expect("JSON"))
        .collect();
    assert!(!dashboards.is_empty());
    dashboards
}

/// The configuration of the compose stack, for a daemon that runs here.
fn config(daemon: &Daemon, nobody: &Closed) -> String {
    let path = repository("prometheus.yml");
    let mut config = fs::read_to_string(path).expect("it is in the repository");
    for (theirs, ours) in [
        ("monitor:9115", daemon.address.to_string()),
        ("localhost:9090", nobody.address.to_string()),
        (
            "scrape_interval: 5s",
            format!("scrape_interval: {SCRAPE_INTERVAL}s"),
        ),
    ] {
        assert!(config.contains(theirs), "no {theirs} in {config}");
        config = config.replace(theirs, &ours);
    }
    config
}

#[test]
fn every_query_has_data() {
    if let Some(program) = helper("prometheus") {
        check_queries("full", &[], |config| Prometheus::start(program, config));
    }
}

#[test]
fn every_query_has_data_in_the_compact_profile() {
    // Slots that were not skipped have no series, and the lifetime of a certificate only before it ends.
    const WITHOUT_DATA: [&str; 2] = [
        "Slots skipped by reason",
        "monitor_tls_certificate_not_before_timestamp_seconds",
    ];
    if let Some(program) = helper("prometheus") {
        check_queries("compact", &WITHOUT_DATA, |config| {
            Prometheus::with_native_histograms(program, config)
        });
    }
}

/// Holds that every query has data, apart from those of some panels or metrics.
#[track_caller]
fn check_queries(profile: &str, without: &[&str], start: impl FnOnce(&str) -> Prometheus) {
    let asked = AtomicUsize::new(0);
    let changing = Server::start([
        IDENTITY.tls(),
        // Twice each: a failure counts once a reference monitor has been checked after it.
        Step::answer(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 4 {
            0 | 1 => ok("hello"),
            _ => response("500 Error", &[], "no"),
        }),
    ]);
    let (good, closed) = (Server::ok(), Closed::new());
    let authorities = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(authorities.path(), AUTHORITY.pem()).expect("room for a temporary file");
    let monitors = json!({
        CHANGING: { "url": changing.https("/"), "check_every": 1, "labels": { "team": "a.b" } },
        "good": { "url": good.http("/"), "check_every": 1 },
        "closed": { "url": format!("http://{}/", closed.address), "check_every": 1 },
    });
    let settings = json!({
        "monitors": monitors,
        "metrics": { "profile": profile },
        "self_check": { "monitors": ["good", "closed"] },
    });
    let daemon = Daemon::start_as(settings, |command| {
        command.env("SSL_CERT_FILE", authorities.path());
    });
    let prometheus = start(&config(&daemon, &closed));

    let names = eventually_within(PATIENCE, "all monitors are known", || {
        let names = prometheus.ask("label/monitor/values", &[("match[]", "monitor_info")]);
        (names.as_array().map(Vec::len) == Some(3)).then_some(names)
    });
    assert_eq!(names, json!(["closed", "good", CHANGING]));

    let all = Choice {
        monitors: ".+",
        label: "monitor",
        value: ".*",
        monitor: CHANGING,
    };
    let one = Choice {
        monitors: &escaped(CHANGING),
        label: "team",
        value: &escaped("a.b"),
        monitor: CHANGING,
    };
    let mut without_data = BTreeMap::new();
    for dashboard in dashboards() {
        for choice in [all, one] {
            let mut asked = queries(&dashboard["panels"], true, choice);
            asked.extend(annotations(&dashboard, choice));
            for query in asked {
                without_data.insert((query.expression.clone(), query.step), query);
            }
        }
    }
    assert!(without_data.len() > 100, "{}", without_data.len());
    let is_without = |query: &Query| {
        let is_its = |of: &&str| query.panel == *of || query.expression.contains(of);
        without.iter().any(is_its)
    };
    without_data.retain(|_, query| !is_without(query));
    let began = Instant::now();
    while !without_data.is_empty() {
        without_data.retain(|_, query| !prometheus.has_data(query) && query.is_general);
        let missing = without_data.values();
        let missing = missing.map(|query| (&query.panel, &query.expression));
        assert!(
            began.elapsed() < PATIENCE,
            "no data: {:#?}",
            missing.collect::<Vec<_>>()
        );
    }
}

#[test]
fn panels_on_dns_have_data_in_the_compact_profile() {
    let Some(program) = helper("prometheus") else {
        return;
    };
    let server = NameServer::start(|asked| {
        let answer = match asked.message.queries[0].query_type() {
            RecordType::SOA => asked.response(|message| {
                message.add_answer(soa());
            }),
            _ => asked.good(),
        };
        vec![Act::Send(answer)]
    });
    let monitors = json!({
        "address": monitor(&server, json!({ "check_every": 1 })),
        "zone": monitor(&server, json!({ "check_every": 1, "query_type": "SOA" })),
    });
    let settings = json!({ "monitors": monitors, "metrics": { "profile": "compact" } });
    let daemon = Daemon::start(settings);
    let config = config(&daemon, &Closed::new());
    let prometheus = Prometheus::with_native_histograms(program, &config);
    for name in ["address", "zone"] {
        let choice = Choice {
            monitors: name,
            label: "monitor",
            value: ".*",
            monitor: name,
        };
        let dashboards = dashboards();
        let rows = dashboards.iter().flat_map(|dashboard| {
            let panels = dashboard["panels"].as_array().expect("panels").iter();
            panels.filter(|panel| panel["title"] == "DNS")
        });
        let mut panels = BTreeMap::<_, Vec<_>>::new();
        for query in rows.flat_map(|row| queries(&row["panels"], true, choice)) {
            panels.entry(query.panel.clone()).or_default().push(query);
        }
        if name == "address" {
            panels.remove("Serial number of the zone");
        }
        assert!(panels.len() >= 3, "{panels:#?}");
        for (panel, queries) in panels {
            eventually_within(PATIENCE, &format!("{panel} of {name} has data"), || {
                let has_data = queries.iter().any(|query| prometheus.has_data(query));
                has_data.then_some(())
            });
        }
    }
}

#[test]
fn the_dashboards_are_as_they_are_generated() {
    let Some(python) = helper("python3") else {
        return;
    };
    let output = Command::new(python)
        .arg("-B")
        .arg(repository("grafana/generate.py"))
        .arg("--check")
        .output()
        .expect("it has just been found");
    assert!(output.status.success(), "{}", text(&output));
}

/// The texts below `value` under `key`.
fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get(key).and_then(Value::as_str);
            let below = fields.values().flat_map(|value| texts(value, key));
            own.into_iter().chain(below).collect()
        }
        Value::Array(values) => values.iter().flat_map(|value| texts(value, key)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn links_between_dashboards_are_valid() {
    let dashboards = dashboards();
    let uids: Vec<_> = dashboards
        .iter()
        .map(|dashboard| dashboard["uid"].as_str().expect("a uid"))
        .collect();
    let links: Vec<_> = dashboards
        .iter()
        .flat_map(|dashboard| texts(dashboard, "url"))
        .collect();
    for link in &links {
        let uid = link
            .strip_prefix("/d/")
            .and_then(|rest| rest.split('?').next());
        assert!(uid.is_some_and(|uid| uids.contains(&uid)), "{link}");
    }
    for uid in uids {
        assert!(
            links
                .iter()
                .any(|link| link.starts_with(&format!("/d/{uid}?"))),
            "{uid}"
        );
    }
}

#[test]
fn the_home_dashboard_of_the_compose_stack_exists() {
    let compose = fs::read_to_string(repository("docker-compose.yml"));
    let compose = compose.expect("it is in the repository");
    let home = compose.lines().find_map(|line| {
        line.trim()
            .strip_prefix("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: ")
    });
    let home = home.expect("a dashboard to begin with").trim_matches('"');
    let file = home.strip_prefix("/etc/").expect("where they are mounted");
    assert!(
        repository("grafana")
            .join(file.trim_start_matches("grafana/"))
            .exists(),
        "{home}"
    );
}

#[test]
fn no_query_of_a_table_is_called_as_a_label_is() {
    // The column of its values would be taken for that of the label.
    let labels: BTreeSet<_> = FAMILIES
        .iter()
        .flat_map(|family| family.labels)
        .copied()
        .chain(["instance", "job"])
        .collect();
    for dashboard in dashboards() {
        let panels = dashboard["panels"].as_array().expect("panels");
        for panel in panels.iter().filter(|panel| panel["type"] == "table") {
            for name in texts(&panel["targets"], "refId") {
                assert!(!labels.contains(name), "{name} in {}", panel["title"]);
            }
        }
    }
}

#[test]
fn ids_and_positions_of_panels_are_unique() {
    for dashboard in dashboards() {
        let mut panels: Vec<&Value> = dashboard["panels"]
            .as_array()
            .expect("panels")
            .iter()
            .collect();
        let outer = panels.len();
        for row in panels.clone() {
            panels.extend(row["panels"].as_array().into_iter().flatten());
        }
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{}", dashboard["title"]);
        let mut taken = BTreeSet::new();
        for panel in &panels[..outer] {
            let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
            assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn the_configuration_of_prometheus_is_valid() {
    let Some(promtool) = helper("promtool") else {
        return;
    };
    let output = Command::new(promtool)
        .args(["check", "config"])
        .arg(repository("prometheus.yml"))
        .output()
        .expect("it has just been found");
    assert!(output.status.success(), "{}", text(&output));
}
