//! Prometheus' own cases (`model/relabel/relabel_test.go`), and what holds whatever the labels are.

use proptest::prelude::*;

use crate::{
    discovery::relabel::{Labels, Rules},
    value::{Fields, Path, Problems, yaml},
};

fn read(rules: &str) -> Result<Rules, Vec<String>> {
    let node = yaml::parse(&format!("relabel_configs: {rules}")).expect("YAML");
    let problems = Problems::default();
    let mut fields = Fields::from_node(&node, Path::default(), &problems).expect("a mapping");
    let rules = Rules::read(&mut fields);
    fields.reject_unknown_keys();
    let (found, _) = problems.into_vec();
    if found.is_empty() {
        return Ok(rules);
    }
    let told = found.iter();
    Err(told
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect())
}

/// Labels of `{a: foo, b: bar}`.
fn labels(text: &str) -> Labels {
    let pairs = text.split(", ").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').expect("a name and a value"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[track_caller]
fn check(before: &str, rules: &str, after: Option<&str>) {
    let rules = read(rules).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    assert_eq!(
        rules.apply(labels(before)).ok(),
        after.map(labels),
        "{before}"
    );
}

#[track_caller]
fn check_wrong(rule: &str, expected: &[&str]) {
    let wrong = read(&format!("[{rule}]")).expect_err(rule);
    assert_eq!(wrong, expected, "{rule}");
}

#[test]
fn replace_writes_what_the_groups_catch() {
    check(
        "a=foo, b=bar, c=baz",
        "[{source_labels: [a], regex: f(.*), target_label: d, separator: ;, replacement: 'ch${1}-ch${1}'}]",
        Some("a=foo, b=bar, c=baz, d=choo-choo"),
    );
    check(
        "a=foo, b=bar, c=baz",
        "[{source_labels: [a, b], regex: f(.*);(.*)r, target_label: a, replacement: 'b${1}${2}m'},
          {source_labels: [c, a], regex: '(b).*b(.*)ba(.*)', target_label: d, replacement: $1$2$2$3}]",
        Some("a=boobam, b=bar, c=baz, d=boooom"),
    );
    check(
        "a=foo",
        "[{source_labels: [a], target_label: b}]",
        Some("a=foo, b=foo"),
    );
    check(
        "a=foo",
        "[{target_label: b, replacement: fixed}]",
        Some("a=foo, b=fixed"),
    );
    check(
        "a=line1\nline2",
        "[{source_labels: [a], regex: 'line1.line2', target_label: b, replacement: both}]",
        Some("a=line1\nline2, b=both"),
    );
}

#[test]
fn numbers_and_booleans_count_as_text() {
    check(
        "a=80",
        "[{source_labels: [a], regex: 80, target_label: b, replacement: 443},
          {source_labels: [a, a], separator: 0, regex: 80080, target_label: c, replacement: true}]",
        Some("a=80, b=443, c=true"),
    );
    // It is not known that 1.10 was written so.
    let wrong = read("[{regex: 1.10, action: keep}]").expect_err("a number");
    assert!(
        wrong[0].starts_with("relabel_configs[0].regex: "),
        "{wrong:?}"
    );
}

#[test]
fn replace_without_a_match_changes_nothing() {
    check(
        "a=boo",
        "[{source_labels: [a], regex: f, target_label: b, replacement: bar}]",
        Some("a=boo"),
    );
    // All of the text has to match.
    check(
        "a=boo",
        "[{source_labels: [a], regex: 'b|oo', target_label: b, replacement: bar}]",
        Some("a=boo"),
    );
}

#[test]
fn an_empty_replacement_takes_the_label_away() {
    check(
        "a=foo",
        "[{source_labels: [a], regex: (f).*, target_label: a, replacement: $2}]",
        Some(""),
    );
    check(
        "a=foo, b=bar",
        "[{target_label: b, replacement: ''}]",
        Some("a=foo"),
    );
    check("b=bar", "[{source_labels: [a], target_label: b}]", Some(""));
}

#[test]
fn the_name_of_the_label_may_be_caught_too() {
    check(
        "a=some-name-value",
        "[{source_labels: [a], regex: 'some-([^-]+)-([^,]+)', target_label: '${1}', replacement: '${2}'}]",
        Some("a=some-name-value, name=value"),
    );
    check(
        "a=some-name-value",
        "[{source_labels: [a], regex: 'some-([^-]+)-([^,]+)', target_label: '${3}', replacement: '${1}'}]",
        Some("a=some-name-value"),
    );
    check(
        "a=some-name-0",
        "[{source_labels: [a], regex: 'some-([^-]+)-([^,]+)', target_label: '${2}', replacement: '${1}'}]",
        Some("a=some-name-0, 0=name"),
    );
    check(
        "my.label=prod",
        "[{source_labels: [my.label], target_label: env/größe}, {source_labels: [env/größe], target_label: copy}]",
        Some("my.label=prod, env/größe=prod, copy=prod"),
    );
    check(
        "__meta_sd_tags=path:/secret,job:some-job,label:foo=bar",
        "[{source_labels: [__meta_sd_tags], regex: '(?:.+,|^)path:(/[^,]+).*', target_label: __metrics_path__},
          {source_labels: [__meta_sd_tags], regex: '(?:.+,|^)job:([^,]+).*', target_label: job},
          {source_labels: [__meta_sd_tags], regex: '(?:.+,|^)label:([^=]+)=([^,]+).*', target_label: '${1}', replacement: '${2}'}]",
        Some(
            "__meta_sd_tags=path:/secret,job:some-job,label:foo=bar, __metrics_path__=/secret, job=some-job, foo=bar",
        ),
    );
}

#[test]
fn keep_and_drop_decide_by_a_match() {
    check(
        "a=foo",
        "[{source_labels: [a], regex: .*o.*, action: drop},
                     {source_labels: [a], regex: f(.*), target_label: d}]",
        None,
    );
    check(
        "a=foo, b=bar",
        "[{source_labels: [a], regex: no-match, action: drop}]",
        Some("a=foo, b=bar"),
    );
    check(
        "a=foo",
        "[{source_labels: [a], regex: 'f|o', action: drop}]",
        Some("a=foo"),
    );
    check(
        "a=foo",
        "[{source_labels: [a], regex: no-match, action: keep}]",
        None,
    );
    check(
        "a=foo",
        "[{source_labels: [a], regex: f.*, action: keep}]",
        Some("a=foo"),
    );
    check(
        "a=foo",
        "[{source_labels: [a, b], regex: 'foo;', action: KEEP}]",
        Some("a=foo"),
    );
}

#[test]
fn keepequal_and_dropequal_compare_labels() {
    check(
        "__tmp_port=1234, __port1=1234, __port2=5678",
        "[{source_labels: [__tmp_port], target_label: __port1, action: keepequal}]",
        Some("__tmp_port=1234, __port1=1234, __port2=5678"),
    );
    check(
        "__tmp_port=1234, __port1=1234, __port2=5678",
        "[{source_labels: [__tmp_port], target_label: __port2, action: keepequal}]",
        None,
    );
    check(
        "__tmp_port=1234, __port1=1234, __port2=5678",
        "[{source_labels: [__tmp_port], target_label: __port1, action: dropequal}]",
        None,
    );
    check(
        "__tmp_port=1234, __port2=5678",
        "[{source_labels: [__tmp_port], target_label: __port2, action: dropequal}]",
        Some("__tmp_port=1234, __port2=5678"),
    );
}

#[test]
fn hashmod_is_the_remainder_that_prometheus_has() {
    check(
        "a=foo, b=bar, c=baz",
        "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
        Some("a=foo, b=bar, c=baz, d=976"),
    );
    check(
        "a=foo\nbar",
        "[{source_labels: [a], target_label: b, action: hashmod, modulus: 1000}]",
        Some("a=foo\nbar, b=734"),
    );
}

#[test]
fn labels_are_mapped_dropped_and_kept_by_their_names() {
    check(
        "a=foo, b1=bar, b2=baz",
        "[{regex: (b.*), replacement: 'bar_${1}', action: labelmap}]",
        Some("a=foo, b1=bar, b2=baz, bar_b1=bar, bar_b2=baz"),
    );
    check(
        "a=foo, __meta_my_bar=aaa, __meta_my_baz=bbb, __meta_other=ccc",
        "[{regex: __meta_(my.*), action: labelmap}]",
        Some(
            "a=foo, __meta_my_bar=aaa, __meta_my_baz=bbb, __meta_other=ccc, my_bar=aaa, my_baz=bbb",
        ),
    );
    check(
        "__meta_1=x",
        "[{regex: __meta_(.*), action: labelmap}]",
        Some("__meta_1=x, 1=x"),
    );
    check(
        "a=foo, b1=bar, b2=baz",
        "[{regex: (b.*), action: labelkeep}]",
        Some("b1=bar, b2=baz"),
    );
    check(
        "a=foo, b1=bar, b2=baz",
        "[{regex: (b.*), action: labeldrop}]",
        Some("a=foo"),
    );
}

#[test]
fn case_is_changed() {
    check(
        "foo=bAr123Foo",
        "[{source_labels: [foo], target_label: foo_uppercase, action: uppercase},
          {source_labels: [foo], target_label: foo_lowercase, action: lowercase}]",
        Some("foo=bAr123Foo, foo_lowercase=bar123foo, foo_uppercase=BAR123FOO"),
    );
}

#[test]
fn what_prometheus_refuses_is_refused() {
    let at = "relabel_configs[0]";
    check_wrong(
        "{action: tidy}",
        &[&format!(
            "{at}.action: unknown action \"tidy\": expected replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase or uppercase"
        )],
    );
    check_wrong(
        "{source_labels: [a]}",
        &[&format!(
            "{at}: action replace needs target_label: expected a name, which may be any text"
        )],
    );
    check_wrong(
        "{target_label: ''}",
        &[&format!(
            "{at}.target_label: invalid label name \"\": expected a name, which may be any text"
        )],
    );
    check_wrong(
        "{action: hashmod, target_label: a}",
        &[&format!(
            "{at}: modulus is missing: expected a whole number above 0"
        )],
    );
    check_wrong(
        "{action: labelmap, replacement: ''}",
        &[&format!(
            "{at}.replacement: invalid label name \"\": expected a name, which may be any text"
        )],
    );
    check_wrong(
        "{action: labeldrop, regex: a, source_labels: [b]}",
        &[&format!(
            "{at}.source_labels: has no effect with action labeldrop"
        )],
    );
    check_wrong(
        "{action: keepequal, target_label: a, regex: b}",
        &[&format!("{at}.regex: has no effect with action keepequal")],
    );
    check_wrong(
        "{action: keep, regex: 'a)(b'}",
        &[&format!(
            "{at}.regex: invalid regular expression: unexpected ); expected a regular expression in RE2 syntax, https://github.com/google/re2/wiki/Syntax"
        )],
    );
    check_wrong(
        "{action: keep, regx: a}",
        &[&format!("{at}.regx: unknown key, did you mean regex?")],
    );
}

fn some_labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[a-c_]{1,3}", "[a-c$;{}1]{1,8}", 0..6)
}

fn some_rule() -> impl Strategy<Value = String> {
    let action = prop_oneof![
        Just("replace"),
        Just("keep"),
        Just("drop"),
        Just("labelmap"),
        Just("labeldrop"),
        Just("labelkeep"),
        Just("lowercase"),
        Just("hashmod"),
        Just("keepequal"),
    ];
    (action, "[a-c_]{1,2}", "[a-c$1{}_]{1,6}", "[a-c(.*)]{0,6}").prop_map(
        |(action, name, template, regex)| {
            format!(
                "{{action: {action}, source_labels: [{name}], target_label: '{template}', \
                  regex: '{regex}', replacement: '{template}', modulus: 7}}"
            )
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_done_names_stay_valid_and_values_are_there(
        before in some_labels(),
        rules in proptest::collection::vec(some_rule(), 1..4),
    ) {
        // Most of them are refused; what is not must hold.
        for rule in rules {
            let Ok(rules) = read(&format!("[{rule}]")) else { continue };
            let Ok(after) = rules.apply(before.clone()) else { continue };
            for (name, value) in &after {
                prop_assert!(!value.is_empty());
                prop_assert!(!name.is_empty());
            }
        }
    }

    #[test]
    fn keep_and_drop_of_the_same_expression_are_opposites(before in some_labels(), regex in "[a-c.*]{0,4}") {
        let rule = |action| read(&format!("[{{source_labels: [a, b], regex: '{regex}', action: {action}}}]"));
        if let (Ok(keep), Ok(drop)) = (rule("keep"), rule("drop")) {
            let (kept, dropped) = (keep.apply(before.clone()).ok(), drop.apply(before.clone()).ok());
            prop_assert!(kept.is_some() != dropped.is_some());
            prop_assert_eq!(kept.or(dropped), Some(before));
        }
    }
}
