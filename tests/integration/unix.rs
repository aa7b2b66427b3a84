//! `type: unix` against sockets in the file system.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::PathBuf,
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

async fn check(path: &std::path::Path, mut keys: Value) -> Report {
    keys["type"] = json!("unix");
    keys["target"] = json!(path);
    Lab::new().check(keys).await
}

#[tokio::test]
async fn a_connection_is_enough_where_nothing_else_is_wanted() {
    let socket = Socket::new();
    let report = check(&socket.path, json!({})).await;
    assert_success(&report);
    assert_eq!(reached(&report), [Phase::Connect]);
    assert_eq!(report.address(), None);
}

#[tokio::test]
async fn a_dialogue_is_held() {
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
async fn nobody_at_the_socket_is_a_refused_connection() {
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
    assert_eq!(failure.error, "there is no such socket");
}

#[tokio::test]
async fn what_is_no_socket_is_said_to_be_none() {
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
