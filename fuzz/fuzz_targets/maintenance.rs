//! Any maintenance window is read and looked at in short time, or refused with a message.
//!
//! Each line of an input is a key of the window, a tab and its value.

#![no_main]

mod support;

use std::{sync::Arc, time::Duration};

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::{
    config,
    history::History,
    state::{DependencyGraph, States},
};
use serde_json::{Map, Value, json};

use support::{assert_readable, cpu_time, written};

/// The longest time that reading a window and looking at it may take, in CPU time: coverage included.
const LONGEST: Duration = Duration::from_secs(1);

fuzz_target!(|input: &str| {
    let keys = input.lines().filter_map(|line| line.split_once('\t'));
    let window: Map<_, _> = keys
        .map(|(key, value)| {
            let value = if value.starts_with(['[', '{']) {
                serde_json::from_str(value).unwrap_or_else(|_| value.into())
            } else {
                Value::from(value)
            };
            (key.to_owned(), value)
        })
        .collect();
    let file = written(
        json!({ "maintenance": { "window": window } })
            .to_string()
            .as_bytes(),
    );
    let start = cpu_time();
    match config::read(file.path()) {
        Ok(config) => {
            let states = States::new(Arc::new(History::default()));
            let (graph, _) = DependencyGraph::new(&config.members);
            states.configure(config.states.clone(), graph);
        }
        Err(invalid) => assert_readable(&invalid.to_string()),
    }
    let took = cpu_time() - start;
    assert!(took < LONGEST, "{took:?}");
});
