//! Peers that repeat what they hear: no secret that a check or a fetch sends comes back in an error or in the log.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use monitoringdaemon::check::{Phase, Reason};
use serde_json::{Value, json};

use crate::{
    dns_answers::monitor,
    support::{
        daemon::Daemon,
        lab::Lab,
        nameserver::{Act, NameServer},
        pki::{AUTHORITY, IDENTITY},
        process::{program, text},
        report::assert_failure,
        server::{Server, Step, response},
    },
};

/// Part of every secret.
const MARK: &str = "s3cr3t";

/// A server that decodes the headers of HTTP/2 requests and echoes them.
fn heard() -> String {
    let basic = BASE64_STANDARD.encode("s3cr3t-user:s3cr3t-password");
    format!(
        "authorization: Bearer s3cr3t-token, Basic {basic} /dns-query?s3cr3t client_secret=s3cr3t"
    )
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let head = [
        &length.to_be_bytes()[1..],
        &[kind, 0],
        &stream.to_be_bytes(),
    ]
    .concat();
    [&head[..], payload].concat()
}

/// Ends an HTTP/2 connection with GOAWAY, in whose debug data is what it heard.
fn http2_echo() -> [Step; 3] {
    let go_away = [&[0; 4], &11_u32.to_be_bytes()[..], heard().as_bytes()].concat();
    let frames = [frame(4, 0, &[]), frame(7, 0, &go_away)].concat();
    [Step::Read, Step::send(frames), Step::Hang]
}

/// The peers over TCP, over TLS with HTTP/2, over TLS with HTTP/1.1, and one that answers by HTTP/1.1.
struct Echoes {
    plain: Server,
    http2: Server,
    plain_http2: Server,
    tls: Server,
    answering: Server,
}

impl Echoes {
    fn new() -> Self {
        let [read, send, hang] = http2_echo();
        let answer = Step::answer(|request| {
            let all = format!("{request:?}").replace(|c: char| c.is_control(), "");
            response(&format!("500 {all}"), &[&format!("x-echo: {all}")], &all)
        });
        Self {
            plain: Server::start([Step::Echo]),
            http2: Server::start([IDENTITY.tls_h2(), read.clone(), send.clone(), hang.clone()]),
            plain_http2: Server::start([read, send, hang]),
            tls: Server::start([IDENTITY.tls(), Step::Echo]),
            answering: Server::start([answer]),
        }
    }

    /// A monitor of every type, and of every way to send a secret, for each peer that speaks enough of it.
    fn monitors(&self, socket: &str) -> Vec<Value> {
        let mut monitors = Vec::new();
        for (scheme, server) in [
            ("http", &self.plain),
            ("http", &self.answering),
            ("https", &self.http2),
            ("https", &self.tls),
        ] {
            let url = |path: &str| format!("{scheme}://{}{path}", server.address);
            let bearer = json!({ "credentials": "s3cr3t-token" });
            let basic = json!({ "username": "s3cr3t-user", "password": "s3cr3t-password" });
            let oauth2 = json!({
                "client_id": "me",
                "client_secret": "s3cr3t",
                "token_url": url("/token?s3cr3t"),
            });
            monitors.extend([
                json!({ "url": url("/path?s3cr3t"), "authorization": bearer }),
                json!({ "url": url("/"), "basic_auth": basic, "method": "POST", "body": "s3cr3t" }),
                json!({ "url": url("/"), "oauth2": oauth2 }),
            ]);
            if scheme == "https" {
                monitors.push(json!({
                    "type": "dns",
                    "target": url("/dns-query?s3cr3t"),
                    "query_name": "example.test",
                }));
            }
            let target = format!(
                "{}://{}/?s3cr3t",
                scheme.replace("http", "ws"),
                server.address
            );
            monitors.push(json!({
                "type": "websocket",
                "target": target,
                "headers": { "Authorization": "s3cr3t" },
            }));
        }
        for server in [&self.plain, &self.answering] {
            let [proxy, socks] = ["http", "socks5h"]
                .map(|scheme| format!("{scheme}://s3cr3t-user:s3cr3t-password@{}", server.address));
            monitors.extend([
                json!({ "url": "https://127.0.0.1:1/", "proxy_url": proxy }),
                json!({ "url": "https://127.0.0.1:1/", "proxy_url": socks }),
            ]);
        }
        for (server, tls) in [
            (&self.plain, false),
            (&self.plain_http2, false),
            (&self.http2, true),
        ] {
            monitors.push(json!({
                "type": "grpc",
                "target": server.address.to_string(),
                "tls": tls,
                "metadata": { "authorization": "s3cr3t" },
            }));
        }
        let dialogue = json!([{ "send": "PASS s3cr3t-password" }, { "expect": "^OK$" }]);
        let target = |server: &Server| server.address.to_string();
        monitors.extend([
            json!({ "type": "tcp", "target": target(&self.plain), "query_response": dialogue }),
            json!({
                "type": "tcp",
                "target": target(&self.tls),
                "tls": true,
                "query_response": dialogue,
            }),
            json!({ "type": "unix", "target": socket, "query_response": dialogue }),
            json!({ "type": "tls", "target": target(&self.plain), "starttls": "smtp" }),
        ]);
        for monitor in &mut monitors {
            monitor["timeout"] = json!("1s");
        }
        monitors
    }
}

/// A unix socket in `folder` that repeats what it hears on its first connections.
fn unix_echo(folder: &std::path::Path) -> String {
    let path = folder.join("echo");
    let listener = UnixListener::bind(&path).expect("a new socket");
    thread::spawn(move || {
        for mut stream in listener.incoming().take(4).flatten() {
            let mut heard = [0; 1000];
            while let Ok(count @ 1..) = stream.read(&mut heard) {
                let _ = stream.write_all(&heard[..count]);
            }
        }
    });
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[track_caller]
fn assert_no_secret(what: &str, text: &str) {
    let basic = BASE64_STANDARD.encode("s3cr3t-user:s3cr3t-password");
    for secret in [MARK, &basic] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in {what}");
    }
}

#[test]
fn no_type_reports_a_secret_that_its_peer_echoes() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let authorities = folder.path().join("authorities.pem");
    std::fs::write(&authorities, AUTHORITY.pem()).expect("room for it");
    let echoes = Echoes::new();
    let monitors = echoes.monitors(&unix_echo(folder.path()));
    let number = monitors.len();
    let monitors = monitors.into_iter().enumerate();
    let monitors: serde_json::Map<_, _> = monitors
        .map(|(number, monitor)| (format!("monitor {number}"), monitor))
        .collect();
    let config = folder.path().join("config.yml");
    let text_of_config = json!({ "log": { "level": "TRACE" }, "monitors": monitors }).to_string();
    std::fs::write(&config, text_of_config).expect("room for it");
    let output = program()
        .args(["once", "--output", "json", "--config"])
        .arg(&config)
        .env("SSL_CERT_FILE", &authorities)
        .env("RUST_LOG", "trace")
        .output()
        .expect("the program can be started");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("Check failed").count(), number, "{text}");
    assert!(text.contains("ENHANCE_YOUR_CALM"), "{text}");
    assert_no_secret("what once prints", &text);
}

#[tokio::test]
async fn a_name_server_that_echoes_has_not_answered() {
    for transport in ["udp", "tcp"] {
        let server = NameServer::start(|asked| vec![Act::Send(asked.bytes.clone())]);
        let settings = json!({ "transport_protocol": transport });
        let report = Lab::new().check(monitor(&server, settings)).await;
        assert_failure(&report, Phase::Request, Reason::ProtocolError);
        let error = report.failure.map(|failure| failure.error.to_string());
        assert_eq!(error.as_deref(), Some("the response is itself a query"));
    }
    // As much as any length that the random id of the query may be taken for.
    let server = NameServer::over_tls(&IDENTITY.tls(), |asked| {
        vec![Act::Write(asked.bytes.repeat(3000))]
    });
    let settings = json!({ "transport_protocol": "tls" });
    let report = Lab::new().check(monitor(&server, settings)).await;
    assert_failure(&report, Phase::Request, Reason::ProtocolError);
}

#[test]
fn discovery_reports_no_secret_that_its_source_echoes() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let authorities = folder.path().join("authorities.pem");
    std::fs::write(&authorities, AUTHORITY.pem()).expect("room for it");
    let echoes = Echoes::new();
    let sources = [
        echoes.plain.http("/?s3cr3t"),
        echoes.answering.http("/?s3cr3t"),
        echoes.http2.https("/?s3cr3t"),
        echoes.tls.https("/?s3cr3t"),
    ];
    let number = sources.len();
    let blocks = sources.into_iter().enumerate().map(|(number, url)| {
        let source = json!({ "url": url, "authorization": { "credentials": "s3cr3t-token" } });
        (
            format!("block {number}"),
            json!({ "template": "t", "http_sd_configs": [source] }),
        )
    });
    let blocks: serde_json::Map<_, _> = blocks.collect();
    let config =
        json!({ "log": { "level": "TRACE" }, "templates": { "t": {} }, "discovery": blocks });
    let mut daemon = Daemon::start_as(config, |command| {
        command
            .env("SSL_CERT_FILE", &authorities)
            .env("RUST_LOG", "trace");
    });
    daemon.until_page("all have failed", |page| {
        let failures = page.sum("monitoringdaemon_discovery_failures_total", &[]);
        failures >= f64::from(u32::try_from(number).expect("a few"))
    });
    daemon.stop();
    assert_no_secret("the log", &daemon.whole_log().join("\n"));
}
