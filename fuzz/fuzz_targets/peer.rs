//! Checks of every type that connects, with a peer that says anything.
//!
//! The first byte of an input chooses the monitor, the rest is what its peer says: over TCP, over TLS, and over HTTP/2 in
//! TLS, where it is frames. `<heard>` in it stands for what the peer has heard. Of DNS over TCP, it is what comes after the
//! length and the id, which are right.

#![no_main]

mod support;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::check::Job;

use support::{PEER, Script, check, jobs};

const MONITORS: &str = r#"
defaults: {timeout: 1, check_every: 1}
templates:
  secret: {headers: {X-Token: hunter2secret}, basic_auth: {username: hunter2secret, password_file: FILES/secret}}
  tls: {tls_config: {ca_file: FILES/ca.pem}}
monitors:
  http: {extends: secret, url: "http://PLAIN/?token=hunter2secret", fail_if_body_not_matches_regexp: ["a.*b"]}
  gzip: {url: "http://PLAIN/", compression: gzip, fail_if_body_not_matches_regexp: [a]}
  br: {url: "http://PLAIN/", compression: br, fail_if_body_json_not_matches_cel: "body.a == 1"}
  deflate: {url: "http://PLAIN/", compression: deflate, fail_if_body_json_matches_cel: "body.all(x, x > 1)"}
  proxied: {url: "https://192.0.2.1/", proxy_url: "http://hunter2secret:hunter2secret@PLAIN"}
  socks: {url: "http://192.0.2.1/", proxy_url: "socks5h://hunter2secret:hunter2secret@PLAIN"}
  dialogue: {type: tcp, target: PLAIN, query_response: [{send: hunter2secret}, {expect: "^(a+)", send: "${1} hunter2secret", labels: [{name: a, value: "$1"}]}, {expect_bytes: ab}, {expect: "^220", starttls: true}]}
  tls: {type: tls, target: PLAIN}
  smtp: {type: tls, target: PLAIN, starttls: smtp}
  imap: {type: tls, target: PLAIN, starttls: imap}
  ldap: {type: tls, target: PLAIN, starttls: ldap}
  postgres: {type: tls, target: PLAIN, starttls: postgres}
  mysql: {type: tls, target: PLAIN, starttls: mysql}
  grpc: {type: grpc, target: PLAIN, metadata: {authorization: hunter2secret}}
  websocket: {type: websocket, target: "ws://PLAIN/", headers: {X-Token: hunter2secret}, query_response: [{expect: "(.*)", send: "$1 hunter2secret"}]}
  dns: {type: dns, target: PLAIN, transport_protocol: tcp, query_name: example.com, validate_answer_rrs: {fail_if_not_matches_regexp: ["a"]}}
  h2: {extends: secret, url: "https://TLS/?token=hunter2secret", tls_config: {ca_file: FILES/ca.pem}, fail_if_body_not_matches_regexp: ["a.*b"]}
  h2-json: {extends: tls, url: "https://TLS/", compression: gzip, fail_if_body_json_not_matches_cel: "body.a == 1"}
  grpc-tls: {type: grpc, target: TLS, tls: true, extends: tls, metadata: {authorization: hunter2secret}}
  doh: {type: dns, target: "https://TLS/dns?k=hunter2secret", query_name: example.com, extends: tls}
  dot: {type: dns, target: TLS, transport_protocol: tls, query_name: example.com, extends: tls}
  wss: {type: websocket, target: "wss://TLS/", extends: tls, headers: {X-Token: hunter2secret}, query_response: [{expect: "(.*)", send: "$1"}]}
  tls-dialogue: {type: tcp, target: TLS, tls: true, extends: tls, query_response: [{send: hunter2secret}, {expect: "^220"}, {expect: "^250"}]}
"#;

static JOBS: LazyLock<Vec<Job>> = LazyLock::new(|| {
    let config = PEER
        .config(MONITORS)
        .unwrap_or_else(|invalid| panic!("{invalid}"));
    jobs(&config)
});

fuzz_target!(|input: &[u8]| {
    let Some((chosen, says)) = input.split_first() else {
        return;
    };
    let job = &JOBS[usize::from(*chosen) % JOBS.len()];
    let is_dns = job.kind() == "dns" && &*job.name != "doh";
    check(
        job,
        Script {
            bytes: says.to_vec(),
            is_dns,
        },
    );
});
