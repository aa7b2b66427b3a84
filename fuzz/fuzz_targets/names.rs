//! Lookups with any resolv.conf, any hosts, and a name server that answers anything.
//!
//! The first two lines of an input are the name and the options of resolv.conf; then come the lines of hosts up to an
//! empty one, and what the name server answers behind the id, which is right.

#![no_main]

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::net::{Resolver, Route};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
});

/// A name server.
static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let answer = ANSWER.lock().expect("nobody panics with it").clone();
            let mut answer = [&query[..2.min(length)], &answer].concat();
            // An empty answer repeats the question: a lookup that is right, and finds nothing.
            if answer.len() == 2 && length > 2 {
                answer.extend_from_slice(&query[2..length]);
                answer[2] |= 0x80;
            }
            let _ = socket.send_to(&answer[..answer.len().min(60_000)], client);
        }
    });
    address
});

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let name = lines
        .next()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let options = lines
        .next()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let rest = lines.next().unwrap_or_default();
    let end = rest
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .unwrap_or(rest.len());
    let hosts = String::from_utf8_lossy(&rest[..end]);
    *ANSWER.lock().expect("nobody panics with it") =
        rest.get(end + 2..).unwrap_or_default().to_vec();
    let resolv_conf =
        format!("options timeout:1 attempts:1\noptions {options}\nsearch {options}\n");
    let start = Instant::now();
    let found = RUNTIME.block_on(async {
        let resolver = Resolver::with_texts(&[*SERVER], &resolv_conf, &hosts);
        timeout(
            Duration::from_millis(300),
            resolver.resolve_all(&name, Route::default()),
        )
        .await
    });
    if let Ok(Ok(addresses)) = &found {
        assert!(!addresses.is_empty(), "found, and nothing there");
    }
    if let Ok(Err(failure)) = &found {
        assert!(failure.error.len() <= 512, "{} bytes", failure.error.len());
        assert!(!failure.error.contains(char::is_control), "{failure:?}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "a lookup cannot be cancelled"
    );
});
