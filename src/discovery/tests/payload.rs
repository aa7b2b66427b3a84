//! Tests that lists are accepted and rejected as in Prometheus, and bounded.

use std::fmt::Write;

use proptest::prelude::*;

use crate::discovery::payload::{Format, Group, MAX_LABELS, MAX_TARGETS, MAX_TEXT_BYTES, parse};

fn group(targets: &[&str], labels: &[(&str, &str)]) -> Group {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Group {
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        labels: labels.iter().map(pair).collect(),
    }
}

#[track_caller]
fn check(format: Format, text: &str, expected: &[Group]) {
    assert_eq!(
        parse(text.as_bytes(), format).as_deref(),
        Ok(expected),
        "{text}"
    );
}

#[track_caller]
fn check_wrong(format: Format, text: &str, expected: &str) {
    let wrong = parse(text.as_bytes(), format).expect_err(text);
    assert_eq!(wrong, expected, "{text}");
}

#[test]
fn json_and_yaml_say_the_same() {
    let expected = [
        group(
            &["localhost:9090", "https://example.com/"],
            &[("env", "prod"), ("__meta_x", "y")],
        ),
        group(&["my.domain"], &[]),
    ];
    let json = r#"[{"targets": ["localhost:9090", "https://example.com/"],
        "labels": {"env": "prod", "__meta_x": "y", "empty": ""}}, {"targets": ["my.domain"]}]"#;
    check(Format::Json, json, &expected);
    check(Format::Yaml, json, &expected);
    check(
        Format::Yaml,
        "- targets: [localhost:9090, 'https://example.com/']\n  labels:\n    env: prod\n    __meta_x: y\n- targets:\n  - my.domain\n",
        &expected,
    );
}

#[test]
fn what_is_not_there_is_empty() {
    check(Format::Json, "[]", &[]);
    check(
        Format::Json,
        r#"[{}, {"targets": null, "labels": null}]"#,
        &[group(&[], &[]), group(&[], &[])],
    );
    check(Format::Yaml, "", &[]);
    check(Format::Yaml, "# nothing yet\n", &[]);
    check(Format::Json, "\u{feff}[]", &[]);
}

#[test]
fn numbers_of_yaml_are_texts_as_written() {
    check(
        Format::Yaml,
        "- targets: [a]\n  labels: {version: 1.10, port: 0080, on: yes}\n",
        &[group(
            &["a"],
            &[("version", "1.10"), ("port", "0080"), ("on", "yes")],
        )],
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check_wrong(
        Format::Json,
        "",
        "line 1 column 0: EOF while parsing a value",
    );
    check_wrong(
        Format::Json,
        r#"[{"targets": ["a", "#,
        "line 1 column 19: EOF while parsing a value",
    );
    check_wrong(
        Format::Json,
        "<!DOCTYPE html><html></html>",
        "line 1 column 1: expected value",
    );
    check_wrong(
        Format::Json,
        "[] []",
        "line 1 column 4: trailing characters",
    );
    check_wrong(
        Format::Json,
        r#"{"targets": ["a"]}"#,
        "line 1 column 1: expected a list of groups of targets",
    );
    check_wrong(
        Format::Json,
        "[null]",
        "line 1 column 5: expected a group of targets: a mapping with targets and labels",
    );
    check_wrong(
        Format::Json,
        r#"[{"targets": ["a"], "label": {}}]"#,
        "line 1 column 27: unknown key \"label\": expected targets or labels",
    );
    check_wrong(
        Format::Json,
        r#"[{"targets": "a"}]"#,
        "line 1 column 16: expected a list of targets",
    );
    check_wrong(
        Format::Json,
        r#"[{"targets": ["a", ""]}]"#,
        "line 1 column 22: empty target",
    );
    check_wrong(
        Format::Json,
        r#"[{"targets": ["a"], "targets": ["b"]}]"#,
        "line 1 column 37: duplicate key targets",
    );
    check_wrong(
        Format::Json,
        r#"[{"labels": {"": "c"}}]"#,
        "line 1 column 15: empty label name",
    );
    check_wrong(
        Format::Yaml,
        "- targets: [a]\n  labels:\n    a: [b]\n",
        "line 3 column 8: [0].labels.a: expected a string",
    );
    check_wrong(
        Format::Yaml,
        "- targets: [a\n",
        "line 2 column 1: did not find expected ',' or ']', while parsing a flow sequence at line 1 column 12",
    );
    check_wrong(
        Format::Yaml,
        "- target: a\n",
        "line 1 column 3: [0]: unknown key \"target\": expected targets or labels",
    );
    assert_eq!(
        parse(b"[\"\xff\"]", Format::Json),
        Err("not UTF-8".to_owned())
    );
}

#[test]
fn no_value_is_repeated() {
    for text in [
        r#"["hunter2"]"#,
        r#"[{"targets": "hunter2"}]"#,
        r#"[{"targets": ["a"], "labels": "hunter2"}]"#,
        r#"[{"targets": [{"hunter2": "hunter2"}]}]"#,
        r#"[{"labels": {"a": ["hunter2"]}}]"#,
        r#""hunter2""#,
        "hunter2",
    ] {
        for format in [Format::Json, Format::Yaml] {
            let wrong = parse(text.as_bytes(), format).expect_err(text);
            assert!(!wrong.contains("hunter2"), "{format:?} {text}: {wrong}");
        }
    }
    let wrong = parse(br#"[{"labels": {"a": 12345678}}]"#, Format::Json).expect_err("a number");
    assert_eq!(wrong, "line 1 column 26: expected a string");
}

#[test]
fn lists_are_bounded() {
    let long = format!(
        "[{{\"targets\": [\"{}\"]}}]",
        "x".repeat(MAX_TEXT_BYTES + 1)
    );
    let wrong = parse(long.as_bytes(), Format::Json).expect_err("a long target");
    assert!(
        wrong.ends_with(": a text longer than 4096 bytes"),
        "{wrong}"
    );
    let mut labels = String::new();
    for index in 0..=MAX_LABELS {
        write!(labels, "\"l{index}\": \"\",").expect("a String takes all text");
    }
    let wrong = parse(
        format!("[{{\"labels\": {{{labels} \"x\": \"\"}}}}]").as_bytes(),
        Format::Json,
    );
    assert!(wrong.is_err_and(|wrong| wrong.contains("more than 64 labels")));
    let many = format!("[{{\"targets\": [{}\"a\"]}}]", "\"a\",".repeat(MAX_TARGETS));
    let wrong = parse(many.as_bytes(), Format::Json);
    assert!(wrong.is_err_and(|wrong| wrong.contains("more than 200000 targets")));
    let groups = format!("[{}{{}}]", "{},".repeat(MAX_TARGETS));
    let wrong = parse(groups.as_bytes(), Format::Json);
    assert!(wrong.is_err_and(|wrong| wrong.contains("more than 200000 groups")));
    assert!(parse("[".repeat(100_000).as_bytes(), Format::Json).is_err());
    assert!(parse("[".repeat(100_000).as_bytes(), Format::Yaml).is_err());
}

#[test]
fn aliases_share_what_they_name_within_bounds() {
    check(
        Format::Yaml,
        "- targets: &all [a, b]\n  labels: &labels {env: prod}\n- targets: *all\n  labels: *labels\n",
        &[
            group(&["a", "b"], &[("env", "prod")]),
            group(&["a", "b"], &[("env", "prod")]),
        ],
    );
    let target = "x".repeat(4000);
    let mut bomb = format!(
        "- targets: &all [{}{target}]\n",
        format!("{target}, ").repeat(99)
    );
    bomb.push_str(&"- targets: *all\n".repeat(2000));
    let wrong = parse(bomb.as_bytes(), Format::Yaml).expect_err("800 MB");
    assert!(
        wrong.contains("aliases expanded") || wrong.contains("repetition"),
        "{wrong}"
    );
}

#[test]
fn deep_nesting_and_tags_are_refused_in_yaml() {
    check_wrong(
        Format::Yaml,
        &format!("- targets: {}", "[".repeat(300_000)),
        "line 1 column 138: nested more than 128 levels deep",
    );
    check_wrong(
        Format::Yaml,
        "- targets: [!!binary YQ==]\n",
        "line 1 column 1: tags are not supported here",
    );
}

proptest! {
    #[test]
    fn a_list_cut_short_is_no_list_in_json(at in 0_usize..60) {
        let whole = r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "production"}}]"#;
        prop_assume!(at < whole.len());
        prop_assert!(parse(&whole.as_bytes()[..at], Format::Json).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"'a-z&*!| \n-]*") {
        let _ = parse(text.as_bytes(), Format::Json);
        let _ = parse(text.as_bytes(), Format::Yaml);
    }

    #[test]
    fn what_is_written_is_read(
        targets in proptest::collection::vec("\\PC{1,20}", 0..5),
        labels in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,8}", "\\PC{1,20}", 0..5),
    ) {
        let text = serde_json::json!([{"targets": targets, "labels": labels}]).to_string();
        let expected = Ok(vec![Group { targets, labels }]);
        prop_assert_eq!(&parse(text.as_bytes(), Format::Json), &expected);
        prop_assert_eq!(&parse(text.as_bytes(), Format::Yaml), &expected);
    }
}
