//! Any file is read as a configuration, or refused with a message.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::config;

fuzz_target!(|file: &[u8]| {
    let mut on_disk = tempfile::NamedTempFile::new().expect("a temporary file");
    on_disk.write_all(file).expect("room for it");
    if let Err(wrong) = config::read(on_disk.path()) {
        let shown = wrong.to_string();
        assert!(!shown.is_empty(), "no message");
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!shown.contains(control), "{shown:?}");
    }
});
