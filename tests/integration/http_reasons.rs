//! Each way in which a check can fail has the one reason, in the one phase, that says so.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use monitoringdaemon::{
    check::{Attempt, Failure, Job, Monitor, Phase, Reason, Report},
    net::{Net, Resolver, tls::TrustStore},
};
use rustls::RootCertStore;
use serde_json::{Value, json};

use crate::support::{
    dns::{Answer, Dns},
    lab::{Lab, config},
    pki::{AUTHORITY, Authority, Handshake, IDENTITY, Identity, YEARS},
    process::alone,
    report::{assert_failure, assert_success, reached},
    server::{Closed, Frame, Server, Step, ok, redirect, response},
};

/// Checks `url` of a server that follows `script`.
async fn check(scheme: &str, script: impl Into<Vec<Step>>) -> (Report, Server) {
    check_with(scheme, script, json!({})).await
}

async fn check_with(
    scheme: &str,
    script: impl Into<Vec<Step>>,
    mut monitor: Value,
) -> (Report, Server) {
    let server = Server::start(script);
    monitor["url"] = json!(format!("{scheme}://{}/", server.address));
    let report = Lab::new().check(monitor).await;
    (report, server)
}

/// HTTP/2 forgets what a stream has sent when it is reset, so its client must have read it before.
const BREATH: Frame = Frame::Wait(Duration::from_millis(100));

#[track_caller]
fn error(report: &Report, phase: Phase, reason: Reason) -> &str {
    &assert_failure(report, phase, reason).error
}

mod dns {
    use super::*;

    async fn check(answer: Answer, settings: Value) -> Report {
        let lab = Lab::with_dns(Dns::start(Duration::ZERO, move |_| answer.clone()));
        let mut monitor = settings;
        monitor["url"] = json!("http://service.test:1/");
        let report = lab.check(monitor).await;
        assert_eq!(reached(&report), [Phase::Resolve]);
        report
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_not_found() {
        let report = check(Answer::NoSuchName, json!({})).await;
        let error = error(&report, Phase::Resolve, Reason::DnsNotFound);
        assert_eq!(error, "the name does not exist");
    }

    #[tokio::test]
    async fn a_negative_answer_without_soa_is_dns_not_found() {
        const NOERROR: u8 = 0;
        const NXDOMAIN: u8 = 3;
        for code in [NOERROR, NXDOMAIN] {
            let report = check(Answer::Code(code), json!({})).await;
            assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
        }
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_not_found() {
        let report = check(Answer::Addresses(Vec::new()), json!({})).await;
        let error = error(&report, Phase::Resolve, Reason::DnsNotFound);
        assert_eq!(error, "the name has no address");
    }

    #[tokio::test]
    async fn a_name_without_an_address_of_the_only_family_is_not_found() {
        for (family, address) in [("ip6", "127.0.0.1"), ("ip4", "::1")] {
            let address: IpAddr = address.parse().expect("an address");
            let settings =
                json!({ "preferred_ip_protocol": family, "ip_protocol_fallback": false });
            let report = check(Answer::Addresses(vec![address]), settings).await;
            assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
        }
    }

    #[tokio::test]
    async fn an_address_of_the_wrong_family_is_dns_not_found() {
        let lab = Lab::new();
        for (family, url) in [("ip6", "http://127.0.0.1:1/"), ("ip4", "http://[::1]:1/")] {
            let report = lab
                .check(json!({
                    "url": url,
                    "preferred_ip_protocol": family,
                    "ip_protocol_fallback": false,
                }))
                .await;
            assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
        }
    }

    #[tokio::test]
    async fn a_name_server_that_fails_or_refuses_is_a_dns_failure() {
        const SERVFAIL: u8 = 2;
        const NOTIMP: u8 = 4;
        const REFUSED: u8 = 5;
        for code in [SERVFAIL, NOTIMP, REFUSED] {
            let report = check(Answer::Code(code), json!({})).await;
            let error = error(&report, Phase::Resolve, Reason::DnsFailure);
            assert!(error.starts_with("the name server answered "), "{error}");
        }
    }

    #[tokio::test]
    async fn a_truncated_udp_answer_is_retried_over_tcp() {
        let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| {
            Answer::Truncated(vec![IpAddr::from([127, 0, 0, 1])])
        }));
        let server = Server::ok();
        let url = server.named("http", "service.test", "/");
        assert_success(&lab.check(json!({ "url": url })).await);
        let over_tcp: Vec<_> = lab
            .dns
            .questions()
            .iter()
            .map(|asked| asked.over_tcp)
            .collect();
        assert_eq!(over_tcp, [false, true]);
    }
}

mod connection {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_connection_refused() {
        let closed = Closed::new();
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{}/", closed.address);
            let report = Lab::new().check(json!({ "url": url })).await;
            assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
            assert_eq!(reached(&report), [Phase::Connect]);
        }
    }

    #[tokio::test]
    async fn a_close_before_the_response_is_a_reset() {
        let closes = [
            vec![Step::Drop],
            vec![Step::Request],
            vec![Step::Request, Step::Drop],
            vec![Step::Request, Step::Reset],
            vec![
                Step::Request,
                Step::send("HTTP/1.1 200 OK\r\ncontent-le"),
                Step::Drop,
            ],
            vec![
                Step::Request,
                Step::send("HTTP/1.1 200 OK\r\ncontent-le"),
                Step::Reset,
            ],
        ];
        for close in closes {
            let (report, _server) = check("http", close.clone()).await;
            assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
            let mut script = vec![IDENTITY.tls()];
            script.extend(close);
            let (report, _server) = check("https", script).await;
            assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_reset_after_connecting_is_a_reset() {
        for scheme in ["http", "https"] {
            let (report, _server) = check(scheme, [Step::Reset]).await;
            let failure = report.failure.expect("it was reset");
            match failure.phase {
                // Told of it before or after the connection was seen to stand.
                Phase::Connect | Phase::Processing => {
                    assert_eq!(failure.reason, Reason::ConnectionReset);
                }
                _ => assert_eq!(failure.reason, Reason::TlsHandshake),
            }
        }
    }

    #[tokio::test]
    async fn a_reset_within_the_body_is_a_reset() {
        let start = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
        for (scheme, mut script) in [("http", vec![]), ("https", vec![IDENTITY.tls()])] {
            script.extend([Step::Request, Step::send(start), Step::Reset]);
            let (report, _server) = check(scheme, script).await;
            assert_failure(&report, Phase::Transfer, Reason::ConnectionReset);
            assert_eq!(report.status(), Some(200));
        }
    }

    #[tokio::test]
    async fn an_http2_stream_reset_is_a_reset() {
        for (frames, phase) in [
            (vec![Frame::Reset], Phase::Processing),
            (
                vec![
                    Frame::Head(200),
                    Frame::Data(Bytes::from("half")),
                    BREATH,
                    Frame::Reset,
                ],
                Phase::Transfer,
            ),
        ] {
            let (report, _server) = check("https", [IDENTITY.tls_h2(), Step::Http2(frames)]).await;
            assert_failure(&report, phase, Reason::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_close_before_the_http2_response_is_a_reset() {
        let script = [IDENTITY.tls_h2(), Step::Http2(vec![Frame::Drop])];
        let (report, _server) = check("https", script).await;
        assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
    }
}

mod tls {
    use super::*;

    /// Checks a server with `identity`, which the lab may trust or not.
    async fn check_identity(identity: &Identity, reason: Reason) {
        for (versions, tls) in [
            (&[&rustls::version::TLS12], "TLS 1.2"),
            (&[&rustls::version::TLS13], "TLS 1.3"),
        ] {
            let handshake = Handshake {
                versions,
                ..Handshake::default()
            };
            let (report, server) = check("https", [handshake.step(identity), Step::Request]).await;
            let error = error(&report, Phase::Tls, reason);
            assert!(
                !error.contains("Error"),
                "not in words, over {tls}: {error}"
            );
            assert_eq!(reached(&report), [Phase::Connect, Phase::Tls]);
            assert!(server.seen().requests.is_empty());
        }
    }

    #[tokio::test]
    async fn a_certificate_past_its_last_day_is_expired() {
        check_identity(
            &AUTHORITY.issue(&["127.0.0.1"], 2000..2001),
            Reason::TlsExpired,
        )
        .await;
    }

    #[tokio::test]
    async fn an_authority_past_its_last_day_is_expired() {
        let authority = AUTHORITY.intermediate("expired", 2000..2001);
        check_identity(&authority.issue(&["127.0.0.1"], YEARS), Reason::TlsExpired).await;
    }

    #[tokio::test]
    async fn a_certificate_before_its_first_day_is_not_yet_valid() {
        check_identity(
            &AUTHORITY.issue(&["127.0.0.1"], 3999..4000),
            Reason::TlsNotYetValid,
        )
        .await;
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_for_the_wrong_host() {
        check_identity(
            &AUTHORITY.issue(&["other.test"], YEARS),
            Reason::TlsWrongHost,
        )
        .await;
    }

    #[tokio::test]
    async fn a_self_signed_certificate_is_untrusted() {
        check_identity(&Identity::self_signed(&["127.0.0.1"]), Reason::TlsUntrusted).await;
    }

    #[tokio::test]
    async fn a_certificate_of_an_unknown_authority_is_untrusted() {
        let unknown = Authority::new("unknown root").intermediate("unknown", YEARS);
        check_identity(&unknown.issue(&["127.0.0.1"], YEARS), Reason::TlsUntrusted).await;
    }

    #[tokio::test]
    async fn a_peer_without_tls_is_a_failed_handshake() {
        for script in [
            vec![Step::Read, Step::send("\x16\x03\x03 certainly no TLS")],
            vec![Step::send(
                "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
            )],
            vec![
                Step::Read,
                Step::send("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"),
            ],
            vec![Step::send("SSH-2.0-OpenSSH_9.6\r\n"), Step::Hang],
            vec![Step::Drop],
            vec![Step::Read],
            vec![Step::Read, Step::Drop],
            vec![Step::Read, Step::Reset],
            // A fatal alert: handshake_failure.
            vec![Step::Read, Step::send(&b"\x15\x03\x03\x00\x02\x02\x28"[..])],
        ] {
            let (report, _server) = check("https", script).await;
            assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
            assert_eq!(reached(&report), [Phase::Connect, Phase::Tls]);
        }
    }

    #[tokio::test]
    async fn no_version_in_common_is_a_failed_handshake() {
        for (versions, settings) in [
            (
                &[&rustls::version::TLS12],
                json!({ "min_version": "TLS13" }),
            ),
            (
                &[&rustls::version::TLS13],
                json!({ "max_version": "TLS12" }),
            ),
        ] {
            let handshake = Handshake {
                versions,
                ..Handshake::default()
            };
            let monitor = json!({ "tls_config": settings });
            let script = [handshake.step(&IDENTITY), Step::Request];
            let (report, _server) = check_with("https", script, monitor).await;
            assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
        }
    }

    #[tokio::test]
    async fn a_client_certificate_that_is_missing_or_wrong_is_a_failed_handshake() {
        let clients = Authority::new("of clients");
        let wrong = Authority::new("of others").issue(&["client"], YEARS);
        let wrong = json!({ "cert": wrong.certificate_pem, "key": wrong.key_pem() });
        for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
            let handshake = Handshake {
                versions,
                client_authority: Some(&clients),
                ..Handshake::default()
            };
            for settings in [json!({}), wrong.clone()] {
                let monitor = json!({ "tls_config": settings });
                let script = [handshake.step(&IDENTITY), Step::Request];
                let (report, server) = check_with("https", script, monitor).await;
                assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
                assert!(server.seen().requests.is_empty());
            }
        }
    }

    #[tokio::test]
    async fn a_refused_client_certificate_is_recognized_over_http2() {
        let clients = Authority::new("of clients");
        let handshake = Handshake {
            alpn: &["h2"],
            versions: &[&rustls::version::TLS13],
            client_authority: Some(&clients),
            ..Handshake::default()
        };
        let server = Server::start([handshake.step(&IDENTITY)]);
        let address = server.address.to_string();
        let lab = Lab::new();
        for monitor in [
            json!({ "url": server.https("/") }),
            json!({ "type": "dns", "target": server.https("/"), "query_name": "a.test" }),
            json!({ "type": "grpc", "target": address, "tls": true }),
        ] {
            for _ in 0..50 {
                let report = lab.check(monitor.clone()).await;
                assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
            }
        }
    }

    #[tokio::test]
    async fn a_close_after_a_client_certificate_request_is_a_failed_handshake() {
        let clients = Authority::new("of clients");
        for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
            let handshake = Handshake {
                versions,
                client_authority: Some(&clients),
                client_may_refuse: true,
                ..Handshake::default()
            };
            for end in [Step::Drop, Step::Reset] {
                let script = [handshake.step(&IDENTITY), Step::Request, end];
                let (report, _server) = check("https", script).await;
                assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
            }
        }
    }
}

mod protocol {
    use super::*;

    #[tokio::test]
    async fn a_wrong_status_wins_over_a_timeout_of_the_body() {
        let head = "HTTP/1.1 500 Sorry\r\ncontent-length: 10\r\n\r\nhalf";
        let script = [Step::Request, Step::send(head), Step::Hang];
        let (report, _server) = check_with("http", script, json!({ "timeout": 0.3 })).await;
        assert_failure(&report, Phase::Processing, Reason::StatusCode);
        assert_eq!(
            (report.status(), report.response_bytes()),
            (Some(500), Some(4))
        );
    }

    #[tokio::test]
    async fn a_peer_without_http_is_a_protocol_error() {
        for answer in [
            "certainly no HTTP\r\n\r\n",
            "SSH-2.0-OpenSSH_9.6\r\n",
            "220 mail.test ESMTP\r\n",
            "HTTP/1.1 abc OK\r\n\r\n",
            "HTTP/1.1 99 Too Short\r\n\r\n",
            "HTTP/1.1 9999 Too Long\r\n\r\n",
            "HTTP/3.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "\x00\x01\x02\x03\x04\x05\x06\x07",
        ] {
            let (report, _server) =
                check("http", [Step::Request, Step::send(answer), Step::Hang]).await;
            let failure = assert_failure(&report, Phase::Processing, Reason::ProtocolError);
            assert!(!failure.error.contains('\0'), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn anything_but_negotiated_http2_is_a_protocol_error() {
        let script = [
            IDENTITY.tls_h2(),
            Step::Read,
            Step::send(ok("hello")),
            Step::Hang,
        ];
        let (report, _server) = check("https", script).await;
        assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    }

    #[tokio::test]
    async fn endless_headers_are_a_protocol_error_in_bounded_memory() {
        let line = Bytes::from(format!("x-bomb: {}\r\n", "x".repeat(8 << 10)));
        for flood in [line, Bytes::from("x".repeat(8 << 10))] {
            let start = Step::send("HTTP/1.1 200 OK\r\nx-start: x");
            let (report, server) = check("http", [Step::Request, start, Step::Flood(flood)]).await;
            assert_failure(&report, Phase::Processing, Reason::ProtocolError);
            let seen = server.until(|seen| seen.left == 1).await;
            assert!(
                seen.sent < 8 << 20,
                "{} bytes of headers were taken",
                seen.sent
            );
        }
    }

    #[tokio::test]
    async fn a_thousand_headers_are_accepted_and_many_more_are_not() {
        let answer = |lines| {
            let headers: Vec<_> = (0..lines).map(|index| format!("x-{index}: x")).collect();
            let headers: Vec<_> = headers.iter().map(String::as_str).collect();
            [Step::Request, Step::send(response("200 OK", &headers, ""))]
        };
        let (report, _server) = check("http", answer(1_000)).await;
        assert_success(&report);
        let (report, _server) = check("http", answer(3_000)).await;
        assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    }

    #[tokio::test]
    async fn a_megabyte_of_headers_is_accepted() {
        let value = "x".repeat(1_000);
        let http1: Vec<_> = (0..900)
            .map(|index| format!("x-{index}: {value}"))
            .collect();
        let http1: Vec<_> = http1.iter().map(String::as_str).collect();
        let answer = response("200 OK", &http1, "");
        let (report, _server) = check("http", [Step::Request, Step::send(answer)]).await;
        assert_success(&report);
        let headers = vec![("x-header", value); 900];
        let frames = vec![Frame::HeadWith(200, headers), Frame::End];
        let (report, _server) = check("https", [IDENTITY.tls_h2(), Step::Http2(frames)]).await;
        assert_success(&report);
    }

    #[tokio::test]
    async fn headers_that_browsers_accept_are_accepted() {
        for headers in [
            "x: one\r\n two\r\n",
            "x: one\r\n\ttwo\r\n",
            "x-foo : bar\r\n",
            "no colon\r\n",
            "bad name: value\r\n",
            ": no name\r\n",
            "x: \u{1}\u{7f}\r\n",
            "x: \u{fc}\r\n",
            "x:\r\n",
            "content-length:\r\n",
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 5\r\n\r\nhello");
            let (report, _server) = check("http", [Step::Request, Step::send(answer)]).await;
            assert_success(&report);
            assert_eq!(report.response_bytes(), Some(5), "{headers:?}");
        }
    }

    #[tokio::test]
    async fn heads_that_browsers_accept_are_accepted() {
        for (head, version, bytes) in [
            (
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked",
                "HTTP/1.0",
                5,
            ),
            ("HTTP/1.1 200\r\ntransfer-encoding: chunked", "HTTP/1.1", 5),
            (
                "HTTP/1.1 299 O\u{1}K\r\ntransfer-encoding: chunked",
                "HTTP/1.1",
                5,
            ),
            (
                "\r\nHTTP/1.1 200 OK\ntransfer-encoding: chunked",
                "HTTP/1.1",
                5,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length:", "HTTP/1.1", 15),
            (
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK",
                "HTTP/1.1",
                15,
            ),
        ] {
            let answer = format!("{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            for piece in [answer.len(), 1] {
                let pieces = answer.as_bytes().chunks(piece).map(<[u8]>::to_vec);
                let script = [Step::Request].into_iter().chain(pieces.map(Step::send));
                let demand = json!({ "valid_http_versions": [version] });
                let (report, _server) =
                    check_with("http", script.collect::<Vec<_>>(), demand).await;
                assert_success(&report);
                assert_eq!(report.response_bytes(), Some(bytes), "{head:?}");
            }
        }
    }

    #[tokio::test]
    async fn every_three_digit_status_is_accepted() {
        for status in [200, 299, 418, 600, 999] {
            let answer = response(&format!("{status} Status"), &[], "");
            let demand = json!({ "valid_status_codes": [status] });
            let script = [Step::Request, Step::send(answer)];
            let (report, _server) = check_with("http", script, demand).await;
            assert_success(&report);
            assert_eq!(report.status(), Some(status));
        }
    }

    #[tokio::test]
    async fn malformed_lines_are_quoted_without_secrets() {
        for (answer, expected) in [
            (
                "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
                "expected an HTTP status line, found \"SSH-2.0-OpenSSH_9.6\"",
            ),
            (
                "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: many\r\n\r\n".to_owned(),
                "header line 3 is malformed: \"content-length: many\"",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: s3cr3t\r\n\r\n".to_owned(),
                "header line 2 is malformed: something that repeats what was sent",
            ),
            (format!("\x1b[2J{}\r\n", "x".repeat(5_000)), "\"…"),
            (
                "\x15\x03\x01\0\x02\x02\x16".to_owned(),
                "the peer speaks TLS, expected HTTP",
            ),
        ] {
            let script = [Step::Request, Step::send(answer)];
            let secret = json!({ "headers": { "X-Key": "s3cr3t" } });
            let (report, _server) = check_with("http", script, secret).await;
            let error = error(&report, Phase::Processing, Reason::ProtocolError);
            assert!(error.ends_with(expected), "{error}");
            assert!(error.len() < 300 && !error.contains('\x1b'), "{error}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_interim_responses_is_a_protocol_error() {
        let interim = Bytes::from("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1_000));
        let (report, _server) = check("http", [Step::Request, Step::Flood(interim)]).await;
        assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    }

    #[tokio::test]
    async fn a_flood_around_a_body_is_a_protocol_error() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = Bytes::from(format!("1;{}\r\nx\r\n", "x".repeat(1_000)));
        let script = [Step::Request, Step::send(head), Step::Flood(chunk)];
        let (report, _server) = check("http", script).await;
        assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
    }

    #[tokio::test]
    async fn a_chunk_with_a_bad_size_is_a_protocol_error() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for chunks in [
            "5\r\nhello\r\nnope\r\n",
            "ffffffffffffffffff\r\n",
            "5\r\nhello!!",
        ] {
            let script = [
                Step::Request,
                Step::send(head),
                Step::send(chunks),
                Step::Hang,
            ];
            let (report, _server) = check("http", script).await;
            assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
        }
    }

    #[tokio::test]
    async fn ten_redirects_are_followed_and_no_more() {
        for (first, followed) in [(10, true), (11, false)] {
            let server = Server::answering(|request| {
                match request.target.trim_start_matches('/').parse::<u32>() {
                    Ok(0) => ok("there"),
                    Ok(left) => redirect(302, &format!("/{}", left - 1)),
                    Err(_) => response("404 Not Found", &[], ""),
                }
            });
            let url = server.http(&format!("/{first}"));
            let report = Lab::new().check(json!({ "url": url })).await;
            if followed {
                assert_success(&report);
            } else {
                assert_failure(&report, Phase::Processing, Reason::TooManyRedirects);
                assert_eq!(report.status(), Some(302));
            }
            assert_eq!(server.seen().requests.len(), 11);
        }
    }

    #[tokio::test]
    async fn a_loop_of_redirects_is_too_many() {
        let (report, server) = check("http", [Step::answer(|_| redirect(307, "/"))]).await;
        assert_failure(&report, Phase::Processing, Reason::TooManyRedirects);
        assert_eq!(server.seen().requests.len(), 11);
    }
}

mod body {
    use super::*;

    #[tokio::test]
    async fn a_body_that_ends_early_is_truncated() {
        let lengths = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
        let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n";
        let within_a_chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n12345";
        for start in [lengths, chunks, within_a_chunk] {
            for (scheme, mut script) in [
                ("http", vec![Step::Request, Step::send(start)]),
                (
                    "https",
                    vec![IDENTITY.tls(), Step::Request, Step::send(start)],
                ),
            ] {
                for end in [None, Some(Step::Drop)] {
                    script.extend(end);
                    let (report, _server) = check(scheme, script.clone()).await;
                    assert_failure(&report, Phase::Transfer, Reason::TruncatedBody);
                    assert_eq!(report.response_bytes(), Some(5));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_body_without_a_length_ends_with_the_connection() {
        let start = Step::send("HTTP/1.1 200 OK\r\n\r\n12345");
        let orderly = [IDENTITY.tls(), Step::Request, start.clone()];
        let (report, _server) = check("https", orderly).await;
        assert_success(&report);
        assert_eq!(report.response_bytes(), Some(5));
        let abrupt = [IDENTITY.tls(), Step::Request, start.clone(), Step::Drop];
        let (report, _server) = check("https", abrupt).await;
        assert_success(&report);
        let half = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n12345");
        let cut = [IDENTITY.tls(), Step::Request, half, Step::Drop];
        let (report, _server) = check("https", cut).await;
        assert_failure(&report, Phase::Transfer, Reason::TruncatedBody);
        let plain = [Step::Request, start, Step::Drop];
        let (report, _server) = check("http", plain).await;
        assert_success(&report);
    }

    #[tokio::test]
    async fn an_http2_body_that_ends_early_is_truncated() {
        let half = [Frame::Head(200), Frame::Data(Bytes::from("half"))];
        let abrupt = [&half[..], &[BREATH, Frame::Drop]].concat();
        let orderly = [&half[..], &[BREATH, Frame::Close]].concat();
        for frames in [abrupt, orderly] {
            let script = [IDENTITY.tls_h2(), Step::Http2(frames)];
            let (report, _server) = check("https", script).await;
            assert_failure(&report, Phase::Transfer, Reason::TruncatedBody);
            assert_eq!(report.response_bytes(), Some(4));
        }
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_off_at_the_limit() {
        const LIMIT: u64 = 100_000;
        let head = "HTTP/1.1 200 OK\r\n\r\n";
        let piece = Bytes::from(vec![b'x'; 8 << 10]);
        for (scheme, mut script) in [("http", vec![]), ("https", vec![IDENTITY.tls()])] {
            script.extend([Step::Request, Step::send(head), Step::Flood(piece.clone())]);
            let monitor = json!({ "body_size_limit": LIMIT });
            let (report, server) = check_with(scheme, script, monitor).await;
            let error = error(&report, Phase::Transfer, Reason::BodyTooLarge);
            assert_eq!(error, "the body is larger than 100000 bytes");
            let received = report.response_bytes().expect("a body came");
            assert!(
                received > LIMIT && received < LIMIT + (1 << 20),
                "{received}"
            );
            let seen = server.until(|seen| seen.left == 1).await;
            // What the kernel holds for both sides comes on top of what was received.
            assert!(
                seen.sent < LIMIT + (8 << 20),
                "{} bytes were taken",
                seen.sent
            );
        }
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_accepted() {
        for (limit, reason) in [(5, None), (4, Some(Reason::BodyTooLarge))] {
            let monitor = json!({ "body_size_limit": limit });
            let (report, _server) =
                check_with("http", [Step::answer(|_| ok("12345"))], monitor).await;
            assert_eq!(report.failure.map(|failure| failure.reason), reason);
        }
    }

    #[tokio::test]
    async fn the_default_body_size_limit_is_ten_mebibytes() {
        const LIMIT: u64 = 10 << 20;
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        let pieces = LIMIT / piece.len() as u64;
        for (pieces, reason) in [(pieces, None), (pieces + 1, Some(Reason::BodyTooLarge))] {
            let script = [
                Step::Request,
                Step::send("HTTP/1.1 200 OK\r\n\r\n"),
                Step::Repeat(piece.clone(), pieces),
            ];
            let (report, _server) = check("http", script).await;
            assert_eq!(report.failure.map(|failure| failure.reason), reason);
        }
    }
}

mod verdicts {
    use super::*;

    /// Checks a server that answers with one header and a body.
    async fn judge(monitor: Value) -> Report {
        let answer = response("200 OK", &["x-state: ready"], "all is well");
        let (report, _server) =
            check_with("http", [Step::answer(move |_| answer.clone())], monitor).await;
        assert_eq!(report.status(), Some(200));
        assert_eq!(
            report.response_bytes(),
            Some(11),
            "a verdict comes after the body"
        );
        report
    }

    async fn assert_verdict(monitor: Value, phase: Phase, reason: Reason, error: &str) {
        let report = judge(monitor).await;
        assert_eq!(assert_failure(&report, phase, reason).error, error);
    }

    #[tokio::test]
    async fn an_unexpected_status_fails() {
        assert_verdict(
            json!({ "valid_status_codes": [204, "3xx", "500-503"] }),
            Phase::Processing,
            Reason::StatusCode,
            "HTTP 200, expected 204, 3xx, 500-503",
        )
        .await;
        let script = [Step::answer(|_| response("503 Busy", &[], "later"))];
        let (report, _server) = check("http", script).await;
        let error = error(&report, Phase::Processing, Reason::StatusCode);
        assert_eq!(error, "HTTP 503, expected 2xx");
        assert_eq!(report.status(), Some(503));
        assert_eq!(report.response_bytes(), Some(5));
    }

    #[tokio::test]
    async fn an_unexpected_http_version_fails() {
        assert_verdict(
            json!({ "valid_http_versions": ["HTTP/1.0", "HTTP/2.0"] }),
            Phase::Processing,
            Reason::HttpVersion,
            "HTTP/1.1, expected HTTP/1.0, HTTP/2.0",
        )
        .await;
    }

    #[tokio::test]
    async fn a_header_that_matches_fail_if_header_matches_fails() {
        let matcher = |header: &str, regexp: &str, allow_missing: bool| {
            json!({ "fail_if_header_matches": [
                { "header": header, "regexp": regexp, "allow_missing": allow_missing },
            ] })
        };
        let processing = Phase::Processing;
        let mismatch = Reason::HeaderMismatch;
        assert_verdict(
            matcher("X-State", "^rea", false),
            processing,
            mismatch,
            "the header x-state matches \"^rea\"",
        )
        .await;
        assert_verdict(
            matcher("X-Other", "x", false),
            processing,
            mismatch,
            "the header x-other is missing",
        )
        .await;
        assert_success(&judge(matcher("X-State", "^broken", false)).await);
        assert_success(&judge(matcher("X-Other", "x", true)).await);
    }

    #[tokio::test]
    async fn a_header_that_does_not_match_fails_if_it_must() {
        let matcher = |header: &str, regexp: &str, allow_missing: bool| {
            json!({ "fail_if_header_not_matches": [
                { "header": header, "regexp": regexp, "allow_missing": allow_missing },
            ] })
        };
        let processing = Phase::Processing;
        let mismatch = Reason::HeaderMismatch;
        assert_verdict(
            matcher("X-State", "^broken", false),
            processing,
            mismatch,
            "the header x-state does not match \"^broken\"",
        )
        .await;
        assert_verdict(
            matcher("X-Other", "x", false),
            processing,
            mismatch,
            "the header x-other is missing",
        )
        .await;
        assert_success(&judge(matcher("X-State", "^ready$", false)).await);
        assert_success(&judge(matcher("X-Other", "x", true)).await);
    }

    #[tokio::test]
    async fn a_body_that_matches_fail_if_body_matches_regexp_fails() {
        let transfer = Phase::Transfer;
        let mismatch = Reason::BodyMismatch;
        assert_verdict(
            json!({ "fail_if_body_matches_regexp": ["ill", "is w.ll$"] }),
            transfer,
            mismatch,
            "the body matches \"is w.ll$\"",
        )
        .await;
        assert_success(&judge(json!({ "fail_if_body_matches_regexp": ["ill"] })).await);
    }

    #[tokio::test]
    async fn a_body_must_match_every_required_regexp() {
        assert_verdict(
            json!({ "fail_if_body_not_matches_regexp": ["^all", "ill"] }),
            Phase::Transfer,
            Reason::BodyMismatch,
            "the body does not match \"ill\"",
        )
        .await;
        assert_success(&judge(json!({ "fail_if_body_not_matches_regexp": ["^all"] })).await);
    }

    #[tokio::test]
    async fn tls_can_be_required() {
        assert_verdict(
            json!({ "fail_if_not_ssl": true }),
            Phase::Tls,
            Reason::SslRequired,
            "the final response came without TLS, expected HTTPS",
        )
        .await;
        let script = [IDENTITY.tls(), Step::answer(|_| ok("hello"))];
        let (report, _server) =
            check_with("https", script, json!({ "fail_if_not_ssl": true })).await;
        assert_success(&report);
    }

    #[tokio::test]
    async fn tls_can_be_forbidden() {
        let script = [IDENTITY.tls(), Step::answer(|_| ok("hello"))];
        let (report, _server) = check_with("https", script, json!({ "fail_if_ssl": true })).await;
        assert_failure(&report, Phase::Tls, Reason::SslForbidden);
        assert_success(&judge(json!({ "fail_if_ssl": true })).await);
    }

    #[tokio::test]
    async fn a_wrong_status_wins_over_a_failure_of_the_body() {
        let answer = "HTTP/1.1 500 Broken\r\ncontent-length: 10\r\n\r\n12345";
        let (report, _server) =
            check("http", [Step::Request, Step::send(answer), Step::Drop]).await;
        assert_failure(&report, Phase::Processing, Reason::StatusCode);
        assert_eq!(report.response_bytes(), Some(5));
    }
}

mod ours {
    use super::*;

    struct Panics;

    impl Monitor for Panics {
        fn kind(&self) -> &'static str {
            "panics"
        }

        fn target(&self) -> String {
            "nowhere".to_owned()
        }

        async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
            attempt.enter(Phase::Connect);
            panic!("this one is meant")
        }
    }

    #[tokio::test]
    async fn a_monitor_that_panics_fails_its_check() {
        let report = Job::new("panics", Panics).check_once().await;
        let error = error(&report, Phase::Connect, Reason::AgentError);
        assert_eq!(error, "the check panicked: this one is meant");
    }

    #[tokio::test]
    async fn missing_ca_certificates_are_an_agent_error() {
        let server = Server::start([IDENTITY.tls(), Step::Request]);
        let net = Net::new(Resolver::system(), TrustStore::new(RootCertStore::empty()));
        let config = config(json!({ "url": server.https("/") }));
        let report = config.monitors[0]
            .settings
            .bind("example", &net)
            .check_once()
            .await;
        let error = error(&report, Phase::Tls, Reason::AgentError);
        assert_eq!(error, "this host has no CA certificates");
    }

    #[test]
    fn missing_file_descriptors_are_an_agent_error() {
        alone(
            "http_reasons::ours::missing_file_descriptors_are_an_agent_error",
            || {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                runtime.block_on(async {
                    let lab = Lab::new();
                    let server = Server::ok();
                    let address = lab.job(json!({ "url": server.http("/") }));
                    let name = lab.job(json!({ "url": server.named("http", "service.test", "/") }));
                    // Before there are none left: all that is opened once. A lookup would leave its socket.
                    assert_success(&address.check_once().await);
                    let mut taken = Vec::new();
                    while let Ok(descriptor) = std::fs::File::open("/dev/null") {
                        taken.push(descriptor);
                    }
                    let (by_address, by_name) =
                        (address.check_once().await, name.check_once().await);
                    drop(taken);
                    assert_failure(&by_address, Phase::Connect, Reason::AgentError);
                    assert_failure(&by_name, Phase::Resolve, Reason::AgentError);
                    assert_success(&address.check_once().await);
                    assert_success(&name.check_once().await);
                });
            },
        );
    }
}
