//! Imports Uptime Kuma monitors over HTTP: plain ones, with a keyword, or with a JSON query.

use super::{credentials, tables::Tables};
use crate::{
    commands::import::{
        context::Context,
        entry::Keys,
        json_path::{JsonPath, quoted},
        section::{Section, scalar_text},
    },
    value::{Node, parse_json},
};

/// Reads the keys of a monitor of type `kind`.
///
/// # Errors
/// Why the monitor cannot be checked.
pub(super) fn read(
    section: &mut Section<'_>,
    kind: &str,
    owner: &str,
    tables: &Tables,
    context: &Context,
) -> Result<Keys, String> {
    let report = context.report.clone();
    let secrets = context.secrets.clone();
    let mut keys = Keys::default();
    let place = section.path_of("url");
    let url = section.text("url").unwrap_or_default();
    let url = secrets.url(owner, &url, &place, Some(&mut keys));
    keys.set("url", url);
    if let Some(method) = section.text("method").filter(|method| method != "GET") {
        keys.set("method", method);
    }
    read_headers(section, owner, context, &mut keys);
    credentials::read(section, owner, context, &mut keys)?;
    read_body(section, owner, context, &mut keys);
    credentials::read_proxy(section, owner, tables, context, &mut keys)?;
    let codes = read_codes(section);
    if !codes.is_empty() {
        keys.set("valid_status_codes", Node::List(codes));
    }
    let place = section.path_of("maxredirects");
    match section.number("maxredirects") {
        Some(0.0) => keys.set("follow_redirects", false),
        Some(10.0) | None => {}
        Some(_) => report.changed(&place, "up to 10 redirects are followed"),
    }
    if section.flag("cache_bust") == Some(true) {
        section.drop_keys(&["cache_bust"], "no parameter against caches is added");
    }
    match kind {
        "keyword" => {
            let keyword = section.text("keyword").unwrap_or_default();
            let key = if section.flag("invert_keyword") == Some(true) {
                "fail_if_body_matches_regexp"
            } else {
                "fail_if_body_not_matches_regexp"
            };
            keys.push(key, regex_syntax::escape(&keyword));
        }
        "json-query" => {
            let place = section.path_of("json_path");
            match json_query(section) {
                Ok(Some(expression)) => keys.set("fail_if_body_json_not_matches_cel", expression),
                Ok(None) => {}
                Err(why) => report.left_out(&place, why),
            }
        }
        _ => {}
    }
    Ok(keys)
}

/// Reads the headers, which are text with JSON in it.
pub(super) fn read_headers(
    section: &mut Section<'_>,
    owner: &str,
    context: &Context,
    keys: &mut Keys,
) {
    let place = section.path_of("headers");
    let Some(headers) = section
        .text("headers")
        .filter(|text| !text.trim().is_empty())
    else {
        return;
    };
    let Ok(Node::Map(headers)) = parse_json(&headers) else {
        context.report.left_out(&place, "not a JSON object");
        return;
    };
    for (index, (name, node)) in headers.iter().enumerate() {
        if let Some(value) = scalar_text(node) {
            let place = place.entry(name, index);
            let value = context.secrets.header(owner, name, &value, &place);
            keys.set_in("headers", name, value);
        }
    }
}

fn read_body(section: &mut Section<'_>, owner: &str, context: &Context, keys: &mut Keys) {
    let encoding = section.text("http_body_encoding");
    let place = section.path_of("body");
    let Some(body) = section.text("body").filter(|text| !text.trim().is_empty()) else {
        return;
    };
    let kind = match encoding.as_deref() {
        Some("form") => "application/x-www-form-urlencoded",
        Some("xml") => "text/xml; charset=utf-8",
        _ => "application/json",
    };
    let has_type = matches!(keys.get("headers"), Some(Node::Map(headers))
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")));
    if !has_type {
        keys.set_in("headers", "Content-Type", kind);
    }
    keys.set("body", context.secrets.text(owner, "body", &body, &place));
}

/// The accepted codes and ranges: a list in a backup, JSON in the database.
fn read_codes(section: &mut Section<'_>) -> Vec<Node> {
    let given: Vec<String> = if let Some(text) = section.text("accepted_statuscodes_json") {
        match parse_json(&text) {
            Ok(Node::List(items)) => items.iter().filter_map(scalar_text).collect(),
            _ => Vec::new(),
        }
    } else {
        let given = section.texts("accepted_statuscodes").into_iter();
        given.map(|(text, _)| text).collect()
    };
    let codes: Vec<_> = given.iter().map(|code| status_codes(code)).collect();
    // The default of both.
    if codes == [Node::Text("2xx".to_owned())] {
        return Vec::new();
    }
    codes
}

/// A code, a range, or a class if it is one.
fn status_codes(text: &str) -> Node {
    if let Ok(code) = text.parse() {
        return Node::Int(code);
    }
    if let Some((first, last)) = text.split_once('-')
        && first.len() == 3
        && first.ends_with("00")
        && last.ends_with("99")
        && first.starts_with(|c: char| last.starts_with(c) && ('1'..='5').contains(&c))
    {
        return Node::Text(format!("{}xx", &first[..1]));
    }
    Node::Text(text.to_owned())
}

/// The expression that a query of JSON stands for; `None` if it is true of each JSON.
fn json_query(section: &mut Section<'_>) -> Result<Option<String>, String> {
    let path = section.text("json_path").unwrap_or_default();
    let operator = section.text("json_path_operator");
    let operator = operator.filter(|text| !text.is_empty());
    let operator = operator.as_deref().unwrap_or("==");
    let expected = section.text("expected_value").unwrap_or_default();
    let path = path.trim();
    let path = path.strip_prefix("$.").unwrap_or(path);
    let parsed = JsonPath::parse(path).filter(JsonPath::is_simple);
    let Some(parsed) = parsed else {
        return Err(format!(
            "{path}: only paths such as data[0].name are understood, not other JSONata"
        ));
    };
    let value = parsed.value();
    let is_number = expected.parse::<f64>().is_ok_and(f64::is_finite);
    let equal = if is_number || matches!(expected.as_str(), "true" | "false") {
        format!(
            "({value} == {expected} || {value} == {})",
            quoted(&expected)
        )
    } else {
        format!("{value} == {}", quoted(&expected))
    };
    let number = expected.parse::<f64>().map(|number| format!("{number:?}"));
    Ok(Some(match (operator, number) {
        ("==", _) => equal,
        ("!=", _) => format!("!({equal})"),
        ("contains", _) => format!("{value}.contains({})", quoted(&expected)),
        ("<" | "<=" | ">" | ">=", Ok(number)) => format!("{value} {operator} {number}"),
        _ => return Err(format!("{operator} {expected:?} is not understood")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_codes_become_classes() {
        let text = |text: &str| Node::Text(text.to_owned());
        for (given, expected) in [
            ("200-299", text("2xx")),
            ("404", Node::Int(404)),
            ("200-204", text("200-204")),
            ("200-399", text("200-399")),
        ] {
            assert_eq!(status_codes(given), expected);
        }
    }
}
