//! The HTTP endpoints of the daemon, also while other clients misbehave.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use flate2::read::GzDecoder;
use monitoringdaemon::metrics::{FAMILIES, Family, Profile};
use serde_json::json;
use socket2::SockRef;
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::support::{
    SOON,
    client::{Answer, ask, connect, get_in_one_piece, read_to_end},
    daemon::Daemon,
    page::Page,
    pki::{AUTHORITY, IDENTITY},
    process::raise_descriptor_limit,
    server::{Closed, Server, Step, ok, response},
};

/// Names that a page has to escape.
const HOSTILE: &str = "it's \"quoted\", \\ and 日本 }";

/// The families of a page whose monitors are all of `type: http`, and not discovered.
fn families_of_http() -> impl Iterator<Item = &'static Family> {
    const OF_OTHERS: [&str; 11] = [
        "monitor_dns_",
        "monitor_icmp_",
        "monitor_grpc_",
        "monitor_expect_",
        "monitor_maintenance_",
        "monitoringdaemon_discovery_",
        "monitoringdaemon_heartbeats_",
        "monitoringdaemon_probes_",
        "monitoringdaemon_storage_",
        "monitoringdaemon_telemetry_",
        "blackbox_",
    ];
    let of_other = |family: &Family| {
        family.is_opt_in(Profile::Full) || OF_OTHERS.iter().any(|of| family.name.starts_with(of))
    };
    FAMILIES.iter().filter(move |family| !of_other(family))
}

/// A daemon whose page has every series that there is of HTTP, and what it checks.
fn full_daemon() -> (Daemon, [Server; 2], Closed) {
    let good = Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]);
    let bad = Server::answering(|_| response("500 Error", &[], "no"));
    let closed = Closed::new();
    let authorities = NamedTempFile::new().expect("a temporary file");
    fs::write(authorities.path(), AUTHORITY.pem()).expect("room for a temporary file");
    let config = json!({ "dispatcher": { "max_concurrent_checks_per_host": 10 }, "monitors": {
        "good": { "url": good.https("/") },
        HOSTILE: { "url": bad.http("/"), "labels": { "team": HOSTILE } },
        "closed": { "url": format!("http://{}/", closed.address), "depends_on": ["good", HOSTILE],
            "confirm": { "failures": 2 } },
    }, "self_check": { "monitors": ["good", HOSTILE] } });
    let daemon = Daemon::start_as(config, |command| {
        command.env("SSL_CERT_FILE", authorities.path());
    });
    // The authorities are read before the daemon checks anything.
    daemon.until_page("every family", |page| {
        page.families.len() >= families_of_http().count() && page.completed() > 2.5
    });
    (daemon, [good, bad], closed)
}

/// The headers that do not tell the time.
fn timeless(answer: &Answer) -> BTreeMap<&str, &str> {
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (&**name, &**value));
    headers.filter(|(name, _)| *name != "date").collect()
}

#[test]
fn every_path_has_its_answer() {
    let (daemon, ..) = full_daemon();
    for (path, status, text) in [
        ("/-/healthy", 200, Some("healthy\n")),
        ("/-/ready", 200, Some("ready\n")),
        ("/metrics", 200, None),
        ("/metrics?collect=all", 200, None),
        ("/", 200, None),
        ("/nothing", 404, None),
        ("/metrics/", 404, None),
        ("/METRICS", 404, None),
        ("/-/", 404, None),
        ("//metrics", 404, None),
        ("/%2e%2e/metrics", 404, None),
    ] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if let Some(text) = text {
            assert_eq!(answer.text(), text, "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"] {
            let expected = if status == 200 { 405 } else { 404 };
            let answer = ask(daemon.address, method, path, "");
            assert_eq!(answer.status, expected, "{method} {path}");
            let allow = (expected == 405).then_some("GET, HEAD");
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
        }
    }
}

#[test]
fn errors_under_api_are_json() {
    let (daemon, ..) = full_daemon();
    for (method, path, status, error) in [
        ("GET", "/api/v1/monitors/missing", 404, "no such monitor"),
        ("POST", "/api/v1/monitors", 405, "use GET or HEAD"),
        ("GET", "/api/v2", 404, "not found; see / and /metrics"),
    ] {
        let answer = ask(daemon.address, method, path, "");
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.text(), format!("{{\"error\":\"{error}\"}}\n"));
    }
    let answer = daemon.get("/badge/missing.svg");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text(), "no such monitor\n");
}

#[test]
fn head_is_get_without_a_body() {
    let (daemon, ..) = full_daemon();
    for path in ["/-/healthy", "/-/ready", "/metrics", "/nothing"] {
        for headers in ["", "accept-encoding: gzip\r\n"] {
            let get = ask(daemon.address, "GET", path, headers);
            let head = ask(daemon.address, "HEAD", path, headers);
            assert_eq!(head.body, b"", "{path}");
            assert_eq!(head.status, get.status, "{path}");
            let (mut get, mut head) = (timeless(&get), timeless(&head));
            if path == "/metrics" {
                // Of a page that is as long as its numbers are at the time.
                assert!(get.remove("content-length").is_some());
                assert!(head.remove("content-length").is_some());
            }
            assert_eq!(head, get, "{path}");
        }
    }
}

#[test]
fn metrics_are_in_the_text_format_with_gzip_if_accepted() {
    let (daemon, ..) = full_daemon();
    let plain = daemon.get("/metrics");
    let format = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(plain.header("content-type"), format);
    assert_eq!(plain.header("content-encoding"), None);
    let length = plain.header("content-length").map(str::parse);
    assert_eq!(length, Some(Ok(plain.body.len())));

    let accept = "accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let accept = format!("{accept}accept-encoding: gzip\r\n");
    let zipped = ask(daemon.address, "GET", "/metrics", &accept);
    assert_eq!(zipped.header("content-type"), format);
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert!(zipped.body.len() < plain.body.len() / 2);
    let mut text = String::new();
    GzDecoder::new(&*zipped.body)
        .read_to_string(&mut text)
        .expect("gzip of UTF-8");
    let (plain, zipped) = (Page::parse(&plain.text()), Page::parse(&text));
    assert_eq!(zipped.families, plain.families);

    let refused = "accept-encoding: gzip;q=0\r\n";
    let refused = ask(daemon.address, "GET", "/metrics", refused);
    assert_eq!(refused.header("content-encoding"), None);
}

#[test]
fn utf8_label_names_are_for_scrapers_that_accept_them() {
    let server = Server::ok();
    let labels = json!({ "app.example/name": "shop", "team": "a" });
    let mut daemon = Daemon::start(json!({
        "log": { "checks": "none", "format": "%(message)s" },
        "monitors": { "a": { "url": server.http("/"), "labels": labels } },
    }));
    let prometheus_3 = "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                        text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n";
    for gzip in ["", "accept-encoding: gzip\r\n"] {
        let headers = format!("{prometheus_3}{gzip}");
        let utf8 = ask(daemon.address, "GET", "/metrics", &headers);
        let format =
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
        assert_eq!(utf8.header("content-type"), Some(format));
        let mut text = utf8.body.clone();
        if !gzip.is_empty() {
            text.clear();
            let read = GzDecoder::new(&*utf8.body).read_to_end(&mut text);
            read.expect("gzip");
        }
        let text = String::from_utf8(text).expect("UTF-8");
        let info = "\nmonitor_info{\"app.example/name\"=\"shop\",check_every=";
        assert!(text.contains(info), "{text}");
    }
    for _ in 0..2 {
        let page = daemon.page();
        assert_eq!(page.values("monitor_info", &[("team", "a")]).len(), 1);
        assert!(!page.text.contains("app.example"), "{}", page.text);
    }
    daemon.stop();
    let log = daemon.whole_log();
    let warnings = log
        .iter()
        .filter(|line| line.contains("left out of /metrics"));
    assert_eq!(warnings.count(), 1, "{log:#?}");
}

#[test]
fn the_server_certificate_is_exported_if_enabled() {
    let server = Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]);
    let monitor =
        json!({ "url": server.https("/"), "tls_config": { "insecure_skip_verify": true } });
    let daemon = Daemon::start(json!({
        "metrics": { "enabled": ["monitor_tls_certificate_info"] },
        "monitors": { "a": monitor },
    }));
    let page = daemon.until_page("a check", |page| page.completed() > 0.5);
    let labels = [
        ("monitor", "a"),
        ("dns_names", "service.test"),
        ("subject", "CN=rcgen self signed cert"),
    ];
    assert_eq!(
        page.values("monitor_tls_certificate_info", &labels).len(),
        1,
        "{}",
        page.text
    );
}

#[test]
fn the_page_has_exactly_the_listed_families() {
    let (daemon, ..) = full_daemon();
    let page = daemon.page();
    let kind = |kind| format!("{kind:?}").to_lowercase();
    let listed = families_of_http();
    let listed = listed.map(|family| (family.name.to_owned(), kind(family.kind)));
    assert_eq!(page.families, listed.collect());
    let name = [("monitor", HOSTILE)];
    assert!(page.value("monitor_http_status_code", &name) > 499.5);
    let info = [("monitor", HOSTILE), ("team", HOSTILE), ("type", "http")];
    assert!(page.value("monitor_info", &info) > 0.5);
}

#[test]
fn promtool_finds_nothing_wrong_with_any_page() {
    let (mut daemon, ..) = full_daemon();
    daemon.page().assert_promtool_is_content();
    daemon.stop();
    let unread = Server::start([Step::Hang]);
    let none_yet = Daemon::start(json!({ "monitors": { "silent": { "url": unread.http("/") } } }));
    let page = none_yet.page();
    page.assert_promtool_is_content();
    assert!(
        page.completed() < 0.5,
        "nothing is known of a monitor that has not been checked"
    );
    let families: BTreeSet<_> = page.families.keys().map(String::as_str).collect();
    for absent in ["monitor_up", "monitor_http_status_code", "monitor_tls_info"] {
        assert!(!families.contains(absent), "{absent}");
    }
}

/// Sends requests for as long as they are taken, and reads nothing.
fn never_reads(daemon: &Daemon) -> TcpStream {
    let mut stream = connect(daemon.address);
    let _ = SockRef::from(&stream).set_recv_buffer_size(4096);
    stream.set_nonblocking(true).expect("an open connection");
    let requests = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    match stream.write(requests.as_bytes()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
    }
    stream
}

fn half_sent(daemon: &Daemon, half: &str) -> TcpStream {
    let mut stream = connect(daemon.address);
    stream
        .write_all(half.as_bytes())
        .expect("an open connection");
    stream
}

#[track_caller]
fn assert_scrapes_are_answered(daemon: &Daemon) {
    for _ in 0..10 {
        let asked = Instant::now();
        daemon.page();
        let took = asked.elapsed();
        assert!(took < SOON, "{took:?}");
    }
}

#[test]
fn idle_clients_do_not_block_others() {
    raise_descriptor_limit();
    let (mut daemon, ..) = full_daemon();
    let _idle: Vec<_> = (0..1000).map(|_| connect(daemon.address)).collect();
    assert_scrapes_are_answered(&daemon);
    daemon.stop();
}

#[test]
fn clients_with_unfinished_requests_do_not_block_others() {
    raise_descriptor_limit();
    let (mut daemon, ..) = full_daemon();
    let heads = ["G", "GET /metrics HTTP/1.1\r\nhost: x\r\n"];
    let body = "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    let _half: Vec<_> = [heads[0], heads[1], body]
        .iter()
        .flat_map(|half| (0..150).map(|_| half_sent(&daemon, half)))
        .collect();
    assert_scrapes_are_answered(&daemon);
    daemon.stop();
}

#[test]
fn clients_that_do_not_read_do_not_block_others() {
    let (mut daemon, ..) = full_daemon();
    let _unread: Vec<_> = (0..10).map(|_| never_reads(&daemon)).collect();
    assert_scrapes_are_answered(&daemon);
    daemon.stop();
}

#[test]
fn a_head_that_does_not_end_is_cut_off() {
    let (mut daemon, ..) = full_daemon();
    let long_line = format!("x: {}", "x".repeat(4 << 20));
    let many_lines = "x: x\r\n".repeat(100_000);
    let long_path = "/".repeat(4 << 20);
    for bomb in [
        format!("GET /metrics HTTP/1.1\r\n{long_line}"),
        format!("GET /metrics HTTP/1.1\r\n{many_lines}"),
        format!("GET {long_path}"),
    ] {
        let mut stream = connect(daemon.address);
        let began = Instant::now();
        // It may be cut off in the middle, and then what the daemon said is lost.
        let sent = stream.write_all(bomb.as_bytes());
        let answer = sent.and_then(|()| read_to_end(&mut stream));
        assert!(began.elapsed() < SOON, "it is waited for");
        if let Ok(answer) = answer {
            let status = Answer::parse(&answer).status;
            assert!(matches!(status, 400 | 414 | 431), "{status}");
        }
        assert_scrapes_are_answered(&daemon);
    }
    let page = daemon.page();
    let memory = page.value("process_resident_memory_bytes", &[]);
    assert!(memory < 100e6, "{memory} bytes");
    daemon.stop();
}

#[test]
fn a_connection_is_kept_for_more_requests() {
    let (daemon, ..) = full_daemon();
    let mut stream = connect(daemon.address);
    let request = "GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = request.replace("host: x", "host: x\r\nconnection: close");
    let requests = format!("{request}{request}{last}");
    stream
        .write_all(requests.as_bytes())
        .expect("an open connection");
    let answers = read_to_end(&mut stream).expect("answers");
    let answers = String::from_utf8(answers).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(answers.matches("healthy\n").count(), 3, "{answers}");
}

#[test]
fn a_page_of_many_chunks_is_complete_plain_and_compressed() {
    const MONITORS: usize = 900;
    let closed = Closed::new();
    let monitor = json!({ "url": format!("http://{}/", closed.address), "check_every": "1d" });
    let monitors: serde_json::Map<_, _> = (0..MONITORS)
        .map(|n| (format!("{n:0200}"), monitor.clone()))
        .collect();
    let daemon = Daemon::start(json!({ "monitors": monitors }));
    daemon.until_page("all have started", |page| {
        page.values("monitor_info", &[]).len() == MONITORS
    });
    let whole = |text: &str| {
        let count = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert!(text.len() > 1 << 20, "{} bytes are one piece", text.len());
        assert_eq!(count("monitor_checks_scheduled_total{"), MONITORS);
        assert_eq!(count("monitor_info{"), MONITORS);
        assert_eq!(count("process_threads "), 1);
    };
    let plain = daemon.get("/metrics");
    assert_eq!(plain.header("transfer-encoding"), Some("chunked"));
    whole(&plain.text());
    whole(&get_in_one_piece(daemon.address, "/metrics").text());
    let zipped = ask(
        daemon.address,
        "GET",
        "/metrics",
        "accept-encoding: gzip\r\n",
    );
    let mut text = String::new();
    GzDecoder::new(&*zipped.body)
        .read_to_string(&mut text)
        .expect("gzip of UTF-8");
    whole(&text);
}
