//! Checks of every type that connects, against a peer that says whatever it likes.
//!
//! The first byte of an input chooses the monitor, the rest is what its peer says before it closes. Of
//! DNS over TCP, it is what stands behind the length and the id, which are the right ones.

#![no_main]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{LazyLock, Mutex},
    thread,
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::{
    check::{Job, Reason},
    config,
    net::Net,
};
use tokio::runtime::{Builder, Runtime};

const MONITORS: &str = r#"
defaults: {timeout: 1, check_every: 1}
monitors:
  http: {url: "http://PEER/", fail_if_body_not_matches_regexp: ["a.*b"]}
  gzip: {url: "http://PEER/", compression: gzip, fail_if_body_not_matches_regexp: [a]}
  br: {url: "http://PEER/", compression: br, fail_if_body_json_not_matches_cel: "body.a == 1"}
  deflate: {url: "http://PEER/", compression: deflate, fail_if_body_json_matches_cel: "body.all(x, x > 1)"}
  proxied: {url: "https://192.0.2.1/", proxy_url: "http://PEER"}
  socks: {url: "http://192.0.2.1/", proxy_url: "socks5h://PEER"}
  dialogue: {type: tcp, target: PEER, query_response: [{expect: "^(a+)", send: "${1}", labels: [{name: a, value: "$1"}]}, {expect_bytes: ab}, {expect: "^220", starttls: true}]}
  tls: {type: tls, target: PEER}
  smtp: {type: tls, target: PEER, starttls: smtp}
  imap: {type: tls, target: PEER, starttls: imap}
  ldap: {type: tls, target: PEER, starttls: ldap}
  postgres: {type: tls, target: PEER, starttls: postgres}
  mysql: {type: tls, target: PEER, starttls: mysql}
  grpc: {type: grpc, target: PEER}
  websocket: {type: websocket, target: "ws://PEER/", query_response: [{expect: "(.*)", send: "$1"}]}
  dns: {type: dns, target: PEER, transport_protocol: tcp, query_name: example.com, validate_answer_rrs: {fail_if_not_matches_regexp: ["a"]}}
"#;

struct Bench {
    runtime: Runtime,
    jobs: Vec<Job>,
}

/// What the peer says next, and whether it is asked by DNS.
static SAYS: Mutex<(Vec<u8>, bool)> = Mutex::new((Vec::new(), false));

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let peer: SocketAddr = listener.local_addr().expect("it is bound");
    thread::spawn(move || serve(&listener));
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let text = MONITORS.replace("PEER", &peer.to_string());
    file.write_all(text.as_bytes()).expect("room for it");
    let config = config::read(file.path()).unwrap_or_else(|wrong| panic!("{wrong}"));
    let net = Net::system();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let jobs = config.monitors.iter().map(|monitor| {
        let mut job = monitor.settings.bind(&monitor.name, &net);
        job.timeout = monitor.timeout;
        job
    });
    let jobs = jobs.collect();
    Bench { runtime, jobs }
});

fn serve(listener: &TcpListener) {
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { continue };
        let _ = connection.set_read_timeout(Some(Duration::from_millis(100)));
        let (says, is_dns) = SAYS.lock().expect("nobody panics with it").clone();
        if is_dns {
            let mut query = [0; 4];
            if connection.read_exact(&mut query).is_err() {
                continue;
            }
            let length = u16::try_from(says.len() + 2).unwrap_or(u16::MAX);
            let _ = connection.write_all(&length.to_be_bytes());
            let _ = connection.write_all(&query[2..]);
        }
        let _ = connection.write_all(&says);
        let _ = connection.shutdown(std::net::Shutdown::Write);
        // What the client still says is read, so that nothing of the above is lost by a reset.
        let _ = connection.read_to_end(&mut Vec::new());
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((chosen, says)) = input.split_first() else { return };
    let Bench { runtime, jobs } = &*BENCH;
    let job = &jobs[usize::from(*chosen) % jobs.len()];
    *SAYS.lock().expect("nobody panics with it") = (says.to_vec(), job.kind() == "dns");
    let report = runtime.block_on(job.check_once());
    let failure = report.failure.as_ref();
    assert!(
        failure.is_none_or(|failure| failure.reason != Reason::AgentError),
        "{failure:?} is no fault of ours"
    );
    assert!(failure.is_none_or(|failure| failure.error.len() < 2_000), "{failure:?}");
    let sum: Duration = report.phases.iter().map(|(_, spent)| *spent).sum();
    assert!(sum <= report.duration, "phases overlap: {report:?}");
});
