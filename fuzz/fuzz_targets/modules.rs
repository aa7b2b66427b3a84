//! Any configuration of blackbox_exporter, and any request for a probe with it. Nothing is probed.
//!
//! The first line of an input is the query of `/probe`, the rest is the file.

#![no_main]

mod support;

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::{
    config,
    net::Net,
    probe::{BindError, BindRequest, ProbeRequest, ProbeStats, Prober},
};
use serde_yaml::Value;

use support::{assert_readable, written};

static NET: LazyLock<Net> = LazyLock::new(Net::system);

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let query = parts
        .next()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let file = written(parts.next().unwrap_or_default());
    let config = match config::read_blackbox(file.path()) {
        Ok(config) => config,
        Err(invalid) => return assert_readable(&invalid.to_string()),
    };
    let bind = config.probe_binder(&NET);
    let prober = Prober::new(&config.probe, bind.clone(), Arc::new(ProbeStats::default()));
    let shown = prober.modules();
    let parsed: Result<Value, _> = serde_yaml::from_str(&shown);
    assert!(parsed.is_ok(), "{parsed:?}\n{shown}");
    let request = ProbeRequest::parse(&query, Some("1"));
    let names = prober.module_names();
    for module in names.iter().chain([&request.module]).take(8) {
        if !names.contains(module) {
            continue;
        }
        let bind_request = BindRequest {
            module,
            target: &request.target,
            hostname: request.hostname.as_deref(),
        };
        if let Err(BindError::Invalid(wrong)) = bind(&bind_request) {
            assert!(
                !wrong.is_empty() && !wrong.contains(char::is_control),
                "{wrong:?}"
            );
        }
    }
});
