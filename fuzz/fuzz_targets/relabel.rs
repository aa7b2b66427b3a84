//! Any relabelling rules turn any labels into valid labels, or are refused.
//!
//! Each line of the input is a rule, with its values between tabs, or a label with its value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use monitoringdaemon::{
    discovery::relabel::{Labels, Rules},
    value::{Fields, Node, Path, Problems},
};

const KEYS: [&str; 5] = [
    "action",
    "regex",
    "target_label",
    "replacement",
    "separator",
];

fn rule(line: &str) -> Node {
    let mut values = line.split('\t');
    let sources = values.next().unwrap_or_default().split(',');
    let sources = sources.map(|name| Node::Text(name.to_owned())).collect();
    let mut entries = vec![("source_labels".to_owned(), Node::List(sources))];
    for (key, value) in KEYS.iter().zip(values.filter(|value| !value.is_empty())) {
        entries.push(((*key).to_owned(), Node::Text(value.to_owned())));
    }
    entries.push(("modulus".to_owned(), Node::Int(line.len() as i128)));
    Node::Map(entries)
}

fuzz_target!(|input: &str| {
    let (rules, labels): (Vec<_>, Vec<_>) = input.lines().partition(|line| line.contains('\t'));
    let rules = Node::List(rules.into_iter().take(8).map(rule).collect());
    let node = Node::Map(vec![("relabel_configs".to_owned(), rules)]);
    let problems = Problems::default();
    let Some(mut fields) = Fields::from_node(&node, Path::default(), &problems) else {
        return;
    };
    let rules = Rules::read(&mut fields);
    let pairs = labels.iter().filter_map(|line| line.split_once('='));
    let pairs = pairs
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .take(32);
    let labels: Labels = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in rules.apply(labels).unwrap_or_default() {
        // In Prometheus 3, any text is a name.
        assert!(!name.is_empty(), "a label without a name");
        assert!(!value.is_empty(), "{name} has no value");
    }
});
