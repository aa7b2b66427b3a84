//! What is secret in a configuration is seen by the server that it is meant for, and by nobody else.

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

/// Ways to fail: the scheme, what the server does, and settings that demand what it does not.
fn failures() -> Vec<(&'static str, Vec<Step>, Value)> {
    let echo = Step::answer(|request| {
        let all = format!("{request:?}").replace(|c: char| c.is_control(), "");
        response("404 s3cr3t", &[&format!("x-echo: {all}")], &all)
    });
    let to = |location: &'static str| Step::answer(move |_| redirect(302, location));
    let start = |text: &'static str| vec![Step::Request, Step::send(text)];
    let clients = Authority::new("of clients");
    let demanding = |versions| {
        let handshake = Handshake {
            versions,
            client_authority: Some(&clients),
            ..Handshake::default()
        };
        vec![handshake.step(&IDENTITY), Step::Request]
    };
    let presenting = |identity: Identity| vec![identity.tls(), Step::Request];
    let http2 = |frames| vec![IDENTITY.tls_h2(), Step::Http2(frames)];
    let none = || json!({});
    let matcher = json!([{ "header": "X-Echo", "regexp": "." }]);
    vec![
        ("http", vec![echo.clone()], none()),
        ("https", vec![IDENTITY.tls(), echo.clone()], none()),
        (
            "http",
            vec![echo.clone()],
            json!({ "valid_status_codes": ["4xx"], "fail_if_header_matches": matcher }),
        ),
        (
            "http",
            vec![echo.clone()],
            json!({ "valid_status_codes": ["4xx"], "fail_if_body_matches_regexp": ["."] }),
        ),
        (
            "http",
            vec![echo.clone()],
            json!({ "valid_status_codes": ["4xx"], "fail_if_not_ssl": true }),
        ),
        (
            "http",
            vec![echo.clone()],
            json!({ "valid_status_codes": ["4xx"], "valid_http_versions": ["HTTP/2.0"] }),
        ),
        (
            "http",
            vec![echo],
            json!({ "valid_status_codes": ["4xx"], "body_size_limit": 1 }),
        ),
        ("http", vec![Step::Drop], none()),
        ("http", vec![Step::Request, Step::Reset], none()),
        ("http", vec![Step::Request, Step::Hang], none()),
        ("http", start("s3cr3t\r\n\r\n"), none()),
        ("http", start("HTTP/1.1 200 OK\r\ns3cr3t\r\n\r\n"), none()),
        (
            "http",
            start("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ns3cr3t"),
            none(),
        ),
        (
            "http",
            start("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ns3cr3t"),
            none(),
        ),
        ("http", vec![to("/path?s3cr3t")], none()),
        ("http", vec![to("ftp://s3cr3t@127.0.0.1/s3cr3t")], none()),
        ("http", vec![to("http://s3cr3t@[/s3cr3t")], none()),
        (
            "http",
            vec![to("http://s3cr3t@127.0.0.1:1/path?s3cr3t")],
            none(),
        ),
        ("https", vec![Step::Read, Step::send("s3cr3t")], none()),
        ("https", vec![Step::Hang], none()),
        (
            "https",
            presenting(AUTHORITY.issue(&["127.0.0.1"], 2000..2001)),
            none(),
        ),
        (
            "https",
            presenting(AUTHORITY.issue(&["other.test"], YEARS)),
            none(),
        ),
        (
            "https",
            presenting(Identity::self_signed(&["127.0.0.1"])),
            none(),
        ),
        ("https", demanding(&[&rustls::version::TLS12]), none()),
        ("https", demanding(&[&rustls::version::TLS13]), none()),
        (
            "https",
            vec![IDENTITY.tls(), Step::answer(|_| ok("hello"))],
            json!({ "fail_if_ssl": true }),
        ),
        ("https", http2(vec![Frame::Reset]), none()),
        (
            "https",
            http2(vec![
                Frame::Head(200),
                Frame::Data(Bytes::from("s3cr3t")),
                Frame::Drop,
            ]),
            none(),
        ),
        (
            "https",
            vec![
                IDENTITY.tls_h2(),
                Step::Read,
                Step::send("s3cr3t"),
                Step::Hang,
            ],
            none(),
        ),
    ]
}

fn with(mut monitor: Value, settings: &Value) -> Value {
    for (key, value) in settings.as_object().into_iter().flatten() {
        monitor[key] = value.clone();
    }
    monitor
}

#[tokio::test]
async fn no_failure_tells_a_secret() {
    let secrets = Secrets::new();
    let lab = Lab::new();
    let mut reasons = std::collections::BTreeSet::new();
    let (closed, deaf) = (Closed::new(), Deaf::new().await);
    let servers = failures().into_iter().map(|(scheme, script, settings)| {
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
async fn no_failed_lookup_tells_a_secret() {
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
async fn no_debug_output_tells_a_secret() {
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
fn no_line_of_the_program_tells_a_secret() {
    let secrets = Secrets::new();
    let mut monitors = serde_json::Map::new();
    let mut servers = Vec::new();
    for (scheme, script, settings) in failures() {
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
    for format in ["table", "json", "junit"] {
        let output = program()
            .args(["once", "--output", format, "--config"])
            .arg(file.path())
            .env("SSL_CERT_FILE", authorities.path())
            .env("RUST_LOG", "trace")
            .output()
            .expect("the program can be started");
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.matches("Check failed").count(), number, "{text}");
        secrets.assert_none_in(format, &text);
    }
}
