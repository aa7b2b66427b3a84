//! Time that is lost somewhere is in the phase where it was lost, and in no other.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use monitoringdaemon::check::{Phase, Reason, Report};
use serde_json::{Value, json};

use crate::support::{
    SOON,
    dns::{Answer, Dns},
    lab::{Lab, millis},
    pki::{AUTHORITY, IDENTITY, YEARS},
    report::{assert_failure, assert_success, reached, spent},
    server::{Deaf, Frame, Server, Step, ok, redirect},
};

const DELAY: Duration = Duration::from_millis(300);
/// Timers are a little early at times.
const SLACK: Duration = Duration::from_millis(5);

const ALL: [Phase; 5] = [
    Phase::Resolve,
    Phase::Connect,
    Phase::Tls,
    Phase::Processing,
    Phase::Transfer,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Http,
    Https,
    Http2,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Http, Self::Https, Self::Http2];

    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https | Self::Http2 => "https",
        }
    }

    /// The phases of a check over it.
    fn phases(self) -> Vec<Phase> {
        let plain = self == Self::Http;
        let phases = ALL.into_iter();
        phases
            .filter(|phase| !plain || *phase != Phase::Tls)
            .collect()
    }

    /// A server that is slow in `phase`.
    fn slow_in(self, phase: Option<Phase>) -> Vec<Step> {
        let delay = |slow| match phase {
            Some(phase) if phase == slow => DELAY,
            _ => Duration::ZERO,
        };
        let (head, half) = ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "12345");
        // Not before the handshake has begun, which may be later than the connection was accepted.
        let mut steps = vec![Step::Peek, Step::Wait(delay(Phase::Tls))];
        match self {
            Self::Http => {}
            Self::Https => steps.push(IDENTITY.tls()),
            Self::Http2 => {
                steps.push(IDENTITY.tls_h2());
                steps.push(Step::Http2(vec![
                    Frame::Wait(delay(Phase::Processing)),
                    Frame::Head(200),
                    Frame::Data(Bytes::from(half)),
                    Frame::Wait(delay(Phase::Transfer)),
                    Frame::Data(Bytes::from(half)),
                    Frame::End,
                ]));
                return steps;
            }
        }
        steps.extend([
            Step::Request,
            Step::Wait(delay(Phase::Processing)),
            Step::send(head),
            Step::send(half),
            Step::Wait(delay(Phase::Transfer)),
            Step::send(half),
        ]);
        steps
    }
}

/// Runs checks that lose time in `slow`, until one lost it there and nowhere else.
///
/// A machine that is busy can stretch any phase, and can shorten `transfer`, which begins when the
/// client sees the headers. It hardly does so five times in a row.
async fn assert_lost_in(slow: Phase, phases: &[Phase], check: impl AsyncFn() -> Report) {
    let mut reports = Vec::new();
    for _ in 0..5 {
        let report = check().await;
        assert_success(&report);
        assert_eq!(reached(&report), phases, "{report:#?}");
        let as_expected = report.phases.iter().all(|(phase, spent)| {
            if *phase == slow {
                *spent + SLACK >= DELAY
            } else {
                *spent < DELAY / 2
            }
        });
        if as_expected {
            return;
        }
        reports.push(report);
    }
    panic!("time that is lost in {slow} is elsewhere: {reports:#?}");
}

#[tokio::test]
async fn a_slow_name_server_counts_for_resolve_only() {
    let lab = Lab::with_dns(Dns::start(DELAY, |name| match name {
        "service.test" => Answer::loopback(),
        _ => Answer::NoSuchName,
    }));
    let check = async |protocol: Protocol| {
        let server = Server::start(protocol.slow_in(None));
        let url = server.named(protocol.scheme(), "service.test", "/");
        assert_lost_in(Phase::Resolve, &protocol.phases(), async || {
            lab.check(json!({ "url": url })).await
        })
        .await;
    };
    join_all(Protocol::ALL.map(check)).await;
}

#[tokio::test]
async fn a_full_accept_queue_counts_for_connect_only() {
    let lab = Lab::new();
    // Each takes a second, after which the kernel sends another SYN.
    let check = async |protocol: Protocol| {
        assert_lost_in(Phase::Connect, &protocol.phases(), async || {
            let deaf = Deaf::new().await;
            let port = deaf.address.port();
            let url = format!("{}://service.test:{port}/", protocol.scheme());
            let listen = async {
                tokio::time::sleep(DELAY).await;
                deaf.listen(protocol.slow_in(None))
            };
            let (report, _server) = tokio::join!(lab.check(json!({ "url": url })), listen);
            report
        })
        .await;
    };
    join_all(Protocol::ALL.map(check)).await;
}

#[tokio::test]
async fn a_slow_handshake_counts_for_tls_only() {
    check_server_side(Phase::Tls, &[Protocol::Https, Protocol::Http2]).await;
}

#[tokio::test]
async fn a_slow_response_counts_for_processing_only() {
    check_server_side(Phase::Processing, &Protocol::ALL).await;
}

#[tokio::test]
async fn a_slow_body_counts_for_transfer_only() {
    check_server_side(Phase::Transfer, &Protocol::ALL).await;
}

async fn check_server_side(slow: Phase, protocols: &[Protocol]) {
    let lab = Lab::new();
    let check = async |protocol: &Protocol| {
        let server = Server::start(protocol.slow_in(Some(slow)));
        let url = server.named(protocol.scheme(), "service.test", "/");
        assert_lost_in(slow, &protocol.phases(), async || {
            let report = lab.check(json!({ "url": url })).await;
            assert_eq!(report.response_bytes(), Some(10));
            report
        })
        .await;
    };
    join_all(protocols.iter().map(check)).await;
}

#[tokio::test]
async fn slow_headers_count_for_processing() {
    let lab = Lab::new();
    let server = Server::start([
        Step::Request,
        Step::send("HTTP/1.1 20"),
        Step::Wait(DELAY / 2),
        Step::send("0 OK\r\ncontent-length: 0\r\n"),
        Step::Wait(DELAY / 2),
        Step::send("\r\n"),
    ]);
    let phases = [Phase::Connect, Phase::Processing, Phase::Transfer];
    assert_lost_in(Phase::Processing, &phases, async || {
        lab.check(json!({ "url": server.http("/") })).await
    })
    .await;
}

#[tokio::test]
async fn an_ip_target_has_no_resolve_phase() {
    let lab = Lab::new();
    for protocol in Protocol::ALL {
        let server = Server::start(protocol.slow_in(None));
        let url = format!("{}://{}/", protocol.scheme(), server.address);
        let report = lab.check(json!({ "url": url })).await;
        assert_success(&report);
        assert_eq!(reached(&report), protocol.phases()[1..], "{report:#?}");
    }
    assert_eq!(lab.dns.questions(), []);
}

/// Settings that ask TLS for `inside.test`, whatever the URL says, and the Host header that goes
/// with them to `authority`.
fn overrides(authority: &str) -> [(Value, String); 2] {
    [
        (
            json!({ "tls_config": { "server_name": "inside.test" } }),
            authority.to_owned(),
        ),
        (
            json!({ "headers": { "Host": "inside.test:444" } }),
            "inside.test:444".to_owned(),
        ),
    ]
}

/// A response over HTTP/2.
fn http2_ok() -> Step {
    let body = Frame::Data(Bytes::from("hello"));
    Step::Http2(vec![Frame::Head(200), body, Frame::End])
}

#[tokio::test]
async fn server_name_changes_neither_the_address_nor_the_phases() {
    let identity = AUTHORITY.issue(&["inside.test"], YEARS);
    let lab = Lab::with_dns(Dns::start(DELAY, |name| match name {
        "service.test" => Answer::loopback(),
        _ => Answer::NoSuchName,
    }));
    let server = Server::start([identity.tls_h2(), http2_ok()]);
    let url = server.named("https", "service.test", "/path?query");
    let authority = format!("service.test:{}", server.address.port());
    for (mut monitor, host) in overrides(&authority) {
        monitor["url"] = json!(url);
        monitor["valid_http_versions"] = json!(["HTTP/2.0"]);
        assert_lost_in(Phase::Resolve, &ALL, async || {
            lab.check(monitor.clone()).await
        })
        .await;
        let request = server.seen().requests.pop().expect("a request");
        assert_eq!(request.server_name.as_deref(), Some("inside.test"));
        assert_eq!(request.header(":authority"), Some(&*host));
        assert_eq!(request.header("host"), None);
        assert_eq!(request.target, "/path?query");
    }
    let questions = lab.dns.questions();
    assert!(questions.iter().all(|asked| asked.name == "service.test"));
}

#[tokio::test]
async fn server_name_works_with_ip_targets() {
    let identity = AUTHORITY.issue(&["inside.test"], YEARS);
    let lab = Lab::new();
    let server = Server::start([Step::Peek, Step::Wait(DELAY), identity.tls_h2(), http2_ok()]);
    for (mut monitor, host) in overrides(&server.address.to_string()) {
        monitor["url"] = json!(server.https("/"));
        assert_lost_in(Phase::Tls, &ALL[1..], async || {
            lab.check(monitor.clone()).await
        })
        .await;
        let request = server.seen().requests.pop().expect("a request");
        assert_eq!(request.server_name.as_deref(), Some("inside.test"));
        assert_eq!(request.header(":authority"), Some(&*host));
        assert_eq!(request.header("host"), None);
    }
    assert_eq!(lab.dns.questions(), []);
}

#[tokio::test]
async fn server_name_is_the_name_that_is_verified() {
    let lab = Lab::new();
    let server = Server::start([IDENTITY.tls(), Step::Request]);
    for (mut monitor, _) in overrides("") {
        monitor["url"] = json!(server.https("/"));
        let report = lab.check(monitor).await;
        assert_failure(&report, Phase::Tls, Reason::TlsWrongHost);
    }
}

#[tokio::test]
async fn a_host_header_is_sent_unchanged_over_plain_http() {
    let lab = Lab::new();
    let server = Server::ok();
    let headers = json!({ "Host": "inside.test" });
    let report = lab
        .check(json!({ "url": server.http("/"), "headers": headers }))
        .await;
    assert_success(&report);
    assert_eq!(server.request().header("host"), Some("inside.test"));
}

const TIMEOUT: Duration = Duration::from_millis(500);

/// Asserts that a check of `monitor` times out in the last of `phases`, which took most of its time.
async fn assert_timeout(lab: &Lab, mut monitor: Value, phases: &[Phase]) {
    monitor["timeout"] = millis(500);
    let report = lab.check(monitor).await;
    let last = *phases.last().expect("a phase");
    let failure = assert_failure(&report, last, Reason::Timeout);
    assert_eq!(failure.error, "no result within 500ms");
    assert_eq!(reached(&report), phases, "{report:#?}");
    assert!(report.duration + SLACK >= TIMEOUT, "{report:#?}");
    assert!(report.duration < TIMEOUT + SOON, "{report:#?}");
    assert!(spent(&report, last) > Some(TIMEOUT / 5), "{report:#?}");
}

#[tokio::test]
async fn a_silent_name_server_is_a_timeout_in_resolve() {
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::Silence));
    let monitor = json!({ "url": "http://service.test/" });
    assert_timeout(&lab, monitor, &ALL[..1]).await;
}

#[tokio::test]
async fn an_unanswered_syn_is_a_timeout_in_connect() {
    let lab = Lab::new();
    let deaf = Deaf::new().await;
    let url = format!("https://service.test:{}/", deaf.address.port());
    assert_timeout(&lab, json!({ "url": url }), &ALL[..2]).await;
}

#[tokio::test]
async fn silence_instead_of_a_handshake_is_a_timeout_in_tls() {
    let lab = Lab::new();
    let server = Server::start([Step::Hang]);
    let url = server.named("https", "service.test", "/");
    assert_timeout(&lab, json!({ "url": url }), &ALL[..3]).await;
    server.until(|seen| seen.left == 1).await;
}

#[tokio::test]
async fn silence_after_the_request_is_a_timeout_in_processing() {
    let lab = Lab::new();
    let check = async |start: &'static str| {
        let server = Server::start([IDENTITY.tls(), Step::Request, Step::send(start), Step::Hang]);
        let url = server.named("https", "service.test", "/");
        assert_timeout(&lab, json!({ "url": url }), &ALL[..4]).await;
        server.until(|seen| seen.left == 1).await;
    };
    let half_a_head = "HTTP/1.1 200 OK\r\ncontent-length: 1";
    join_all(["", "HTTP/1.1 20", half_a_head].map(check)).await;
}

#[tokio::test]
async fn silence_over_http2_is_a_timeout_in_the_phase_it_begins_in() {
    let lab = Lab::new();
    let frames = [Frame::Head(200), Frame::Data(Bytes::from("half"))];
    for (frames, phases) in [(&frames[..0], &ALL[..4]), (&frames[..], &ALL[..])] {
        let server = Server::start([IDENTITY.tls_h2(), Step::Http2(frames.to_vec())]);
        let url = server.named("https", "service.test", "/");
        assert_timeout(&lab, json!({ "url": url }), phases).await;
        server.until(|seen| seen.left == 1).await;
    }
}

#[tokio::test]
async fn silence_within_the_body_is_a_timeout_in_transfer() {
    let lab = Lab::new();
    let server = Server::start([
        IDENTITY.tls(),
        Step::Request,
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345"),
        Step::Hang,
    ]);
    let url = server.named("https", "service.test", "/");
    assert_timeout(&lab, json!({ "url": url }), &ALL).await;
    server.until(|seen| seen.left == 1).await;
}

#[tokio::test]
async fn phases_add_up_over_redirects() {
    let lab = Lab::with_dns(Dns::start(DELAY / 2, |_| Answer::loopback()));
    let server = Server::start([
        Step::Peek,
        Step::Wait(DELAY / 2),
        IDENTITY.tls(),
        Step::answer(|request| match &*request.target {
            "/" => redirect(302, "/there"),
            _ => ok("hello"),
        }),
    ]);
    let url = server.named("https", "service.test", "/");
    let report = lab.check(json!({ "url": url })).await;
    assert_success(&report);
    assert_eq!(server.seen().connections, 2);
    for phase in [Phase::Resolve, Phase::Tls] {
        let lost = spent(&report, phase).expect("it was reached");
        assert!(lost + 2 * SLACK >= DELAY, "{phase}: {report:#?}");
    }
    assert_eq!(reached(&report), ALL);
}
