//! Secrets of a configuration reach only the server that they are meant for.

use std::{io::Write, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use monitoringdaemon::check::Reason;
use serde_json::{Value, json};

use crate::support::{
    dns::{Answer, Dns},
    lab::{Lab, config},
    pki::{AUTHORITY, Authority, Handshake, IDENTITY, Identity, YEARS},
    process::{program, text},
    server::{Closed, Deaf, Frame, Server, Step, ok, redirect, response},
};

/// Part of every secret, so that none can be seen in part without being noticed.
const MARK: &str = "s3cr3t";

struct Secrets {
    client: Identity,
}

impl Secrets {
    fn new() -> Self {
        Self {
            client: Authority::new("of others").issue(&["client"], YEARS),
        }
    }

    /// Monitors of `scheme://authority/` that have each a secret in every place there is.
    fn monitors(&self, scheme: &str, authority: &str) -> Vec<Value> {
        let variants = [
            (
                json!({ "basic_auth": { "username": "s3cr3t-user", "password": "s3cr3t-password" } }),
                "",
            ),
            (
                json!({ "authorization": { "type": "Bearer", "credentials": "s3cr3t-token" } }),
                "",
            ),
            (
                json!({ "headers": { "Authorization": "s3cr3t scheme" } }),
                "",
            ),
            (json!({}), "s3cr3t-user:s3cr3t-password@"),
        ];
        variants
            .into_iter()
            .map(|(mut monitor, userinfo)| {
                let query = "token=s3cr3t-query#s3cr3t-fragment";
                monitor["url"] = json!(format!("{scheme}://{userinfo}{authority}/path?{query}"));
                monitor["method"] = json!("POST");
                monitor["body"] = json!("s3cr3t-body");
                monitor["headers"]["X-Api-Key"] = json!("s3cr3t-key");
                monitor["headers"]["Cookie"] = json!("s3cr3t-cookie");
                monitor["tls_config"] = json!({
                    "cert": self.client.certificate_pem,
                    "key": self.client.key_pem(),
                });
                monitor["timeout"] = json!("300ms");
                monitor
            })
            .collect()
    }

    #[track_caller]
    fn assert_none_in(&self, what: &str, text: &str) {
        let user_and_password = BASE64_STANDARD.encode("s3cr3t-user:s3cr3t-password");
        let key = self.client.key_pem();
        let key = key.lines().nth(1).expect("a line of base64");
        for secret in [MARK, "path?", &user_and_password, key] {
            assert!(!text.contains(secret), "{secret} is in {what}: {text}");
        }
    }
}

/// A way to fail: the scheme, what the server does, and settings that demand what it does not.
type Way = (&'static str, Vec<Step>, Value);

fn ways_to_fail() -> Vec<Way> {
    [verdicts(), endings(), redirects(), handshakes(), http2()].concat()
}

/// The server repeats what it was sent, and is not what it should be.
fn verdicts() -> Vec<Way> {
    let echo = Step::answer(|request| {
        let all = format!("{request:?}").replace(|c: char| c.is_control(), "");
        response("404 s3cr3t", &[&format!("x-echo: {all}")], &all)
    });
    let matcher = json!([{ "header": "X-Echo", "regexp": "." }]);
    let demands = [
        json!({ "fail_if_header_matches": matcher }),
        json!({ "fail_if_body_matches_regexp": ["."] }),
        json!({ "fail_if_not_ssl": true }),
        json!({ "valid_http_versions": ["HTTP/2.0"] }),
        json!({ "body_size_limit": 1 }),
    ];
    let mut ways = vec![
        ("http", vec![echo.clone()], json!({})),
        ("https", vec![IDENTITY.tls(), echo.clone()], json!({})),
        (
            "https",
            vec![IDENTITY.tls(), Step::answer(|_| ok("hello"))],
            json!({ "fail_if_ssl": true }),
        ),
    ];
    ways.extend(demands.map(|mut settings| {
        settings["valid_status_codes"] = json!(["4xx"]);
        ("http", vec![echo.clone()], settings)
    }));
    ways
}

fn endings() -> Vec<Way> {
    let answers = [
        "s3cr3t\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: s3cr3t\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ns3cr3t",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ns3cr3t",
    ];
    let answers = answers.map(|answer| vec![Step::Request, Step::send(answer)]);
    let others = [
        vec![Step::Drop],
        vec![Step::Request, Step::Reset],
        vec![Step::Request, Step::Hang],
    ];
    let scripts = answers.into_iter().chain(others);
    scripts.map(|script| ("http", script, json!({}))).collect()
}

fn redirects() -> Vec<Way> {
    let locations = [
        "/path?s3cr3t",
        "ftp://s3cr3t@127.0.0.1/s3cr3t",
        "http://s3cr3t@[/s3cr3t",
        "http://s3cr3t@127.0.0.1:1/path?s3cr3t",
    ];
    let way = |location| {
        let script = vec![Step::answer(move |_| redirect(302, location))];
        ("http", script, json!({}))
    };
    locations.map(way).into()
}

fn handshakes() -> Vec<Way> {
    let clients = Authority::new("of clients");
    let demanding = |versions| {
        let handshake = Handshake {
            versions,
            client_authority: Some(&clients),
            ..Handshake::default()
        };
        handshake.step(&IDENTITY)
    };
    let scripts = [
        vec![Step::Hang],
        vec![Step::Read, Step::send("s3cr3t")],
        vec![AUTHORITY.issue(&["127.0.0.1"], 2000..2001).tls()],
        vec![AUTHORITY.issue(&["other.test"], YEARS).tls()],
        vec![Identity::self_signed(&["127.0.0.1"]).tls()],
        vec![demanding(&[&rustls::version::TLS12])],
        vec![demanding(&[&rustls::version::TLS13])],
    ];
    scripts.map(|script| ("https", script, json!({}))).into()
}

fn http2() -> Vec<Way> {
    let cut_off = vec![
        Frame::Head(200),
        Frame::Data(Bytes::from("s3cr3t")),
        Frame::Drop,
    ];
    let scripts = [
        vec![IDENTITY.tls_h2(), Step::Http2(vec![Frame::Reset])],
        vec![IDENTITY.tls_h2(), Step::Http2(cut_off)],
        vec![
            IDENTITY.tls_h2(),
            Step::Read,
            Step::send("s3cr3t"),
            Step::Hang,
        ],
    ];
    scripts.map(|script| ("https", script, json!({}))).into()
}

fn with(mut monitor: Value, settings: &Value) -> Value {
    for (key, value) in settings.as_object().into_iter().flatten() {
        monitor[key] = value.clone();
    }
    monitor
}

#[tokio::test]
async fn failures_hide_secrets() {
    let secrets = Secrets::new();
    let lab = Lab::new();
    let mut reasons = std::collections::BTreeSet::new();
    let (closed, deaf) = (Closed::new(), Deaf::new().await);
    let servers = ways_to_fail()
        .into_iter()
        .map(|(scheme, script, settings)| {
            let server = Server::start(script);
            (scheme, server.address, settings, Some(server))
        });
    let ports = [closed.address, deaf.address].map(|address| ("http", address, json!({}), None));
    for (scheme, address, settings, server) in servers.chain(ports) {
        let monitors = secrets.monitors(scheme, &address.to_string());
        let monitors = monitors.into_iter().map(|monitor| with(monitor, &settings));
        let checks = monitors.map(|monitor| lab.check(monitor));
        for report in futures_util::future::join_all(checks).await {
            secrets.assert_none_in("a report", &format!("{report:?}"));
            let failure = report.failure.expect("each is a way to fail");
            reasons.insert(failure.reason);
        }
        drop(server);
    }
    assert!(reasons.len() >= 15, "few ways to fail: {reasons:?}");
    assert!(!reasons.contains(&Reason::AgentError), "{reasons:?}");
}

#[tokio::test]
async fn failed_lookups_hide_secrets() {
    let secrets = Secrets::new();
    for answer in [Answer::NoSuchName, Answer::Code(2), Answer::Silence] {
        let lab = Lab::with_dns(Dns::start(Duration::ZERO, move |_| answer.clone()));
        let monitors = secrets.monitors("https", "service.test:1");
        let checks = monitors.into_iter().map(|monitor| lab.check(monitor));
        for report in futures_util::future::join_all(checks).await {
            assert!(report.failure.is_some());
            secrets.assert_none_in("a report", &format!("{report:?}"));
        }
    }
}

#[tokio::test]
async fn debug_output_hides_secrets() {
    let secrets = Secrets::new();
    let lab = Lab::new();
    for monitor in secrets.monitors("https", "service.test") {
        let config = config(monitor.clone());
        secrets.assert_none_in("the configuration", &format!("{config:?} {config:#?}"));
        let settings = &config.monitors[0].settings;
        secrets.assert_none_in("the settings", &format!("{settings:?} {settings:#?}"));
        let job = lab.job(monitor);
        secrets.assert_none_in("a job", &format!("{job:?} {job:#?}"));
        assert_eq!(job.target(), "https://service.test/path");
    }
}

/// All of the above at once, as the program tells it.
#[test]
fn output_of_the_program_hides_secrets() {
    let secrets = Secrets::new();
    let mut monitors = serde_json::Map::new();
    let mut servers = Vec::new();
    for (scheme, script, settings) in ways_to_fail() {
        let server = Server::start(script);
        for monitor in secrets.monitors(scheme, &server.address.to_string()) {
            let name = format!("monitor {}", monitors.len());
            monitors.insert(name, with(monitor, &settings));
        }
        servers.push(server);
    }
    let number = monitors.len();
    let config = json!({ "log": { "level": "TRACE" }, "monitors": monitors });
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    write!(file, "{config}").expect("room for a temporary file");
    let authorities = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(authorities.path(), AUTHORITY.pem()).expect("room for a temporary file");
    for (format, verbose) in [
        ("table", None),
        ("json", None),
        ("junit", None),
        ("table", Some("--verbose")),
        ("json", Some("--verbose")),
    ] {
        let output = program()
            .args(["once", "--output", format, "--config"])
            .arg(file.path())
            .args(verbose)
            .env("SSL_CERT_FILE", authorities.path())
            .env("RUST_LOG", "trace")
            .output()
            .expect("the program can be started");
        // A step may quote what the peer repeats, with the query masked.
        let text = text(&output).replace("/path?***", "");
        assert_eq!(output.status.code(), Some(1), "{text}");
        if format != "table" {
            assert_eq!(text.matches("Check failed").count(), number, "{text}");
        }
        secrets.assert_none_in(format, &text);
    }
}
