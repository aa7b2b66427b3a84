//! `type: dns` over HTTPS (RFC 8484).

use hickory_proto::op::{Message, ResponseCode};
use monitoringdaemon::check::{Phase, Reason};
use serde_json::{Value, json};

use crate::{
    dns_transports::{assert_timeout, soon},
    support::{
        lab::Lab,
        nameserver::{address, response},
        pki::{AUTHORITY, IDENTITY, YEARS},
        report::{assert_failure, assert_success, reached},
        server::{Frame, Request, Server, Step},
    },
};

/// A monitor that asks for the addresses of `www.example.test` over HTTPS.
pub fn over_https(server: &Server) -> Value {
    json!({
        "type": "dns",
        "target": server.https("/dns-query"),
        "query_name": "www.example.test",
        "query_type": "A",
    })
}

fn doh(content_type: &str, status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

pub fn doh_good(request: &Request) -> Vec<u8> {
    let query = Message::from_vec(&request.body).expect("a well-formed query");
    let body = response(&query, |message| {
        message.add_answer(address(&query, [192, 0, 2, 1]));
    });
    doh("Application/DNS-message; charset=x", "200 OK", &body)
}

#[tokio::test]
async fn over_https_the_query_is_posted_under_the_id_0() {
    let server = Server::start([IDENTITY.tls(), Step::answer(doh_good)]);
    let mut monitor = over_https(&server);
    monitor["validate_answer_rrs"] = json!({ "fail_if_none_matches_regexp": ["192.0.2.1$"] });
    let report = Lab::new().check(monitor).await;
    assert_success(&report);
    let phases = [
        Phase::Connect,
        Phase::Tls,
        Phase::Processing,
        Phase::Transfer,
    ];
    assert_eq!(reached(&report), phases);
    assert_eq!(report.dns().map(|says| says.answers), Some(1));
    assert!(report.response_bytes().is_some() && report.tls().is_some());
    let request = server.request();
    assert_eq!((&*request.method, &*request.target), ("POST", "/dns-query"));
    for header in ["content-type", "accept"] {
        assert_eq!(request.header(header), Some("application/dns-message"));
    }
    let query = Message::from_vec(&request.body).expect("a well-formed query");
    assert_eq!(query.metadata.id, 0);
    assert_eq!(query.queries[0].to_string(), "www.example.test. IN A");
}

#[tokio::test]
async fn over_https_the_name_is_that_of_the_url_or_server_name() {
    let identity = AUTHORITY.issue(&["ns.test"], YEARS);
    let server = Server::start([identity.tls(), Step::answer(doh_good)]);
    let report = Lab::new().check(over_https(&server)).await;
    assert_failure(&report, Phase::Tls, Reason::TlsWrongHost);
    let mut monitor = over_https(&server);
    monitor["tls_config"] = json!({ "server_name": "ns.test" });
    assert_success(&Lab::new().check(monitor.clone()).await);
    let authority = format!("ns.test:{}", server.address.port());
    assert_eq!(server.request().header("host"), Some(&*authority));

    let asked = Message::from_vec(&server.request().body).expect("a well-formed query");
    let body = response(&asked, |_| ());
    let head = "application/dns-message";
    let frames = vec![Frame::Head(200), Frame::Data(body.into()), Frame::End];
    let server = Server::start([identity.tls_h2(), Step::Http2(frames)]);
    monitor["target"] = json!(server.https("/dns-query"));
    // The frames have no content type, and that is how far it comes: over HTTP/2.
    let report = Lab::new().check(monitor).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    assert!(failure.error.ends_with(head), "{}", failure.error);
    let request = server.request();
    assert_eq!(
        request
            .header(":authority")
            .map(|name| name.starts_with("ns.test:")),
        Some(true)
    );
}

#[tokio::test]
async fn over_https_invalid_responses_have_their_reasons() {
    let message = "application/dns-message";
    let cases: [(Vec<u8>, Phase, Reason); 6] = [
        (
            doh(message, "404 Not Found", b""),
            Phase::Processing,
            Reason::StatusCode,
        ),
        (
            doh(message, "204 No Content", b""),
            Phase::Processing,
            Reason::StatusCode,
        ),
        (
            doh("text/html", "200 OK", b"<html>"),
            Phase::Processing,
            Reason::ProtocolError,
        ),
        (
            doh(message, "200 OK", b"<html>"),
            Phase::Transfer,
            Reason::ProtocolError,
        ),
        (
            doh(message, "200 OK", &vec![0; 65_536]),
            Phase::Transfer,
            Reason::ProtocolError,
        ),
        (
            b"SMTP ready\r\n\r\n".to_vec(),
            Phase::Processing,
            Reason::ProtocolError,
        ),
    ];
    for (answer, phase, reason) in cases {
        let server = Server::start([IDENTITY.tls(), Step::answer(move |_| answer.clone())]);
        let report = Lab::new().check(over_https(&server)).await;
        assert_failure(&report, phase, reason);
    }
}

#[tokio::test]
async fn over_https_responses_have_the_size_limit_of_tcp() {
    for (length, too_long) in [(65_535, false), (65_536, true)] {
        let answer = move |request: &Request| {
            let query = Message::from_vec(&request.body).expect("a well-formed query");
            let mut body = response(&query, |_| ());
            body.resize(length, 0);
            doh("application/dns-message", "200 OK", &body)
        };
        let server = Server::start([IDENTITY.tls(), Step::answer(answer)]);
        let report = Lab::new().check(over_https(&server)).await;
        if too_long {
            let failure = assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
            assert!(
                failure.error.contains("larger than 65535 bytes"),
                "{}",
                failure.error
            );
        } else {
            assert_success(&report);
        }
    }
}

#[tokio::test]
async fn over_https_an_invalid_rcode_fails_in_transfer() {
    let server = Server::start([
        IDENTITY.tls(),
        Step::answer(|request| {
            let query = Message::from_vec(&request.body).expect("a well-formed query");
            let body = response(&query, |message| {
                message.metadata.response_code = ResponseCode::NXDomain;
            });
            doh("application/dns-message", "200 OK", &body)
        }),
    ]);
    let report = Lab::new().check(over_https(&server)).await;
    assert_failure(&report, Phase::Transfer, Reason::ResponseMismatch);
}

#[tokio::test]
async fn over_https_a_silent_server_is_a_timeout() {
    let half = Step::send("HTTP/1.1 200 OK\r\ncontent-type: application/dns-message\r\n\r\nabc");
    for (script, phase) in [
        (vec![Step::Read, Step::Hang], Phase::Tls),
        (
            vec![IDENTITY.tls(), Step::Request, Step::Hang],
            Phase::Processing,
        ),
        (
            vec![IDENTITY.tls(), Step::Request, half, Step::Hang],
            Phase::Transfer,
        ),
    ] {
        let server = Server::start(script);
        let mut monitor = over_https(&server);
        monitor["timeout"] = soon();
        assert_timeout(&Lab::new().check(monitor).await, phase);
    }
}
