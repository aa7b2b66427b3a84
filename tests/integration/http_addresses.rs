//! Target and source addresses of checks, and the validity of certificates.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use chrono::Datelike;
use monitoringdaemon::check::{Phase, Reason};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    SOON,
    dns::{Answer, Dns},
    ipv6_loopback,
    lab::{Lab, millis},
    pki::{AUTHORITY, IDENTITY, YEARS},
    report::{assert_failure, assert_success, reached},
    server::{Request, Server, Step, ok, redirect, response},
};

#[tokio::test]
async fn a_name_in_resolve_is_not_looked_up() {
    let server = Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]);
    let lab = Lab::new();
    let report = lab
        .check(json!({
            "url": server.named("https", "service.test", "/"),
            "resolve": { "Service.TEST": "127.0.0.1", "other.test": "192.0.2.1" },
        }))
        .await;
    assert_success(&report);
    assert_eq!(
        reached(&report),
        [
            Phase::Connect,
            Phase::Tls,
            Phase::Processing,
            Phase::Transfer
        ]
    );
    assert_eq!(report.address(), Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(lab.dns.questions(), []);
    let request = server.request();
    assert_eq!(request.server_name.as_deref(), Some("service.test"));
    let host = format!("service.test:{}", server.address.port());
    assert_eq!(request.header("host"), Some(&*host));
}

#[tokio::test]
async fn resolve_applies_to_every_hop_and_with_server_name() {
    let server = Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]);
    let there = server.named("https", "service.test", "/");
    let first = Server::answering(move |_| redirect(302, &there));
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::NoSuchName));
    let report = lab
        .check(json!({
            "url": first.named("http", "first.test", "/"),
            "resolve": { "first.test": "127.0.0.1", "service.test": "127.0.0.1" },
        }))
        .await;
    assert_success(&report);
    let report = lab
        .check(json!({
            "url": server.named("https", "inner.test", "/"),
            "resolve": { "inner.test": "127.0.0.1" },
            "tls_config": { "server_name": "service.test" },
        }))
        .await;
    assert_success(&report);
    let request = server.seen().requests.remove(1);
    assert_eq!(request.server_name.as_deref(), Some("service.test"));
    assert!(
        request
            .header("host")
            .unwrap_or_default()
            .starts_with("inner.test:")
    );
}

/// An address on which nothing listens at the ports of servers on 127.0.0.1.
const DEAD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));

fn lab_with(addresses: &[IpAddr]) -> Lab {
    let answer = Answer::Addresses(addresses.to_vec());
    Lab::with_dns(Dns::start(Duration::ZERO, move |_| answer.clone()))
}

fn all(server: &Server) -> Value {
    json!({ "url": server.named("http", "service.test", "/"), "all_addresses": true })
}

#[tokio::test]
async fn all_addresses_are_checked_and_a_dead_one_is_named() {
    let alive = IpAddr::from(Ipv4Addr::LOCALHOST);
    for (addresses, requests, dead) in [
        (&[alive][..], 1, false),
        (&[alive, alive, alive], 3, false),
        (&[alive, DEAD], 1, true),
        (&[DEAD, alive], 0, true),
    ] {
        let server = Server::ok();
        let lab = lab_with(addresses);
        let report = lab.check(all(&server)).await;
        assert_eq!(server.seen().requests.len(), requests);
        if dead {
            let failure = assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
            assert!(failure.error.starts_with("at 127.0.0.77: "), "{failure:?}");
            assert_eq!(report.address(), Some(DEAD));
        } else {
            assert_success(&report);
            assert_eq!(reached(&report)[0], Phase::Resolve);
            assert_eq!(report.address(), Some(alive));
        }
        // One lookup, of both families, however many addresses there are.
        assert_eq!(lab.dns.questions().len(), 2);
    }
}

#[tokio::test]
async fn any_failure_of_an_address_names_it() {
    let first = IpAddr::from(Ipv4Addr::LOCALHOST);
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::answering(move |_| {
        match requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => ok("hello"),
            _ => response("503 Unavailable", &[], ""),
        }
    });
    let report = lab_with(&[first, first]).check(all(&server)).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::StatusCode);
    assert_eq!(failure.error, "at 127.0.0.1: HTTP 503, expected 2xx");
    assert_eq!(report.status(), Some(503));
}

#[tokio::test]
async fn an_address_that_is_silent_is_named_within_the_deadline() {
    let server = Server::start([Step::Request, Step::Hang]);
    let mut monitor = all(&server);
    monitor["timeout"] = millis(400);
    let began = Instant::now();
    let lab = lab_with(&[Ipv4Addr::LOCALHOST.into()]);
    let failure = lab.check(monitor).await;
    let failure = assert_failure(&failure, Phase::Processing, Reason::Timeout).clone();
    assert_eq!(failure.error, "at 127.0.0.1: no result in time");
    assert!(began.elapsed() < SOON);
}

#[tokio::test]
async fn all_addresses_are_those_of_the_wanted_family() {
    if !ipv6_loopback() {
        return;
    }
    let script = [Step::answer(|_| ok("hello"))];
    let (on_ip4, on_ip6) = Server::start_pair(&script);
    let addresses = [on_ip4.address.ip(), on_ip6.address.ip()];
    for (preferred, requests) in [("auto", (1, 1)), ("ip4", (1, 0)), ("ip6", (0, 1))] {
        let before = (on_ip4.seen().requests.len(), on_ip6.seen().requests.len());
        let mut monitor = all(&on_ip4);
        monitor["preferred_ip_protocol"] = json!(preferred);
        assert_success(&lab_with(&addresses).check(monitor).await);
        let after = (on_ip4.seen().requests.len(), on_ip6.seen().requests.len());
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            requests,
            "{preferred}"
        );
    }
    // A name has addresses of one family more often than of both.
    assert_success(&lab_with(&addresses[..1]).check(all(&on_ip4)).await);
    assert_success(&lab_with(&addresses[1..]).check(all(&on_ip6)).await);
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::NoSuchName));
    let report = lab.check(all(&on_ip4)).await;
    assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::Code(2)));
    assert_failure(
        &lab.check(all(&on_ip4)).await,
        Phase::Resolve,
        Reason::DnsFailure,
    );
}

#[tokio::test]
async fn connections_use_source_ip_address() {
    let seen = |server: &Server| -> Vec<IpAddr> {
        server
            .seen()
            .peers
            .iter()
            .map(std::net::SocketAddr::ip)
            .collect()
    };
    let source = IpAddr::from([127, 0, 0, 5]);
    let (direct, proxy) = (Server::ok(), Server::ok());
    let mut monitor = json!({ "url": direct.http("/"), "source_ip_address": source });
    assert_success(&Lab::new().check(monitor.clone()).await);
    assert_eq!(seen(&direct), [source]);
    monitor["url"] = json!("http://a.test/");
    monitor["proxy_url"] = json!(proxy.http(""));
    assert_success(&Lab::new().check(monitor).await);
    assert_eq!(seen(&proxy), [source]);
    let report = Lab::new()
        .check(json!({ "url": direct.http("/"), "source_ip_address": "192.0.2.1" }))
        .await;
    assert_failure(&report, Phase::Connect, Reason::AgentError);
}

#[tokio::test]
async fn http2_is_not_offered_if_disabled() {
    let server = Server::start([IDENTITY.tls_h2(), Step::answer(|_| ok("hello"))]);
    let report = Lab::new()
        .check(json!({
            "url": server.https("/"),
            "enable_http2": false,
            "valid_http_versions": ["HTTP/1.1"],
        }))
        .await;
    assert_success(&report);
}

#[tokio::test]
async fn a_certificate_that_expires_soon_fails_a_successful_check() {
    let answer = |request: &Request| match &*request.target {
        "/" => ok("hello"),
        "/away" => redirect(302, "http://127.0.0.1:1/"),
        _ => response("404 Not Found", &[], ""),
    };
    let next_year = chrono::Utc::now().year() + 1;
    let identity = AUTHORITY.issue(&["127.0.0.1"], YEARS.start..next_year);
    let server = Server::start([identity.tls(), Step::answer(answer)]);
    for (path, within, expected) in [
        ("/", "1s", None),
        ("/", "366d", Some((Phase::Tls, Reason::TlsExpiresSoon))),
        (
            "/nothing",
            "366d",
            Some((Phase::Processing, Reason::StatusCode)),
        ),
        ("/away", "366d", Some((Phase::Tls, Reason::TlsExpiresSoon))),
    ] {
        let report = Lab::new()
            .check(json!({
                "url": server.https(path),
                "fail_if_certificate_expires_within": within,
            }))
            .await;
        let found = report
            .failure
            .as_ref()
            .map(|failure| (failure.phase, failure.reason));
        assert_eq!(found, expected, "{path} {within}: {report:#?}");
    }
}
