//! Any CEL expression is evaluated with any body, within its bounds.
//!
//! The first line of an input is the expression, the rest is the body.

#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;

use support::{PEER, Script, check, jobs};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let expression = parts
        .next()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    // JSON's strings are YAML's, but for variables.
    let expression = serde_json::to_string(&expression.replace("${", "$")).expect("a text");
    let config = format!(
        "defaults: {{timeout: 5, check_every: 5}}\n\
         monitors: {{json: {{url: 'http://PLAIN/', fail_if_body_json_not_matches_cel: {expression}}}}}\n",
    );
    let Ok(config) = PEER.config(&config) else {
        return;
    };
    let jobs = jobs(&config);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let bytes = [head.as_bytes(), body].concat();
    check(
        &jobs[0],
        Script {
            bytes,
            is_dns: false,
        },
    );
});
