//! `type: http` over HTTP/3, against servers of quinn and h3 that behave, or do not.

use std::{
    fs,
    future::Future,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    time::Duration,
};

use http::Response;
use monitoringdaemon::check::{CertificateRole, Fact, Phase, Reason, Report, StepLimits, Steps};
use quinn::Connection;
use serde_json::{Value, json};
use tokio::{runtime::Handle, time::timeout};

use crate::support::{
    PATIENCE, SOON,
    http3::{Exchange, Frames, HANDSHAKE, Http3Server},
    ipv6_loopback,
    lab::{Lab, millis},
    pki::{AUTHORITY, Authority, Handshake, IDENTITY, Identity, YEARS},
    report::{assert_failure, assert_success, certificate, reached, spent},
    server::{Server, Step},
};
use crate::worker_stalls::{LONGEST_STALL, check_with_ticker};

fn monitor(url: &str, mut keys: Value) -> Value {
    keys["url"] = json!(url);
    keys["enable_http3"] = json!(true);
    keys
}

async fn check(url: String, keys: Value) -> Report {
    Lab::new().check(monitor(&url, keys)).await
}

/// Checks a server that does with the request what `serve` does.
async fn check_served<F: Future<Output = ()> + Send + 'static>(
    keys: Value,
    serve: impl Fn(Exchange) -> F + Send + Sync + 'static,
) -> Report {
    let server = serving(serve);
    check(server.url("/"), keys).await
}

fn serving<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(Exchange) -> F + Send + Sync + 'static,
) -> Http3Server {
    let serve = std::sync::Arc::new(serve);
    Http3Server::serving(HANDSHAKE.step(&IDENTITY), move |connection| {
        let serve = serve.clone();
        async move {
            if let Some(exchange) = Exchange::accept(connection).await {
                serve(exchange).await;
            }
        }
    })
}

/// Checks a server whose response are `frames`, after which its stream ends.
async fn check_frames(keys: Value, frames: Frames) -> Report {
    check_served(keys, move |mut exchange| {
        let frames = frames.clone();
        async move {
            exchange.send(&frames).await;
            let _ = exchange.send.finish();
            exchange.hang().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_check_goes_through_its_phases_and_records_its_facts() {
    let server = Http3Server::ok();
    let url = format!("https://service.test:{}/page?x=1", server.address.port());
    let lab = Lab::new();
    let keys = json!({ "valid_http_versions": ["HTTP/3"], "fail_if_not_ssl": true });
    let job = lab.job(monitor(&url, keys));
    let report = job
        .check_with_steps(Steps::record(StepLimits::EXPLAIN))
        .await;
    assert_success(&report);
    let phases = [
        Phase::Resolve,
        Phase::Connect,
        Phase::Tls,
        Phase::Processing,
        Phase::Transfer,
    ];
    assert_eq!(reached(&report), phases);
    assert!(report.facts.iter().any(|fact| matches!(
        fact,
        Fact::Tls { version: "TLS 1.3", cipher } if cipher.starts_with("TLS_AES_")
    )));
    for role in [CertificateRole::Leaf, CertificateRole::Verified] {
        assert!(certificate(&report, role).is_some(), "{report:#?}");
    }
    assert!(report.facts.contains(&Fact::HttpStatus(200)));
    let received = &server.requests()[0].head;
    assert_eq!(received.uri().host(), Some("service.test"));
    assert_eq!(received.uri().path(), "/page");
    let headers = received.headers();
    assert!(headers.contains_key("user-agent"), "{headers:?}");
    assert!(!headers.contains_key("connection"), "{headers:?}");
    let steps = report.steps.iter();
    let steps: Vec<_> = steps
        .map(|step| format!("{}: {}", step.kind.as_str(), step.text))
        .collect();
    for expected in [
        "over QUIC",
        "tls_offer: SNI service.test, ALPN h3",
        "tls_agreed: TLS 1.3, TLS_AES_",
        "group X25519, ALPN h3",
        "request: GET https://service.test/page (query hidden) HTTP/3",
        "response: HTTP/3 200 OK",
        "valid_http_versions: HTTP/3.0",
    ] {
        let found = steps.iter().any(|step| step.contains(expected));
        assert!(found, "{expected}: {steps:#?}");
    }
}

#[tokio::test]
async fn a_request_has_its_method_its_headers_and_its_body() {
    let server = Http3Server::ok();
    let body = "x".repeat(300_000);
    let keys = json!({
        "method": "POST",
        "body": body,
        "headers": { "Host": "other.test", "X-Token": "t", "Keep-Alive": "5" },
        "tls_config": { "server_name": "service.test" },
    });
    assert_success(&check(server.url("/form"), keys).await);
    let received = &server.requests()[0];
    assert_eq!(received.head.method(), "POST");
    assert_eq!(
        received
            .head
            .uri()
            .authority()
            .map(http::uri::Authority::as_str),
        Some("other.test")
    );
    assert_eq!(received.head.headers()["content-length"], "300000");
    assert_eq!(received.head.headers()["x-token"], "t");
    assert!(!received.head.headers().contains_key("keep-alive"));
    assert_eq!(received.body, body);
    for method in ["HEAD", "PUT"] {
        let answer = |_: &_| {
            let response = Response::builder().header("content-length", "5");
            response.body("").expect("a response")
        };
        let server = Http3Server::answering(HANDSHAKE.step(&IDENTITY), answer);
        let report = check(server.url("/"), json!({ "method": method })).await;
        match method {
            "HEAD" => assert_success(&report),
            _ => drop(assert_failure(
                &report,
                Phase::Transfer,
                Reason::TruncatedBody,
            )),
        }
        let length = server.requests()[0]
            .head
            .headers()
            .get("content-length")
            .cloned();
        assert_eq!(length.is_some(), method == "PUT");
    }
}

#[tokio::test]
async fn a_response_may_come_before_the_request_has_ended() {
    let keys = json!({
        "method": "POST",
        "body": "x".repeat(4 << 20),
        "valid_status_codes": [413],
    });
    let report = check_served(keys, |mut exchange| async move {
        exchange.send(&Frames::response("413", &[])).await;
        let _ = exchange.send.finish();
        exchange.hang().await;
    });
    assert_success(&report.await);
}

#[tokio::test]
async fn a_certificate_is_judged_as_over_tcp() {
    let unknown = Authority::new("unknown root");
    for (identity, reason) in [
        (
            AUTHORITY.issue(&["127.0.0.1"], 2000..2001),
            Reason::TlsExpired,
        ),
        (
            AUTHORITY.issue(&["127.0.0.1"], 3998..3999),
            Reason::TlsNotYetValid,
        ),
        (
            AUTHORITY.issue(&["other.test"], YEARS),
            Reason::TlsWrongHost,
        ),
        (unknown.issue(&["127.0.0.1"], YEARS), Reason::TlsUntrusted),
        (Identity::self_signed(&["127.0.0.1"]), Reason::TlsUntrusted),
    ] {
        let server = Http3Server::answering(HANDSHAKE.step(&identity), |_| Response::new("hello"));
        let report = check(server.url("/"), json!({})).await;
        assert_failure(&report, Phase::Tls, reason);
        assert!(certificate(&report, CertificateRole::Leaf).is_some());
        let keys = json!({ "tls_config": { "insecure_skip_verify": true } });
        let report = check(server.url("/"), keys).await;
        assert_success(&report);
        assert!(certificate(&report, CertificateRole::Leaf).is_some());
    }
}

#[tokio::test]
async fn a_client_certificate_is_sent_where_it_is_demanded() {
    let clients = Authority::new("clients");
    let client = clients.issue(&["client.test"], YEARS);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("cert.pem"), &client.certificate_pem).expect("room");
    fs::write(path("key.pem"), client.key_pem()).expect("room");
    let handshake = Handshake {
        client_authority: Some(&clients),
        ..HANDSHAKE
    };
    let server = Http3Server::answering(handshake.step(&IDENTITY), |_| Response::new("hello"));
    let keys = json!({
        "tls_config": { "cert_file": path("cert.pem"), "key_file": path("key.pem") },
    });
    assert_success(&check(server.url("/"), keys).await);
    let report = check(server.url("/"), json!({})).await;
    let failure = assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    assert_eq!(&*failure.error, "the server demands a client certificate");
}

#[tokio::test]
async fn a_server_without_http3_is_named() {
    let handshake = Handshake {
        alpn: &["doq"],
        ..HANDSHAKE
    };
    let server = Http3Server::serving(handshake.step(&IDENTITY), |_| async {});
    let report = check(server.url("/"), json!({})).await;
    let failure = assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    let expected = "no protocol (ALPN) in common with the server";
    assert_eq!(&*failure.error, expected);
    // A web server over TCP alone.
    let server = Server::ok();
    let report = check(format!("https://{}/", server.address), json!({})).await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
}

#[tokio::test]
async fn nobody_or_somebody_silent_on_the_port_is_told_apart() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    let address = socket.local_addr().expect("a bound socket");
    let url = format!("https://{address}/");
    let report = check(url.clone(), json!({ "timeout": millis(300) })).await;
    assert_failure(&report, Phase::Connect, Reason::Timeout);
    drop(socket);
    let report = check(url, json!({})).await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
    assert!(report.duration < SOON, "{report:#?}");
    if ipv6_loopback() {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("a port of loopback");
        let url = format!("https://{}/", socket.local_addr().expect("a bound socket"));
        drop(socket);
        let report = check(url, json!({})).await;
        assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
    }
}

#[tokio::test]
async fn garbage_in_place_of_quic_is_ignored() {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let socket = socket.expect("a port of loopback");
    let url = format!("https://{}/", socket.local_addr().expect("a bound socket"));
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for bytes in [&b""[..], b"garbage", &buffer[..length]] {
                let _ = socket.send_to(bytes, from).await;
            }
        }
    });
    let report = check(url, json!({ "timeout": millis(300) })).await;
    assert_failure(&report, Phase::Connect, Reason::Timeout);
    echo.abort();
}

#[tokio::test]
async fn a_timeout_is_in_the_phase_that_hangs() {
    let keys = json!({ "timeout": millis(500) });
    let report = check_served(keys.clone(), Exchange::hang).await;
    assert_failure(&report, Phase::Processing, Reason::Timeout);
    let report = check_served(keys, |mut exchange| async move {
        exchange.send(&Frames::response("200", &[])).await;
        exchange.hang().await;
    });
    assert_failure(&report.await, Phase::Transfer, Reason::Timeout);
}

#[tokio::test]
async fn a_delay_counts_in_the_phase_where_it_is() {
    const DELAY: Duration = Duration::from_millis(200);
    let report = check_served(json!({}), |mut exchange| async move {
        tokio::time::sleep(DELAY).await;
        exchange.send(&Frames::response("200", &[])).await;
        tokio::time::sleep(2 * DELAY).await;
        exchange
            .send(&Frames::default().then(Frames::DATA, b"late"))
            .await;
        let _ = exchange.send.finish();
        exchange.hang().await;
    });
    let report = report.await;
    assert_success(&report);
    for (phase, least) in [(Phase::Processing, DELAY), (Phase::Transfer, 2 * DELAY)] {
        let took = spent(&report, phase).expect("it was reached");
        assert!(
            took >= least && took < least + DELAY,
            "{phase}: {report:#?}"
        );
    }
    // The first datagram of the server comes late.
    let server = Http3Server::ok();
    let relay = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let relay = relay.expect("a port of loopback");
    let url = format!("https://{}/", relay.local_addr().expect("a bound socket"));
    let target = server.address;
    let relaying = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let mut client = None;
        let mut is_delayed = false;
        while let Ok((length, from)) = relay.recv_from(&mut buffer).await {
            if from == target {
                if !std::mem::replace(&mut is_delayed, true) {
                    tokio::time::sleep(DELAY).await;
                }
                let to = client.expect("the client began");
                let _ = relay.send_to(&buffer[..length], to).await;
            } else {
                client = Some(from);
                let _ = relay.send_to(&buffer[..length], target).await;
            }
        }
    });
    let report = check(url, json!({})).await;
    relaying.abort();
    assert_success(&report);
    let took = spent(&report, Phase::Connect).expect("it was reached");
    assert!(took >= DELAY, "{report:#?}");
    let rest = report.duration.saturating_sub(took);
    assert!(rest < DELAY, "{report:#?}");
}

#[tokio::test]
async fn what_is_reset_or_closed_is_told_apart() {
    let head = Frames::response("200", &[("content-length", "100")]);
    for (is_in_body, phase) in [(false, Phase::Processing), (true, Phase::Transfer)] {
        let head = is_in_body.then(|| head.clone());
        let sent = head.clone();
        let report = check_served(json!({}), move |mut exchange| {
            let sent = sent.clone();
            async move {
                if let Some(head) = sent {
                    exchange.send(&head).await;
                    // So that the reset does not overtake it.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let _ = exchange.send.reset(0x102_u32.into());
                exchange.hang().await;
            }
        });
        let report = report.await;
        let failure = assert_failure(&report, phase, Reason::ConnectionReset);
        let expected = "the peer reset the HTTP/3 stream: H3_INTERNAL_ERROR";
        assert_eq!(&*failure.error, expected);
        let report = check_served(json!({}), move |mut exchange| {
            let head = head.clone();
            async move {
                if let Some(head) = head {
                    exchange.send(&head).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                exchange.connection.close(0x100_u32.into(), b"secret words");
            }
        });
        let report = report.await;
        let failure = assert_failure(&report, phase, Reason::ConnectionReset);
        let expected = "the peer closed the HTTP/3 connection: H3_NO_ERROR";
        assert_eq!(&*failure.error, expected);
    }
}

#[tokio::test]
async fn a_body_is_as_long_as_its_headers_say() {
    let head = || Frames::response("200", &[("content-length", "10")]);
    let short = head().then(Frames::DATA, b"12345");
    let report = check_frames(json!({}), short).await;
    let failure = assert_failure(&report, Phase::Transfer, Reason::TruncatedBody);
    assert_eq!(&*failure.error, "the body ended after 5 of 10 bytes");
    let long = head()
        .then(Frames::DATA, b"1234567890")
        .then(Frames::DATA, b"1");
    let report = check_frames(json!({}), long).await;
    assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
    let mut cut = Frames::response("200", &[]);
    cut.claim(Frames::DATA, 10);
    cut.0.extend(b"12345");
    // The end comes with the body, or after it was read.
    for pause in [Duration::ZERO, Duration::from_millis(100)] {
        let cut = cut.clone();
        let report = check_served(json!({}), move |mut exchange| {
            let cut = cut.clone();
            async move {
                exchange.send(&cut).await;
                tokio::time::sleep(pause).await;
                let _ = exchange.send.finish();
                exchange.hang().await;
            }
        });
        let report = report.await;
        let failure = assert_failure(&report, Phase::Transfer, Reason::TruncatedBody);
        assert_eq!(&*failure.error, "the HTTP/3 stream ended within a frame");
    }
    let exact = head().then(Frames::DATA, b"1234567890");
    assert_success(&check_frames(json!({}), exact.clone()).await);
    // An empty frame is not the end.
    let pieces = head().then(Frames::DATA, b"").then(Frames::DATA, b"12345");
    let pieces = pieces.then(Frames::DATA, b"").then(Frames::DATA, b"67890");
    assert_success(&check_frames(json!({}), pieces).await);
    // With trailers, which nobody asked for.
    let with_trailers = exact.then(Frames::HEADERS, &[0, 0]);
    assert_success(&check_frames(json!({}), with_trailers).await);
    let body = vec![b'x'; 1000];
    let large = Frames::response("200", &[]).then(Frames::DATA, &body);
    let report = check_frames(json!({ "body_size_limit": "999B" }), large.clone()).await;
    assert_failure(&report, Phase::Transfer, Reason::BodyTooLarge);
    assert_success(&check_frames(json!({ "body_size_limit": "1000B" }), large).await);
}

#[tokio::test]
async fn a_body_is_read_whole_and_judged() {
    let numbers: Vec<_> = (0..200_000).map(|number| number.to_string()).collect();
    let body = numbers.join(",");
    let server = Http3Server::answering(HANDSHAKE.step(&IDENTITY), move |_| {
        Response::new(body.clone())
    });
    let keys = json!({ "fail_if_body_not_matches_regexp": [",199999$"] });
    assert_success(&check(server.url("/"), keys).await);
    let keys = json!({ "fail_if_body_matches_regexp": [",199999$"] });
    let report = check(server.url("/"), keys).await;
    assert_failure(&report, Phase::Transfer, Reason::BodyMismatch);
}

#[tokio::test]
async fn what_is_no_response_is_a_protocol_error() {
    let long = "x".repeat(900 << 10);
    let many = "abcdefghijklmnopqrstuvwxyz".repeat(1000);
    let many: Vec<_> = (0..1200)
        .map(|index| (&many[index..index + 8], "v"))
        .collect();
    let mut numbers = Vec::new();
    for index in 0..7_000 {
        numbers.push(format!("{index:x}"));
    }
    let most: Vec<_> = numbers.iter().map(|name| (name.as_str(), "")).collect();
    let early = || Frames::response("103", &[("link", "</a>")]);
    for (what, frames) in [
        ("nothing", Frames::default()),
        ("a body", Frames::default().then(Frames::DATA, b"hello")),
        (
            "garbage",
            Frames::default().then(Frames::HEADERS, b"\xff\xff\xff\xff"),
        ),
        (
            "no status",
            Frames::default().then(Frames::HEADERS, &[0, 0]),
        ),
        ("status x", Frames::response("x", &[])),
        ("upper case", Frames::response("200", &[("UPPER", "v")])),
        ("line break", Frames::response("200", &[("a", "b\r\nc: d")])),
        ("long headers", Frames::response("200", &[("a", &long)])),
        ("many headers", Frames::response("200", &many)),
        ("as many headers as can be", Frames::response("200", &most)),
        (
            "upper case behind hints",
            early().then_headers("200", &[("UPPER", "v")]),
        ),
        (
            "long headers behind hints",
            early().then_headers("200", &[("a", &long)]),
        ),
        ("hints alone", early()),
    ] {
        let report = check_frames(json!({}), frames).await;
        let failure = report.failure.as_ref().unwrap_or_else(|| panic!("{what}"));
        let found = (failure.phase, failure.reason);
        assert_eq!(
            found,
            (Phase::Processing, Reason::ProtocolError),
            "{what}: {report:#?}"
        );
    }
    let hints = early().then_headers("200", &[]);
    assert_success(&check_frames(json!({}), hints).await);
}

#[tokio::test]
async fn a_peer_that_floods_is_stopped() {
    // Frames that mean nothing, before the response and within the body.
    let grease = Frames::default()
        .then(Frames::GREASE, &[])
        .0
        .repeat(100_000);
    let empty = Frames::default().then(Frames::DATA, &[]).0.repeat(100_000);
    for (head, flood, phase) in [
        (Frames::default(), grease.clone(), Phase::Processing),
        (Frames::response("200", &[]), grease, Phase::Transfer),
        (Frames::response("200", &[]), empty, Phase::Transfer),
    ] {
        let report = check_served(json!({}), move |mut exchange| {
            let (head, flood) = (head.clone(), flood.clone());
            async move {
                exchange.send(&head).await;
                while exchange.send.write_all(&flood).await.is_ok() {}
            }
        });
        let report = report.await;
        let failure = assert_failure(&report, phase, Reason::ProtocolError);
        let expected = "the peer sent too much data that is not part of a response";
        assert_eq!(&*failure.error, expected);
    }
}

#[test]
fn no_response_blocks_a_worker() {
    let names: Vec<_> = (0..7_000).map(|index| format!("{index:x}")).collect();
    let most: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let long = "x".repeat(255 << 10);
    let head = || Frames::response("200", &[]).0;
    let empty = Frames::default().then(Frames::DATA, &[]).0.repeat(500_000);
    let grease = Frames::default()
        .then(Frames::GREASE, &[])
        .0
        .repeat(500_000);
    let single = Frames::default().then(Frames::DATA, b"x").0.repeat(500_000);
    for (what, bytes) in [
        (
            "as many headers as can be",
            Frames::response("200", &most).0,
        ),
        ("a long header", Frames::response("200", &[("a", &long)]).0),
        ("empty frames", [head(), empty].concat()),
        ("frames that mean nothing", [head(), grease].concat()),
        ("frames of a byte", [head(), single].concat()),
    ] {
        let server = serving(move |mut exchange| {
            let frames = Frames(bytes.clone());
            async move {
                exchange.send(&frames).await;
                let _ = exchange.send.finish();
                exchange.hang().await;
            }
        });
        let (report, longest) = check_with_ticker(monitor(&server.url("/"), json!({})));
        assert!(longest < LONGEST_STALL, "{what}: {longest:?} {report:#?}");
    }
}

#[tokio::test]
async fn a_connection_that_goes_away_finishes_its_request() {
    let goaway = Frames::default().then(Frames::GOAWAY, &[4]);
    let report = check_served(json!({}), move |mut exchange| {
        let goaway = goaway.clone();
        async move {
            let _ = exchange.control.write_all(&goaway.0).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let response = Frames::response("200", &[]).then(Frames::DATA, b"hello");
            exchange.send(&response).await;
            let _ = exchange.send.finish();
            exchange.hang().await;
        }
    });
    assert_success(&report.await);
    // What h3 calls a violation: settings twice.
    let report = check_served(json!({}), |mut exchange| async move {
        let _ = exchange.control.write_all(&[4, 0]).await;
        exchange.hang().await;
    });
    let report = report.await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    let expected = "HTTP/3 connection error: H3_FRAME_UNEXPECTED";
    assert_eq!(&*failure.error, expected);
}

#[tokio::test]
async fn redirects_are_followed_over_http3_alone() {
    let last = Http3Server::ok();
    let plain = Server::ok();
    let (there, insecure) = (last.url("/there"), plain.http("/"));
    let server = Http3Server::answering(HANDSHAKE.step(&IDENTITY), move |received| {
        let location = match received.head.uri().path() {
            "/" => "/next",
            "/next" => &there,
            _ => &insecure,
        };
        let response = Response::builder().status(302).header("location", location);
        response.body("").expect("a response")
    });
    let keys = json!({ "headers": { "X-Token": "t" } });
    assert_success(&check(server.url("/"), keys).await);
    assert_eq!(server.requests().len(), 2);
    let arrived = &last.requests()[0].head;
    assert_eq!(arrived.uri().path(), "/there");
    assert!(!arrived.headers().contains_key("x-token"));
    let report = check(server.url("/insecure"), json!({})).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    assert_eq!(
        &*failure.error,
        "redirect to http://, which HTTP/3 is not for"
    );
    assert_eq!(plain.seen().connections, 0);
}

#[tokio::test]
async fn addresses_and_sources_are_chosen_as_over_tcp() {
    let server = Http3Server::ok();
    let url = format!("https://service.test:{}/", server.address.port());
    let keys = json!({ "source_ip_address": "127.0.0.9", "preferred_ip_protocol": "ip4" });
    assert_success(&check(url.clone(), keys).await);
    assert_success(&check(url.clone(), json!({ "all_addresses": true })).await);
    let keys = json!({ "resolve": { "elsewhere.test": "127.0.0.1" },
        "tls_config": { "server_name": "service.test" } });
    let url = url.replace("service.test", "elsewhere.test");
    assert_success(&check(url, keys).await);
    if ipv6_loopback() {
        let handshake = HANDSHAKE.step(&IDENTITY);
        let server = Http3Server::answering_at(Ipv6Addr::LOCALHOST.into(), handshake, |_| {
            Response::new("hello")
        });
        assert_success(&check(server.url("/"), json!({})).await);
    }
}

/// Number of sockets of this process.
fn sockets() -> usize {
    let entries = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn a_check_leaves_nothing_behind() {
    const NAME: &str = "http3::a_check_leaves_nothing_behind";
    crate::support::process::alone(NAME, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .expect("a runtime")
            .block_on(assert_nothing_is_left());
    });
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

async fn assert_nothing_is_left() {
    async fn hang_in_body(mut exchange: Exchange) {
        let body = vec![b'x'; 4 << 20];
        let response = Frames::response("200", &[]).then(Frames::DATA, &body);
        exchange.send(&response).await;
        exchange.hang().await;
    }
    let lab = Lab::new();
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
    let silent = silent.local_addr().expect("a bound socket");
    let answering = Http3Server::ok();
    let quiet = serving(Exchange::hang);
    let endless = serving(hang_in_body);
    let before = (Handle::current().metrics().num_alive_tasks(), sockets());
    for server in [&answering, &quiet, &endless] {
        let job = lab.job(monitor(&server.url("/"), json!({ "body_size_limit": 0 })));
        for _ in 0..3 {
            // Dropped while it waits, or done by then.
            let _ = timeout(Duration::from_millis(300), job.check_once()).await;
            // The server was told, as it would wait for ever otherwise.
            until("the connection is closed", || {
                server.open_connections() == 0
            })
            .await;
            let left = (Handle::current().metrics().num_alive_tasks(), sockets());
            assert_eq!(left, before);
        }
    }
    let job = lab.job(monitor(&format!("https://{silent}/"), json!({})));
    let _ = timeout(Duration::from_millis(50), job.check_once()).await;
    assert_eq!(
        (Handle::current().metrics().num_alive_tasks(), sockets()),
        before
    );
}

/// Connections by anything but HTTP/3 would show here.
#[tokio::test]
async fn alt_svc_is_not_followed() {
    let over_quic = Http3Server::ok();
    let port = over_quic.address.port();
    let response =
        format!("HTTP/1.1 200 OK\r\nalt-svc: h3=\":{port}\"\r\ncontent-length: 0\r\n\r\n");
    let server = Server::start([IDENTITY.tls(), Step::answer(move |_| response.clone())]);
    let monitor = json!({ "url": server.https("/") });
    assert_success(&Lab::new().check(monitor).await);
    assert!(over_quic.requests().is_empty());
}

#[tokio::test]
async fn a_connection_that_the_server_refuses_is_refused() {
    let server = Http3Server::serving(
        HANDSHAKE.step(&IDENTITY),
        |connection: Connection| async move {
            // Before the client can ask.
            connection.close(0x10b_u32.into(), b"");
        },
    );
    let report = check(server.url("/"), json!({})).await;
    let failure = report.failure.as_ref().expect("it was closed");
    assert_eq!(failure.reason, Reason::ConnectionReset, "{report:#?}");
    assert!(failure.error.contains("H3_REQUEST_REJECTED"), "{report:#?}");
}
