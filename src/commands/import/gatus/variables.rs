//! References to environment variables, which Gatus replaces in the whole text of its files.

use crate::value::Node;

/// Rewrites the references in all texts of `node`: `$NAME` becomes `${NAME}`, and `$$` a dollar sign.
/// `use_variable` is called with the name of each variable.
pub(super) fn rewrite(node: &mut Node, use_variable: &dyn Fn(&str)) {
    node.edit_texts(&mut |text| {
        if text.contains('$') {
            *text = rewritten(text, use_variable);
        }
    });
}

fn rewritten(text: &str, use_variable: &dyn Fn(&str)) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            push_dollar(&mut result, after);
            rest = after;
        } else if let Some((name, after)) = reference(after) {
            use_variable(name);
            result.push_str("${");
            result.push_str(name);
            result.push('}');
            rest = after;
        } else {
            push_dollar(&mut result, after);
            rest = after;
        }
    }
    result + rest
}

/// Adds a dollar sign that begins no reference.
fn push_dollar(result: &mut String, after: &str) {
    result.push_str(if after.starts_with('{') { "$$" } else { "$" });
}

/// The name of the variable that `text`, which follows a dollar sign, refers to, and what is behind it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, rest) = match text.strip_prefix('{') {
        Some(inner) => inner.split_once('}')?,
        None => text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len())),
    };
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_part);
    (is_name && !name.is_empty()).then_some((name, rest))
}

/// Returns whether `text`, which has been rewritten, refers to a variable.
#[must_use]
pub(super) fn has_reference(text: &str) -> bool {
    text.replace("$${", "").contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_rewritten() {
        for (text, expected) in [
            ("$TOKEN", "${TOKEN}"),
            ("Bearer ${TOKEN}!", "Bearer ${TOKEN}!"),
            ("a$$b", "a$b"),
            ("$${TOKEN}", "$${TOKEN}"),
            ("5 $", "5 $"),
            ("$1 ${2}", "$1 $${2}"),
        ] {
            assert_eq!(rewritten(text, &|_| {}), expected);
        }
        assert!(has_reference("x${A}"));
        assert!(!has_reference("x$${A} $1"));
    }
}
