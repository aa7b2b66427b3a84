//! `type: grpc` against servers that have a health service, and others.

use std::time::Duration;

use bytes::Bytes;
use chrono::Datelike;
use futures_util::future::join_all;
use monitoringdaemon::check::{CertificateRole, Phase, Reason, Report, ServingStatus};
use serde_json::{Value, json};

use crate::support::{
    SOON,
    dns::{Answer, Dns},
    lab::{Lab, config, millis},
    pki::{AUTHORITY, Handshake, IDENTITY, YEARS},
    report::{assert_failure, assert_success, certificate, reached, spent},
    server::{Closed, Deaf, Frame, Headers, Server, Step, ok},
};

const ALL: [Phase; 4] = [Phase::Resolve, Phase::Connect, Phase::Tls, Phase::Check];
const PLAIN: [Phase; 2] = [Phase::Connect, Phase::Check];

fn head() -> Frame {
    let kind = ("content-type", "application/grpc+proto".to_owned());
    Frame::HeadWith(200, vec![kind])
}

fn status(code: &str, message: &str) -> Headers {
    vec![
        ("grpc-status", code.to_owned()),
        ("grpc-message", message.to_owned()),
    ]
}

fn data(bytes: &'static [u8]) -> Frame {
    Frame::Data(Bytes::from_static(bytes))
}

/// A call that ends with `code` behind this body.
fn ended(body: &'static [u8], code: &str) -> Vec<Frame> {
    vec![head(), data(body), Frame::Trailers(status(code, ""))]
}

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

fn serving() -> Vec<Frame> {
    ended(SERVING, "0")
}

fn plain(frames: Vec<Frame>) -> Server {
    Server::start([Step::Http2(frames)])
}

async fn check(frames: Vec<Frame>) -> Report {
    let server = plain(frames);
    check_of(&server, json!({})).await
}

async fn check_of(server: &Server, settings: Value) -> Report {
    Lab::new().check(monitor(server, settings)).await
}

/// A monitor of `server` with these settings over the necessary ones.
fn monitor(server: &Server, mut settings: Value) -> Value {
    settings["type"] = json!("grpc");
    if settings.get("target").is_none() {
        settings["target"] = json!(server.address.to_string());
    }
    settings
}

/// A monitor of `server` over TLS, by its name.
fn named(server: &Server, settings: Value) -> Value {
    let mut monitor = monitor(server, settings);
    monitor["target"] = json!(format!("service.test:{}", server.address.port()));
    monitor["tls"] = json!(true);
    monitor
}

mod verdict {
    use super::*;

    #[tokio::test]
    async fn a_serving_service_is_a_success() {
        let server = plain(serving());
        let lab = Lab::new();
        let job = lab.job(monitor(&server, json!({})));
        let report = job.check_once().await;
        assert_success(&report);
        assert_eq!(reached(&report), PLAIN);
        assert_eq!(job.phases(), PLAIN);
        assert_eq!(job.kind(), "grpc");
        assert_eq!(report.address(), Some(server.address.ip()));
        assert_eq!(report.grpc_status(), Some(0));
        assert_eq!(report.serving(), Some(ServingStatus::Serving));
        assert_eq!((report.status(), report.response_bytes()), (None, None));
        server.until(|seen| seen.left == 1).await;
    }

    #[tokio::test]
    async fn the_call_follows_the_grpc_protocol() {
        let server = plain(serving());
        assert_success(&check_of(&server, json!({ "service": "db" })).await);
        let request = server.request();
        assert_eq!(request.method, "POST");
        assert_eq!(request.target, "/grpc.health.v1.Health/Check");
        assert_eq!(request.header(":scheme"), Some("http"));
        assert_eq!(
            request.header(":authority"),
            Some(&*server.address.to_string())
        );
        assert_eq!(request.header("te"), Some("trailers"));
        assert_eq!(request.header("content-type"), Some("application/grpc"));
        let agent = request.header("user-agent").expect("one");
        assert!(agent.starts_with("monitoringdaemon/"), "{agent}");
        assert_eq!(request.body, b"\0\0\0\0\x04\x0a\x02db");
    }

    #[tokio::test]
    async fn metadata_is_sent_with_the_call() {
        let server = plain(serving());
        let metadata = json!({
            "Authorization": "Bearer token",
            "many": ["a", "b"],
            "raw-bin": "é?",
            "user-agent": "mine",
        });
        assert_success(&check_of(&server, json!({ "metadata": metadata })).await);
        let request = server.request();
        assert_eq!(request.header("authorization"), Some("Bearer token"));
        assert_eq!(request.header("raw-bin"), Some("w6k/"));
        assert_eq!(request.header("user-agent"), Some("mine"));
        let many = request.headers.iter().filter(|(name, _)| name == "many");
        let many: Vec<_> = many.map(|(_, value)| &**value).collect();
        assert_eq!(many, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_service_that_does_not_serve_fails() {
        let answers: [(&[u8], _); 4] = [
            (b"\0\0\0\0\0", ServingStatus::Unknown),
            (b"\0\0\0\0\x02\x08\x00", ServingStatus::Unknown),
            (b"\0\0\0\0\x02\x08\x02", ServingStatus::NotServing),
            (b"\0\0\0\0\x02\x08\x03", ServingStatus::ServiceUnknown),
        ];
        for (body, expected) in answers {
            let report = check(ended(body, "0")).await;
            let failure = assert_failure(&report, Phase::Check, Reason::NotServing);
            assert_eq!(failure.error, format!("the service \"\" is {expected}"));
            assert_eq!(report.serving(), Some(expected));
            assert_eq!(report.grpc_status(), Some(0));
        }
    }

    #[tokio::test]
    async fn a_failed_call_reports_its_status() {
        let statuses = [
            (
                "5",
                Reason::NotServing,
                "the server does not know the service \"\": \"a b\"",
            ),
            (
                "12",
                Reason::ProtocolError,
                "the server has no health service: \"a b\"",
            ),
            ("14", Reason::NotServing, "UNAVAILABLE: \"a b\""),
            ("16", Reason::ResponseMismatch, "UNAUTHENTICATED: \"a b\""),
            ("4", Reason::ResponseMismatch, "DEADLINE_EXCEEDED: \"a b\""),
            ("99", Reason::ResponseMismatch, "status 99: \"a b\""),
        ];
        for (code, reason, error) in statuses {
            let trailers = status(code, "a%20b");
            let mut alone = trailers.clone();
            alone.push(("content-type", "application/grpc".to_owned()));
            for frames in [
                vec![Frame::HeadAlone(200, alone)],
                vec![head(), Frame::Trailers(trailers.clone())],
                vec![head(), data(SERVING), Frame::Trailers(trailers)],
            ] {
                let report = check(frames).await;
                let failure = assert_failure(&report, Phase::Check, reason);
                assert_eq!(failure.error, error);
                assert_eq!(report.grpc_status(), code.parse().ok());
                assert_eq!(report.serving(), None);
            }
        }
    }

    #[tokio::test]
    async fn an_http_error_is_mapped_to_a_grpc_status() {
        let html = || vec![("content-type", "text/html".to_owned())];
        for (http, code) in [
            (503, 14),
            (404, 12),
            (401, 16),
            (403, 7),
            (400, 13),
            (431, 13),
            (500, 2),
            (200, 2),
        ] {
            let report = check(vec![Frame::HeadWith(http, html())]).await;
            let failure = assert_failure(&report, Phase::Check, Reason::ProtocolError);
            let error = format!("HTTP {http}, expected a gRPC response");
            assert_eq!(failure.error, error);
            assert_eq!(report.grpc_status(), Some(code));
        }
        // A status of gRPC says more than one of HTTP.
        let report = check(vec![Frame::HeadAlone(503, status("5", ""))]).await;
        assert_failure(&report, Phase::Check, Reason::NotServing);
    }

    #[tokio::test]
    async fn an_invalid_response_is_a_protocol_error() {
        let large = Bytes::from(vec![0; 5000]);
        let calls = [
            (
                ended(b"", "0"),
                "the call ended with OK but without a response",
            ),
            (
                ended(b"\x01\0\0\0\x02\x08\x01", "0"),
                "the response is compressed, which was not requested",
            ),
            (
                ended(b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x01", "0"),
                "expected a response of one message",
            ),
            (
                ended(b"\0\0\0\0\x01\xff", "0"),
                "expected a HealthCheckResponse",
            ),
            (
                ended(b"\0\0\0\0\x02\x08\x09", "0"),
                "unknown serving status 9",
            ),
            (
                ended(SERVING, "none"),
                "invalid grpc-status, expected a number",
            ),
            (
                vec![head(), data(SERVING), Frame::End],
                "the call ended without grpc-status",
            ),
            (
                vec![head(), Frame::Data(large)],
                "the response is larger than 4096 bytes",
            ),
        ];
        for (frames, error) in calls {
            let report = check(frames).await;
            let failure = assert_failure(&report, Phase::Check, Reason::ProtocolError);
            assert_eq!(failure.error, error);
            assert_eq!(report.serving(), None);
        }
        let report = check(vec![head(), data(SERVING), Frame::End]).await;
        assert_eq!(report.grpc_status(), Some(2), "UNKNOWN");
    }

    #[tokio::test]
    async fn a_stream_reset_is_mapped_to_a_grpc_status() {
        for (frame, code) in [(Frame::Reset, 13), (Frame::Refuse, 14)] {
            let report = check(vec![frame]).await;
            assert_failure(&report, Phase::Check, Reason::ConnectionReset);
            assert_eq!(report.grpc_status(), Some(code));
        }
    }

    #[tokio::test]
    async fn the_frames_of_a_response_are_bounded() {
        let empty = || Frame::Data(Bytes::new());
        let frames: Vec<_> = [head()]
            .into_iter()
            .chain((0..20_000).map(|_| empty()))
            .collect();
        let report = check(frames).await;
        assert_failure(&report, Phase::Check, Reason::ProtocolError);
    }
}

mod connection {
    use super::*;

    #[tokio::test]
    async fn tls_negotiates_http2_for_the_name_of_the_target() {
        let server = Server::start([IDENTITY.tls_h2(), Step::Http2(serving())]);
        let lab = Lab::new();
        let job = lab.job(named(&server, json!({})));
        let report = job.check_once().await;
        assert_success(&report);
        assert_eq!(reached(&report), ALL);
        assert_eq!(job.phases(), ALL);
        assert!(report.tls().is_some());
        assert!(certificate(&report, CertificateRole::Leaf).is_some());
        let request = server.request();
        let port = server.address.port();
        assert_eq!(request.server_name.as_deref(), Some("service.test"));
        assert_eq!(request.header(":scheme"), Some("https"));
        assert_eq!(
            request.header(":authority"),
            Some(&*format!("service.test:{port}"))
        );
    }

    #[tokio::test]
    async fn server_name_is_verified_and_sent_as_authority() {
        let inside = AUTHORITY.issue(&["inside.test"], YEARS);
        let server = Server::start([inside.tls_h2(), Step::Http2(serving())]);
        let settings = json!({ "tls_config": { "server_name": "inside.test" } });
        let lab = Lab::new();
        assert_success(&lab.check(named(&server, settings)).await);
        let request = server.request();
        let port = server.address.port();
        assert_eq!(request.server_name.as_deref(), Some("inside.test"));
        assert_eq!(
            request.header(":authority"),
            Some(&*format!("inside.test:{port}"))
        );
        assert!(
            lab.dns
                .questions()
                .iter()
                .all(|asked| asked.name == "service.test")
        );
        let report = lab.check(named(&server, json!({}))).await;
        assert_failure(&report, Phase::Tls, Reason::TlsWrongHost);
    }

    #[tokio::test]
    async fn a_server_without_http2_fails() {
        for (alpn, reason) in [
            (&[][..], Reason::ProtocolError),
            // Refuses the handshake as a whole.
            (&["http/1.1"][..], Reason::TlsHandshake),
        ] {
            let handshake = Handshake {
                alpn,
                ..Handshake::default()
            };
            let server = Server::start([handshake.step(&IDENTITY), Step::Hang]);
            let report = Lab::new().check(named(&server, json!({}))).await;
            assert_failure(&report, Phase::Tls, reason);
            assert_eq!(reached(&report), ALL[..3]);
        }
    }

    #[tokio::test]
    async fn a_certificate_that_expires_soon_fails_a_successful_call() {
        let expiring = json!({ "fail_if_certificate_expires_within": "366d" });
        let lab = Lab::new();
        let next_year = chrono::Utc::now().year() + 1;
        let identity = AUTHORITY.issue(&["service.test"], 2020..next_year);
        let server = Server::start([identity.tls_h2(), Step::Http2(serving())]);
        let report = lab.check(named(&server, expiring.clone())).await;
        assert_failure(&report, Phase::Tls, Reason::TlsExpiresSoon);
        assert_eq!(report.serving(), Some(ServingStatus::Serving));
        let fresh = json!({ "fail_if_certificate_expires_within": "1ms" });
        assert_success(&lab.check(named(&server, fresh)).await);
        // What the service says comes first.
        let down = Server::start([
            identity.tls_h2(),
            Step::Http2(ended(b"\0\0\0\0\x02\x08\x02", "0")),
        ]);
        let report = lab.check(named(&down, expiring)).await;
        assert_failure(&report, Phase::Check, Reason::NotServing);
        assert!(certificate(&report, CertificateRole::Leaf).is_some());
    }

    #[tokio::test]
    async fn a_closed_port_is_connection_refused() {
        let closed = Closed::new();
        let target = json!({ "type": "grpc", "target": closed.address.to_string() });
        let report = Lab::new().check(target).await;
        assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
        assert_eq!(report.grpc_status(), None);
    }

    #[tokio::test]
    async fn an_address_of_the_wrong_family_is_dns_not_found() {
        let server = plain(serving());
        let only = json!({ "preferred_ip_protocol": "ip6", "ip_protocol_fallback": false });
        let report = check_of(&server, only).await;
        assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
    }

    #[tokio::test]
    async fn a_connection_closed_without_a_response_is_a_reset() {
        let whole = Frame::Trailers(status("0", ""));
        let scripts = [
            vec![Step::Drop],
            vec![Step::Read, Step::Drop],
            vec![Step::Read, Step::Reset],
            vec![Step::Http2(vec![Frame::Drop])],
            vec![Step::Http2(vec![Frame::Close])],
            vec![Step::Http2(vec![Frame::Reset])],
            vec![Step::Http2(vec![Frame::Refuse])],
            vec![Step::Http2(vec![head(), Frame::Reset])],
            vec![Step::Http2(vec![head(), Frame::Wait(SHORT), Frame::Drop])],
            vec![Step::Http2(vec![
                head(),
                data(SERVING),
                Frame::Wait(SHORT),
                Frame::Drop,
            ])],
        ];
        for script in scripts {
            // Where the reset is seen is a matter of chance.
            for _ in 0..5 {
                let server = Server::start(script.clone());
                let report = check_of(&server, json!({})).await;
                assert_failure(&report, Phase::Check, Reason::ConnectionReset);
            }
        }
        // An answer that is whole outlives its connection.
        let frames = vec![
            head(),
            data(SERVING),
            whole,
            Frame::Wait(SHORT),
            Frame::Drop,
        ];
        assert_success(&check(frames).await);
    }

    #[tokio::test]
    async fn invalid_http2_is_a_protocol_error() {
        let goaway = [&SETTINGS[..], b"\0\0\x0e\x07\0\0\0\0\0", &[0; 8], b"s3cr3t"].concat();
        for (said, reason) in [
            (ok("hello").into_bytes(), Reason::ProtocolError),
            (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Reason::ProtocolError),
            (vec![0xff; 64], Reason::ProtocolError),
            // A frame of headers for a stream that there is not.
            (
                [&SETTINGS[..], b"\0\0\x01\x01\x05\0\0\0\x07\x88"].concat(),
                Reason::ProtocolError,
            ),
            (goaway, Reason::ConnectionReset),
        ] {
            let server = Server::start([Step::Read, Step::send(said), Step::Hang]);
            let report = check_of(&server, json!({})).await;
            let failure = assert_failure(&report, Phase::Check, reason);
            assert!(!failure.error.contains("s3cr3t"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn endless_headers_are_cut_off() {
        let long = vec![("x", "x".repeat(3000)); 10];
        let report = check(vec![Frame::HeadWith(200, long)]).await;
        let failure = report.failure.expect("it is no answer");
        assert_eq!(failure.phase, Phase::Check);
        assert!(
            [Reason::ProtocolError, Reason::ConnectionReset].contains(&failure.reason),
            "{failure:?}"
        );
    }
}

/// Until what was sent before has been seen.
const SHORT: Duration = Duration::from_millis(50);

/// An empty frame of settings.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

mod time {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(500);
    const DELAY: Duration = Duration::from_millis(300);

    /// Asserts that a check of `monitor` times out in the last of `phases`.
    async fn assert_timeout(lab: &Lab, mut monitor: Value, phases: &[Phase]) {
        monitor["timeout"] = millis(500);
        let report = lab.check(monitor).await;
        let last = *phases.last().expect("a phase");
        assert_failure(&report, last, Reason::Timeout);
        assert_eq!(reached(&report), phases, "{report:#?}");
        assert!(report.duration < TIMEOUT + SOON, "{report:#?}");
        assert!(spent(&report, last) > Some(TIMEOUT / 5), "{report:#?}");
    }

    #[tokio::test]
    async fn silence_is_a_timeout_in_the_phase_it_begins_in() {
        let silent_dns = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::Silence));
        let target = json!({ "type": "grpc", "target": "service.test:1" });
        assert_timeout(&silent_dns, target, &ALL[..1]).await;
        let lab = Lab::new();
        let deaf = Deaf::new().await;
        let target = json!({ "type": "grpc", "target": deaf.address.to_string() });
        assert_timeout(&lab, target, &[Phase::Connect]).await;
        let server = Server::start([Step::Hang]);
        assert_timeout(&lab, named(&server, json!({})), &ALL[..3]).await;
        server.until(|seen| seen.left == 1).await;
    }

    #[tokio::test]
    async fn silence_within_a_call_is_a_timeout_in_check() {
        let lab = Lab::new();
        let frames = [head(), data(&SERVING[..3]), data(&SERVING[3..])];
        let check = async |script: Vec<Step>| {
            let plain = Server::start(script.clone());
            assert_timeout(&lab, monitor(&plain, json!({})), &PLAIN).await;
            plain.until(|seen| seen.left == 1).await;
            let secure = Server::start([vec![IDENTITY.tls_h2()], script].concat());
            assert_timeout(&lab, named(&secure, json!({})), &ALL).await;
            secure.until(|seen| seen.left == 1).await;
        };
        let mut scripts = vec![
            vec![Step::Hang],
            vec![Step::Read, Step::send(&SETTINGS[..4]), Step::Hang],
            vec![Step::Read, Step::send(&SETTINGS[..]), Step::Hang],
        ];
        scripts.extend((0..=3).map(|length| vec![Step::Http2(frames[..length].to_vec())]));
        join_all(scripts.into_iter().map(check)).await;
    }

    #[tokio::test]
    async fn a_flood_of_frames_is_a_protocol_error() {
        let ping = [&b"\0\0\x08\x06\x01\0\0\0\0"[..], &[0; 8]].concat();
        let priority = b"\0\0\x05\x02\0\0\0\0\x03\0\0\0\0\0".to_vec();
        let window_update = b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\0".to_vec();
        let unknown = b"\0\0\x01\xee\0\0\0\0\0x".to_vec();
        for frame in [ping, priority, window_update, unknown] {
            let flood = Step::Flood(Bytes::from(frame.repeat(100)));
            let server = Server::start([Step::Read, Step::send(&SETTINGS[..]), flood]);
            let report = check_of(&server, json!({})).await;
            assert_failure(&report, Phase::Check, Reason::ProtocolError);
            assert!(report.duration < SOON, "{report:#?}");
        }
    }

    #[tokio::test]
    async fn a_slow_response_counts_for_the_phase_check_only() {
        let frames = [vec![Frame::Wait(DELAY)], serving()].concat();
        let server = Server::start([IDENTITY.tls_h2(), Step::Http2(frames)]);
        let report = Lab::new().check(named(&server, json!({}))).await;
        assert_success(&report);
        assert!(
            spent(&report, Phase::Check) > Some(DELAY * 9 / 10),
            "{report:#?}"
        );
    }
}

mod secrets {
    use super::*;

    fn settings() -> Value {
        let metadata = json!({
            "authorization": "Bearer s3cr3t-token",
            "x-key": ["other", "s3cr3t-key"],
            "x-bin": "s3cr3t-bytes",
        });
        json!({ "metadata": metadata })
    }

    #[tokio::test]
    async fn echoed_secrets_are_not_reported() {
        for (message, shown) in [
            ("bad token s3cr3t-token", false),
            ("bad token %73%33cr3t-key", false),
            ("s3cr3t-bytes", false),
            ("no token", true),
        ] {
            for code in ["5", "12", "14", "16"] {
                let server = plain(vec![Frame::HeadAlone(200, status(code, message))]);
                let report = check_of(&server, settings()).await;
                let error = report.failure.expect("it failed").error;
                assert!(!error.contains("s3cr3t"), "{error}");
                assert_eq!(error.contains(message), shown, "{error}");
            }
        }
    }

    #[test]
    fn debug_output_hides_secrets() {
        let mut monitor = settings();
        monitor["type"] = json!("grpc");
        monitor["target"] = json!("service.test");
        let config = config(monitor);
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }

    #[tokio::test]
    async fn texts_of_the_server_are_bounded() {
        let endless = "x".repeat(10_000);
        let server = plain(vec![Frame::HeadAlone(200, status("13", &endless))]);
        let report = check_of(&server, json!({})).await;
        let failure = assert_failure(&report, Phase::Check, Reason::ResponseMismatch);
        assert!(failure.error.len() < 200, "{}", failure.error);
    }
}

#[test]
fn the_default_port_is_that_of_http() {
    let lab = Lab::new();
    for (settings, expected) in [
        (json!({ "target": "service.test" }), "service.test:80"),
        (
            json!({ "target": "service.test", "tls": true }),
            "service.test:443",
        ),
        (json!({ "target": "::1", "tls": true }), "[::1]:443"),
        (
            json!({ "target": "service.test:9000" }),
            "service.test:9000",
        ),
    ] {
        let mut monitor = settings;
        monitor["type"] = json!("grpc");
        let job = lab.job(monitor);
        assert_eq!(job.target(), expected);
        let host = expected
            .rsplit_once(':')
            .map(|(host, _)| host.trim_matches(['[', ']']));
        assert_eq!(job.host().as_deref(), host);
    }
}
