//! Through a proxy: what it is told, what it may refuse, and what of it is in a report.

use std::time::Duration;

use bytes::Bytes;
use monitoringdaemon::check::{CertificateRole, Phase, Reason};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    SOON,
    dns::{Answer, Dns},
    lab::{Lab, millis},
    pki::{AUTHORITY, IDENTITY, Identity, YEARS, start_of},
    process::{program, text},
    report::{assert_failure, assert_success, certificate, reached, spent},
    server::{Closed, Deaf, Frame, Server, Step, ok},
};

fn established() -> Step {
    Step::send("HTTP/1.1 200 Connection established\r\n\r\n")
}

fn answer() -> Step {
    Step::answer(|_| ok("hello"))
}

/// Grants every tunnel, and is the target at its other end too.
fn granting(target: &[Step]) -> Server {
    Server::start([&[Step::Request, established()], target].concat())
}

fn proxied(url: &str, proxy: &str) -> Value {
    json!({ "url": url, "proxy_url": proxy })
}

#[tokio::test]
async fn a_proxy_forwards_plain_requests_with_their_whole_url() {
    let proxy = Server::ok();
    let url = format!("http://us%65r:p%40ss@{}", proxy.address);
    let monitor = proxied("http://nowhere.test:81/path?query", &url);
    let lab = Lab::new();
    let report = lab.check(monitor).await;
    assert_success(&report);
    let request = proxy.request();
    assert_eq!(request.target, "http://nowhere.test:81/path?query");
    assert_eq!(request.header("host"), Some("nowhere.test:81"));
    assert_eq!(request.header("accept"), Some("*/*"));
    assert_eq!(
        request.header("proxy-authorization"),
        Some("Basic dXNlcjpwQHNz")
    );
    assert_eq!(report.address(), Some(proxy.address.ip()));
    assert_eq!(
        reached(&report),
        [Phase::Connect, Phase::Processing, Phase::Transfer]
    );
    assert_eq!(lab.dns.questions(), []);
}

#[tokio::test]
async fn a_proxy_tunnels_requests_over_tls() {
    let frames = vec![
        Frame::Head(200),
        Frame::Data(Bytes::from("hello")),
        Frame::End,
    ];
    for (target, version) in [
        (vec![IDENTITY.tls(), answer()], "HTTP/1.1"),
        (vec![IDENTITY.tls_h2(), Step::Http2(frames)], "HTTP/2.0"),
    ] {
        let proxy = granting(&target);
        let mut monitor = proxied(
            "https://service.test/path",
            &format!("http://user:secret@{}", proxy.address),
        );
        monitor["proxy_connect_header"] = json!({ "X-Team": "core", "X-Two": ["a", "b"] });
        monitor["valid_http_versions"] = json!([version]);
        monitor["fail_if_body_not_matches_regexp"] = json!(["hello"]);
        let report = Lab::new().check(monitor).await;
        assert_success(&report);
        let [connect, request] = &proxy.seen().requests[..] else {
            panic!("not two requests: {:?}", proxy.seen())
        };
        assert_eq!(
            (&*connect.method, &*connect.target),
            ("CONNECT", "service.test:443")
        );
        assert_eq!(connect.header("host"), Some("service.test:443"));
        assert_eq!(
            connect.header("proxy-authorization"),
            Some("Basic dXNlcjpzZWNyZXQ=")
        );
        assert_eq!(connect.header("x-team"), Some("core"));
        assert_eq!(
            connect
                .headers
                .iter()
                .filter(|(name, _)| name == "x-two")
                .count(),
            2
        );
        assert_eq!((&*request.method, &*request.target), ("GET", "/path"));
        assert_eq!(request.header("proxy-authorization"), None);
        assert_eq!(request.header("x-team"), None);
        assert_eq!(request.server_name.as_deref(), Some("service.test"));
        assert_eq!(
            reached(&report),
            [
                Phase::Connect,
                Phase::Tls,
                Phase::Processing,
                Phase::Transfer
            ]
        );
        assert!(report.tls().is_some());
    }
}

#[tokio::test]
async fn server_name_is_sent_as_sni_through_a_proxy() {
    let proxy = granting(&[IDENTITY.tls(), answer()]);
    let mut monitor = proxied("https://192.0.2.1/", &proxy.http(""));
    monitor["headers"] = json!({ "Host": "service.test" });
    assert_success(&Lab::new().check(monitor).await);
    let requests = proxy.seen().requests;
    assert_eq!(requests[0].target, "192.0.2.1:443");
    assert_eq!(requests[1].server_name.as_deref(), Some("service.test"));
    assert_eq!(requests[1].header("host"), Some("service.test"));
}

#[tokio::test]
async fn an_ip_target_has_no_sni_through_a_proxy() {
    let proxy = granting(&[IDENTITY.tls(), answer()]);
    let report = Lab::new()
        .check(proxied("https://a..example/", &proxy.http("")))
        .await;
    assert_failure(&report, Phase::Resolve, Reason::DnsFailure);
    assert!(proxy.seen().requests.is_empty());
}

#[tokio::test]
async fn a_tls_proxy_is_verified_and_not_mistaken_for_the_target() {
    let outer = AUTHORITY.issue(&["127.0.0.1"], 2020..3000);
    let proxy = Server::start([
        outer.tls(),
        Step::Request,
        established(),
        IDENTITY.tls(),
        answer(),
    ]);
    let monitor = proxied("https://service.test/", &proxy.https(""));
    let report = Lab::new().check(monitor).await;
    assert_success(&report);
    let leaf = certificate(&report, CertificateRole::Leaf).expect("the target's");
    assert_eq!(leaf.not_after, start_of(YEARS.end));

    let proxy = Server::start([outer.tls(), answer()]);
    let report = Lab::new()
        .check(proxied("http://a.test/", &proxy.https("")))
        .await;
    assert_success(&report);
    assert_eq!(proxy.request().target, "http://a.test/");
    assert_eq!(
        (report.tls(), certificate(&report, CertificateRole::Leaf)),
        (None, None)
    );
    assert_eq!(
        reached(&report),
        [Phase::Connect, Phase::Processing, Phase::Transfer]
    );

    let stranger = Server::start([Identity::self_signed(&["127.0.0.1"]).tls(), answer()]);
    let report = Lab::new()
        .check(proxied("https://a.test/", &stranger.https("")))
        .await;
    let failure = assert_failure(&report, Phase::Connect, Reason::TlsUntrusted);
    assert!(failure.error.starts_with("the proxy: "), "{failure:?}");
}

const GRANTED: &[u8] = b"\x05\x00\x00\x01\0\0\0\0\0\0";

#[tokio::test]
async fn socks5_sends_an_address_and_socks5h_a_name() {
    for (scheme, request, questions) in [
        ("socks5", &b"\x05\x01\x00\x01\x7f\0\0\x01\0\x50"[..], 1),
        ("socks5h", b"\x05\x01\x00\x03\x06a.test\0\x50", 0),
    ] {
        let proxy = Server::start([
            Step::Take(3),
            Step::send(&b"\x05\x00"[..]),
            Step::Take(request.len()),
            Step::send(GRANTED),
            answer(),
        ]);
        let lab = Lab::new();
        let url = format!("{scheme}://{}", proxy.address);
        let report = lab.check(proxied("http://a.test/path", &url)).await;
        assert_success(&report);
        assert_eq!(proxy.seen().taken, [&b"\x05\x01\x00"[..], request].concat());
        assert_eq!(proxy.request().target, "/path");
        assert_eq!(report.address(), Some(proxy.address.ip()));
        assert_eq!(lab.dns.questions().len(), questions, "{scheme}");
    }
}

#[tokio::test]
async fn socks_sends_credentials_and_carries_tls() {
    let proxy = Server::start([
        Step::Take(4),
        Step::send(&b"\x05\x02"[..]),
        Step::Take(9),
        Step::send(&b"\x01\x00"[..]),
        Step::Take(19),
        Step::send(GRANTED),
        IDENTITY.tls(),
        answer(),
    ]);
    let url = format!("socks5h://me:pass@{}", proxy.address);
    assert_success(
        &Lab::new()
            .check(proxied("https://service.test/", &url))
            .await,
    );
    let expected = b"\x05\x02\x00\x02\x01\x02me\x04pass\x05\x01\x00\x03\x0cservice.test\x01\xbb";
    assert_eq!(proxy.seen().taken, expected);
}

#[tokio::test]
async fn a_refusal_of_the_proxy_has_a_reason_and_names_the_proxy() {
    let refusing = |answer: &'static str| vec![Step::Request, Step::send(answer)];
    for (script, scheme, reason, text) in [
        (
            refusing("HTTP/1.1 407 Authenticate\r\n\r\n"),
            "http",
            Reason::ConnectionFailed,
            "the proxy: HTTP 407 in response to CONNECT: it requires other credentials",
        ),
        (
            refusing("HTTP/1.1 403 s3cr3t\r\ncontent-length: 9\r\n\r\nforbidden"),
            "http",
            Reason::ConnectionFailed,
            "the proxy: HTTP 403 in response to CONNECT, expected 2xx",
        ),
        (
            refusing("garbage"),
            "http",
            Reason::ProtocolError,
            "the proxy: ",
        ),
        (
            vec![Step::Request],
            "http",
            Reason::ConnectionReset,
            "the proxy: ",
        ),
        (
            vec![Step::Request, Step::Reset],
            "http",
            Reason::ConnectionReset,
            "the proxy: ",
        ),
        (
            vec![Step::Drop],
            "https",
            Reason::TlsHandshake,
            "the proxy: ",
        ),
        (
            vec![
                Step::Take(3),
                Step::send(&b"\x05\x00"[..]),
                Step::Take(10),
                Step::send(&b"\x05\x05"[..]),
            ],
            "socks5",
            Reason::ConnectionRefused,
            "the proxy: it answered: connection refused",
        ),
        (
            vec![Step::Take(3), Step::send(&b"\x05\xff"[..])],
            "socks5",
            Reason::ConnectionFailed,
            "the proxy: it requires credentials",
        ),
    ] {
        let proxy = Server::start(script);
        let url = format!("{scheme}://{}", proxy.address);
        let report = Lab::new().check(proxied("https://127.0.0.1/", &url)).await;
        let failure = assert_failure(&report, Phase::Connect, reason);
        assert!(failure.error.starts_with(text), "{failure:?}");
        assert!(!failure.error.contains("s3cr3t"), "{failure:?}");
    }
    let closed = Closed::new();
    let url = format!("http://{}", closed.address);
    let report = Lab::new().check(proxied("https://127.0.0.1/", &url)).await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::NoSuchName));
    let report = lab
        .check(proxied("https://a.test/", "http://proxy.test:1"))
        .await;
    let failure = assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
    assert!(failure.error.starts_with("the proxy: "), "{failure:?}");
}

#[tokio::test]
async fn silence_of_a_proxy_or_target_ends_with_the_deadline() {
    let hang = [Step::Hang];
    let granted = [Step::Request, established()];
    let head = [
        IDENTITY.tls(),
        Step::Request,
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhe"),
        Step::Hang,
    ];
    let tls_h2 = [
        IDENTITY.tls_h2(),
        Step::Http2(vec![Frame::Wait(Duration::from_secs(60))]),
    ];
    let socks = [Step::Take(3), Step::send(&b"\x05\x00"[..]), Step::Hang];
    for (script, scheme, phase) in [
        (hang.to_vec(), "http", Phase::Connect),
        (hang.to_vec(), "https", Phase::Connect),
        (hang.to_vec(), "socks5", Phase::Connect),
        (socks.to_vec(), "socks5", Phase::Connect),
        ([&granted[..], &hang].concat(), "http", Phase::Tls),
        (
            [&granted[..], &[IDENTITY.tls()], &hang].concat(),
            "http",
            Phase::Processing,
        ),
        ([&granted[..], &tls_h2].concat(), "http", Phase::Processing),
        ([&granted[..], &head].concat(), "http", Phase::Transfer),
    ] {
        let proxy = Server::start(script);
        let url = format!("{scheme}://{}", proxy.address);
        let mut monitor = proxied("https://127.0.0.1/", &url);
        monitor["timeout"] = millis(500);
        let began = Instant::now();
        let report = Lab::new().check(monitor).await;
        let failure = assert_failure(&report, phase, Reason::Timeout);
        let is_of_proxy = failure.error.ends_with(", waiting for the proxy");
        assert_eq!(is_of_proxy, phase == Phase::Connect, "{failure:?}");
        assert!(began.elapsed() < SOON, "{report:#?}");
        proxy.until(|seen| seen.left == 1).await;
    }
    let deaf = Deaf::new().await;
    let mut monitor = proxied("https://127.0.0.1/", &format!("http://{}", deaf.address));
    monitor["timeout"] = millis(500);
    let report = Lab::new().check(monitor).await;
    let failure = assert_failure(&report, Phase::Connect, Reason::Timeout);
    let error = "no result within 500ms, waiting for the proxy";
    assert_eq!(failure.error, error);
}

#[tokio::test]
async fn the_request_for_a_tunnel_counts_for_connect() {
    let delay = Duration::from_millis(200);
    let proxy = Server::start([
        Step::Request,
        Step::Wait(delay),
        established(),
        IDENTITY.tls(),
        answer(),
    ]);
    let report = Lab::new()
        .check(proxied("https://127.0.0.1/", &proxy.http("")))
        .await;
    assert_success(&report);
    assert!(spent(&report, Phase::Connect) >= Some(delay), "{report:#?}");
}

#[tokio::test]
async fn no_proxy_hosts_are_connected_to_directly() {
    let (server, closed) = (Server::ok(), Closed::new());
    for (no_proxy, reason) in [
        ("127.0.0.0/8", None),
        ("example.com", Some(Reason::ConnectionRefused)),
    ] {
        let mut monitor = proxied(&server.http("/"), &format!("http://{}", closed.address));
        monitor["no_proxy"] = json!(no_proxy);
        let report = Lab::new().check(monitor).await;
        assert_eq!(report.failure.map(|failure| failure.reason), reason);
    }
}

#[test]
fn proxy_from_environment_uses_the_proxies_of_the_environment() {
    let (server, proxy) = (Server::ok(), Server::ok());
    let config = json!({ "monitors": { "example": {
        "url": server.http("/"),
        "proxy_from_environment": true,
    } } });
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), config.to_string()).expect("room for a temporary file");
    let mut once = program();
    once.args(["once", "--config"]).arg(file.path());
    once.env("HTTP_PROXY", proxy.address.to_string());
    let output = once.output().expect("the program can be started");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(proxy.request().target, server.http("/"));
}
