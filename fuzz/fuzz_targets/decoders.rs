//! Bodies in every encoding, complete or not, honest or not.
//!
//! The first byte of an input chooses the encoding and how the body is matched, the rest is the body.

#![no_main]

mod support;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::check::Job;

use support::{PEER, Script, check, jobs};

const ENCODINGS: [&str; 3] = ["gzip", "br", "deflate"];

const MONITORS: &str = r#"
defaults: {timeout: 2, check_every: 2}
monitors:
  gzip: {url: "http://PLAIN/", compression: gzip}
  br: {url: "http://PLAIN/", compression: br}
  deflate: {url: "http://PLAIN/", compression: deflate}
  gzip-matched: {url: "http://PLAIN/", compression: gzip, fail_if_body_matches_regexp: ["a+b"]}
  br-matched: {url: "http://PLAIN/", compression: br, fail_if_body_matches_regexp: ["a+b"], body_size_limit: 100MB}
  deflate-matched: {url: "http://PLAIN/", compression: deflate, fail_if_body_matches_regexp: ["a+b"]}
"#;

static JOBS: LazyLock<Vec<Job>> = LazyLock::new(|| {
    let config = PEER
        .config(MONITORS)
        .unwrap_or_else(|invalid| panic!("{invalid}"));
    jobs(&config)
});

fuzz_target!(|input: &[u8]| {
    let Some((chosen, body)) = input.split_first() else {
        return;
    };
    let chosen = usize::from(*chosen) % JOBS.len();
    let (encoding, length) = (ENCODINGS[chosen % ENCODINGS.len()], body.len());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {length}\r\n\r\n"
    );
    let bytes = [head.as_bytes(), body].concat();
    check(
        &JOBS[chosen],
        Script {
            bytes,
            is_dns: false,
        },
    );
});
