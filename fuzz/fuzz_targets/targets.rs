//! Any list of targets is read, or refused with a message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::discovery::payload::{
    Format, MAX_LABELS, MAX_TARGETS, MAX_TEXT_BYTES, parse, targets,
};

fuzz_target!(|list: &[u8]| {
    for format in [Format::Json, Format::Yaml] {
        match parse(list, format) {
            Ok(groups) => {
                let of_group = |group: &monitoringdaemon::discovery::payload::Group| {
                    assert!(group.labels.len() <= MAX_LABELS);
                    assert!(group.labels.values().all(|value| !value.is_empty()));
                    group.targets.len()
                };
                let count: usize = groups.iter().map(of_group).sum();
                assert!(count <= MAX_TARGETS);
                let targets = targets(groups, &[("__meta_url", "http://localhost/")]);
                assert_eq!(targets.len(), count);
                assert!(
                    targets
                        .iter()
                        .all(|target| target.address.len() <= MAX_TEXT_BYTES)
                );
            }
            Err(wrong) => assert!(!wrong.is_empty() && wrong.len() < 10_000, "{wrong}"),
        }
    }
});
