//! `type: unix` against sockets in the file system.

use std::{
    io::{ErrorKind, Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    thread,
};

use monitoringdaemon::check::{Phase, Reason, Report};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    lab::{Lab, millis},
    report::{assert_failure, assert_success, reached},
};

struct Socket {
    path: PathBuf,
    listener: UnixListener,
    _directory: TempDir,
}

impl Socket {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket of its own");
        Self {
            path,
            listener,
            _directory: directory,
        }
    }
}

async fn check(path: &Path, mut keys: Value) -> Report {
    keys["type"] = json!("unix");
    keys["target"] = json!(path);
    Lab::new().check(keys).await
}

#[tokio::test]
async fn a_connection_is_enough_without_query_response() {
    let socket = Socket::new();
    let report = check(&socket.path, json!({})).await;
    assert_success(&report);
    assert_eq!(reached(&report), [Phase::Connect]);
    assert_eq!(report.address(), None);
}

#[tokio::test]
async fn query_response_works_over_a_unix_socket() {
    let socket = Socket::new();
    let listener = socket.listener.try_clone().expect("a descriptor");
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut heard = [0; 6];
        connection.read_exact(&mut heard).expect("somebody speaks");
        assert_eq!(&heard, b"PING\r\n");
        connection
            .write_all(b"+PONG\r\n")
            .expect("somebody listens");
    });
    let entries = json!([{ "send": "PING\r" }, { "expect": "^\\+PONG$" }]);
    let report = check(&socket.path, json!({ "query_response": entries })).await;
    assert_success(&report);
    assert_eq!(report.response_bytes(), Some(7));
    server.join().expect("the server is content");
}

#[tokio::test]
async fn a_socket_without_a_listener_is_connection_refused() {
    let Socket {
        path,
        listener,
        _directory,
    } = Socket::new();
    drop(listener);
    let report = check(&path, json!({})).await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
    let report = check(&path.with_file_name("missing"), json!({})).await;
    let failure = assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
    assert_eq!(failure.error, "the socket does not exist");
}

#[tokio::test]
async fn the_name_of_an_abstract_socket_starts_with_an_at_sign() {
    let name = format!("monitoringdaemon-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let listener = UnixListener::bind_addr(&address).expect("a socket of its own");
    let target = format!("@{name}");
    let report = check(Path::new(&target), json!({})).await;
    assert_success(&report);
    drop(listener);
    let report = check(Path::new(&target), json!({})).await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
}

/// A socket of which no more connections are accepted, and those that wait there.
fn full() -> (Socket, Vec<socket2::Socket>) {
    let socket = Socket::new();
    rustix::net::listen(&socket.listener, 0).expect("a shorter backlog");
    let address = socket2::SockAddr::unix(&socket.path).expect("a path");
    let mut waiting = Vec::new();
    loop {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let client = client.expect("a socket");
        client.set_nonblocking(true).expect("a flag");
        match client.connect(&address) {
            Ok(()) => waiting.push(client),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return (socket, waiting);
            }
        }
    }
}

#[tokio::test]
async fn a_full_backlog_is_retried() {
    let (socket, waiting) = full();
    let report = check(&socket.path, json!({ "timeout": millis(100) })).await;
    let failure = assert_failure(&report, Phase::Connect, Reason::Timeout);
    let error = "no result within 100ms, the backlog of the socket is full";
    assert_eq!(failure.error, error);
    let listener = socket.listener.try_clone().expect("a descriptor");
    let check = tokio::spawn(async move { check(&socket.path, json!({})).await });
    let accepting = thread::spawn(move || {
        for _ in 0..=waiting.len() {
            listener.accept().expect("a connection");
        }
    });
    assert_success(&check.await.expect("a report"));
    accepting.join().expect("all were accepted");
}

#[tokio::test]
async fn a_missing_socket_is_reported() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let report = check(file.path(), json!({})).await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let socket = Socket::new();
    let keys = json!({ "timeout": millis(100), "query_response": [{ "expect": "x" }] });
    let report = check(&socket.path, keys).await;
    assert_failure(&report, Phase::Processing, Reason::Timeout);
}
