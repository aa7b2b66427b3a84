//! Every query of the dashboards against a real Prometheus that scrapes a real daemon.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use url::form_urlencoded;

use crate::support::{
    client::get_in_one_piece,
    daemon::Daemon,
    eventually_within,
    pki::{AUTHORITY, IDENTITY},
    process::{helper, listening_port, text},
    server::{Closed, Server, Step, ok, response},
};

/// How long Prometheus may take to have something for every query.
const PATIENCE: Duration = Duration::from_mins(1);

const SCRAPE_INTERVAL: u64 = 1;

/// What the dashboard looks back on, in seconds.
const RANGE: u64 = 900;

/// Has all that a dashboard can show, and characters that mean something in a regular expression.
const CHANGING: &str = "changing (https) 1.0+";

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

    /// Whether a query has a value at all.
    #[track_caller]
    fn has_data(&self, query: &Query) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        // Steps and subqueries lie on multiples of a minute: the next one has everything so far.
        let end = now.next_multiple_of(60);
        let data = if query.is_instant {
            let parameters = [("query", &*query.expression), ("time", &end.to_string())];
            self.ask("query", &parameters)
        } else {
            let parameters = [
                ("query", &*query.expression),
                ("start", &(end - RANGE).to_string()),
                ("end", &end.to_string()),
                ("step", &query.step.to_string()),
            ];
            self.ask("query_range", &parameters)
        };
        let series = data["result"].as_array().expect("series").iter();
        let values = series.flat_map(|series| {
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
}

/// The queries of panels, and of the panels in their rows, for one value of the variable `monitor`.
fn queries(panels: &Value, monitor: &str) -> Vec<Query> {
    let mut found = Vec::new();
    for panel in panels.as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let step = match panel["interval"].as_str() {
                None => 0,
                Some("1m") => 60,
                Some(other) => panic!("a minimum step of {other} is not known here"),
            };
            let step = step.max(SCRAPE_INTERVAL).max(RANGE.div_ceil(1000));
            found.push(Query {
                panel: panel["title"].as_str().expect("a title").to_owned(),
                expression: interpolated(
                    target["expr"].as_str().expect("an expression"),
                    step,
                    monitor,
                ),
                is_instant: target["instant"] == json!(true),
                step,
            });
        }
        found.extend(queries(&panel["panels"], monitor));
    }
    found
}

/// What Grafana makes of an expression.
#[track_caller]
fn interpolated(expression: &str, step: u64, monitor: &str) -> String {
    let rate_interval = (step + SCRAPE_INTERVAL).max(4 * SCRAPE_INTERVAL);
    // The longest name first: one may begin as another is called.
    let result = expression
        .replace("$__rate_interval", &format!("{rate_interval}s"))
        .replace("$__interval", &format!("{step}s"))
        .replace("$__range", &format!("{RANGE}s"))
        .replace("$monitor", monitor);
    assert!(!result.contains('$'), "an unknown variable in {result}");
    result
}

/// A chosen value, as Grafana puts it into a regular expression within a text.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        if "^$*{}[]'+?.()|".contains(c) {
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
    let Some(program) = helper("prometheus") else {
        return;
    };
    let asked = AtomicUsize::new(0);
    let changing = Server::start([
        IDENTITY.tls(),
        Step::answer(move |_| match asked.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => ok("hello"),
            _ => response("500 Error", &[], "no"),
        }),
    ]);
    let (good, closed) = (Server::ok(), Closed::new());
    let authorities = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(authorities.path(), AUTHORITY.pem()).expect("room for a temporary file");
    let monitors = json!({
        CHANGING: { "url": changing.https("/"), "check_every": 1 },
        "good": { "url": good.http("/"), "check_every": 1 },
        "closed": { "url": format!("http://{}/", closed.address), "check_every": 1 },
    });
    let daemon = Daemon::start_as(json!({ "monitors": monitors }), |command| {
        command.env("SSL_CERT_FILE", authorities.path());
    });
    let prometheus = Prometheus::start(program, &config(&daemon, &closed));

    let names = eventually_within(PATIENCE, "all monitors are known", || {
        let names = prometheus.ask("label/monitor/values", &[("match[]", "monitor_info")]);
        (names.as_array().map(Vec::len) == Some(3)).then_some(names)
    });
    assert_eq!(names, json!([CHANGING, "closed", "good"]));

    let mut without_data = BTreeMap::new();
    for dashboard in dashboards() {
        for monitor in [".+", &escaped(CHANGING)] {
            for query in queries(&dashboard["panels"], monitor) {
                without_data.insert((query.expression.clone(), query.step), query);
            }
        }
    }
    assert!(without_data.len() > 50, "{}", without_data.len());
    let began = Instant::now();
    while !without_data.is_empty() {
        without_data.retain(|_, query| !prometheus.has_data(query));
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
fn the_variable_of_the_dashboard_lists_monitors() {
    for dashboard in dashboards() {
        let variables = dashboard["templating"]["list"].as_array().expect("a list");
        let monitor = variables
            .iter()
            .find(|variable| variable["name"] == "monitor");
        let monitor = monitor.expect("monitors can be chosen");
        let query = &monitor["query"]["query"];
        assert_eq!(query, "label_values(monitor_info, monitor)");
        assert_eq!(monitor["allValue"], ".+");
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
