//! Encoded bodies, and JSON bodies held against expressions.

use std::io::Write;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use monitoringdaemon::check::{Phase, Reason};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    SOON,
    lab::{Lab, millis},
    report::{assert_failure, assert_success},
    server::{Server, Step, ok, response},
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("room in memory");
    encoder.finish().expect("room in memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("room in memory");
    encoder.finish().expect("room in memory")
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("room in memory");
    encoder.finish().expect("room in memory")
}

/// `{"status":"ok"}`
const BROTLI: &[u8] = &[
    0x0b, 0x07, 0x80, 0x7b, 0x22, 0x73, 0x74, 0x61, 0x74, 0x75, 0x73, 0x22, 0x3a, 0x22, 0x6f, 0x6b,
    0x22, 0x7d, 0x03,
];

fn serving(body: Vec<u8>) -> Server {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    Server::start([
        Step::Request,
        Step::send(head),
        Step::Send(Bytes::from(body)),
        Step::Hang,
    ])
}

#[tokio::test]
async fn matchers_see_the_decoded_body_and_sizes_are_those_on_the_wire() {
    let body = br#"{"status":"ok"}"#;
    for (encoding, encoded) in [
        ("gzip", gzip(body)),
        ("deflate", zlib(body)),
        ("deflate", deflate(body)),
        ("br", BROTLI.to_vec()),
        ("identity", body.to_vec()),
    ] {
        let length = encoded.len() as u64;
        let server = serving(encoded);
        let monitor = json!({
            "url": server.http("/"),
            "compression": encoding,
            "fail_if_body_not_matches_regexp": ["^.\"status\":\"ok\".$"],
            "fail_if_body_json_not_matches_cel": "body.status == 'ok'",
        });
        let report = Lab::new().check(monitor).await;
        assert_success(&report);
        assert_eq!(report.response_bytes(), Some(length), "{encoding}");
        assert_eq!(server.request().header("accept-encoding"), Some(encoding));
    }
}

#[tokio::test]
async fn a_configured_accept_encoding_is_kept() {
    let server = serving(gzip(b"hello"));
    let monitor = json!({
        "url": server.http("/"),
        "compression": "gzip",
        "headers": { "Accept-Encoding": "br;q=0.1, gzip" },
    });
    assert_success(&Lab::new().check(monitor).await);
    assert_eq!(
        server.request().header("accept-encoding"),
        Some("br;q=0.1, gzip")
    );
    let server = Server::ok();
    assert_success(&Lab::new().check(json!({ "url": server.http("/") })).await);
    assert_eq!(server.request().header("accept-encoding"), None);
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_a_protocol_error() {
    let whole = gzip(&[7; 5000]);
    let cut = whole[..whole.len() - 4].to_vec();
    let (malformed, truncated) = (Reason::ProtocolError, Reason::TruncatedBody);
    for (encoding, body, reason, error) in [
        (
            "gzip",
            b"hello".to_vec(),
            malformed,
            "the body is not gzip data",
        ),
        (
            "gzip",
            Vec::new(),
            malformed,
            "the body is empty, expected gzip data",
        ),
        (
            "gzip",
            cut,
            truncated,
            "the gzip data of the body is incomplete",
        ),
        (
            "br",
            b"hello".to_vec(),
            malformed,
            "the body is not br data",
        ),
        (
            "deflate",
            b"hello".to_vec(),
            malformed,
            "the body is not deflate data",
        ),
    ] {
        let server = serving(body);
        let monitor = json!({ "url": server.http("/"), "compression": encoding });
        let report = Lab::new().check(monitor).await;
        let failure = assert_failure(&report, Phase::Transfer, reason);
        assert_eq!(failure.error, error);
    }
}

#[tokio::test]
async fn a_response_that_has_no_body_need_not_be_encoded() {
    let server = Server::answering(|request| match &*request.method {
        "HEAD" => "HTTP/1.1 200 OK\r\n\r\n",
        _ => "HTTP/1.1 204 No Content\r\n\r\n",
    });
    for method in ["HEAD", "GET"] {
        let monitor = json!({ "url": server.http("/"), "method": method, "compression": "gzip" });
        assert_success(&Lab::new().check(monitor).await);
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_too_large_and_a_large_body_is_not() {
    let body = vec![b'a'; 1 << 20];
    for (limit, reason) in [("1MB", None), ("1023KB", Some(Reason::BodyTooLarge))] {
        let server = serving(gzip(&body));
        let monitor = json!({
            "url": server.http("/"),
            "compression": "gzip",
            "body_size_limit": limit,
            "fail_if_body_not_matches_regexp": ["^a+$"],
        });
        let report = Lab::new().check(monitor).await;
        match reason {
            None => assert_success(&report),
            Some(reason) => {
                let failure = assert_failure(&report, Phase::Transfer, reason);
                assert_eq!(
                    failure.error,
                    "the decoded body is larger than 1047552 bytes"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_encoded_body_that_stops_coming_is_a_timeout() {
    let body = gzip(&[7; 5000]);
    let server = Server::start([
        Step::Request,
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"),
        Step::send(body),
        Step::Hang,
    ]);
    let monitor = json!({
        "url": server.http("/"),
        "compression": "gzip",
        "timeout": millis(400),
    });
    let report = Lab::new().check(monitor).await;
    assert_failure(&report, Phase::Transfer, Reason::Timeout);
}

/// The cases of blackbox_exporter's tests: a body, and the verdicts of the key that fails where the
/// expression is true, and of the one that fails where it is not.
#[tokio::test]
async fn cel_expressions_fail_a_check_if_true_or_if_false() {
    let wanted = Some(Reason::JsonMismatch);
    for (body, expression, matches, not_matches) in [
        (
            r#"{"foo":{"bar":"baz"}}"#,
            "body.foo.bar == 'baz'",
            wanted,
            None,
        ),
        (
            r#"{"foo":{"bar":"other"}}"#,
            "body.foo.bar == 'baz'",
            None,
            wanted,
        ),
        ("{}", "body.foo.bar == 'baz'", wanted, wanted),
        (r#"{"foo":"bar"}"#, "body.foo", wanted, wanted),
        ("not JSON", "body == 'x'", wanted, wanted),
        ("", "body == 'x'", wanted, wanted),
        (r#""foo""#, "body == 'foo'", wanted, None),
        ("[1,2]", "body.exists(x, x == 2)", wanted, None),
        ("true", "body", wanted, None),
        (r#"{"a":"🦀"}"#, "body.a == '🦀'", wanted, None),
        ("{}", "!has(body.foo)", wanted, None),
        (r#"{"n":3}"#, "body.n >= 3 && body.n < 4", wanted, None),
    ] {
        let server = Server::answering(move |_| ok(body));
        for (key, reason) in [
            ("fail_if_body_json_matches_cel", matches),
            ("fail_if_body_json_not_matches_cel", not_matches),
        ] {
            let mut monitor = json!({ "url": server.http("/") });
            monitor[key] = json!(expression);
            let report = Lab::new().check(monitor).await;
            match reason {
                None => assert_success(&report),
                Some(reason) => {
                    let failure = assert_failure(&report, Phase::Transfer, reason);
                    assert!(!failure.error.contains("other"), "{failure:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn cel_and_regexps_match_the_decoded_body() {
    let server = Server::answering(|_| ok(r#"{"a":1}"#));
    let monitor = json!({
        "url": server.http("/"),
        "fail_if_body_not_matches_regexp": ["a"],
        "fail_if_body_matches_regexp": ["b"],
        "fail_if_body_json_matches_cel": "body.a == 2",
        "fail_if_body_json_not_matches_cel": "body.a == 1",
    });
    assert_success(&Lab::new().check(monitor).await);
}

fn endless(url: &str, timeout: &Value) -> Value {
    json!({
        "url": url,
        "timeout": timeout,
        "fail_if_body_json_not_matches_cel":
            "body.all(a, body.all(b, body.all(c, body.all(d, d == 1.0))))",
    })
}

#[tokio::test]
async fn an_endless_expression_is_stopped() {
    let body = format!("[{}1]", "1,".repeat(3000));
    let server = Server::answering(move |_| ok(&body));
    let report = Lab::new()
        .check(endless(&server.http("/"), &json!("60s")))
        .await;
    let failure = assert_failure(&report, Phase::Transfer, Reason::JsonMismatch);
    assert_eq!(
        failure.error,
        "\"body.all(a, body.all(b, body.all(c, body.all(d, d == 1.0))))\" takes too many steps"
    );
}

#[tokio::test]
async fn the_deadline_holds_while_an_expression_is_evaluated() {
    let body = format!("[{}1]", "1,".repeat(30_000));
    let server = Server::answering(move |_| ok(&body));
    let began = Instant::now();
    let report = Lab::new()
        .check(endless(&server.http("/"), &millis(300)))
        .await;
    assert_eq!(
        report.failure.as_ref().map(|failure| failure.phase),
        Some(Phase::Transfer)
    );
    assert!(began.elapsed() < SOON, "{report:#?}");
}

#[tokio::test]
async fn a_json_body_of_too_many_values_is_too_large() {
    let body = format!("\u{feff}[{}1]", "1,".repeat(98));
    let server = Server::answering(move |_| ok(&body));
    for (limit, reason) in [(100, None), (99, Some(Reason::BodyTooLarge))] {
        let monitor = json!({
            "url": server.http("/"),
            "fail_if_body_json_not_matches_cel": "size(body) == 99",
            "json_values_limit": limit,
        });
        let report = Lab::new().check(monitor).await;
        match reason {
            None => assert_success(&report),
            Some(reason) => {
                let failure = assert_failure(&report, Phase::Transfer, reason);
                let expected = "the body has more than 99 JSON values (json_values_limit)";
                assert_eq!(failure.error, expected);
            }
        }
    }
}

#[tokio::test]
async fn an_unexpected_encoding_is_named() {
    for (encoding, hint) in [
        (
            "gzip",
            "; the body is encoded in gzip (set compression: gzip)",
        ),
        ("BR", "; the body is encoded in br (set compression: br)"),
        ("zstd", "; the body is in an encoding that is not decoded"),
        ("s3cr3t", "; the body is in an encoding that is not decoded"),
        ("identity", ""),
    ] {
        let header = format!("content-encoding: {encoding}");
        let server = Server::answering(move |_| response("200 OK", &[&header], "xyz"));
        for (key, matcher, reason, error) in [
            (
                "fail_if_body_not_matches_regexp",
                json!(["hello"]),
                Reason::BodyMismatch,
                "the body does not match \"hello\"",
            ),
            (
                "fail_if_body_json_matches_cel",
                json!("body == 1.0"),
                Reason::JsonMismatch,
                "the body is not JSON",
            ),
        ] {
            let mut monitor = json!({ "url": server.http("/") });
            monitor[key] = matcher;
            let report = Lab::new().check(monitor).await;
            let failure = assert_failure(&report, Phase::Transfer, reason);
            assert_eq!(failure.error, format!("{error}{hint}"));
        }
    }
}
