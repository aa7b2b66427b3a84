//! Any file is read as a web configuration of Prometheus' exporters, or refused with a message.

#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::config;

use support::{assert_readable, written};

fuzz_target!(|text: &[u8]| {
    let file = written(text);
    if let Err(invalid) = config::read_web(file.path()) {
        assert_readable(&invalid.to_string());
    }
});
