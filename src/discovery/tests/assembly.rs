//! Tests of the monitors that targets become, and of the work for unchanged targets.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::read;
use crate::{
    discovery::{
        BlockCounts, Stats,
        assembly::{BuildMonitor, DiscoveredMonitor, TargetMerger},
        payload::{Format, Target, parse, targets},
        source::Update,
    },
    value::Node,
};

fn list(json: &str) -> Vec<Arc<[Target]>> {
    let groups = parse(json.as_bytes(), Format::Json).expect("a list");
    vec![targets(groups, &[]).into()]
}

/// An assembly of blocks with these texts, each with one source, and its statistics.
fn assembly(
    blocks: &[&str],
    make: Arc<BuildMonitor<DiscoveredMonitor>>,
) -> (TargetMerger<DiscoveredMonitor>, Stats) {
    let mut section = String::new();
    for (index, rules) in blocks.iter().enumerate() {
        let _ = writeln!(
            section,
            "block{index}: {{template: web, file_sd_configs: [{{files: [a.json]}}], relabel_configs: {rules}}}"
        );
    }
    let settings = read(&section).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let stats = Stats::default();
    let with_stats =
        |block: &super::super::settings::Block| (block.clone(), stats.block(&block.name));
    let blocks: Vec<_> = settings.blocks.iter().map(with_stats).collect();
    (TargetMerger::new(blocks, make), stats)
}

fn update(source: usize, json: &str) -> Update {
    Update {
        source,
        lists: Some(list(json)),
    }
}

/// The one monitor that comes of a target by `rules`, as name, target and URL, and its keys.
#[track_caller]
fn check(rules: &str, json: &str, expected: (&str, &str, &str), keys: &[(&str, &str)]) {
    let (mut assembly, _) = assembly(&[rules], Arc::new(Ok));
    assembly.apply(update(0, json));
    let monitors = assembly.monitors();
    let [monitor] = &monitors[..] else {
        panic!("{monitors:?}")
    };
    assert_eq!((&*monitor.name, &*monitor.target, &*monitor.url), expected);
    assert_eq!(&*monitor.template, "web");
    let shown = monitor
        .keys
        .iter()
        .map(|(key, node)| (key.as_str(), show(node)));
    let expected: Vec<_> = keys
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect();
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

fn show(node: &Node) -> String {
    match node {
        Node::Text(text) => text.clone(),
        Node::Map(entries) => {
            let shown = entries
                .iter()
                .map(|(key, node)| format!("{key}={}", show(node)));
            shown.collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn an_address_is_target_or_url() {
    let one = |address: &str| format!("[{{\"targets\": [\"{address}\"]}}]");
    check(
        "[]",
        &one("host:80"),
        ("block0/host:80", "host:80", "http://host:80"),
        &[],
    );
    check(
        "[]",
        &one("https://a.example/x"),
        (
            "block0/https://a.example/x",
            "https://a.example/x",
            "https://a.example/x",
        ),
        &[],
    );
    check(
        "[{target_label: __scheme__, replacement: https}, {target_label: __metrics_path__, replacement: /health}]",
        &one("host:80"),
        ("block0/host:80", "host:80", "https://host:80/health"),
        &[],
    );
    // As configurations for blackbox_exporter have it.
    check(
        "[{source_labels: [__address__], target_label: __param_target},
          {source_labels: [__param_target], target_label: instance},
          {target_label: __address__, replacement: '127.0.0.1:9115'}]",
        &one("https://a.example/"),
        (
            "block0/https://a.example/",
            "https://a.example/",
            "https://a.example/",
        ),
        &[("labels", "instance=https://a.example/")],
    );
}

#[test]
fn labels_become_name_labels_and_timing() {
    check(
        "[{regex: __meta_(.*), action: labelmap}]",
        r#"[{"targets": ["h:1"], "labels": {"monitor": "the shop", "env": "prod", "__meta_team": "pay", "__tmp": "x", "__check_every__": "10s", "__timeout__": "2s"}}]"#,
        ("the shop", "h:1", "http://h:1"),
        &[
            ("check_every", "10s"),
            ("timeout", "2s"),
            ("labels", "env=prod,team=pay"),
        ],
    );
}

#[test]
fn a_list_cannot_ask_for_too_many_checks() {
    for (interval, is_refused) in [("999ms", true), ("1s", false), ("soon", false)] {
        let (mut assembly, stats) = assembly(&["[]"], Arc::new(Ok));
        let labels = format!(r#"{{"__check_every__": "{interval}"}}"#);
        assembly.apply(update(
            0,
            &format!(r#"[{{"targets": ["h:1"], "labels": {labels}}}]"#),
        ));
        let monitors = assembly.monitors().len();
        let refused = stats.blocks()[0].1.rejected;
        assert_eq!(
            (monitors, refused),
            if is_refused { (0, 1) } else { (1, 0) },
            "{interval}"
        );
    }
    let section =
        "a: {template: web, min_check_every: 100ms, file_sd_configs: [{files: [a.json]}]}";
    let settings = read(section).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let allowed = std::time::Duration::from_millis(100);
    assert_eq!(settings.blocks[0].min_check_every, allowed);
}

#[test]
fn names_of_labels_may_be_any_text() {
    check(
        "[{source_labels: [env], target_label: stage}]",
        r#"[{"targets": ["h:1"], "labels": {"env": "prod", "app.kubernetes.io/name": "shop", "größe": "1", "__été": "x"}}]"#,
        ("block0/h:1", "h:1", "http://h:1"),
        &[(
            "labels",
            "app.kubernetes.io/name=shop,env=prod,größe=1,stage=prod",
        )],
    );
}

#[test]
fn a_name_has_no_secrets() {
    for (address, name) in [
        (
            "https://user:hunter2@a.example/x?token=hunter2#y",
            "block0/https://a.example/x",
        ),
        ("hunter2@a.example:80", "block0/a.example:80"),
        ("a.example?hunter2", "block0/a.example"),
    ] {
        let (mut assembly, _) = assembly(&["[]"], Arc::new(Ok));
        assembly.apply(update(0, &format!("[{{\"targets\": [\"{address}\"]}}]")));
        assert_eq!(assembly.monitors()[0].name, name);
    }
}

#[test]
fn what_becomes_of_targets_is_counted() {
    let make: Arc<BuildMonitor<DiscoveredMonitor>> =
        Arc::new(|wanted: DiscoveredMonitor| match wanted.target.as_str() {
            "bad" => Err(vec!["target: invalid host".to_owned()]),
            _ => Ok(wanted),
        });
    let (mut assembly, stats) = assembly(
        &["[{source_labels: [env], regex: test, action: drop}]", "[]"],
        make,
    );
    assembly.apply(update(0, r#"[{"targets": ["a", "bad", "b", "a"]}, {"targets": ["c", "d"], "labels": {"env": "test"}}]"#));
    assembly.apply(update(
        1,
        r#"[{"targets": ["a"], "labels": {"monitor": "block0/a"}}, {"targets": ["e"]}]"#,
    ));
    let monitors = assembly.monitors();
    let names: Vec<_> = monitors.iter().map(|monitor| &*monitor.name).collect();
    assert_eq!(names, ["block0/a", "block0/b", "block1/e"]);
    // The first one has the name.
    assert!(monitors[0].keys.is_empty());
    let outcomes: Vec<_> = stats
        .blocks()
        .into_iter()
        .map(|(_, outcomes)| outcomes)
        .collect();
    assert_eq!(
        outcomes,
        [
            BlockCounts {
                monitors: 2,
                dropped: 2,
                duplicates: 1,
                rejected: 1
            },
            BlockCounts {
                monitors: 1,
                dropped: 0,
                duplicates: 1,
                rejected: 0
            },
        ]
    );
}

#[test]
fn of_a_list_in_which_little_changes_only_that_is_made() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let count: Arc<BuildMonitor<DiscoveredMonitor>> = Arc::new(move |wanted| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(wanted)
    });
    let (mut assembly, _) = assembly(
        &[
            "[{source_labels: [__address__], regex: '(.*):.*', target_label: host}]",
            "[]",
        ],
        count,
    );
    let inventory = |changed: usize| {
        let groups: Vec<_> = (0..10_000)
            .map(|index| {
                let version = if index < changed { "new" } else { "old" };
                serde_json::json!({"targets": [format!("10.0.0.1:{index}")], "labels": {"version": version}})
            })
            .collect();
        serde_json::json!(groups).to_string()
    };
    assembly.apply(update(0, &inventory(0)));
    assembly.apply(update(1, r#"[{"targets": ["other"]}]"#));
    let first = assembly.monitors();
    assert_eq!(
        (first.len(), made.swap(0, Ordering::Relaxed)),
        (10_001, 10_001)
    );
    assembly.apply(update(0, &inventory(100)));
    let second = assembly.monitors();
    assert_eq!(
        (second.len(), made.swap(0, Ordering::Relaxed)),
        (10_001, 100)
    );
    assert!(
        first[100..]
            .iter()
            .zip(&second[100..])
            .all(|(a, b)| Arc::ptr_eq(a, b))
    );
    // What is gone is forgotten.
    assembly.apply(update(0, "[]"));
    assert_eq!(assembly.monitors().len(), 1);
    assembly.apply(update(0, &inventory(0)));
    assert_eq!(
        (assembly.monitors().len(), made.load(Ordering::Relaxed)),
        (10_001, 10_000)
    );
}
