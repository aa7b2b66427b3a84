//! No check keeps a worker thread from the others, whatever its peer sends.

use std::{cell::Cell, io::Write, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::SinkExt;
use monitoringdaemon::{
    check::{DispatcherObserver, Phase, Reason, Report},
    history::History,
    metrics::{self, Metrics},
    server::{self, Readiness, Services},
    status::Status,
    value::{FromNode, Node},
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    task::{LocalSet, spawn_blocking},
    time::{Instant, sleep},
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::support::{
    SOON,
    client::ask,
    lab::{Lab, millis},
    pki::{AUTHORITY, Authority, Identity, YEARS},
    process::{alone, resident_bytes},
    report::assert_failure,
    server::{Server, Step, ok, response},
    websocket::Peer,
};

/// The promise is 10 ms, of a program that is optimized and not shared with other tests. What is
/// tested here took a worker some 300 ms to 39 s.
pub const LONGEST_STALL: Duration = Duration::from_millis(100);

/// CPU time of this thread, which does not count when other programs have the processor.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a clock of CPU time is not before its start")
}

/// Runs `work` on a runtime of one thread, beside a task that wants to run each millisecond.
///
/// Returns the longest time for which that task could not run.
fn with_ticker<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let runtime = Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let longest = Rc::new(Cell::new(Duration::ZERO));
        let shared = longest.clone();
        let ticker = tokio::task::spawn_local(async move {
            loop {
                let before = thread_time();
                sleep(Duration::from_millis(1)).await;
                let gap = thread_time().saturating_sub(before);
                shared.set(shared.get().max(gap));
            }
        });
        let result = work.await;
        // The ticker has run once more behind the end of the work.
        sleep(Duration::from_millis(2)).await;
        ticker.abort();
        (result, longest.get())
    })
}

/// Runs one check beside a ticker.
pub fn check_with_ticker(monitor: Value) -> (Report, Duration) {
    with_ticker(async { Lab::new().check(monitor).await })
}

fn serving(body: impl Into<Bytes>) -> Server {
    let body = body.into();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    Server::start([
        Step::Request,
        Step::send(head),
        Step::Send(body),
        Step::Hang,
    ])
}

/// So many members of gzip, each 1 MiB of zeros.
fn gzip_bomb(members: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(&vec![0; 1 << 20])
        .expect("room in memory");
    encoder.finish().expect("room in memory").repeat(members)
}

/// Brotli of so many times 16 MiB of zeros: 14 bytes each, of a stream with a window of 16 MiB.
fn brotli_bomb(blocks: usize) -> Vec<u8> {
    let first = b"\xcf\xff\xff\x7f\x00\x24\x00\xe2\xb1\x40\x72\xef\xff\x0d";
    let next = b"\xfc\xff\xff\x07\x40\x02\x20\x0e\x0b\x40\xf7\xfe\xdf\x00";
    [&first[..], &next.repeat(blocks - 1), b"\x03"].concat()
}

/// The same with a window of 1 GiB, which is no part of RFC 7932.
fn large_window_bomb(blocks: usize) -> Vec<u8> {
    let first = b"\x11\x1e\xff\xff\xff\x01\x90\x00\x88\xc7\x02\x21\xf7\xfe\xdf\x00";
    let next = b"\xfc\xff\xff\x07\x40\x02\x20\x0e\x0b\x00\xdd\xfb\x7f\x03";
    [&first[..], &next.repeat(blocks - 1), b"\x03"].concat()
}

/// Checks that the body of `server` keeps nobody waiting, and no longer than the timeout itself.
#[track_caller]
fn assert_no_stall(what: &str, server: &Server, mut monitor: Value) -> Report {
    monitor["url"] = json!(server.http("/"));
    monitor["timeout"] = millis(1000);
    let began = Instant::now();
    let (report, longest) = check_with_ticker(monitor);
    assert!(longest < LONGEST_STALL, "{what}: {longest:?} {report:#?}");
    assert!(began.elapsed() < SOON, "{what}: {report:#?}");
    report
}

#[test]
fn a_decompression_bomb_blocks_no_worker() {
    for (encoding, body) in [("gzip", gzip_bomb(1000)), ("br", brotli_bomb(200))] {
        let monitor = json!({ "compression": encoding, "body_size_limit": 0 });
        let report = assert_no_stall(encoding, &serving(body), monitor);
        assert_eq!(
            report.failure.map(|failure| failure.reason),
            Some(Reason::Timeout)
        );
    }
}

#[test]
fn matching_a_large_body_blocks_no_worker() {
    // 10 MiB, whose patterns and expressions are slow.
    let long = "ab".repeat(5 << 20);
    let list = format!("[{}0]", "0,".repeat(90_000));
    for (what, body, monitor) in [
        (
            "pattern",
            long.clone(),
            json!({ "fail_if_body_matches_regexp": ["(?:[ab]{1,60}c)+d"] }),
        ),
        (
            "short body",
            long[..20_000].to_owned(),
            json!({ "fail_if_body_matches_regexp": ["(?:[ab]{1,90}){9}c"] }),
        ),
        (
            "JSON",
            list.clone(),
            json!({ "fail_if_body_json_matches_cel": "body == [1]" }),
        ),
        (
            "CEL",
            list,
            json!({ "fail_if_body_json_matches_cel": "body.exists(x, x == 1)" }),
        ),
    ] {
        assert_no_stall(what, &serving(body), monitor);
    }
}

#[test]
fn matching_large_headers_blocks_no_worker() {
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "ab".repeat(100_000));
    let server = Server::start([Step::Request, Step::send(head)]);
    let matcher = json!({ "header": "X", "regexp": "(?:[ab]{1,90}){9}c" });
    let monitor = json!({ "fail_if_header_matches": [matcher] });
    assert_no_stall("header", &server, monitor);
}

/// Text for which [`SLOW`] has no quick answer.
fn hostile_text(bytes: usize) -> String {
    let mut state = 1_u32;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        if state >> 16 & 1 == 0 { 'a' } else { 'b' }
    });
    letters.take(bytes).collect()
}

const SLOW: &str = "a[ab]{300}c";

#[test]
fn matching_lines_and_messages_blocks_no_worker() {
    let text = hostile_text(12_000);
    let server = Server::start([Step::send(text.clone() + "\n")]);
    for key in ["expect", "reject"] {
        let mut entry = json!({ "expect": "x" });
        entry[key] = if key == "expect" {
            json!(SLOW)
        } else {
            json!([SLOW])
        };
        let (report, longest) = check_with_ticker(json!({
            "type": "tcp", "target": server.address.to_string(), "query_response": [entry],
        }));
        assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
        assert!(longest < LONGEST_STALL, "{key}: {longest:?}");
    }
    let peer = Peer::start(move |mut socket| {
        let message = Message::text(text.clone());
        async move {
            let _ = socket.send(message).await;
            let _ = socket.close(None).await;
        }
    });
    let (report, longest) = check_with_ticker(json!({
        "type": "websocket", "target": format!("ws://{}/", peer.address),
        "query_response": [{ "expect": SLOW }],
    }));
    assert!(report.failure.is_some(), "{report:#?}");
    assert!(longest < LONGEST_STALL, "{longest:?}");
}

/// A certificate for these names, of which there may be very many.
fn with_names(names: impl IntoIterator<Item = String>) -> Identity {
    let names: Vec<_> = names.into_iter().collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    AUTHORITY.issue(&names, YEARS)
}

/// A certificate whose issuers fit together by their names in very many ways, none of which is signed.
fn maze() -> Identity {
    let impostor = Authority::new("trusted root");
    let exits: Vec<_> = (0..10)
        .map(|_| impostor.intermediate("maze", YEARS))
        .collect();
    let leaf = exits[0].issue(&["127.0.0.1"], YEARS);
    let exits = exits.iter().map(Authority::certificate);
    let passages = (0..30).map(|_| Authority::new("maze").certificate());
    passages.chain(exits).fold(leaf, Identity::followed_by)
}

#[test]
fn the_certificates_of_a_peer_block_no_worker() {
    // As much as fits into a handshake: 64 KiB.
    let numbered = |count: u32| (0..count).map(|number| format!("{number}.test"));
    let many: Vec<_> = (0..100)
        .map(|number| Authority::new(&format!("authority {number}")).certificate())
        .collect();
    let before_many = |leaf: Identity| many.iter().cloned().fold(leaf, Identity::followed_by);
    let between = AUTHORITY.intermediate("between", YEARS);
    let right = || "127.0.0.1".to_owned();
    for (what, identity, reason) in [
        (
            "names",
            with_names(numbered(4_000)),
            Some(Reason::TlsWrongHost),
        ),
        (
            "names and the right one",
            with_names(numbered(4_000).chain([right()])),
            None,
        ),
        ("certificates", before_many(with_names([right()])), None),
        (
            "certificates beside the one that is needed",
            before_many(between.issue(&["127.0.0.1"], YEARS)),
            None,
        ),
        ("a maze", maze(), Some(Reason::TlsUntrusted)),
    ] {
        let server = Server::start([identity.tls(), Step::answer(|_| ok("hello"))]);
        let (report, longest) = check_with_ticker(json!({ "url": server.https("/") }));
        let found = report.failure.as_ref().map(|failure| failure.reason);
        assert_eq!(found, reason, "{what}: {report:#?}");
        assert!(longest < LONGEST_STALL, "{what}: {longest:?}");
    }
}

/// So many monitors are on a page.
const MANY_MONITORS: usize = 3_000;

#[test]
fn the_pages_of_many_monitors_block_no_worker() {
    let (history, metrics) = (
        Arc::new(History::default()),
        Arc::new(Metrics::new(&metrics::Settings::default(), || 0)),
    );
    let (answers, longest) = with_ticker(async {
        let target = Server::answering(|_| response("500 Error", &[], "<no>"));
        let job = Lab::new().job(json!({ "url": target.http("/") }));
        let report = job.check_once().await;
        let observed = spawn_blocking({
            let (history, metrics) = (history.clone(), metrics.clone());
            move || {
                for number in 0..MANY_MONITORS {
                    let mut job = job.clone();
                    job.name = format!("<monitor> {number}").into();
                    for observer in [history.observe(&job), metrics.observe(&job)] {
                        observer.on_scheduled(Instant::now());
                        observer.on_started(Duration::ZERO);
                        observer.on_completed(&report);
                    }
                }
            }
        });
        observed.await.expect("no panic");
        let address = server::Address::from_node(&Node::Text("127.0.0.1:0".to_owned()));
        let settings = server::Settings {
            listen: vec![address.expect("an address")],
            ..server::Settings::default()
        };
        let services = Services {
            metrics,
            readiness: Readiness::default(),
            status: Some(Status::new(history, None)),
            probe: None,
            reload: None,
            poll_interval: Duration::from_secs(60),
        };
        let server = server::Server::bind(&settings, services).await;
        let server = server.unwrap_or_else(|(address, error)| panic!("{address}: {error}"));
        let address = server.addresses()[0].parse().expect("an address");
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        let answers = spawn_blocking(move || {
            ["", "accept-encoding: gzip\r\n"].map(|header| {
                [
                    "/",
                    "/api/v1/monitors",
                    "/metrics",
                    "/monitors/%3Cmonitor%3E%200",
                ]
                .map(|path| ask(address, "GET", path, header))
            })
        });
        let answers = answers.await.expect("no panic");
        shutdown.cancel();
        serving.await.expect("no panic");
        answers
    });
    for answer in answers.as_flattened() {
        assert_eq!(answer.status, 200);
    }
    let [page, json, ..] = &answers[0];
    assert!(page.body.len() > 100 * MANY_MONITORS && json.body.len() > 100 * MANY_MONITORS);
    assert!(longest < LONGEST_STALL, "{longest:?}");
}

#[test]
fn decoding_takes_bounded_memory() {
    alone("worker_stalls::decoding_takes_bounded_memory", || {
        let check = |encoding: &str, body| {
            let server = serving(body);
            let monitor = json!({ "compression": encoding, "body_size_limit": 0 });
            assert_no_stall(encoding, &server, monitor)
        };
        // What is allocated once is there after the first check.
        check("br", brotli_bomb(1));
        let before = resident_bytes();
        check("gzip", gzip_bomb(64));
        check("br", brotli_bomb(64));
        let report = check("br", large_window_bomb(64));
        assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes");
    });
}
