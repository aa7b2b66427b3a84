//! Requests as the server gets them, bodies as they come back, and one connection for each check.

use bytes::Bytes;
use monitoringdaemon::check::{Phase, Reason};
use serde_json::json;

use crate::support::{
    lab::Lab,
    pki::IDENTITY,
    process::{alone, resident_bytes},
    report::{assert_failure, assert_success, reached},
    server::{Frame, Server, Step, ok, response},
};

#[tokio::test]
async fn an_http1_check_sends_the_expected_request() {
    let server = Server::ok();
    let lab = Lab::new();
    assert_success(
        &lab.check(json!({ "url": server.http("/path?a=b#c") }))
            .await,
    );
    let request = server.request();
    assert_eq!((&*request.method, &*request.target), ("GET", "/path?a=b"));
    let mut headers = request.headers;
    headers.sort();
    let host = server.address.to_string();
    let agent = concat!("monitoringdaemon/", env!("CARGO_PKG_VERSION"));
    let expected = [
        ("accept", "*/*"),
        ("connection", "close"),
        ("host", &*host),
        ("user-agent", agent),
    ];
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn an_http2_check_sends_the_expected_request() {
    let frames = vec![
        Frame::Head(200),
        Frame::Data(Bytes::from("hello")),
        Frame::End,
    ];
    let server = Server::start([IDENTITY.tls_h2(), Step::Http2(frames)]);
    let lab = Lab::new();
    let report = lab
        .check(json!({
            "url": server.named("https", "service.test", "/path"),
            "method": "POST",
            "body": "question",
            "headers": { "X-Key": "value" },
        }))
        .await;
    assert_success(&report);
    assert_eq!(report.response_bytes(), Some(5));
    let request = server.request();
    assert_eq!((&*request.method, &*request.target), ("POST", "/path"));
    assert_eq!(request.body, b"question");
    assert_eq!(request.header("x-key"), Some("value"));
    assert_eq!(request.header(":scheme"), Some("https"));
    let authority = format!("service.test:{}", server.address.port());
    assert_eq!(request.header(":authority"), Some(&*authority));
    assert_eq!(request.header("connection"), None);
    assert_eq!(request.server_name.as_deref(), Some("service.test"));
}

#[tokio::test]
async fn response_bytes_are_counted_on_the_wire() {
    // A valid gzip of nothing, which decoded would have no bytes.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 20\r\n\r\n";
    let zipped = [head.as_bytes(), gzip].concat();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\ntrailer: x\r\n\r\n";
    for (answer, bytes) in [
        (Bytes::from(zipped), 20),
        (Bytes::from(chunked), 11),
        (Bytes::from(ok("")), 0),
        (Bytes::from(ok("hello")), 5),
    ] {
        let server = Server::answering(move |_| answer.clone());
        let report = Lab::new().check(json!({ "url": server.http("/") })).await;
        assert_success(&report);
        assert_eq!(report.response_bytes(), Some(bytes));
    }
}

#[tokio::test]
async fn responses_without_a_body_have_size_zero() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        ("GET", "HTTP/1.1 204 Nothing\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n",
        ),
    ] {
        let server = Server::answering(move |_| head);
        let report = Lab::new()
            .check(json!({
                "url": server.http("/"),
                "method": method,
                "valid_status_codes": ["2xx", "3xx"],
            }))
            .await;
        assert_success(&report);
        assert_eq!(report.response_bytes(), Some(0));
        assert_eq!(server.request().method, method);
    }
}

#[tokio::test]
async fn an_interim_response_is_not_the_response() {
    let answer = format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{}", ok("hello"));
    let server = Server::answering(move |_| answer.clone());
    let report = Lab::new().check(json!({ "url": server.http("/") })).await;
    assert_success(&report);
    assert_eq!(
        (report.status(), report.response_bytes()),
        (Some(200), Some(5))
    );
}

#[tokio::test]
async fn every_check_has_its_own_connection() {
    let lab = Lab::new();
    let http2 = vec![Frame::Head(200), Frame::End];
    for (scheme, script) in [
        (
            "http",
            vec![Step::answer(|_| {
                response("200 OK", &["connection: keep-alive"], "hello")
            })],
        ),
        ("https", vec![IDENTITY.tls(), Step::answer(|_| ok("hello"))]),
        ("https", vec![IDENTITY.tls_h2(), Step::Http2(http2)]),
    ] {
        let server = Server::start(script);
        let job = lab.job(json!({ "url": format!("{scheme}://{}/", server.address) }));
        for checks in 1..=3 {
            assert_success(&job.check_once().await);
            // The connection does not wait for the next check.
            let seen = server.until(|seen| seen.left == checks).await;
            assert_eq!((seen.connections, seen.requests.len()), (checks, checks));
        }
    }
}

#[tokio::test]
async fn concurrent_checks_do_not_share_a_connection() {
    let lab = Lab::new();
    let server = Server::start([
        IDENTITY.tls_h2(),
        Step::Http2(vec![Frame::Head(200), Frame::End]),
    ]);
    let job = lab.job(json!({ "url": server.https("/") }));
    let reports = futures_util::future::join_all((0..8).map(|_| job.check_once())).await;
    for report in &reports {
        assert_success(report);
    }
    assert_eq!(server.seen().connections, 8);
}

#[tokio::test]
async fn a_failed_request_is_not_retried() {
    let lab = Lab::new();
    for (scheme, script) in [
        ("http", vec![Step::Request, Step::Drop]),
        ("http", vec![Step::Request, Step::Reset]),
        ("https", vec![IDENTITY.tls(), Step::Request, Step::Drop]),
        (
            "https",
            vec![IDENTITY.tls_h2(), Step::Http2(vec![Frame::Refuse])],
        ),
        (
            "https",
            vec![IDENTITY.tls_h2(), Step::Http2(vec![Frame::Drop])],
        ),
    ] {
        let server = Server::start(script);
        let job = lab.job(json!({ "url": format!("{scheme}://{}/", server.address) }));
        for checks in 1..=2 {
            let report = job.check_once().await;
            let failure = report.failure.expect("there was no response");
            assert_eq!(failure.reason, Reason::ConnectionReset, "{failure:?}");
            let seen = server.seen();
            assert_eq!((seen.connections, seen.requests.len()), (checks, checks));
        }
    }
}

#[test]
fn a_body_of_any_size_takes_the_same_memory() {
    const PIECE: u64 = 64 << 10;
    const PIECES: u64 = (200 << 20) / PIECE;
    alone(
        "http_bodies::a_body_of_any_size_takes_the_same_memory",
        || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let script = |pieces| {
                    [
                        Step::Request,
                        Step::send("HTTP/1.1 200 OK\r\n\r\n"),
                        Step::Repeat(vec![b'x'; 64 << 10].into(), pieces),
                    ]
                };
                let lab = Lab::new();
                let (small, large) = (Server::start(script(64)), Server::start(script(PIECES)));
                let check = async |server: &Server| {
                    lab.check(json!({
                        "url": server.http("/"),
                        "body_size_limit": 0,
                        "timeout": 60,
                    }))
                    .await
                };
                // What is allocated once is there after the first body.
                assert_success(&check(&small).await);
                let before = resident_bytes();
                let report = check(&large).await;
                assert_success(&report);
                assert_eq!(report.response_bytes(), Some(PIECE * PIECES));
                let grown = resident_bytes().saturating_sub(before);
                assert!(
                    grown < 8 << 20,
                    "200 MiB of body grew the process by {grown} bytes"
                );
            });
        },
    );
}

#[tokio::test]
async fn an_endless_body_can_be_left_unread() {
    let endless = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: hello\n\n";
    let http1 = vec![Step::Request, Step::send(endless), Step::Hang];
    let frames = vec![
        Frame::Head(200),
        Frame::Data(Bytes::from("data: hello\n\n")),
    ];
    let http2 = vec![IDENTITY.tls_h2(), Step::Http2(frames)];
    for (scheme, script) in [("http", http1), ("https", http2)] {
        let server = Server::start(script);
        let monitor = json!({
            "url": server.named(scheme, "service.test", "/"),
            "read_body": false,
        });
        let lab = Lab::new();
        let job = lab.job(monitor.clone());
        let report = job.check_once().await;
        assert_success(&report);
        assert_eq!(report.status(), Some(200));
        assert_eq!(report.response_bytes(), None);
        assert_eq!(reached(&report).len(), job.phases().len());
        assert!(!reached(&report).contains(&Phase::Transfer));
        server.until(|seen| seen.left == 1).await;
        let mut strict = monitor;
        strict["valid_status_codes"] = json!([204]);
        let report = lab.check(strict).await;
        assert_failure(&report, Phase::Processing, Reason::StatusCode);
    }
}

#[test]
fn a_json_body_takes_bounded_memory() {
    alone("http_bodies::a_json_body_takes_bounded_memory", || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let check = async |values: usize| {
                let body = format!("[{}1]", "{\"a\":0},".repeat(values / 2));
                let server = Server::answering(move |_| ok(&body));
                let monitor = json!({
                    "url": server.http("/"),
                    "fail_if_body_json_not_matches_cel": "size(body) > 0",
                    "timeout": 60,
                });
                Lab::new().check(monitor).await
            };
            assert_success(&check(100).await);
            let before = resident_bytes();
            // 9 MiB of 2.4 million values.
            let report = check(2_400_000).await;
            assert_failure(&report, Phase::Transfer, Reason::BodyTooLarge);
            let grown = resident_bytes().saturating_sub(before);
            assert!(grown < 160 << 20, "{grown} bytes");
        });
    });
}
