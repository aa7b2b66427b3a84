//! Support for the tests: servers, name servers and certificates, on loopback.

pub mod client;
pub mod daemon;
pub mod dns;
#[cfg(feature = "http3")]
pub mod http3;
pub mod lab;
pub mod nameserver;
pub mod networks;
pub mod page;
pub mod pki;
pub mod process;
pub mod report;
pub mod server;
pub mod terminal;
pub mod websocket;

use std::{
    net::{Ipv6Addr, TcpListener},
    sync::LazyLock,
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

/// The runtime of all servers, so that a test's own runtime runs only the code under test.
static SERVERS: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        // More than there are servers that are busy at the same time.
        .worker_threads(4)
        .thread_name("servers")
        .enable_all()
        .build()
        .expect("threads for the servers")
});

/// Time that something that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Time that something immediate may take on a busy machine: half of the time
/// that the daemon gives a client that is silent, and nothing against the end of a server that hangs.
pub const SOON: Duration = Duration::from_secs(5);

/// Returns whether `::1` can be had; says so where a test is skipped for the lack of it.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn ipv6_loopback() -> bool {
    let result = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    if let Err(error) = &result {
        eprintln!("SKIPPED: this machine has no ::1, so nothing of IPv6 is tested: {error}");
    }
    result.is_ok()
}

/// From one look at something that is waited for to the next.
const POLL: Duration = Duration::from_millis(5);

/// Waits until there is something to be found, asking again and again.
#[track_caller]
pub fn eventually<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, found)
}

#[track_caller]
pub fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut found: impl FnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < patience, "not in {patience:?}: {what}");
        pause(POLL);
    }
}

/// Does nothing for so long.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of a test has nothing else to do"
)]
pub fn pause(time: Duration) {
    thread::sleep(time);
}
