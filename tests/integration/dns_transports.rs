//! The transports of `type: dns` and their failures: UDP, TCP and TLS.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    time::Duration,
};

use chrono::Datelike;
use hickory_proto::op::ResponseCode;
use monitoringdaemon::check::{CertificateRole, Phase, Reason, Report};
use serde_json::{Value, json};

use crate::{
    dns_answers::monitor,
    dns_https::{doh_good, over_https},
    support::{
        SOON,
        dns::{Answer, Dns},
        ipv6_loopback,
        lab::{Lab, millis},
        nameserver::{Act, Asked, NameServer},
        pki::{AUTHORITY, Authority, IDENTITY, YEARS},
        report::{assert_failure, assert_success, certificate, reached},
        server::{Closed, Deaf, Server, Step},
    },
};

fn good(asked: &Asked) -> Vec<Act> {
    vec![Act::Send(asked.good())]
}

/// That a response is truncated, and what is done where it is asked for again.
fn over_tcp(asked: &Asked, acts: &[Act]) -> Vec<Act> {
    if asked.over_tcp {
        acts.to_vec()
    } else {
        vec![Act::Send(asked.truncated())]
    }
}

async fn check(server: &NameServer, settings: Value) -> Report {
    Lab::new().check(monitor(server, settings)).await
}

/// Asserts that the check timed out in `phase`, and on time.
#[track_caller]
pub fn assert_timeout(report: &Report, phase: Phase) {
    assert_failure(report, phase, Reason::Timeout);
    assert!(report.duration >= TIMEOUT && report.duration < TIMEOUT + SOON);
}

const TIMEOUT: Duration = Duration::from_millis(150);

pub fn soon() -> Value {
    millis(150)
}

#[tokio::test]
async fn truncated_responses_are_retried_over_tcp() {
    let server = NameServer::start(|asked| over_tcp(asked, &good(asked)));
    let report = check(&server, json!({})).await;
    assert_success(&report);
    let says = report.dns().expect("there was a response");
    assert!(says.truncated);
    assert_eq!(says.answers, 1);
    let over_tcp: Vec<_> = server.seen().iter().map(|asked| asked.over_tcp).collect();
    assert_eq!(over_tcp, [false, true]);
    assert_eq!(reached(&report), [Phase::Connect, Phase::Request]);
}

#[tokio::test]
async fn a_truncated_response_is_recorded_if_tcp_fails() {
    let server = NameServer::start(|asked| over_tcp(asked, &[Act::Close]));
    let report = check(&server, json!({})).await;
    assert_failure(&report, Phase::Request, Reason::ConnectionReset);
    assert_eq!(report.dns().map(|says| says.truncated), Some(true));
}

#[tokio::test]
async fn the_name_of_the_server_is_looked_up_once() {
    let server = NameServer::start(|asked| over_tcp(asked, &good(asked)));
    let lab = Lab::new();
    let target = format!("ns.test:{}", server.address.port());
    let report = lab
        .check(monitor(&server, json!({ "target": target })))
        .await;
    assert_success(&report);
    assert_eq!(
        reached(&report),
        [Phase::Resolve, Phase::Connect, Phase::Request]
    );
    assert_eq!(lab.dns.questions().len(), 1);
}

#[tokio::test]
async fn an_unknown_server_name_fails_in_resolve() {
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::NoSuchName));
    let report = lab
        .check(json!({ "type": "dns", "target": "ns.test", "query_name": "a" }))
        .await;
    assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
}

#[tokio::test]
async fn over_tcp_no_datagrams_are_sent() {
    let server = NameServer::start(good);
    assert_success(&check(&server, json!({ "transport_protocol": "tcp" })).await);
    assert!(server.asked().over_tcp);
}

#[tokio::test]
async fn datagrams_that_answer_something_else_are_skipped() {
    let server = NameServer::start(|asked| {
        let mut other_id = asked.code(ResponseCode::Refused);
        other_id[0] ^= 0xff;
        let other_name = asked.response(|message| {
            message.queries[0].name = "other.test.".parse().expect("a name");
            message.metadata.response_code = ResponseCode::Refused;
        });
        let acts = [vec![], vec![0], other_id, other_name, asked.good()];
        acts.map(Act::Send).to_vec()
    });
    assert_success(&check(&server, json!({})).await);
}

#[tokio::test]
async fn a_flood_of_mismatched_datagrams_ends_the_check() {
    let server = NameServer::start(|asked| {
        let mut other_id = asked.good();
        other_id[0] ^= 0xff;
        vec![Act::Send(other_id); 100]
    });
    let report = check(&server, json!({})).await;
    let failure = assert_failure(&report, Phase::Request, Reason::ProtocolError);
    assert_eq!(failure.error, "the response has another id");
}

#[tokio::test]
async fn over_tcp_a_response_to_something_else_is_an_error() {
    let server = NameServer::start(|asked| {
        let mut other_id = asked.good();
        other_id[0] ^= 0xff;
        vec![Act::Send(other_id), Act::Send(asked.good())]
    });
    let report = check(&server, json!({ "transport_protocol": "tcp" })).await;
    assert_failure(&report, Phase::Request, Reason::ProtocolError);
}

#[tokio::test]
async fn datagrams_of_other_hosts_are_ignored() {
    let server = NameServer::start(|asked| {
        let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let lie = asked.code(ResponseCode::Refused);
        stranger
            .send_to(&lie, asked.from)
            .expect("loopback takes it");
        good(asked)
    });
    assert_success(&check(&server, json!({})).await);
}

#[tokio::test]
async fn malformed_responses_are_a_protocol_error() {
    let broken: [fn(&Asked) -> Vec<u8>; 4] = [
        |asked| asked.bytes.clone(),
        |asked| asked.bytes[..2].to_vec(),
        |asked| {
            let mut good = asked.good();
            // One more answer than there is.
            good[7] += 1;
            good
        },
        |asked| {
            let mut good = asked.good();
            // The length of the address.
            let at = good.windows(4).rposition(|four| four == [0, 4, 192, 0]);
            good[at.expect("an address") + 1] = 3;
            good
        },
    ];
    for broken in broken {
        let server = NameServer::start(move |asked| vec![Act::Send(broken(asked))]);
        for transport in ["udp", "tcp"] {
            let report = check(&server, json!({ "transport_protocol": transport })).await;
            assert_failure(&report, Phase::Request, Reason::ProtocolError);
            assert_eq!(report.dns(), None);
        }
    }
}

#[tokio::test]
async fn over_tcp_a_response_may_come_in_pieces() {
    let server = NameServer::start(|asked| {
        let message = asked.good();
        let length = u16::try_from(message.len()).expect("a short message");
        let framed = [&length.to_be_bytes(), &message[..]].concat();
        framed
            .chunks(1)
            .map(|byte| Act::Write(byte.to_vec()))
            .collect()
    });
    assert_success(&check(&server, json!({ "transport_protocol": "tcp" })).await);
}

#[tokio::test]
async fn over_tcp_the_longest_response_is_read() {
    let server = NameServer::start(|asked| {
        let mut long = asked.good();
        long.resize(65_535, 0);
        vec![Act::Send(long)]
    });
    let report = check(&server, json!({ "transport_protocol": "tcp" })).await;
    assert_success(&report);
    assert_eq!(report.response_bytes(), Some(65_535));
}

#[tokio::test]
async fn a_connection_that_ends_early_is_reset() {
    let early: [fn(&Asked) -> Vec<Act>; 3] = [
        |_| vec![Act::Close],
        |_| vec![Act::Write(vec![0]), Act::Close],
        |asked| {
            vec![
                Act::Write([&[0, 99], &asked.good()[..20]].concat()),
                Act::Close,
            ]
        },
    ];
    for early in early {
        let server = NameServer::start(early);
        let report = check(&server, json!({ "transport_protocol": "tcp" })).await;
        assert_failure(&report, Phase::Request, Reason::ConnectionReset);
        let server = NameServer::over_tls(&IDENTITY.tls(), early);
        let report = check(&server, json!({ "transport_protocol": "tls" })).await;
        assert_failure(&report, Phase::Request, Reason::ConnectionReset);
    }
}

#[tokio::test]
async fn a_closed_port_is_connection_refused() {
    let closed = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let target = closed.local_addr().expect("a bound socket has an address");
    // Nobody else can get the port, and the socket hears another peer alone.
    closed.connect("127.0.0.2:9").expect("loopback takes it");
    let settings = json!({ "type": "dns", "target": target.to_string(), "query_name": "a" });
    let report = Lab::new().check(settings).await;
    assert_failure(&report, Phase::Request, Reason::ConnectionRefused);
    let closed = Closed::new();
    for transport in ["tcp", "tls"] {
        let report = Lab::new()
            .check(json!({
                "type": "dns", "target": closed.address.to_string(), "query_name": "a",
                "transport_protocol": transport,
            }))
            .await;
        assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let silent = NameServer::start(|_| vec![]);
    for transport in ["udp", "tcp"] {
        let settings = json!({ "transport_protocol": transport, "timeout": soon() });
        assert_timeout(&check(&silent, settings).await, Phase::Request);
    }
    let stops: [fn(&Asked) -> Vec<Act>; 2] = [
        |_| vec![Act::Write(vec![0])],
        |asked| vec![Act::Write([&[0xff, 0xff], &asked.good()[..]].concat())],
    ];
    for stops in stops {
        let server = NameServer::start(stops);
        let settings = json!({ "transport_protocol": "tcp", "timeout": soon() });
        assert_timeout(&check(&server, settings).await, Phase::Request);
    }
    let silent = NameServer::over_tls(&IDENTITY.tls(), |_| vec![]);
    let settings = json!({ "transport_protocol": "tls", "timeout": soon() });
    assert_timeout(&check(&silent, settings).await, Phase::Request);
}

#[tokio::test]
async fn silence_before_the_query_is_a_timeout() {
    let (deaf, mute) = (Deaf::new().await, Server::start([Step::Read, Step::Hang]));
    for (address, transport, phase) in [
        (deaf.address, "tcp", Phase::Connect),
        (deaf.address, "tls", Phase::Connect),
        (mute.address, "tls", Phase::Tls),
    ] {
        let report = Lab::new()
            .check(json!({
                "type": "dns", "target": address.to_string(), "query_name": "a",
                "transport_protocol": transport, "timeout": soon(),
            }))
            .await;
        assert_timeout(&report, phase);
    }
}

#[tokio::test]
async fn a_truncated_response_leaves_the_rest_of_the_time_for_tcp() {
    let server = NameServer::start(|asked| over_tcp(asked, &[]));
    let report = check(&server, json!({ "timeout": soon() })).await;
    assert_timeout(&report, Phase::Request);
    assert_eq!(report.dns().map(|says| says.truncated), Some(true));
}

#[tokio::test]
async fn over_tls_certificates_are_verified_and_recorded() {
    let server = NameServer::over_tls(&IDENTITY.tls(), good);
    for settings in [
        json!({ "transport_protocol": "tls" }),
        json!({ "transport_protocol": "tcp", "dns_over_tls": true }),
        json!({ "dns_over_tls": true, "target": format!("service.test:{}", server.address.port()) }),
    ] {
        let report = check(&server, settings).await;
        assert_success(&report);
        assert!(report.tls().is_some() && certificate(&report, CertificateRole::Leaf).is_some());
        let phases = reached(&report);
        assert!(
            phases.ends_with(&[Phase::Connect, Phase::Tls, Phase::Request]),
            "{phases:?}"
        );
    }
    let foreign = Authority::new("unknown root").issue(&["127.0.0.1"], YEARS);
    let server = NameServer::over_tls(&foreign.tls(), good);
    let settings = json!({ "transport_protocol": "tls" });
    let report = check(&server, settings).await;
    assert_failure(&report, Phase::Tls, Reason::TlsUntrusted);
    let settings = json!({
        "transport_protocol": "tls", "tls_config": { "insecure_skip_verify": true },
    });
    assert_success(&check(&server, settings).await);
}

#[tokio::test]
async fn over_tls_the_name_is_that_of_the_server_or_server_name() {
    let server = NameServer::over_tls(&AUTHORITY.issue(&["ns.test"], YEARS).tls(), good);
    let report = check(&server, json!({ "transport_protocol": "tls" })).await;
    assert_failure(&report, Phase::Tls, Reason::TlsWrongHost);
    let given = json!({ "transport_protocol": "tls", "tls_config": { "server_name": "ns.test" } });
    assert_success(&check(&server, given).await);
    let named = format!("ns.test:{}", server.address.port());
    let named = json!({ "transport_protocol": "tls", "target": named });
    assert_success(&check(&server, named).await);
}

#[tokio::test]
async fn a_certificate_that_expires_soon_fails_the_check_over_tls_and_https() {
    let settings = |transport: &str, within: &str| json!({ "transport_protocol": transport, "fail_if_certificate_expires_within": within });
    let server = NameServer::over_tls(&IDENTITY.tls(), good);
    assert_success(&check(&server, settings("tls", "366d")).await);
    // Until the end of this year, by a clock that does not matter more than that.
    let expiring = AUTHORITY.issue(&["127.0.0.1"], 2020..chrono::Utc::now().year() + 1);
    let server = NameServer::over_tls(&expiring.tls(), good);
    let report = check(&server, settings("tls", "366d")).await;
    assert_failure(&report, Phase::Tls, Reason::TlsExpiresSoon);
    let refusing = NameServer::over_tls(&expiring.tls(), |asked| {
        vec![Act::Send(asked.code(ResponseCode::Refused))]
    });
    let report = check(&refusing, settings("tls", "366d")).await;
    assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
    let server = Server::start([expiring.tls(), Step::answer(doh_good)]);
    let mut monitor = over_https(&server);
    monitor["fail_if_certificate_expires_within"] = json!("366d");
    let report = Lab::new().check(monitor).await;
    assert_failure(&report, Phase::Tls, Reason::TlsExpiresSoon);
}

#[tokio::test]
async fn the_configured_route_is_used() {
    let server = NameServer::start_at(Ipv4Addr::UNSPECIFIED.into(), good);
    let target = format!("127.0.0.1:{}", server.address.port());
    for transport in ["udp", "tcp"] {
        let settings = json!({
            "target": target, "transport_protocol": transport, "source_ip_address": "127.0.0.2",
        });
        assert_success(&check(&server, settings).await);
        let from = server.seen().pop().map(|asked| asked.from.ip());
        assert_eq!(from, Some(IpAddr::from([127, 0, 0, 2])));
        let settings = json!({
            "target": target, "transport_protocol": transport, "source_ip_address": "192.0.2.1",
        });
        let report = check(&server, settings).await;
        assert_failure(&report, Phase::Connect, Reason::AgentError);
        let settings = json!({
            "target": target, "transport_protocol": transport,
            "preferred_ip_protocol": "ip6", "ip_protocol_fallback": false,
        });
        let report = check(&server, settings).await;
        assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
    }
}

#[tokio::test]
async fn the_server_may_have_an_ipv6_address() {
    if !ipv6_loopback() {
        return;
    }
    let server = NameServer::start_at(Ipv6Addr::LOCALHOST.into(), |asked| {
        over_tcp(asked, &good(asked))
    });
    let report = check(&server, json!({})).await;
    assert_success(&report);
    assert_eq!(report.address(), Some(Ipv6Addr::LOCALHOST.into()));
}

#[tokio::test]
async fn the_phases_are_known_before_the_first_check() {
    let server = NameServer::over_tls(&IDENTITY.tls(), good);
    let https = Server::start([IDENTITY.tls(), Step::answer(doh_good)]);
    let lab = Lab::new();
    let named = |port: u16| format!("service.test:{port}");
    let plain = NameServer::start(good);
    let mut doh = over_https(&https);
    doh["target"] = json!(https.named("https", "service.test", "/"));
    for monitor in [
        monitor(&plain, json!({})),
        monitor(&plain, json!({ "target": named(plain.address.port()) })),
        monitor(&server, json!({ "transport_protocol": "tls" })),
        over_https(&https),
        doh,
    ] {
        let job = lab.job(monitor);
        let report = job.check_once().await;
        assert_success(&report);
        assert_eq!(job.phases(), reached(&report));
        let host = job.host().expect("there is a server");
        assert!(["127.0.0.1", "service.test"].contains(&&*host), "{host}");
    }
}
