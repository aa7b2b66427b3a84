//! Imports Cloudprober's validators as the keys that judge a response.

use super::json_filter::cel_of_filter;
use crate::{
    commands::import::{entry::Keys, section::Section},
    value::Node,
};

/// The codes that HTTP has.
const CODES: std::ops::RangeInclusive<u16> = 100..=999;

/// Sets the keys for the validators of a probe of type `kind`.
pub(super) fn read(section: &mut Section<'_>, kind: &str, keys: &mut Keys) {
    let report = section.report();
    let mut cel = Vec::new();
    let mut codes: Option<Vec<u16>> = None;
    for mut validator in section.sections("validator") {
        validator.ignore(&["name"]);
        let path = validator.path().clone();
        if kind != "http" {
            report.left_out(&path, "validators of this type are not supported");
            continue;
        }
        if let Some(http) = validator.section("http_validator") {
            read_http(http, keys, &mut codes);
        }
        if let Some(regex) = validator.text("regex") {
            keys.push("fail_if_body_not_matches_regexp", regex);
        }
        if let Some(mut json) = validator.section("json_validator") {
            let filter = json.text("jq_filter").unwrap_or_default();
            if let Some(expression) = cel_of_filter(&filter) {
                cel.push(expression);
            } else {
                let detail = format!("{filter}: only simple comparisons of jq are understood");
                report.left_out(&path, detail);
            }
            json.finish();
        }
        validator.leave_out(
            &["integrity_validator"],
            "patterns of bytes that repeat are not judged",
        );
        validator.leave_out(&["dns_validator"], "not for HTTP");
        validator.finish();
    }
    if !cel.is_empty() {
        keys.set("fail_if_body_json_not_matches_cel", cel.join(" && "));
    }
    if kind == "http" {
        // Without a validator, each response counts as a success.
        let codes = codes.map_or_else(|| Node::List(vec![Node::Text("100-999".into())]), ranges);
        keys.set("valid_status_codes", codes);
    }
}

fn read_http(mut section: Section<'_>, keys: &mut Keys, codes: &mut Option<Vec<u16>>) {
    let report = section.report();
    for (key, is_success) in [
        ("success_status_codes", true),
        ("failure_status_codes", false),
    ] {
        let place = section.path_of(key);
        let Some(text) = section.text(key) else {
            continue;
        };
        let Some(listed) = parse_codes(&text) else {
            report.left_out(&place, format!("{text:?} is not a list of codes"));
            continue;
        };
        let valid = codes.get_or_insert_with(|| CODES.collect());
        valid.retain(|code| {
            listed
                .iter()
                .any(|(first, last)| (first..=last).contains(&code))
                == is_success
        });
    }
    for (key, ours) in [
        ("success_header", "fail_if_header_not_matches"),
        ("failure_header", "fail_if_header_matches"),
    ] {
        let Some(mut header) = section.section(key) else {
            continue;
        };
        let mut matcher = Keys::default();
        matcher.set("header", header.text("name").unwrap_or_default());
        let regex = header
            .text("value_regex")
            .unwrap_or_else(|| ".*".to_owned());
        matcher.set("regexp", regex);
        if key == "failure_header" {
            matcher.set("allow_missing", true);
        }
        header.finish();
        keys.push(ours, matcher);
    }
    section.leave_out(
        &["max_last_modified_diff_sec"],
        "the age of a response is not judged",
    );
    section.finish();
}

/// Codes and ranges such as `200-299,301`.
fn parse_codes(text: &str) -> Option<Vec<(u16, u16)>> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        })
        .collect()
}

/// Codes in ascending order, as ranges and classes.
fn ranges(codes: Vec<u16>) -> Node {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for code in codes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == code => *last = code,
            _ => ranges.push((code, code)),
        }
    }
    let item = |(first, last): (u16, u16)| match last - first {
        0 => Node::Int(first.into()),
        99 if first % 100 == 0 && first <= 500 => Node::Text(format!("{}xx", first / 100)),
        _ => Node::Text(format!("{first}-{last}")),
    };
    Node::List(ranges.into_iter().map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ranges_and_classes() {
        assert_eq!(
            parse_codes("200-299, 301"),
            Some(vec![(200, 299), (301, 301)])
        );
        assert_eq!(parse_codes("2xx"), None);
        let text = |text: &str| Node::Text(text.to_owned());
        let codes: Vec<u16> = (200..300).chain([301]).chain(400..403).collect();
        let expected = vec![text("2xx"), Node::Int(301), text("400-402")];
        assert_eq!(ranges(codes), Node::List(expected));
    }
}
