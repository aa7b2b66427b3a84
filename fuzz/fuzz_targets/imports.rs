//! Any file of another program is imported, or refused with a message.
//!
//! The first byte of an input chooses the program, the rest is the file.

#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::commands::import::{Options, Source, run};
use serde_yaml::Value;

use support::{assert_readable, written};

fuzz_target!(|input: &[u8]| {
    let Some((chosen, text)) = input.split_first() else {
        return;
    };
    let file = written(text);
    let path = file.path().to_owned();
    let source = match chosen % 5 {
        0 => Source::Blackbox {
            modules: path,
            prometheus: None,
        },
        1 => Source::Blackbox {
            modules: path.clone(),
            prometheus: Some(path),
        },
        2 => Source::Gatus { path },
        3 => Source::Cloudprober { path },
        _ => Source::UptimeKuma { path },
    };
    let options = Options {
        lenient: false,
        include_secrets: chosen & 0x80 != 0,
        source,
    };
    let (mut printed, mut notes) = (Vec::new(), Vec::new());
    match run(&options, &mut printed, &mut notes) {
        Ok(_) => {
            let printed = String::from_utf8(printed).expect("text");
            let parsed: Result<Value, _> = serde_yaml::from_str(&printed);
            assert!(parsed.is_ok(), "{parsed:?}\n{printed}");
        }
        Err(error) => assert_readable(&error.to_string()),
    }
    let notes = String::from_utf8(notes).expect("text");
    assert!(
        !notes.contains(|c: char| c.is_control() && c != '\n'),
        "{notes:?}"
    );
});
