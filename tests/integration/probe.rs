//! `/probe` of a running daemon.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, ask},
    daemon::Daemon,
    page::Page,
    pki::{AUTHORITY, IDENTITY, YEARS},
    process::{program, text},
    server::{Closed, Server, Step, ok, redirect, response},
    websocket::Peer,
};

/// A daemon with these modules of blackbox_exporter.
fn with_modules(modules: &Value) -> Daemon {
    Daemon::start(json!({ "probe": { "modules": modules } }))
}

fn module(prober: &str, mut keys: Value) -> Value {
    if prober != "unix" {
        keys["preferred_ip_protocol"] = json!("ip4");
    }
    json!({ "prober": prober, "timeout": "5s", prober: keys })
}

#[track_caller]
fn probe(daemon: &Daemon, query: &str) -> Page {
    let answer = daemon.get(&format!("/probe?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    Page::parse(&answer.text())
}

fn names(page: &Page) -> Vec<&str> {
    page.families.keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_has_the_families_of_its_prober() {
    let server = Server::answering(|request| match &*request.target {
        "/old" => redirect(302, "/"),
        _ => response(
            "200 OK",
            &["last-modified: Wed, 21 Oct 2015 07:28:00 GMT"],
            "hello",
        ),
    });
    let daemon = with_modules(&json!({ "http_2xx": module("http", json!({})) }));
    let page = probe(&daemon, &format!("target={}", server.http("/old")));
    page.assert_promtool_is_content();
    let expected = [
        "probe_dns_lookup_time_seconds",
        "probe_duration_seconds",
        "probe_failed_due_to_regex",
        "probe_http_content_length",
        "probe_http_duration_seconds",
        "probe_http_last_modified_timestamp_seconds",
        "probe_http_redirects",
        "probe_http_ssl",
        "probe_http_status_code",
        "probe_http_uncompressed_body_length",
        "probe_http_version",
        "probe_ip_addr_hash",
        "probe_ip_protocol",
        "probe_success",
        "probe_timeout_seconds",
    ];
    assert_eq!(names(&page), expected);
    for (name, value) in [
        ("probe_success", 1.0),
        ("probe_http_status_code", 200.0),
        ("probe_http_redirects", 1.0),
        ("probe_http_content_length", 5.0),
        ("probe_http_uncompressed_body_length", 5.0),
        ("probe_http_version", 1.1),
        (
            "probe_http_last_modified_timestamp_seconds",
            1_445_412_480.0,
        ),
        ("probe_ip_protocol", 4.0),
        ("probe_timeout_seconds", 5.0),
    ] {
        let found = page.value(name, &[]);
        assert!((found - value).abs() < 1e-9, "{name} is {found}");
    }
    assert!(page.families.values().all(|kind| kind == "gauge"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_probe_says_why() {
    let closed = Closed::new();
    let daemon = with_modules(&json!({ "tcp": module("tcp", json!({})) }));
    let page = probe(&daemon, &format!("module=tcp&target={}", closed.address));
    assert!(page.value("probe_success", &[]) < 0.5);
    let why = [("phase", "connect"), ("reason", "connection_refused")];
    assert!(page.value("probe_failure_info", &why) > 0.5);
    // After a connection only, as there.
    assert!(!page.families.contains_key("probe_failed_due_to_regex"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_in_the_words_of_blackbox_exporter() {
    let identity = AUTHORITY.issue(&["127.0.0.1", "a.test", "b.test"], YEARS);
    let server = Server::start([identity.tls(), Step::answer(|_| ok("hello"))]);
    let ca = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(ca.path(), AUTHORITY.pem()).expect("room");
    let keys = json!({ "tls_config": { "ca_file": ca.path() } });
    let daemon = with_modules(&json!({ "https": module("http", keys) }));
    let page = probe(
        &daemon,
        &format!("module=https&target={}", server.https("/")),
    );
    assert!(page.value("probe_success", &[]) > 0.5, "{}", page.text);
    let labels = [
        ("issuer", "CN=trusted root"),
        ("subjectalternative", "a.test,b.test"),
    ];
    assert!(page.value("probe_ssl_last_chain_info", &labels) > 0.5);
    for name in [
        "probe_ssl_earliest_cert_expiry",
        "probe_ssl_last_chain_expiry_timestamp_seconds",
        "probe_tls_version_info",
        "probe_tls_cipher_info",
    ] {
        assert!(page.families.contains_key(name), "{name} in {}", page.text);
    }
}

#[test]
fn a_probe_of_a_unix_socket_has_the_families_of_its_prober() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket of its own");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(b"220 db-7 ready\n").expect("a reader");
        let mut reply = [0; 6];
        stream.read_exact(&mut reply).expect("the reply");
        assert_eq!(&reply, b"HELLO\n");
    });
    let dialogue = json!([
        { "expect": "^220 ([a-z0-9-]+)", "labels": [{ "name": "server", "value": "${1}" }] },
        { "send": "HELLO" },
    ]);
    let daemon = with_modules(&json!({
        "socket": module("unix", json!({ "query_response": dialogue })),
    }));
    let page = probe(&daemon, &format!("module=socket&target={}", path.display()));
    server.join().expect("the server saw the dialogue");
    assert!(page.value("probe_success", &[]) > 0.5, "{}", page.text);
    assert!(page.value("probe_expect_info", &[("server", "db-7")]) > 0.5);
    // There is no name to look up, and no address.
    assert!(!page.families.contains_key("probe_ip_protocol"));
    assert!(!page.families.contains_key("probe_dns_lookup_time_seconds"));
    page.assert_promtool_is_content();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_a_websocket_has_the_families_of_its_prober() {
    let peer = Peer::start(|mut socket| async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Ok(text) = message.into_text() {
                let _ = socket.send(format!("you said {text}").into()).await;
            }
        }
    });
    let dialogue = json!([{ "send": "hello" }, { "expect": "^you said hello$" }]);
    let daemon = with_modules(&json!({
        "socket": module("websocket", json!({ "query_response": dialogue })),
        "other": module("websocket", json!({
            "query_response": [{ "send": "hello" }, { "expect": "^goodbye$" }],
        })),
    }));
    let target = format!("target=ws://{}/", peer.address);
    let page = probe(&daemon, &format!("module=socket&{target}"));
    for (name, value) in [
        ("probe_success", 1.0),
        ("probe_websocket_status_code", 101.0),
        ("probe_websocket_connection_upgraded", 1.0),
        ("probe_websocket_failed_due_to_regex", 0.0),
        ("probe_ip_protocol", 4.0),
    ] {
        let found = page.value(name, &[]);
        assert!((found - value).abs() < 1e-9, "{name} is {found}");
    }
    for phase in ["resolve", "connect", "processing", "transfer"] {
        page.value("probe_websocket_duration_seconds", &[("phase", phase)]);
    }
    page.assert_promtool_is_content();

    let page = probe(&daemon, &format!("module=other&{target}"));
    assert!(page.value("probe_success", &[]) < 0.5);
    assert!(page.value("probe_websocket_failed_due_to_regex", &[]) > 0.5);
}

#[test]
fn a_request_without_sense_is_refused_as_by_blackbox_exporter() {
    let daemon = with_modules(&json!({
        "http_2xx": module("http", json!({ "headers": { "Host": "a.test" } })),
        "odd": { "prober": "carrier_pigeon" },
    }));
    for (query, status, text) in [
        ("module=x&target=a", 400, "Unknown module \"x\"\n"),
        ("", 400, "Target parameter is missing\n"),
        (
            "module=odd&target=a",
            400,
            "Unknown prober \"carrier_pigeon\"\n",
        ),
        (
            "target=a&hostname=b.test",
            400,
            "host header defined both in module configuration (a.test) and with URL-parameter 'hostname' (b.test)\n",
        ),
    ] {
        let answer = daemon.get(&format!("/probe?{query}"));
        assert_eq!((answer.status, &*answer.text()), (status, text), "{query}");
    }
    let header = "x-prometheus-scrape-timeout-seconds: soon\r\n";
    let answer = ask(daemon.address, "GET", "/probe?target=a", header);
    assert_eq!(answer.status, 500, "{}", answer.text());
    let page = daemon.page();
    let rejected = |reason| {
        page.value(
            "monitoringdaemon_probes_rejected_total",
            &[("reason", reason)],
        )
    };
    let counts = [
        rejected("unknown_module"),
        rejected("bad_request"),
        rejected("saturated"),
    ];
    assert_eq!(counts.map(f64::to_bits), [2.0, 3.0, 0.0].map(f64::to_bits));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_that_of_the_scrape() {
    let server = Server::start([Step::Hang]);
    let daemon = with_modules(&json!({ "http_2xx": { "prober": "http" } }));
    let path = format!("/probe?target={}", server.http("/"));
    let header = "x-prometheus-scrape-timeout-seconds: 0.7\r\n";
    let page = Page::parse(&ask(daemon.address, "GET", &path, header).text());
    let timeout = page.value("probe_timeout_seconds", &[]);
    assert!((timeout - 0.2).abs() < 1e-9, "{timeout}");
    let why = [("phase", "processing"), ("reason", "timeout")];
    assert!(
        page.value("probe_failure_info", &why) > 0.5,
        "{}",
        page.text
    );
    let phase = [("phase", "processing")];
    assert!(page.value("probe_http_duration_seconds", &phase) > 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_probe_has_no_secret() {
    let server = Server::ok();
    let keys = json!({
        "basic_auth": { "username": "user", "password": "hunter2" },
        "headers": { "X-Key": "hunter2" },
    });
    let daemon = with_modules(&json!({ "http_2xx": module("http", keys) }));
    let target = format!("target={}", server.http("/?token=hunter2"));
    let debug = daemon.get(&format!("/probe?debug=true&{target}")).text();
    for part in [
        "Logs for the probe:\n",
        "Probe succeeded",
        "phase connect: ",
        "\nMetrics that would have been returned:\n",
        "\nprobe_success 1\n",
        "\nModule configuration:\n",
        "password: \"<secret>\"",
    ] {
        let found = debug.contains(part) || debug.contains(&part.replace('"', ""));
        assert!(found, "{part:?} is missing in {debug}");
    }
    let config = daemon.get("/config").text();
    let log = daemon.get("/logs?id=0").text();
    assert_eq!(log, debug);
    for text in [debug, config, log] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let requests = server.seen().requests;
    assert!(requests[0].header("authorization").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn recent_probes_are_found_by_number_and_target() {
    let (server, closed) = (Server::ok(), Closed::new());
    let daemon = Daemon::start(json!({
        "probe": {
            "modules": { "tcp": module("tcp", json!({})) },
            "history_limit": 2,
        },
    }));
    probe(&daemon, &format!("module=tcp&target={}", closed.address));
    for _ in 0..4 {
        probe(&daemon, &format!("module=tcp&target={}", server.address));
    }
    let status = |path: &str| daemon.get(path).status;
    // The failure is older, and still there.
    assert_eq!(status("/logs?id=0"), 200);
    assert_eq!(status("/logs?id=1"), 404);
    assert_eq!(status("/logs?id=4"), 200);
    assert_eq!(status(&format!("/logs?target={}", closed.address)), 200);
    assert_eq!(status("/logs?target=unheard-of"), 404);
    for wrong in ["", "?id=1&target=a", "?module=tcp", "?id=x"] {
        assert_eq!(status(&format!("/logs{wrong}")), 400, "{wrong}");
    }
    let page = daemon.get("/probes").text();
    assert!(
        page.contains("logs?id=0") && page.contains("logs?id=4"),
        "{page}"
    );
    assert!(page.contains(&closed.address.to_string()), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_targets_are_probed() {
    let server = Server::answering(|request| match &*request.target {
        "/away" => redirect(302, "http://127.0.0.2:1/"),
        _ => ok("hello"),
    });
    let daemon = Daemon::start(json!({
        "probe": {
            "modules": { "http_2xx": module("http", json!({})), "unix": module("unix", json!({})) },
            "allowed_targets": ["127.0.0.1", "*.test"],
        },
    }));
    let outcome = |query: &str| {
        let page = probe(&daemon, query);
        let forbidden = page.sum("probe_failure_info", &[("reason", "target_forbidden")]);
        (page.value("probe_success", &[]) > 0.5, forbidden > 0.5)
    };
    assert_eq!(
        outcome(&format!("target={}", server.http("/"))),
        (true, false)
    );
    assert_eq!(
        outcome(&format!("target={}", server.http("/away"))),
        (false, true)
    );
    assert_eq!(outcome("target=http://127.0.0.3:1/"), (false, true));
    assert_eq!(outcome("module=unix&target=/run/any"), (false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_probes_run_as_may() {
    let server = Server::start([Step::Hang]);
    let daemon = Daemon::start(json!({
        "probe": {
            "modules": { "http_2xx": module("http", json!({})) },
            "max_concurrent_probes": 1,
        },
    }));
    let path = format!("/probe?target={}", server.http("/"));
    let address = daemon.address;
    let slow = path.clone();
    let first = thread::spawn(move || {
        let header = "x-prometheus-scrape-timeout-seconds: 2\r\n";
        ask(address, "GET", &slow, header)
    });
    server.until(|seen| seen.connections == 1).await;
    let page = daemon.page();
    assert!(page.value("monitoringdaemon_probes_in_flight", &[]) > 0.5);
    let Answer { status, .. } = daemon.get(&path);
    assert_eq!(status, 503);
    assert_eq!(first.join().expect("it was answered").status, 200);
    let page = daemon.page();
    let labels = [("module", "http_2xx"), ("outcome", "failure")];
    assert!(page.value("monitoringdaemon_probes_total", &labels) > 0.5);
    assert!(
        page.value(
            "monitoringdaemon_probes_rejected_total",
            &[("reason", "saturated")]
        ) > 0.5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_of_one_host_can_be_limited() {
    let (server, closed) = (Server::start([Step::Hang]), Closed::new());
    let daemon = Daemon::start(json!({
        "probe": {
            "modules": { "http_2xx": module("http", json!({})) },
            "max_concurrent_probes_per_host": 1,
        },
    }));
    let path = format!("/probe?target={}", server.http("/"));
    let (address, slow) = (daemon.address, path.clone());
    let first = thread::spawn(move || {
        let header = "x-prometheus-scrape-timeout-seconds: 2\r\n";
        ask(address, "GET", &slow, header)
    });
    server.until(|seen| seen.connections == 1).await;
    assert_eq!(daemon.get(&path).status, 503);
    let other = format!("/probe?target=http://127.0.0.2:{}/", closed.address.port());
    assert_eq!(daemon.get(&other).status, 200);
    assert_eq!(first.join().expect("it was answered").status, 200);
}

/// Probes at once, each of which takes a handshake of the processor's time.
const MANY_PROBES: usize = 200;

/// Bursts of probes that may delay monitors, though the machine had time for them before and after.
const TRIES: usize = 5;

/// Bursts of probes on a machine that may have no time for monitors alone.
const MAX_TRIES: usize = 20;

/// Load for each processor, above which nothing can be said about delays.
const MAX_LOAD: f64 = 4.0;

/// Threads that want to run, for each processor, on average of a minute (proc_loadavg(5)).
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").expect("Linux has it");
    let load: f64 = text
        .split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .expect("it begins with a number");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let processors = u32::try_from(processors).expect("a small number");
    load / f64::from(processors)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
async fn many_probes_delay_no_monitor() {
    let server = Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]);
    let healthy = Server::ok();
    let monitor = json!({ "url": healthy.http("/"), "check_every": 0.5 });
    let monitors: serde_json::Map<_, _> = (0..20)
        .map(|number| (format!("monitor {number}"), monitor.clone()))
        .collect();
    let keys = json!({ "tls_config": { "insecure_skip_verify": true } });
    let daemon = Daemon::start(json!({
        "log": { "checks": "none" },
        "probe": { "modules": { "https": module("http", keys) } },
        "monitors": monitors,
    }));
    // Checks that started later than 100 ms, and slots that were skipped.
    let late = || {
        let page = daemon.page();
        let lag = "monitoringdaemon_check_start_lag_seconds";
        let in_time = page.value(&format!("{lag}_bucket"), &[("le", "0.1")]);
        let all = page.value(&format!("{lag}_count"), &[]);
        all - in_time + page.sum("monitor_checks_skipped_total", &[])
    };
    let path = format!("/probe?module=https&target={}", server.https("/"));
    // Those of two slots of each monitor, without probes.
    let late_alone = || {
        let (before, completed) = (late(), daemon.page().completed());
        daemon.until_page("two more slots", |page| page.completed() > completed + 39.5);
        late() - before
    };
    let mut delayed = Vec::new();
    for _ in 0..MAX_TRIES {
        let is_busy = load() > MAX_LOAD;
        let late_before = late_alone();
        let before = late();
        let probes: Vec<_> = (0..MANY_PROBES)
            .map(|_| {
                let (address, path) = (daemon.address, path.clone());
                thread::spawn(move || ask(address, "GET", &path, ""))
            })
            .collect();
        for probe in probes {
            let answer = probe.join().expect("it was answered");
            assert_eq!(answer.status, 200);
            assert!(
                answer.text().contains("probe_success 1"),
                "{}",
                answer.text()
            );
        }
        let more = late() - before;
        if more < 0.5 {
            return;
        }
        if !is_busy && late_before + late_alone() < 0.5 {
            delayed.push(more);
        }
        assert!(
            delayed.len() < TRIES,
            "checks that were late, each time: {delayed:?}"
        );
    }
    // In CI too: no tool is missing.
    eprintln!("SKIPPED: the machine is too busy to tell whether probes delay monitors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_may_extend_a_module() {
    let server = Server::ok();
    let daemon = Daemon::start(json!({
        "probe": { "modules": { "http_2xx": module("http", json!({ "method": "POST" })) } },
        "monitors": {
            "one": { "extends": "module/http_2xx", "url": server.http("/"), "check_every": 60 },
        },
    }));
    daemon.until_page("it was checked", |page| page.completed() > 0.5);
    assert_eq!(server.request().method, "POST");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_replaces_the_modules() {
    let server = Server::ok();
    let daemon = with_modules(&json!({ "old": module("http", json!({})) }));
    let query = |module: &str| format!("module={module}&target={}", server.http("/"));
    probe(&daemon, &query("old"));
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let modules = json!({ "modules": { "new": module("http", json!({})) } });
    std::fs::write(file.path(), modules.to_string()).expect("room");
    daemon.rewrite(json!({ "probe": { "config_file": file.path() } }));
    assert_eq!(ask(daemon.address, "POST", "/-/reload", "").status, 200);
    probe(&daemon, &query("new"));
    assert_eq!(daemon.get(&format!("/probe?{}", query("old"))).status, 400);
    let page = daemon.page();
    assert!(page.value("blackbox_exporter_config_last_reload_successful", &[]) > 0.5);
    std::fs::write(file.path(), "modules: {new: {prober: http, htp: {}}}").expect("room");
    let answer = ask(daemon.address, "POST", "/-/reload", "");
    assert_eq!(answer.status, 500);
    assert!(
        answer
            .text()
            .contains(":1:31: modules.new.htp: unknown key"),
        "{}",
        answer.text()
    );
    let page = daemon.page();
    assert!(page.value("blackbox_exporter_config_last_reload_successful", &[]) < 0.5);
    probe(&daemon, &query("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_has_the_format_and_the_encoding_that_it_likes() {
    let server = Server::ok();
    let daemon = with_modules(&json!({ "http_2xx": module("http", json!({})) }));
    let path = format!("/probe?target={}", server.http("/"));
    let answer = daemon.get(&path);
    let kind = answer.header("content-type").map(str::to_owned);
    assert_eq!(
        kind.as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let open = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let answer = ask(daemon.address, "GET", &path, open);
    assert!(answer.text().ends_with("\n# EOF\n"), "{}", answer.text());
    let gzip = ask(daemon.address, "GET", &path, "accept-encoding: gzip\r\n");
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.body.starts_with(&[0x1f, 0x8b]));
}

/// The exit code of `blackbox` with `config`, and what it printed.
fn check_config(config: &str) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), config).expect("room");
    let mut argument = std::ffi::OsString::from("--config.file=");
    argument.push(file.path());
    let mut command = program();
    let command = command.args(["blackbox", "--config.check"]).arg(argument);
    let output = command.output().expect("the program can be started");
    let name = file.path().display().to_string();
    (
        output.status.code(),
        text(&output).replace(&name, "blackbox.yml"),
    )
}

#[test]
fn configurations_are_accepted_and_refused_as_by_blackbox_exporter() {
    for good in [
        "modules:\n",
        // A section of nothing has the defaults, and files are read by probes.
        "modules: {a: {prober: http, http: }, b: {prober: http, http: {body_file: /no/such}}}",
        // Scalars are read as what is wanted.
        "modules: {a: {prober: http, http: {headers: {X: 5}, follow_redirects: yes}}}",
        "modules: {a: {prober: tcp, tcp: {tls_config: {insecure_skip_verify: true}}}}",
        "modules: {a: {prober: icmp, timeout: 0s, icmp: {source_ip_address: 127.0.0.1}}}",
        "modules: {a: {prober: http, http: {no_follow_redirects: true, bearer_token: x}}}",
        "modules: {a: {prober: http, http: {enable_http3: true, enable_http2: false}}}",
        "modules: {a: {prober: http, http: {enable_http3: true, enable_http2: false, \
         valid_http_versions: [HTTP/3.0], proxy_url: 'http://p', tls_config: {max_version: TLS12}}}}",
    ] {
        let (code, printed) = check_config(good);
        assert_eq!(code, Some(0), "{good}: {printed}");
    }
    for (bad, expected) in [
        ("", "blackbox.yml:1:1: file: empty: expected modules"),
        ("module: {}", "module: unknown key, did you mean modules?"),
        (
            "modules: {a: {prober: icmp, icmp: {ttl: 256}}}",
            "modules.a.icmp.ttl: 256 is out of range",
        ),
        (
            "modules: {a: {prober: dns, dns: {query_type: A}}}",
            "modules.a.dns: query_name is missing",
        ),
        // One that is not used is read as well.
        (
            "modules: {a: {prober: tcp, icmp: {ttl: -1}}}",
            "modules.a.icmp.ttl: -1 is out of range",
        ),
        (
            "modules: {a: {prober: http, http: {bearer_token: x, bearer_token_file: y}}}",
            "bearer_token and bearer_token_file cannot be used together",
        ),
        (
            "modules: {a: {prober: http, http: {enable_http3: true}}}",
            "enable_http3 and enable_http2 cannot be used together",
        ),
        (
            "modules: {a: {prober: http, http: {valid_http_versions: [HTTP/3.0]}}}",
            "HTTP/3 without enable_http3",
        ),
        (
            "modules: {a: {prober: http, http: {enable_http3: true, enable_http2: false, \
             valid_http_versions: [HTTP/1.1]}}}",
            "HTTP/3 cannot be used together with older versions",
        ),
    ] {
        let (code, printed) = check_config(bad);
        assert_eq!(code, Some(1), "{bad}: {printed}");
        assert!(printed.contains(expected), "{bad}: {printed}");
    }
}
