//! Cloudprober's JSON filters in jq, as far as they are simple comparisons.

use crate::commands::import::json_path::{JsonPath, quoted};

/// The expression of CEL that is true of a JSON body if `filter` gives `true`.
#[must_use]
pub(super) fn cel_of_filter(filter: &str) -> Option<String> {
    let filter = filter.trim();
    if filter.is_empty() || filter == "." {
        return Some("true".to_owned());
    }
    let mut parts = Vec::new();
    for part in filter.split(" and ") {
        parts.push(comparison(part.trim())?);
    }
    Some(parts.join(" && "))
}

fn comparison(text: &str) -> Option<String> {
    const OPERATORS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];
    let found = OPERATORS
        .iter()
        .find_map(|operator| Some((text.split_once(operator)?, *operator)));
    let Some(((left, right), operator)) = found else {
        // A value that must be true itself.
        return Some(format!("{} == true", path(text)?));
    };
    let left = left.trim();
    let (length, left) = match left.strip_suffix("length") {
        Some(inner) => (true, inner.trim().strip_suffix('|')?.trim()),
        None => (false, left),
    };
    let value = path(left)?;
    let right = right.trim();
    let text = right
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let right = match text {
        Some(text) if !text.contains(['"', '\\']) => quoted(text),
        Some(_) => return None,
        None if matches!(right, "true" | "false" | "null") => right.to_owned(),
        None if length => right.parse::<u32>().ok()?.to_string(),
        None => format!("{:?}", right.parse::<f64>().ok()?),
    };
    Some(if length {
        format!("size({value}) {operator} {right}")
    } else {
        format!("{value} {operator} {right}")
    })
}

fn path(text: &str) -> Option<String> {
    if text.contains("..") || !text.starts_with('.') {
        return None;
    }
    let path = JsonPath::parse(text).filter(JsonPath::is_simple)?;
    Some(path.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_filters_become_cel() {
        for (filter, cel) in [
            ("", Some("true")),
            (r#".status == "ok""#, Some(r#"body.status == "ok""#)),
            (".data[0].age < 5", Some("body.data[0].age < 5.0")),
            (".items | length > 2", Some("size(body.items) > 2")),
            (
                r#".a == 1 and .b != "x""#,
                Some(r#"body.a == 1.0 && body.b != "x""#),
            ),
            (".healthy", Some("body.healthy == true")),
            (".a | keys", None),
            ("map(.x)", None),
            (".a == .b", None),
        ] {
            assert_eq!(cel_of_filter(filter).as_deref(), cel, "{filter}");
        }
    }
}
