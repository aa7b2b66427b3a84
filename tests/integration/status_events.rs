//! The stream of what is new: who gets it, how soon, and that it holds up nothing.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    SOON,
    client::{Answer, ask, connect},
    daemon::Daemon,
    eventually,
    process::raise_descriptor_limit,
    server::{Server, ok, response},
};

const PATH: &str = "/api/v1/events";

/// A stream that is open: its lines, without those that tell the size of a chunk.
struct Events(BufReader<TcpStream>);

impl Events {
    #[track_caller]
    fn open(daemon: &Daemon) -> Self {
        let mut stream = connect(daemon.address);
        write!(stream, "GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n").expect("an open connection");
        let mut events = Self(BufReader::new(stream));
        let status = events.line().expect("a status line");
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        while events.line().expect("a retry") != "retry: 1000" {}
        events
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event, `None` at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(data) = self.line()?.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }
}

/// A server that answers 200 until it is told otherwise, and a daemon that checks it often.
fn checked_often() -> (Daemon, Server, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = down.clone();
    let server = Server::answering(move |_| {
        if is_down.load(Ordering::Relaxed) {
            response("503 No", &[], "")
        } else {
            ok("hello")
        }
    });
    let daemon = Daemon::start(json!({
        "defaults": { "check_every": 0.1, "timeout": 0.1 },
        "monitors": { "shop": { "url": server.http("/") } },
    }));
    daemon.until_page("it is checked", |page| page.completed() > 1.5);
    (daemon, server, down)
}

#[test]
fn a_state_change_is_sent_immediately() {
    let (mut daemon, _server, down) = checked_often();
    let mut events = Events::open(&daemon);
    let event = events.next().expect("an event");
    assert_eq!(event, json!({ "checked": [1], "changed": [] }));
    down.store(true, Ordering::Relaxed);
    let began = Instant::now();
    while events.next().expect("an event")["changed"] != json!([1]) {}
    let took = began.elapsed();
    // A check comes due within 0.1 s, and what is new is gathered for 0.2 s.
    assert!(took < SOON, "{took:?}");
    daemon.stop();
}

#[test]
fn the_number_of_event_streams_is_limited() {
    raise_descriptor_limit();
    let (mut daemon, _server, down) = checked_often();
    let mut streams: Vec<_> = (0..32).map(|_| Events::open(&daemon)).collect();
    let refused = daemon.get(PATH);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("10"));
    // Others come and go, more than there are places for: streams are not idle.
    let _idle: Vec<_> = (0..600).map(|_| connect(daemon.address)).collect();
    let asked = Instant::now();
    daemon.page();
    let took = asked.elapsed();
    assert!(took < SOON, "{took:?}");
    // What they have not been sent before.
    down.store(true, Ordering::Relaxed);
    for events in &mut streams {
        while events.next().expect("it goes on")["changed"] != json!([1]) {}
    }
    streams.pop();
    eventually("there is a place again", || {
        let answer = ask(daemon.address, "HEAD", PATH, "");
        (answer.status == 200).then_some(())
    });
    daemon.stop();
}

#[test]
fn open_event_streams_do_not_delay_the_shutdown() {
    let (mut daemon, _server, _) = checked_often();
    let mut streams: Vec<_> = (0..5).map(|_| Events::open(&daemon)).collect();
    daemon.stop();
    for events in &mut streams {
        let mut last = String::new();
        while let Some(line) = events.line() {
            last = if line.is_empty() { last } else { line };
        }
        assert_eq!(
            last, "0",
            "the last chunk, and not a connection that was cut"
        );
    }
}

#[test]
fn an_event_stream_has_its_content_type() {
    let (daemon, _server, _) = checked_often();
    let answer: Answer = ask(daemon.address, "HEAD", PATH, "accept-encoding: gzip\r\n");
    let kind = Some("text/event-stream; charset=utf-8");
    assert_eq!(answer.header("content-type"), kind);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-encoding"), None);
}
