//! Echo requests over loopback, by real sockets; what needs other networks is in `icmp_networks`.

use std::{env, io::Read, time::Duration};

use monitoringdaemon::{
    check::{Attempt, EchoStats, Job, Phase, Reason, Report},
    net::icmp::{EchoResult, EchoSession, Family, SocketKey},
};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::{
    PATIENCE, SOON,
    dns::{Answer, Dns},
    ipv6_loopback,
    lab::{Lab, millis},
    report::{assert_failure, assert_success, reached, spent},
};

const PROFILE: SocketKey = SocketKey {
    family: Family::V4,
    source: None,
    ttl: 64,
    dont_fragment: false,
};

/// Returns whether this process may send ICMP; where it may not, the test is skipped, but not in CI.
#[track_caller]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn permitted() -> bool {
    match Lab::new().net.icmp().missing_prerequisite(PROFILE) {
        None => true,
        Some(obstacle) if env::var_os("CI").is_some() => panic!("CI needs ICMP: {obstacle}"),
        Some(obstacle) => {
            eprintln!("SKIPPED: nothing of ICMP is tested: {obstacle}");
            false
        }
    }
}

/// The loopback addresses that can be had.
fn loopbacks() -> Vec<&'static str> {
    let mut addresses = vec!["127.0.0.1"];
    if ipv6_loopback() {
        addresses.push("::1");
    }
    addresses
}

async fn check(mut monitor: Value) -> Report {
    monitor["type"] = json!("icmp");
    Lab::new().check(monitor).await
}

fn echoes(report: &Report) -> EchoStats {
    report.echoes().expect("it came to echo requests")
}

#[tokio::test]
async fn a_host_that_answers_is_up_and_the_round_trip_known() {
    if !permitted() {
        return;
    }
    for address in loopbacks() {
        let report = check(json!({ "target": address })).await;
        assert_success(&report);
        assert_eq!(reached(&report), [Phase::Setup, Phase::Rtt]);
        let echoes = echoes(&report);
        assert_eq!((echoes.sent, echoes.received), (1, 1));
        assert_eq!(echoes.reply_hop_limit, Some(64));
        let round_trips = echoes.round_trips.expect("there was a reply");
        assert!(round_trips.min > Duration::ZERO);
        assert!(round_trips.max <= spent(&report, Phase::Rtt).expect("it was reached"));
        assert_eq!(round_trips.jitter, None);
        assert_eq!(
            report.address().map(|a| a.to_string()).as_deref(),
            Some(address)
        );
    }
}

#[tokio::test]
async fn a_name_is_looked_up_first() {
    if !permitted() {
        return;
    }
    let report = check(json!({ "target": "host.test" })).await;
    assert_success(&report);
    assert_eq!(reached(&report), [Phase::Resolve, Phase::Setup, Phase::Rtt]);
}

#[tokio::test]
async fn several_requests_are_an_interval_apart() {
    if !permitted() {
        return;
    }
    let report = check(json!({ "target": "127.0.0.1", "count": 4, "interval": "50ms" })).await;
    assert_success(&report);
    let echoes = echoes(&report);
    assert_eq!((echoes.sent, echoes.received), (4, 4));
    assert!(
        echoes
            .round_trips
            .is_some_and(|times| times.jitter.is_some())
    );
    let took = spent(&report, Phase::Rtt).expect("it was reached");
    assert!(took >= Duration::from_millis(150), "{took:?}");
}

#[tokio::test]
async fn a_payload_of_any_size_comes_back() {
    if !permitted() {
        return;
    }
    for address in loopbacks() {
        for size in [0, 1, 8, 29, 1472, 65_507] {
            let report = check(json!({ "target": address, "payload_size": size })).await;
            assert_success(&report);
        }
    }
}

#[tokio::test]
async fn an_address_of_the_other_family_is_refused() {
    let monitor = json!({
        "target": "127.0.0.1",
        "preferred_ip_protocol": "ip6",
        "ip_protocol_fallback": false,
    });
    let report = check(monitor).await;
    assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
}

#[tokio::test]
async fn an_invalid_source_address_is_an_agent_error() {
    if !permitted() {
        return;
    }
    let monitor = json!({ "target": "127.0.0.1", "source_ip_address": "203.0.113.7" });
    let report = check(monitor).await;
    assert_failure(&report, Phase::Setup, Reason::AgentError);
    assert_eq!(report.echoes(), None);
}

#[tokio::test]
async fn a_silent_name_server_uses_up_the_time_in_its_phase() {
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::Silence));
    let monitor = json!({ "type": "icmp", "target": "host.test", "timeout": millis(300) });
    let report = lab.check(monitor).await;
    assert_failure(&report, Phase::Resolve, Reason::Timeout);
    assert!(report.duration < SOON, "{report:#?}");
}

#[tokio::test]
async fn all_monitors_of_a_family_share_a_socket() {
    if !permitted() {
        return;
    }
    let lab = Lab::new();
    let first = lab.net.icmp();
    let attempt = Attempt::start();
    let socket = first.socket(PROFILE, &attempt).expect("a socket");
    let again = lab.net.icmp().socket(PROFILE, &attempt).expect("a socket");
    assert!(std::sync::Arc::ptr_eq(&socket, &again));
    let other = SocketKey { ttl: 3, ..PROFILE };
    let other = first.socket(other, &attempt).expect("a socket");
    assert!(!std::sync::Arc::ptr_eq(&socket, &other));
}

#[tokio::test]
async fn a_session_that_is_dropped_waits_for_nothing() {
    if !permitted() {
        return;
    }
    let lab = Lab::new();
    let attempt = Attempt::start();
    let socket = lab.net.icmp().socket(PROFILE, &attempt).expect("a socket");
    let target = ([127, 0, 0, 1], 0).into();
    let mut session = EchoSession::new(socket.clone(), target, 28, 3);
    // Nothing is read before this task waits, so both wait for their answers.
    for _ in 0..2 {
        session.send(&attempt).await.expect("it can be sent");
    }
    assert_eq!(socket.pending(), 2);
    let (request, outcome) = session.next().await;
    assert_eq!(request.index, 0);
    assert!(matches!(outcome, EchoResult::Reply { .. }));
    session.send(&attempt).await.expect("it can be sent");
    drop(session);
    assert_eq!(socket.pending(), 0);
}

#[tokio::test]
async fn many_checks_at_once_each_have_their_own_replies() {
    if !permitted() {
        return;
    }
    let lab = Lab::new();
    let jobs: Vec<_> = (1..=200)
        .map(|n| lab.job(json!({ "type": "icmp", "target": format!("127.0.0.{n}"), "count": 3 })))
        .collect();
    let reports = futures_util::future::join_all(jobs.iter().map(Job::check_once)).await;
    for (job, report) in jobs.iter().zip(&reports) {
        assert_success(report);
        assert_eq!(echoes(report).received, 3);
        let address = report.address().map(|address| address.to_string());
        assert_eq!(address, Some(job.target()));
    }
}

#[tokio::test]
async fn ttl_and_dont_fragment_are_set_in_packets() {
    if !permitted() {
        return;
    }
    let Some(mut wire) = Wire::tap() else { return };
    for (settings, from, hops, whole) in [
        (json!({ "payload_size": 501 }), [127, 0, 0, 1], 64, false),
        (
            json!({ "payload_size": 502, "ttl": 7 }),
            [127, 0, 0, 1],
            7,
            false,
        ),
        (
            json!({ "payload_size": 503, "dont_fragment": true }),
            [127, 0, 0, 1],
            64,
            true,
        ),
        (
            json!({ "payload_size": 504, "source_ip_address": "127.0.0.9" }),
            [127, 0, 0, 9],
            64,
            false,
        ),
    ] {
        let mut monitor = settings.clone();
        monitor["target"] = json!("127.0.0.1");
        assert_success(&check(monitor).await);
        let size = settings["payload_size"].as_u64().expect("a size");
        let packet = wire.request(28 + usize::try_from(size).expect("small"));
        assert_eq!(packet[8], hops, "{settings}");
        assert_eq!(packet[6] & 0x40 != 0, whole, "{settings}");
        assert_eq!(packet[12..16], from, "{settings}");
    }
}

/// All that arrives at this machine by ICMP.
struct Wire(Socket);

impl Wire {
    /// `None` where that is not permitted, as it is to few: then what needs it is skipped, but not in CI.
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn tap() -> Option<Self> {
        match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)) {
            Ok(socket) => {
                socket
                    .set_read_timeout(Some(PATIENCE))
                    .expect("a valid time");
                Some(Self(socket))
            }
            Err(error) if env::var_os("CI").is_some() => panic!("CI needs raw sockets: {error}"),
            Err(error) => {
                eprintln!("SKIPPED: packets are not looked at: {error}");
                None
            }
        }
    }

    /// The first echo request of so many bytes, with the header of IP.
    fn request(&mut self, size: usize) -> Vec<u8> {
        let mut packet = vec![0; 1 << 16];
        loop {
            let got = self.0.read(&mut packet).expect("the request is on its way");
            if got == size && packet[20] == 8 {
                packet.truncate(got);
                return packet;
            }
        }
    }
}
