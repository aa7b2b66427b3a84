//! Echo requests through networks of the tests' own: routers that refuse, hosts that are silent, loss.
//!
//! `unshare` makes the networks, and they go with the process. Where that is not permitted, which
//! takes root or user namespaces, these tests are skipped.

use std::{
    fs,
    net::SocketAddrV6,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use monitoringdaemon::check::{EchoStats, Job, Phase, Reason, Report};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    SOON,
    lab::Lab,
    networks::in_networks,
    process::program,
    report::{assert_failure, assert_success},
};

/// A host with one neighbour, 10.7.1.1, that forwards, and that knows some networks it cannot reach.
const SETUP: &str = r#"
set -e
ip link set lo up
unshare --net sleep 120 &
neighbour=$!
trap 'kill $neighbour' EXIT
while [ "$(readlink /proc/$neighbour/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
there() { nsenter --target $neighbour --net "$@"; }
ip link add near type veth peer name far netns $neighbour
ip address add 10.7.1.2/24 dev near
ip address add fd07:1::2/64 dev near nodad
ip address add fe80::8/64 dev near nodad
there ip address add fe80::7/64 dev far nodad
there ip address add 10.7.1.1/24 dev far
there ip address add fd07:1::1/64 dev far nodad
there sh -c '
    for setting in ipv4/ip_forward ipv6/conf/all/forwarding; do echo 1 > /proc/sys/net/$setting; done
    echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
    echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
    # Types that are limited are limited to 1,000 messages a second over all destinations too.
    echo 0 > /proc/sys/net/ipv6/icmp/ratemask
    echo "$0" > /proc/sys/net/ipv4/icmp_echo_ignore_all
    echo "$1" > /proc/sys/net/ipv4/icmp_ratelimit
    echo "$(($1 > 0))" > /proc/sys/net/ipv4/icmp_ratemask
' "$SILENT" "$RATE_LIMIT"
there ip link set lo up
there ip link set far up
ip link set near up
ip route add default via 10.7.1.1
ip -6 route add default via fd07:1::1
# A way on that is too narrow.
there ip link add narrow type veth peer name end
there ip link set narrow mtu 1400
there ip address add 10.7.2.1/24 dev narrow
there ip address add fd07:2::1/64 dev narrow nodad
there ip link set narrow up
there ip link set end up
there ip route add unreachable 10.7.9.0/24
there ip -6 route add unreachable fd07:9::/64
ip route add unreachable 10.7.8.0/24
# Link-local addresses are needed to find neighbours, and take a moment.
while ip -6 address show tentative | grep -q inet6; do :; done
while there ip -6 address show tentative | grep -q inet6; do :; done
"$@"
"#;

/// The behaviour of the neighbour.
#[derive(Clone, Copy, Default)]
struct Neighbour {
    /// Answers no echo request of IPv4.
    silent: bool,
    /// Milliseconds from one echo reply of IPv4 to the next, after six of them where it is 10 s.
    rate_limit: u32,
}

/// Runs `body`, the rest of the test `name`, beside `neighbour`, if that is permitted.
#[track_caller]
fn networks(name: &str, neighbour: Neighbour, body: impl AsyncFnOnce()) {
    let variables = [
        ("SILENT", u8::from(neighbour.silent).to_string()),
        ("RATE_LIMIT", neighbour.rate_limit.to_string()),
    ];
    in_networks(name, SETUP, &variables, body);
}

/// Lets the group of root use ping sockets, or nobody: then raw ones are used.
fn permit_ping_sockets(permitted: bool) {
    let range = if permitted { "0 0" } else { "1 0" };
    fs::write("/proc/sys/net/ipv4/ping_group_range", range).expect("root may set it");
}

async fn check(mut monitor: Value) -> Report {
    monitor["type"] = json!("icmp");
    Lab::new().check(monitor).await
}

#[track_caller]
fn assert_echoes(report: &Report, sent: u32, received: u32) {
    let echoes = report.echoes().expect("it came to echo requests");
    assert_eq!(
        (echoes.sent, echoes.received),
        (sent, received),
        "{report:#?}"
    );
}

#[track_caller]
fn assert_unreachable(report: &Report, expected: &str) {
    let failure = assert_failure(report, Phase::Rtt, Reason::HostUnreachable);
    assert_eq!(failure.error, expected);
    assert_echoes(report, 1, 0);
    assert!(report.duration < SOON, "nobody waited: {report:#?}");
}

#[test]
fn the_router_that_reports_an_unreachable_host_is_named() {
    let name = "icmp_networks::the_router_that_reports_an_unreachable_host_is_named";
    networks(name, Neighbour::default(), async || {
        for ping_sockets in [false, true] {
            permit_ping_sockets(ping_sockets);
            for (target, more, expected) in [
                (
                    "10.7.9.9",
                    json!({}),
                    "10.7.1.1 answered host unreachable (ICMP type 3 code 1)",
                ),
                (
                    "fd07:9::9",
                    json!({}),
                    "fd07:1::1 answered no route to destination (ICMPv6 type 1 code 0)",
                ),
                (
                    "10.7.2.2",
                    json!({ "ttl": 1 }),
                    "10.7.1.1 answered time to live exceeded in transit (ICMP type 11 code 0)",
                ),
                (
                    "fd07:2::2",
                    json!({ "ttl": 1 }),
                    "fd07:1::1 answered hop limit exceeded in transit (ICMPv6 type 3 code 0)",
                ),
                (
                    "10.7.2.2",
                    json!({ "payload_size": 1450, "dont_fragment": true }),
                    "10.7.1.1 answered fragmentation needed, but not allowed \
                     (ICMP type 3 code 4, MTU 1400)",
                ),
                (
                    "fd07:2::2",
                    json!({ "payload_size": 1450, "dont_fragment": true }),
                    "fd07:1::1 answered packet too big (ICMPv6 type 2 code 0, MTU 1400)",
                ),
            ] {
                // Twice, as the kernel must not remember the width of the path either.
                for _ in 0..2 {
                    let mut monitor = more.clone();
                    monitor["target"] = json!(target);
                    assert_unreachable(&check(monitor).await, expected);
                }
            }
        }
    });
}

#[test]
fn a_request_that_cannot_be_sent_fails_immediately() {
    let name = "icmp_networks::a_request_that_cannot_be_sent_fails_immediately";
    networks(name, Neighbour::default(), async || {
        for ping_sockets in [false, true] {
            permit_ping_sockets(ping_sockets);
            let report = check(json!({ "target": "10.7.8.8" })).await;
            assert_failure(&report, Phase::Rtt, Reason::HostUnreachable);
            assert_eq!(report.echoes(), None);
            let large = json!({ "target": "10.7.1.1", "payload_size": 2000 });
            assert_success(&check(large.clone()).await);
            let mut whole = large;
            whole["dont_fragment"] = json!(true);
            let report = check(whole).await;
            let failure = assert_failure(&report, Phase::Rtt, Reason::HostUnreachable);
            assert!(failure.error.contains("of 2008 bytes"), "{failure:?}");
        }
    });
}

#[test]
fn errors_on_one_target_do_not_disturb_the_others() {
    let name = "icmp_networks::errors_on_one_target_do_not_disturb_the_others";
    networks(name, Neighbour::default(), async || {
        for ping_sockets in [false, true] {
            permit_ping_sockets(ping_sockets);
            let lab = Lab::new();
            let job = |target: &str| {
                let count =
                    json!({ "type": "icmp", "target": target, "count": 20, "interval": 0.001 });
                lab.job(count)
            };
            let jobs: Vec<_> = (0..60)
                .map(|n| job(if n % 3 == 0 { "fd07:1::1" } else { "fd07:9::9" }))
                .collect();
            let checks = jobs.iter().map(Job::check_once);
            let reports = futures_util::future::join_all(checks).await;
            for report in reports.iter().step_by(3) {
                assert_success(report);
                assert_echoes(report, 20, 20);
            }
            for report in reports.iter().skip(1).step_by(3) {
                assert_failure(report, Phase::Rtt, Reason::HostUnreachable);
                assert_echoes(report, 20, 0);
            }
        }
    });
}

#[test]
fn a_silent_host_is_a_timeout_with_the_number_of_requests() {
    let name = "icmp_networks::a_silent_host_is_a_timeout_with_the_number_of_requests";
    let silent = Neighbour {
        silent: true,
        ..Neighbour::default()
    };
    networks(name, silent, async || {
        let report = check(json!({ "target": "10.7.1.1", "timeout": 0.3 })).await;
        let failure = assert_failure(&report, Phase::Rtt, Reason::Timeout);
        assert_eq!(failure.error, "no result within 300ms");
        assert_echoes(&report, 1, 0);
        assert!(report.duration < SOON, "{report:#?}");
        // With a time of its own the check ends by itself.
        for (settings, sent, error) in [
            (
                json!({ "reply_timeout": 0.2 }),
                1,
                "the echo request got no reply within 200ms",
            ),
            (
                json!({ "count": 3, "interval": 0.01 }),
                3,
                "none of 3 echo requests got a reply within 1s",
            ),
        ] {
            let mut monitor = settings;
            monitor["target"] = json!("10.7.1.1");
            let report = check(monitor).await;
            let failure = assert_failure(&report, Phase::Rtt, Reason::Timeout);
            assert_eq!(failure.error, error);
            assert_echoes(&report, sent, 0);
        }
    });
}

/// Six replies come, then none for ten seconds.
const LOSSY: Neighbour = Neighbour {
    silent: false,
    rate_limit: 10_000,
};

#[test]
fn lost_requests_fail_a_check() {
    let name = "icmp_networks::lost_requests_fail_a_check";
    networks(name, LOSSY, async || {
        let lossy =
            json!({ "target": "10.7.1.1", "count": 8, "interval": 0.01, "reply_timeout": 0.2 });
        let report = check(lossy).await;
        let failure = assert_failure(&report, Phase::Rtt, Reason::PacketLoss);
        assert_eq!(failure.error, "2 of 8 echo requests got no reply");
        assert_echoes(&report, 8, 6);
        let loss = report
            .echoes()
            .map_or(0.0, |echoes: EchoStats| echoes.loss_ratio());
        assert!((loss - 0.25).abs() < 1e-9);
    });
}

#[test]
fn max_packet_loss_is_tolerated() {
    let name = "icmp_networks::max_packet_loss_is_tolerated";
    networks(name, LOSSY, async || {
        let lossy = json!({
            "target": "10.7.1.1",
            "count": 8,
            "interval": 0.01,
            "reply_timeout": 0.2,
            "max_packet_loss": 0.25,
        });
        let report = check(lossy).await;
        assert_success(&report);
        assert_echoes(&report, 8, 6);
    });
}

#[test]
fn certain_packet_loss_wins_over_the_timeout() {
    let name = "icmp_networks::certain_packet_loss_wins_over_the_timeout";
    networks(name, LOSSY, async || {
        let lab = Lab::new();
        let mut job = lab.job(json!({
            "type": "icmp",
            "target": "10.7.1.1",
            "count": 100,
            "interval": 0.02,
            "reply_timeout": 0.1,
        }));
        job.timeout = Duration::from_millis(500);
        let report = job.check_once().await;
        assert_failure(&report, Phase::Rtt, Reason::PacketLoss);
        assert_eq!(report.echoes().map(|echoes| echoes.received), Some(6));
    });
}

#[test]
fn missing_permission_is_reported_at_start_and_in_each_check() {
    let name = "icmp_networks::missing_permission_is_reported_at_start_and_in_each_check";
    networks(name, Neighbour::default(), async || {
        permit_ping_sockets(false);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.yml");
        let monitor = json!({ "type": "icmp", "target": "10.7.1.1" });
        let config = json!({
            "server": { "listen": "off" },
            "monitors": { "one": monitor, "two": monitor },
        });
        fs::write(&file, config.to_string()).expect("room for it");
        // Root of a user namespace that has no network has no rights to the one it came from.
        let run = |arguments: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user"]);
            command
                .arg(program().get_program())
                .arg("--config")
                .arg(&file);
            command.args(arguments);
            command
        };
        let validated = run(&["validate"]).output().expect("it can be started");
        let text = String::from_utf8_lossy(&validated.stderr);
        assert!(validated.status.success(), "the file is right: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["2 monitors", "net.ipv4.ping_group_range", "CAP_NET_RAW"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let once = run(&["once", "--output", "json", "one"])
            .output()
            .expect("it can be started");
        let result: Value = serde_json::from_slice(&once.stdout).expect("one line of JSON");
        assert_eq!(
            (&result["reason"], &result["phase"]),
            (&json!("agent_error"), &json!("setup"))
        );
        let line = first_error_of_daemon(run(&[]));
        assert!(
            line.contains("monitors=2") && line.contains("CAP_NET_RAW"),
            "{line}"
        );
    });
}

/// The first line that a daemon logs as an error.
fn first_error_of_daemon(mut daemon: Command) -> String {
    use std::io::{BufRead, BufReader};
    let mut daemon = daemon
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let stdout = daemon.stdout.take().expect("it is piped");
    let (found, line) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let _ = found.send(lines.find(|line| line.contains("[ERROR]")));
    });
    let line = line.recv_timeout(crate::support::PATIENCE);
    daemon.kill().expect("it is a child");
    daemon.wait().expect("it was killed");
    reader.join().expect("its pipe is closed");
    line.ok().flatten().expect("a line of an error")
}

#[test]
fn an_address_with_a_zone_is_reached_behind_its_interface() {
    let name = "icmp_networks::an_address_with_a_zone_is_reached_behind_its_interface";
    networks(name, Neighbour::default(), async || {
        for zone in ["near".to_owned(), index("near").to_string()] {
            let report = check(json!({ "target": format!("fe80::7%{zone}") })).await;
            assert_success(&report);
            assert_echoes(&report, 1, 1);
        }
        let report = check(json!({ "target": "fe80::7%nowhere" })).await;
        let failure = assert_failure(&report, Phase::Rtt, Reason::AgentError);
        assert_eq!(
            failure.error,
            "this host has no network interface \"nowhere\""
        );
    });
}

#[test]
fn connections_reach_an_address_with_a_zone() {
    let name = "icmp_networks::connections_reach_an_address_with_a_zone";
    networks(name, Neighbour::default(), async || {
        let own = SocketAddrV6::new("fe80::8".parse().expect("an address"), 0, 0, index("near"));
        let listener = TcpListener::bind(own).await.expect("an address of ours");
        let port = listener.local_addr().expect("it is bound").port();
        let target = format!("[fe80::8%near]:{port}");
        let report = Lab::new()
            .check(json!({ "type": "tcp", "target": target }))
            .await;
        assert_success(&report);
        drop(listener.accept().await.expect("a connection"));

        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream
                .write_all(response)
                .await
                .expect("a client that waits");
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        };
        let job = Lab::new().job(json!({ "url": format!("http://[fe80::8%25near]:{port}/a") }));
        let (report, request) = tokio::join!(job.check_once(), serve);
        assert_success(&report);
        // The zone means nothing to the server (RFC 6874, section 4).
        let host = format!("\r\nhost: [fe80::8]:{port}\r\n");
        assert!(request.contains(&host), "{request}");
        assert_eq!(job.target(), format!("http://[fe80::8%25near]:{port}/a"));
    });
}

fn index(interface: &str) -> u32 {
    nix::net::if_::if_nametoindex(interface).expect("it was made before")
}
