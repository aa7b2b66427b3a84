//! `targets`, and `once --discover`: discovery that runs once.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    process::{program, text},
    server::{Closed, Server, response},
};

/// A folder with a configuration whose targets have every fate.
fn folder(config: &mut Value) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, value: &Value| {
        std::fs::write(folder.path().join(name), value.to_string()).expect("room for a file");
    };
    write(
        "targets.json",
        &json!([
            { "targets": ["127.0.0.1:1"], "labels": { "env": "prod" } },
            { "targets": ["127.0.0.1:2"], "labels": { "env": "test" } },
            { "targets": ["127.0.0.1:3"], "labels": { "env": "prod", "__timeout__": "long" } },
            { "targets": ["127.0.0.1:4"], "labels": { "env": "prod", "__enabled__": "false" } },
            { "targets": ["127.0.0.1:5"], "labels": { "env": "prod", "monitor": "configured" } },
            { "targets": ["http://me:hunter2@127.0.0.1:6/?token=hunter2"], "labels": { "env": "prod" } },
        ]),
    );
    config["templates"] = json!({ "web": { "timeout": "1s", "labels": { "team": "a" } } });
    config["monitors"] = json!({ "configured": { "url": "http://127.0.0.1:9/" } });
    config["discovery"] = json!({
        "shops": {
            "template": "web",
            "file_sd_configs": [{ "files": ["targets.json"] }, { "files": ["missing.json"] }],
            "relabel_configs": [
                { "source_labels": ["env"], "regex": "test", "action": "drop" },
            ],
        },
        "without": { "template": "web", "file_sd_configs": [{ "files": ["no*.json"] }] },
    });
    write("config.yml", config);
    folder
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    program()
        .args(arguments)
        .arg("--config")
        .arg(folder.path().join("config.yml"))
        .output()
        .expect("the program can be started")
}

#[test]
fn every_target_is_printed_with_its_monitor_or_the_reason_why_it_has_none() {
    let folder = folder(&mut json!({}));
    let output = run(&folder, &["targets"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let table = text(&output);
    let cells = |address: &str| {
        let row = table.lines().find(|line| line.contains(address));
        let row = row.unwrap_or_else(|| panic!("{address} is missing: {table}"));
        let cells = row.split("  ").map(str::trim);
        cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    let missing = folder.path().join("missing.json").display().to_string();
    for (address, expected) in [
        (
            "127.0.0.1:1",
            &[
                "shops",
                "file_sd/0",
                "127.0.0.1:1",
                "shops/127.0.0.1:1",
                "http",
            ][..],
        ),
        (
            "127.0.0.1:2",
            &[
                "shops",
                "file_sd/0",
                "127.0.0.1:2",
                "-",
                "-",
                "dropped by relabel_configs[0]: drop env \"test\"",
            ],
        ),
        (
            "127.0.0.1:4",
            &[
                "shops",
                "file_sd/0",
                "127.0.0.1:4",
                "shops/127.0.0.1:4",
                "http",
                "paused",
            ],
        ),
        (
            "127.0.0.1:5",
            &[
                "shops",
                "file_sd/0",
                "127.0.0.1:5",
                "-",
                "-",
                "another monitor is called \"configured\"",
            ],
        ),
    ] {
        assert_eq!(cells(address), expected, "{table}");
    }
    assert!(cells("127.0.0.1:3")[5].contains("timeout"), "{table}");
    let unread = cells(&missing);
    assert_eq!(unread[..4], ["shops", "file_sd/1", "-", "-"], "{table}");
    assert!(
        cells("without")[5].contains("no*.json: no targets"),
        "{table}"
    );
    assert!(!table.contains("hunter2"), "{table}");
    let summary = "6 targets: 2 monitored, 1 paused, 1 dropped, 1 duplicate, 1 invalid; \
                   1 list could not be read";
    assert_eq!(table.lines().last(), Some(summary), "{table}");
}

#[test]
fn targets_are_json_for_programs() {
    let folder = folder(&mut json!({}));
    let output = run(&folder, &["targets", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(!text(&output).contains("hunter2"), "{}", text(&output));
    let lists: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let results: Vec<_> = lists[0]["targets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|target| target["result"].as_str().expect("a word"))
        .collect();
    assert_eq!(
        results,
        [
            "monitored",
            "dropped",
            "invalid",
            "paused",
            "duplicate",
            "monitored"
        ]
    );
    let first = &lists[0]["targets"][0];
    assert_eq!(first["labels"]["env"], "prod");
    assert_eq!(
        first["monitor"],
        json!({
            "name": "shops/127.0.0.1:1",
            "type": "http",
            "target": "http://127.0.0.1:1/",
            "check_every": "1m",
            "timeout": "1s",
            "labels": { "env": "prod", "team": "a" },
        })
    );
    assert!(lists[1]["error"].is_string(), "{lists}");
    assert_eq!(lists[2]["targets"], json!([]), "{lists}");
}

#[test]
fn another_shard_runs_some_of_the_targets() {
    let folder = folder(&mut json!({}));
    let monitored = |shard: &str| {
        let output = run(&folder, &["targets", "--output=json", "--shard", shard]);
        let lists: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let targets = lists[0]["targets"].as_array().expect("a list").clone();
        let is = |target: &Value, result: &str| target["result"] == result;
        let count = |result| targets.iter().filter(|target| is(target, result)).count();
        (count("monitored") + count("paused"), count("other_shard"))
    };
    let (first, second) = (monitored("0/2"), monitored("1/2"));
    assert_eq!(first.0 + first.1, 3);
    assert_eq!((second.0, second.1), (first.1, first.0));
}

#[test]
fn once_runs_the_monitors_of_discovered_targets() {
    let (up, down) = (Server::ok(), Closed::new());
    let folder = folder(&mut json!({}));
    let list = json!([{ "targets": [up.address.to_string(), down.address.to_string()] }]);
    std::fs::write(folder.path().join("targets.json"), list.to_string()).expect("room for a file");
    let outcomes = |arguments: &[&str]| {
        let output = run(&folder, &[&["once", "--output=json"], arguments].concat());
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let outcome = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            [&line["monitor"], &line["outcome"]]
                .map(|value| value.as_str().expect("text").to_owned())
        };
        stdout.lines().map(outcome).collect::<Vec<_>>()
    };
    let [first, second] = [up.address, down.address].map(|address| format!("shops/{address}"));
    assert_eq!(
        outcomes(&["--discover"]),
        [
            ["configured", "failure"],
            [&first, "success"],
            [&second, "failure"]
        ]
    );
    assert_eq!(outcomes(&[]), [["configured", "failure"]]);
    assert_eq!(outcomes(&["--discover", &first]), [[&*first, "success"]]);
}

#[test]
fn a_list_over_http_is_looked_up() {
    let list = r#"[{"targets":["127.0.0.1:1"]}]"#;
    let server =
        Server::answering(|_| response("200 OK", &["content-type: application/json"], list));
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({
        "templates": { "web": {} },
        "discovery": { "shops": {
            "template": "web",
            "http_sd_configs": [{ "url": server.http("/targets?key=hunter2") }],
        } },
    });
    std::fs::write(folder.path().join("config.yml"), config.to_string()).expect("room for a file");
    let output = run(&folder, &["targets"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        text(&output).contains(" shops/127.0.0.1:1 "),
        "{}",
        text(&output)
    );
    assert!(
        text(&output).ends_with("\n1 target: 1 monitored\n"),
        "{}",
        text(&output)
    );
    assert!(!text(&output).contains("hunter2"));
    // `validate` does not look them up, which is no warning.
    let output = run(&folder, &["validate", "--strict"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        text(&output).contains("note: ")
            && text(&output).contains("discovery.shops: targets are not looked up"),
        "{}",
        text(&output)
    );
}
