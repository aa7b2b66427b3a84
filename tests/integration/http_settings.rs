//! Each setting does what it says, as the server sees it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use bytes::Bytes;
use monitoringdaemon::check::{Phase, Reason, Report};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{
    dns::{Answer, Dns},
    ipv6_loopback,
    lab::Lab,
    pki::{Handshake, IDENTITY},
    process::{program, text},
    report::{assert_failure, assert_success},
    server::{Closed, Frame, Request, Server, Step, ok, response},
};

/// Checks a server that answers 200, and returns the request that it got.
async fn request(mut monitor: Value) -> Request {
    let server = Server::answering(|request| match &*request.method {
        "HEAD" => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        _ => ok("hello"),
    });
    monitor["url"] = json!(server.http("/"));
    assert_success(&Lab::new().check(monitor).await);
    server.request()
}

fn file(contents: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), contents).expect("room for a temporary file");
    file
}

#[tokio::test]
async fn methods_are_sent_in_upper_case() {
    for method in [
        "get", "Head", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "Purge",
    ] {
        let request = request(json!({ "method": method })).await;
        assert_eq!(request.method, method.to_uppercase());
    }
}

#[tokio::test]
async fn configured_headers_replace_the_default_ones() {
    let request = request(json!({ "headers": {
        "X-Key": "value with spaces, and more",
        "X-Empty": "",
        "User-Agent": "tester",
        "Accept": "text/html",
        "Connection": "keep-alive",
        "Accept-Encoding": "gzip",
    } }))
    .await;
    for (name, value) in [
        ("x-key", "value with spaces, and more"),
        ("x-empty", ""),
        ("user-agent", "tester"),
        ("accept", "text/html"),
        ("connection", "keep-alive"),
        ("accept-encoding", "gzip"),
    ] {
        assert_eq!(request.header(name), Some(value));
    }
}

#[tokio::test]
async fn http_headers_have_values_secrets_and_files() {
    let secret = file(b"from a file\n");
    let request = request(json!({
        "headers": { "X-Listed": ["one", "two"], "X-Mapped": { "values": ["a"], "secrets": ["b"] } },
        "http_headers": { "X-Filed": { "files": [secret.path()] } },
    }))
    .await;
    let values = |wanted: &str| -> Vec<&str> {
        let headers = request.headers.iter().filter(|(name, _)| name == wanted);
        headers.map(|(_, value)| &**value).collect()
    };
    assert_eq!(values("x-listed"), ["one", "two"]);
    assert_eq!(values("x-mapped"), ["a", "b"]);
    assert_eq!(values("x-filed"), ["from a file"]);
}

#[tokio::test]
async fn a_body_is_sent_with_its_length() {
    let body = "line\nné\n";
    let in_file = file(body.as_bytes());
    for settings in [
        json!({ "body": body }),
        json!({ "body_file": in_file.path() }),
    ] {
        for method in ["POST", "GET"] {
            let mut settings = settings.clone();
            settings["method"] = json!(method);
            let request = request(settings).await;
            assert_eq!(request.body, body.as_bytes());
            assert_eq!(request.header("content-length"), Some("9"));
        }
    }
}

#[tokio::test]
async fn a_body_file_may_be_binary() {
    let in_file = file(b"\x00\xff\n");
    let request = request(json!({ "method": "POST", "body_file": in_file.path() })).await;
    assert_eq!(request.body, b"\x00\xff\n");
}

#[tokio::test]
async fn credentials_are_sent_from_every_key_that_can_hold_them() {
    let (user, password, token) = (file(b"user\n"), file(b"pass:word\r\n"), file(b"token\n"));
    let basic = "Basic dXNlcjpwYXNzOndvcmQ=";
    for (settings, expected) in [
        (
            json!({ "basic_auth": { "username": "user", "password": "pass:word" } }),
            basic,
        ),
        (
            json!({ "basic_auth": {
                "username_file": user.path(),
                "password_file": password.path(),
            } }),
            basic,
        ),
        (
            json!({ "basic_auth": { "username": "user" } }),
            "Basic dXNlcjo=",
        ),
        (
            json!({ "authorization": { "credentials": "token" } }),
            "Bearer token",
        ),
        (
            json!({ "authorization": { "type": "Token", "credentials_file": token.path() } }),
            "Token token",
        ),
        (
            json!({ "headers": { "Authorization": "Own scheme" } }),
            "Own scheme",
        ),
    ] {
        let request = request(settings).await;
        assert_eq!(request.header("authorization"), Some(expected));
    }
}

#[tokio::test]
async fn credentials_in_a_url_are_sent_in_a_header_only() {
    let server = Server::ok();
    let url = format!("http://us%65r:p%40ss@{}/", server.address);
    assert_success(&Lab::new().check(json!({ "url": url })).await);
    let request = server.request();
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwQHNz"));
    assert_eq!(request.header("host"), Some(&*server.address.to_string()));
    assert_eq!(request.target, "/");
}

#[tokio::test]
async fn valid_status_codes_are_codes_classes_and_ranges() {
    for (valid, status, reason) in [
        (json!([]), 200, None),
        (json!([]), 299, None),
        (json!([]), 404, Some(Reason::StatusCode)),
        (json!([404]), 404, None),
        (json!([404]), 200, Some(Reason::StatusCode)),
        (json!(["4xx"]), 499, None),
        (json!(["4xx"]), 500, Some(Reason::StatusCode)),
        (json!(["500-503", 200]), 503, None),
        (json!(["500-503", 200]), 200, None),
        (json!(["500-503", 200]), 504, Some(Reason::StatusCode)),
        (json!([999]), 999, None),
        (json!(["900-998"]), 999, Some(Reason::StatusCode)),
    ] {
        let server = Server::answering(move |_| response(&format!("{status} Status"), &[], ""));
        let monitor = json!({ "url": server.http("/"), "valid_status_codes": valid });
        let report = Lab::new().check(monitor).await;
        assert_eq!(report.status(), Some(status));
        assert_eq!(
            report.failure.map(|failure| failure.reason),
            reason,
            "{valid} {status}"
        );
    }
}

#[tokio::test]
async fn valid_http_versions_are_those_of_the_response() {
    let http2 = Step::Http2(vec![
        Frame::Head(200),
        Frame::Data(Bytes::from("hello")),
        Frame::End,
    ]);
    let old = Step::answer(|_| "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n");
    let new = Step::answer(|_| ok("hello"));
    for (scheme, script, version) in [
        ("http", vec![old], "HTTP/1.0"),
        ("http", vec![new.clone()], "HTTP/1.1"),
        ("https", vec![IDENTITY.tls(), new], "HTTP/1.1"),
        ("https", vec![IDENTITY.tls_h2(), http2], "HTTP/2.0"),
    ] {
        let server = Server::start(script);
        for valid in ["HTTP/1.0", "HTTP/1.1", "HTTP/2.0"] {
            let report = Lab::new()
                .check(json!({
                    "url": format!("{scheme}://{}/", server.address),
                    "valid_http_versions": [valid],
                }))
                .await;
            if valid == version {
                assert_success(&report);
            } else {
                assert_failure(&report, Phase::Processing, Reason::HttpVersion);
            }
        }
    }
}

#[tokio::test]
async fn http1_is_used_without_alpn() {
    let handshake = Handshake {
        alpn: &[],
        ..Handshake::default()
    };
    let server = Server::start([handshake.step(&IDENTITY), Step::answer(|_| ok("hello"))]);
    assert_success(&Lab::new().check(json!({ "url": server.https("/") })).await);
}

#[tokio::test]
async fn the_preferred_ip_family_is_used() {
    if !ipv6_loopback() {
        return;
    }
    let (ip4, ip6) = (
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    );
    let script = [Step::answer(|_| ok("hello"))];
    let (on_ip4, on_ip6) = Server::start_pair(&script);
    let check = async |addresses: &[IpAddr], preferred: &str, fallback: bool| -> Report {
        let answer = Answer::Addresses(addresses.to_vec());
        let lab = Lab::with_dns(Dns::start(Duration::ZERO, move |_| answer.clone()));
        lab.check(json!({
            "url": on_ip4.named("http", "service.test", "/"),
            "preferred_ip_protocol": preferred,
            "ip_protocol_fallback": fallback,
        }))
        .await
    };
    // For each case, how often either server is connected to: over IPv4, over IPv6.
    let both = [ip6, ip4];
    for (addresses, preferred, fallback, connections) in [
        (&both[..], "auto", true, (1, 0)),
        (&both, "ip4", true, (1, 0)),
        (&both, "ip6", true, (0, 1)),
        (&both, "ip4", false, (1, 0)),
        (&both, "ip6", false, (0, 1)),
        (&[ip4], "auto", true, (1, 0)),
        (&[ip4], "ip6", true, (1, 0)),
        (&[ip4], "ip6", false, (0, 0)),
        (&[ip6], "auto", true, (0, 1)),
        (&[ip6], "auto", false, (0, 1)),
        (&[ip6], "ip4", true, (0, 1)),
        (&[ip6], "ip4", false, (0, 0)),
    ] {
        let before = (on_ip4.seen().connections, on_ip6.seen().connections);
        let report = check(addresses, preferred, fallback).await;
        let after = (on_ip4.seen().connections, on_ip6.seen().connections);
        let case = format!("{addresses:?} {preferred} {fallback}");
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            connections,
            "{case}"
        );
        match connections {
            (0, 0) => {
                assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
            }
            _ => assert_success(&report),
        }
    }
}

#[tokio::test]
async fn an_ipv6_address_can_be_the_target() {
    if !ipv6_loopback() {
        return;
    }
    let script = [IDENTITY.tls(), Step::answer(|_| ok("hello"))];
    let server = Server::start_at(Ipv6Addr::LOCALHOST.into(), script);
    let report = Lab::new().check(json!({ "url": server.https("/") })).await;
    assert_success(&report);
    let host = server.address.to_string();
    assert_eq!(server.request().header("host"), Some(&*host));
}

#[tokio::test]
async fn insecure_skip_verify_accepts_invalid_certificates() {
    let identity = crate::support::pki::Identity::self_signed(&["other.test"]);
    let server = Server::start([identity.tls(), Step::answer(|_| ok("hello"))]);
    for (skip, reason) in [(true, None), (false, Some(Reason::TlsUntrusted))] {
        let report = Lab::new()
            .check(json!({
                "url": server.https("/"),
                "tls_config": { "insecure_skip_verify": skip },
            }))
            .await;
        assert_eq!(report.failure.map(|failure| failure.reason), reason);
    }
}

#[tokio::test]
async fn different_tls_settings_are_not_shared() {
    let server = Server::start([
        crate::support::pki::Identity::self_signed(&["127.0.0.1"]).tls(),
        Step::answer(|_| ok("hello")),
    ]);
    let lab = Lab::new();
    let careful = lab.job(json!({ "url": server.https("/") }));
    let careless = lab.job(json!({
        "url": server.https("/"),
        "tls_config": { "insecure_skip_verify": true },
    }));
    for _ in 0..2 {
        assert_success(&careless.check_once().await);
        assert_failure(
            &careful.check_once().await,
            Phase::Tls,
            Reason::TlsUntrusted,
        );
    }
}

#[test]
fn proxies_of_the_environment_are_ignored_by_default() {
    let (server, proxy) = (Server::ok(), Closed::new());
    let config = json!({ "monitors": { "example": { "url": server.http("/") } } });
    let config = file(config.to_string().as_bytes());
    let mut once = program();
    once.args(["once", "--config"]).arg(config.path());
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        once.env(name, format!("http://{}", proxy.address));
    }
    let output = once.output().expect("the program can be started");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(server.request().target, "/");
}
