//! Peers that send without end what is no part of a response: each check ends after a bounded amount, and
//! no other check waits for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use monitoringdaemon::check::{Phase, Reason};
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{Instant, interval_at},
};

use crate::support::{
    lab::Lab,
    pki::IDENTITY,
    report::assert_success,
    server::{Server, Step},
};

/// Bytes that a flood may send, and what the kernel holds for both sides on top.
const MAX_SENT: u64 = (4 << 20) + (8 << 20);

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let head = [
        &length.to_be_bytes()[1..],
        &[kind, flags],
        &stream.to_be_bytes(),
    ];
    [&head.concat(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xee;

const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Headers with the status 200 and the content type of DNS over HTTPS, as HPACK has them (RFC 7541).
fn response_headers() -> Vec<u8> {
    let content_type = b"application/dns-message";
    let length = u8::try_from(content_type.len()).expect("a short value");
    let block = [&[0x88, 0x0f, 0x10, length][..], content_type].concat();
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// The status 103, which is no status of a response.
fn interim_headers() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, b"\x08\x03103")
}

/// A way to flood a client of HTTP/2 from its request on.
#[derive(Clone)]
struct Flood {
    name: &'static str,
    /// Sent once, before the flood.
    start: Vec<u8>,
    frame: Vec<u8>,
}

impl Flood {
    fn new(name: &'static str, start: Vec<u8>, frame: Vec<u8>) -> Self {
        Self { name, start, frame }
    }

    fn server(&self) -> Server {
        let settings = frame(SETTINGS, 0, 0, &[]);
        let start = [&settings[..], &self.start].concat();
        let many = self.frame.repeat((16 << 10) / self.frame.len());
        Server::start([
            IDENTITY.tls_h2(),
            Step::Read,
            Step::send(start),
            Step::Flood(Bytes::from(many)),
        ])
    }
}

/// Floods in place of a response.
fn floods_before_the_response() -> Vec<Flood> {
    let flood = |name, frame| Flood::new(name, Vec::new(), frame);
    let setting = [&[0, 3][..], &100_u32.to_be_bytes()].concat();
    vec![
        flood("PRIORITY", frame(PRIORITY, 0, 3, &[0; 5])),
        flood("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        flood("unknown frames", frame(UNKNOWN, 0, 0, b"x")),
        flood("unknown frames of the stream", frame(UNKNOWN, 0, 1, &[])),
        flood("PING", frame(PING, 0, 0, &[0; 8])),
        flood("PING acknowledgements", frame(PING, 1, 0, &[0; 8])),
        flood("SETTINGS", frame(SETTINGS, 0, 0, &setting)),
        flood("empty SETTINGS", frame(SETTINGS, 0, 0, &[])),
        flood("interim responses", interim_headers()),
        flood("DATA without headers", frame(DATA, 0, 1, &[])),
        Flood::new(
            "CONTINUATION",
            frame(HEADERS, 0, 1, b"\x88"),
            frame(CONTINUATION, 0, 1, b"\x00\x01x\x01x"),
        ),
        Flood::new(
            "empty CONTINUATION",
            frame(HEADERS, 0, 1, b"\x88"),
            frame(CONTINUATION, 0, 1, &[]),
        ),
    ]
}

/// Floods in place of a body.
fn floods_within_the_body() -> Vec<Flood> {
    let flood = |name, frame| Flood::new(name, response_headers(), frame);
    let padding = [&[255][..], &[0; 255]].concat();
    vec![
        flood("empty DATA", frame(DATA, 0, 1, &[])),
        flood("DATA of a byte", frame(DATA, 0, 1, b"x")),
        flood("padding", frame(DATA, PADDED, 1, &padding)),
        flood("PING in a body", frame(PING, 0, 0, &[0; 8])),
        flood("PRIORITY in a body", frame(PRIORITY, 0, 3, &[0; 5])),
        flood("SETTINGS in a body", frame(SETTINGS, 0, 0, &[])),
        flood("unknown frames in a body", frame(UNKNOWN, 0, 1, b"x")),
        flood("headers in a body", interim_headers()),
    ]
}

/// Asserts that a check of a server ends in `phase` after a bounded amount: by HTTP, and for the floods
/// that healthy monitors stand beside also by DNS, which is asked over the same connections.
async fn assert_refused(what: &str, server: impl Fn() -> Server, phase: Phase) {
    let is_asked_by_dns = BESIDE_HEALTHY.contains(&what);
    for kind in ["http", "dns"]
        .into_iter()
        .take(1 + usize::from(is_asked_by_dns))
    {
        let server = server();
        let url = server.https("/");
        let monitor = match kind {
            "http" => json!({ "url": url }),
            _ => json!({ "type": kind, "target": url, "query_name": "example.test" }),
        };
        let report = Lab::new().check(monitor).await;
        let found = report
            .failure
            .map(|failure| (failure.phase, failure.reason));
        let expected = Some((phase, Reason::ProtocolError));
        assert_eq!(found, expected, "{what} by {kind}");
        let seen = server.until(|seen| seen.left == 1).await;
        assert!(seen.sent < MAX_SENT, "{what} by {kind}: {}", seen.sent);
    }
}

#[tokio::test]
async fn a_flood_of_frames_is_a_protocol_error() {
    for (floods, phase) in [
        (floods_before_the_response(), Phase::Processing),
        (floods_within_the_body(), Phase::Transfer),
    ] {
        for flood in floods {
            assert_refused(flood.name, || flood.server(), phase).await;
        }
    }
}

/// A flood over HTTP/1: what comes once behind the request, and what comes without end.
struct Http1Flood {
    name: &'static str,
    start: String,
    repeated: String,
    phase: Phase,
}

fn floods_over_http1() -> Vec<Http1Flood> {
    let before = |name, start: &str, repeated: &str| Http1Flood {
        name,
        start: start.to_owned(),
        repeated: repeated.to_owned(),
        phase: Phase::Processing,
    };
    let within = |name, start: &str, repeated: &str| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/dns-message\r\n";
        Http1Flood {
            name,
            start: format!("{head}transfer-encoding: chunked\r\n\r\n{start}"),
            repeated: repeated.to_owned(),
            phase: Phase::Transfer,
        }
    };
    let status = "HTTP/1.1 200 OK\r\n";
    vec![
        before(
            "interim responses over HTTP/1",
            "",
            "HTTP/1.1 103 Early Hints\r\n\r\n",
        ),
        before("empty lines", "", "\r\n"),
        before("headers", status, "x: y\r\n"),
        before("a header without end", &format!("{status}x: "), "x"),
        within("chunks of a byte", "", "1\r\nx\r\n"),
        within("chunks with extensions", "", "1;extension=long\r\nx\r\n"),
        within("an extension without end", "1;", "x"),
        within("trailers", "0\r\n", "x: y\r\n"),
        within("a trailer without end", "0\r\nx: ", "x"),
    ]
}

impl Http1Flood {
    fn server(&self) -> Server {
        let many = self.repeated.repeat((16 << 10) / self.repeated.len());
        Server::start([
            IDENTITY.tls(),
            Step::Request,
            Step::send(self.start.clone()),
            Step::Flood(many.into()),
        ])
    }
}

#[tokio::test]
async fn a_flood_over_http1_is_a_protocol_error() {
    for flood in floods_over_http1() {
        assert_refused(flood.name, || flood.server(), flood.phase).await;
    }
}

/// So many healthy monitors, and how often each is checked.
const HEALTHY: u32 = 20;
const CHECKS: u32 = 10;

/// From one check of a healthy monitor to its next.
const PERIOD: Duration = Duration::from_millis(50);

/// The floods that are checked beside them, all at the same time.
const BESIDE_HEALTHY: [&str; 6] = [
    "PRIORITY",
    "PING",
    "SETTINGS",
    "empty DATA",
    "interim responses over HTTP/1",
    "chunks of a byte",
];

/// Additional time that 99 of 100 healthy checks may take during floods, on a machine that is busy, by a
/// program that is not optimized. One that does not let others run takes 1 to 4 s.
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Tries until the machine has time for both halves of a comparison.
const TRIES: usize = 5;

/// Runs `hostile` monitors again and again beside healthy ones, on one worker.
///
/// Returns what 99 of 100 healthy checks took at most.
fn latency_beside(hostile: Vec<Value>) -> Duration {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let lab = Arc::new(Lab::new());
    let healthy = Server::ok();
    runtime.block_on(async {
        // Dropped at the end, and with it every flood.
        let mut floods = JoinSet::new();
        for monitor in hostile {
            let job = lab.job(monitor);
            floods.spawn(async move {
                loop {
                    let report = job.check_once().await;
                    assert!(report.failure.is_some(), "{report:#?}");
                }
            });
        }
        let mut checks = JoinSet::new();
        for number in 0..HEALTHY {
            let job = lab.job(json!({ "url": healthy.http("/") }));
            checks.spawn(async move {
                let mut took = Vec::new();
                let mut ticks = interval_at(Instant::now() + PERIOD * number / HEALTHY, PERIOD);
                for _ in 0..CHECKS {
                    ticks.tick().await;
                    let report = job.check_once().await;
                    assert_success(&report);
                    took.push(report.duration);
                }
                took
            });
        }
        let mut took = checks.join_all().await.concat();
        took.sort();
        took[took.len() * 99 / 100]
    })
}

#[test]
fn floods_do_not_delay_healthy_monitors() {
    let is_beside = |name| BESIDE_HEALTHY.contains(&name);
    let frames = [floods_before_the_response(), floods_within_the_body()].concat();
    let mut servers: Vec<_> = frames
        .iter()
        .filter(|flood| is_beside(flood.name))
        .map(Flood::server)
        .collect();
    let http1 = floods_over_http1();
    let http1 = http1.iter().filter(|flood| is_beside(flood.name));
    servers.extend(http1.map(Http1Flood::server));
    assert_eq!(servers.len(), BESIDE_HEALTHY.len());
    let urls = servers.iter().map(|server| server.https("/"));
    let hostile: Vec<_> = urls.map(|url| json!({ "url": url })).collect();
    let mut delays = Vec::new();
    for _ in 0..TRIES {
        let alone = latency_beside(Vec::new());
        let delay = latency_beside(hostile.clone()).saturating_sub(alone);
        if delay < MAX_DELAY {
            return;
        }
        delays.push(delay);
    }
    panic!("longer than {MAX_DELAY:?}, each time: {delays:?}");
}
