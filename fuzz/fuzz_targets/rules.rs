//! Any name of a monitor stays a name in the printed rules.

#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::{commands::rules, config};
use serde_yaml::Value;

use support::written;

/// Every text in `value` for which `found` is called.
fn texts<'v>(value: &'v Value, found: &mut impl FnMut(&'v str)) {
    match value {
        Value::String(text) => found(text),
        Value::Sequence(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            texts(key, found);
            texts(value, found);
        }),
        _ => {}
    }
}

fuzz_target!(|name: &str| {
    let quoted = serde_json::to_string(name).expect("a text");
    let text = format!(
        "monitors: {{{quoted}: {{url: 'http://localhost/', slo: {{availability: 99.9, latency: {{threshold: 300ms, objective: 99}}}}}}}}\n"
    );
    let file = written(text.as_bytes());
    let Ok(config) = config::read(file.path()) else {
        return;
    };
    assert_eq!(config.monitors[0].name, name);
    let printed = rules::for_config(&config).to_string();
    let parsed: Value =
        serde_yaml::from_str(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    let group = format!("slo of {name}");
    let mut has_group = false;
    texts(&parsed, &mut |text| has_group |= text == group);
    assert!(has_group, "{printed}");
});
