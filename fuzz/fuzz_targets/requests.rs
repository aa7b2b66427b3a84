//! The server of the daemon survives any request, and answers without a secret.

#![no_main]

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::LazyLock,
    thread,
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::{app, config};

const CONFIG: &str = r#"
log: {level: CRITICAL}
server: {listen: "unix:FOLDER/socket", max_connections: 64}
monitors:
  "a <b>&\" c": {url: "http://hunter2secret:hunter2secret@127.0.0.1:1/?k=hunter2secret", check_every: 1d, labels: {team: "<i>"}}
  other: {type: tcp, target: "127.0.0.1:1", check_every: 1d}
"#;

/// The socket of a daemon.
static SOCKET: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let text = CONFIG.replace("FOLDER", &folder.display().to_string());
    let file = folder.join("config.yml");
    std::fs::write(&file, text).expect("room for it");
    let config = config::read(&file).unwrap_or_else(|invalid| panic!("{invalid}"));
    thread::spawn(move || app::run_with_jobs(&config, Vec::new()).expect("it runs"));
    let socket = folder.join("socket");
    while UnixStream::connect(&socket).is_err() {
        thread::yield_now();
    }
    socket
});

/// Returns the first 1 MiB of the response to `request`; stops when the daemon closes or is silent for `patience`.
/// A client that `leaves` says that it has nothing to add, so the daemon may close without an answer.
fn ask(request: &[u8], patience: Duration, leaves: bool) -> Vec<u8> {
    let mut connection = UnixStream::connect(&*SOCKET).expect("it listens");
    let _ = connection.set_read_timeout(Some(patience));
    let _ = connection.set_write_timeout(Some(Duration::from_secs(2)));
    let _ = connection.write_all(request);
    if leaves {
        let _ = connection.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = connection.take(1 << 20).read_to_end(&mut answer);
    answer
}

fuzz_target!(|request: &[u8]| {
    let answer = ask(request, Duration::from_millis(200), true);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1."),
        "not HTTP"
    );
    let secret = b"hunter2secret";
    // What the request itself has may be repeated.
    if !request.windows(secret.len()).any(|part| part == secret) {
        assert!(
            !answer.windows(secret.len()).any(|part| part == secret),
            "a secret"
        );
    }
    let request = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = ask(request, Duration::from_secs(10), false);
    assert!(
        answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
        "it does not go on"
    );
});
