//! The steps of each type: what was sent, what came, what was compared, and the verdict.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use monitoringdaemon::check::{Cause, Report, StepKind};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    dns_answers::monitor as dns_monitor,
    icmp::permitted,
    starttls::dialogues,
    steps::{check, texts, whole},
    support::{
        nameserver::{Act, NameServer, address},
        pki::{AUTHORITY, IDENTITY, Identity, YEARS},
        server::{Closed, Frame, Server, Step, ok, redirect, response},
        websocket::Peer,
    },
};

/// Asserts that the steps have these lines, in this order.
#[track_caller]
fn assert_tells(report: &Report, lines: &[&str]) {
    let whole = whole(report);
    let mut rest = &*whole;
    for line in lines {
        let Some((_, after)) = rest.split_once(line) else {
            panic!("{line:?} is missing, or comes earlier: {whole}");
        };
        rest = after;
    }
}

#[tokio::test]
async fn a_call_of_grpc_is_told_with_its_status_and_verdict() {
    let serving = |status: u8| {
        let kind = ("content-type", "application/grpc".to_owned());
        Server::start([Step::Http2(vec![
            Frame::HeadWith(200, vec![kind]),
            Frame::Data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status])),
            Frame::Trailers(vec![("grpc-status", "0".to_owned())]),
        ])])
    };
    for (status, verdict) in [
        (
            1,
            "passed health of the service \"db\": SERVING, expected SERVING\n",
        ),
        (
            2,
            "not_passed health of the service \"db\": NOT_SERVING, expected SERVING\n",
        ),
    ] {
        let server = serving(status);
        let report = check(json!({
            "type": "grpc",
            "target": server.address.to_string(),
            "service": "db",
            "metadata": { "x-api-key": "hunter2" },
        }))
        .await;
        assert_tells(
            &report,
            &[
                "connect to 127.0.0.1:",
                "request gRPC call /grpc.health.v1.Health/Check for the service \"db\"\n",
                "request_header x-api-key: (hidden, 7 bytes)\n",
                "response HTTP/2 200 OK\n",
                "response gRPC status ",
                verdict,
            ],
        );
        assert!(!whole(&report).contains("hunter2"));
    }
}

#[tokio::test]
async fn messages_over_a_websocket_are_told_one_by_one() {
    let peer = Peer::start(|mut socket| async move {
        let _ = socket.send(Message::text("welcome")).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                let _ = socket.send(Message::text("you said hunter2")).await;
            }
        }
    });
    let report = check(json!({
        "type": "websocket",
        "target": format!("ws://{}/?token=hunter2", peer.address),
        "query_response": [
            { "expect": "^welcome$" },
            { "send": "hunter2" },
            { "expect": "^ok", "reject": ["^you said"] },
        ],
    }))
    .await;
    assert_tells(
        &report,
        &[
            "request GET / (query hidden) HTTP/1.1\n",
            "response HTTP/1.1 101 Switching Protocols\n",
            "passed upgrade: HTTP 101\n",
            "received text \"welcome\"\n",
            "passed query_response[0].expect \"^welcome$\": the message matches\n",
            "sent text, 7 bytes, hidden\n",
            "received text \"you said ***\"\n",
            "not_passed query_response[2].reject \"^you said\": the message matches\n",
            "failure response_mismatch in transfer: ",
        ],
    );
    assert!(!whole(&report).contains("hunter2"), "{}", whole(&report));
    let server = Server::answering(|_| response("403 Forbidden", &[], "no"));
    let target = format!("ws://{}/", server.address);
    let report = check(json!({ "type": "websocket", "target": target })).await;
    assert_tells(
        &report,
        &[
            "response HTTP/1.1 403 Forbidden\n",
            "not_passed upgrade: HTTP 403, expected 101\n",
        ],
    );
}

#[tokio::test]
async fn each_echo_is_told() {
    if !permitted() {
        return;
    }
    let report = check(json!({
        "type": "icmp",
        "target": "127.0.0.1",
        "count": 2,
        "interval": "10ms",
        "max_packet_loss": 0.5,
    }))
    .await;
    assert_eq!(
        texts(&report, StepKind::EchoRequest).len(),
        2,
        "{}",
        whole(&report)
    );
    let replies = texts(&report, StepKind::EchoReply);
    assert_eq!(replies.len(), 2, "{}", whole(&report));
    assert!(
        replies[0].starts_with("1: ") && replies[0].ends_with(" ms, ttl 64"),
        "{replies:?}"
    );
    assert_tells(
        &report,
        &[
            "echo_request 1 of 2, ",
            "passed packet loss: 0 %, expected at most 50 %\n",
        ],
    );
}

#[tokio::test]
async fn a_dns_response_is_told_section_by_section() {
    let server = NameServer::start(|asked| {
        let answer = asked.response(|message| {
            message.add_answer(address(&asked.message, [192, 0, 2, 1]));
            message.add_additional(address(&asked.message, [192, 0, 2, 9]));
        });
        vec![Act::Send(answer)]
    });
    for (pattern, verdict) in [
        (
            r"192\.0\.2\.1$",
            "passed validate_answer_rrs: fail_if_not_matches_regexp \"192\\.0\\.2\\.1$\" for 1 answer record\n",
        ),
        (
            r"192\.0\.2\.2$",
            "not_passed validate_answer_rrs: answer record www.example.test. 300 IN A 192.0.2.1 does not match \"192\\.0\\.2\\.2$\"\n",
        ),
    ] {
        let rules = json!({ "fail_if_not_matches_regexp": [pattern] });
        let report = check(dns_monitor(
            &server,
            json!({ "validate_answer_rrs": rules }),
        ))
        .await;
        assert_tells(
            &report,
            &[
                "dns_query ",
                "dns_response NOERROR, ",
                "records: 1 answer, 0 authority, 1 additional",
                "record answer: www.example.test. 300 IN A 192.0.2.1\n",
                "record additional: www.example.test. 300 IN A 192.0.2.9\n",
                "passed valid_rcodes: NOERROR is among NOERROR\n",
                verdict,
            ],
        );
    }
}

#[tokio::test]
async fn every_dialogue_before_tls_is_told() {
    for (protocol, mut script) in dialogues() {
        script.extend([IDENTITY.tls(), Step::Hang]);
        let server = Server::start(script);
        let report = check(json!({
            "type": "tls",
            "target": server.address.to_string(),
            "starttls": protocol,
            "timeout": "2s",
            "tls_config": { "server_name": "service.test" },
        }))
        .await;
        assert_eq!(report.failure, None, "{protocol}: {}", whole(&report));
        let sent = texts(&report, StepKind::Sent);
        let received = texts(&report, StepKind::Received);
        assert!(!sent.is_empty(), "{protocol}: {}", whole(&report));
        assert!(!received.is_empty(), "{protocol}: {}", whole(&report));
        if protocol == "smtp" {
            assert!(
                sent.iter().any(|line| line.contains("STARTTLS")),
                "{sent:?}"
            );
            assert!(received.contains(&"\"220 go\""), "{received:?}");
        }
        assert_tells(
            &report,
            &["sent ", "tls_offer SNI service.test", "tls_agreed TLS 1.3"],
        );
    }
}

#[tokio::test]
async fn a_proxy_is_told_with_its_answer() {
    let tunnel = Step::send("HTTP/1.1 200 Connection established\r\n\r\n");
    let proxy = Server::start([
        Step::Request,
        tunnel,
        IDENTITY.tls(),
        Step::answer(|_| ok("hello")),
    ]);
    let monitor = |proxy: &Server| {
        json!({
            "url": "https://service.test/path",
            "proxy_url": format!("http://user:hunter2@{}", proxy.address),
            "proxy_connect_header": { "X-Team": "hunter2" },
        })
    };
    let report = check(monitor(&proxy)).await;
    assert_eq!(report.failure, None, "{}", whole(&report));
    assert_tells(
        &report,
        &[
            &format!(
                "proxy http://{}, which is asked for a tunnel\n",
                proxy.address
            ),
            "proxy_request CONNECT service.test:443",
            "proxy_response the tunnel is open\n",
            "tls_agreed ",
            "response HTTP/1.1 200 OK\n",
        ],
    );
    let refusing = Server::answering(|_| response("407 Proxy Authentication Required", &[], "no"));
    let refused = check(monitor(&refusing)).await;
    let answers = texts(&refused, StepKind::ProxyResponse);
    assert!(
        answers.iter().any(|answer| answer.contains("407")),
        "{answers:?}"
    );
    for report in [&report, &refused] {
        assert!(!whole(report).contains("hunter2"), "{}", whole(report));
    }
}

#[tokio::test]
async fn every_redirect_is_told_until_there_are_too_many() {
    let server = Server::answering(|request| redirect(302, &format!("{}x", request.target)));
    let report = check(json!({ "url": server.http("/") })).await;
    let redirects = texts(&report, StepKind::Redirect);
    assert_eq!(redirects.len(), 11, "{}", whole(&report));
    assert!(redirects[0].contains("(1 of 10)"), "{redirects:?}");
    assert!(redirects[10].starts_with("not followed"), "{redirects:?}");
    assert_tells(&report, &["failure too_many_redirects "]);
}

#[tokio::test]
async fn every_matcher_is_told_with_what_it_compared() {
    let server = Server::answering(|_| {
        let headers = ["content-type: application/json", "server: nginx"];
        response("200 OK", &headers, r#"{"status":"ok","queue":7}"#)
    });
    let keys = json!({
        "url": server.http("/"),
        "valid_http_versions": ["HTTP/1.1"],
        "fail_if_ssl": true,
        "fail_if_header_matches": [{ "header": "Server", "regexp": "apache" }],
        "fail_if_header_not_matches": [{ "header": "Content-Type", "regexp": "json" }],
        "fail_if_body_matches_regexp": ["error"],
        "fail_if_body_not_matches_regexp": ["status"],
        "fail_if_body_json_matches_cel": "body.queue > 100.0",
        "fail_if_body_json_not_matches_cel": "body.status == 'ok'",
        "fail_if_slower_than": "4s",
        "timeout": "5s",
    });
    let report = check(keys).await;
    assert_eq!(report.failure, None, "{}", whole(&report));
    assert_tells(
        &report,
        &[
            "passed valid_status_codes: 200 is among 2xx\n",
            "passed valid_http_versions: HTTP/1.1\n",
            "passed fail_if_header_matches server \"apache\": nginx\n",
            "passed fail_if_header_not_matches content-type \"json\": application/json\n",
            "passed fail_if_ssl: the final response came without TLS\n",
            "response_body 25 bytes\n",
            "passed fail_if_body_matches_regexp \"error\": no match in 25 bytes\n",
            "passed fail_if_body_not_matches_regexp \"status\": matches in 25 bytes\n",
            "passed fail_if_body_json_matches_cel \"body.queue > 100.0\": false; body.queue is 7\n",
            "passed fail_if_body_json_not_matches_cel \"body.status == 'ok'\": true; body.status is \"ok\"\n",
            "passed fail_if_slower_than: took ",
        ],
    );
    let tls = Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]);
    let report = check(json!({
        "url": format!("https://service.test:{}/", tls.address.port()),
        "fail_if_not_ssl": true,
        "fail_if_certificate_expires_within": "1h",
    }))
    .await;
    assert_tells(
        &report,
        &[
            "passed fail_if_not_ssl: the final response came over TLS\n",
            "passed fail_if_certificate_expires_within 1h: the chain expires in ",
        ],
    );
}

#[tokio::test]
async fn a_refused_connection_and_a_slow_answer_are_told() {
    let closed = Closed::new();
    let report = check(json!({ "url": format!("http://{}/", closed.address) })).await;
    assert_tells(
        &report,
        &[
            "connect to 127.0.0.1:",
            "failure connection_refused in connect: ",
        ],
    );
    let slow = Server::start([
        Step::Request,
        Step::Wait(Duration::from_millis(30)),
        Step::send(ok("slow")),
    ]);
    let report = check(json!({ "url": slow.http("/"), "fail_if_slower_than": "1ms" })).await;
    assert_tells(
        &report,
        &[
            "not_passed fail_if_slower_than: took ",
            "failure too_slow in processing: ",
        ],
    );
}

#[tokio::test]
async fn a_well_known_cause_is_told() {
    let intermediate = AUTHORITY.intermediate("between", YEARS);
    let incomplete = intermediate.issue_without_chain(&["service.test"]);
    let own = Identity::self_signed(&["service.test"]);
    for (identity, expected) in [
        (&incomplete, Cause::IncompleteChain),
        (&own, Cause::SelfSigned),
    ] {
        let server = Server::start([identity.tls(), Step::answer(|_| ok("hello"))]);
        let url = format!("https://service.test:{}/", server.address.port());
        let report = check(json!({ "url": url })).await;
        assert_eq!(report.cause, Some(expected), "{}", whole(&report));
        let cause = format!("cause {expected}: {}\n", expected.description());
        assert_tells(
            &report,
            &[
                "certificate_rejected ",
                &cause,
                "failure tls_untrusted in tls: ",
            ],
        );
    }
    for (answer, expected) in [
        (
            response("511 Network Authentication Required", &[], "log in"),
            Cause::CaptivePortal,
        ),
        (
            response(
                "503 Service Unavailable",
                &["server: Varnish"],
                "Guru Meditation",
            ),
            Cause::CdnErrorPage,
        ),
    ] {
        let server = Server::answering(move |_| answer.clone());
        let report = check(json!({ "url": server.http("/") })).await;
        assert_eq!(report.cause, Some(expected), "{}", whole(&report));
    }
}
