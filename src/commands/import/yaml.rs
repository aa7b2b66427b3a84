//! Prints trees as YAML to be read and edited by hand.

use std::{
    fmt::{self, Write},
    net::Ipv4Addr,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    text::{self, bounded},
    value::Node,
};

/// Characters of a line up to which a list or a mapping stays on it.
const MAX_LINE: usize = 100;

/// Bytes of a comment; the rest is cut off.
const MAX_COMMENT: usize = 500;

/// Writes `entries` as a mapping, each on lines of its own.
pub(super) fn write_map(
    f: &mut impl Write,
    entries: &[(String, Node)],
    indentation: usize,
) -> fmt::Result {
    for (key, node) in entries {
        write!(f, "{:indentation$}{}:", "", scalar(key))?;
        write_value(f, node, indentation, key.len())?;
    }
    Ok(())
}

/// Writes `node` behind its key, with the line break.
fn write_value(f: &mut impl Write, node: &Node, indentation: usize, before: usize) -> fmt::Result {
    if let Some(line) = one_line(node, MAX_LINE.saturating_sub(indentation + before)) {
        return writeln!(f, " {line}");
    }
    f.write_str("\n")?;
    match node {
        Node::Map(entries) => write_map(f, entries, indentation + 2),
        Node::List(items) => {
            let indentation = indentation + 2;
            for item in items {
                write!(f, "{:indentation$}-", "")?;
                match item {
                    Node::Map(entries) if one_line(item, MAX_LINE - 10).is_none() => {
                        // The first key stands behind the dash.
                        let mut text = String::new();
                        write_map(&mut text, entries, indentation + 2)?;
                        write!(f, " {}", text.trim_start())?;
                    }
                    item => write_value(f, item, indentation, 1)?,
                }
            }
            Ok(())
        }
        node => writeln!(f, "{:indentation$}  {}", "", flow(node)),
    }
}

/// `node` on one line, if it is short enough or cannot be broken.
fn one_line(node: &Node, room: usize) -> Option<String> {
    let is_flat = |node: &Node| match node {
        Node::List(items) => items.is_empty(),
        Node::Map(entries) => entries.is_empty(),
        _ => true,
    };
    match node {
        Node::List(items) if !items.is_empty() => {
            let is_short = |item: &Node| match item {
                Node::Map(entries) => {
                    entries.len() <= 3 && entries.iter().all(|(_, node)| is_flat(node))
                }
                item => is_flat(item),
            };
            let is_simple = items.iter().all(is_flat) || (items.len() == 1 && is_short(&items[0]));
            let line = is_simple.then(|| flow(node))?;
            (line.chars().count() <= room).then_some(line)
        }
        Node::Map(entries) if !entries.is_empty() => {
            let is_simple = entries.len() <= 3 && entries.iter().all(|(_, node)| is_flat(node));
            let line = is_simple.then(|| flow(node))?;
            (line.chars().count() <= room.min(70)).then_some(line)
        }
        node => Some(flow(node)),
    }
}

/// `node` in flow style.
fn flow(node: &Node) -> String {
    match node {
        Node::Null => "null".to_owned(),
        Node::Bool(flag) => flag.to_string(),
        Node::Int(number) => number.to_string(),
        Node::Float(number) => number.to_string(),
        Node::Text(text) | Node::FromEnvironment(text) => scalar(text),
        Node::Binary(bytes) => format!("!!binary {}", scalar(&STANDARD.encode(bytes))),
        Node::List(items) => {
            let items: Vec<_> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Node::Map(entries) => {
            let entry = |(key, node): &(String, Node)| format!("{}: {}", scalar(key), flow(node));
            let entries: Vec<_> = entries.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// `text` as a scalar that is text: plain, in single quotes, or with escapes.
#[must_use]
pub(super) fn scalar(text: &str) -> String {
    let is_plain_start =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'));
    let is_plain_char = |c: char| c.is_ascii_alphanumeric() || "_./-:+@=".contains(c);
    let has_meaning = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let address = text.split_once(':').map_or(text, |(address, _)| address);
    let is_address = address.parse::<Ipv4Addr>().is_ok() && text.chars().all(is_plain_char);
    if is_duration_or_class(text) || is_address {
        return text.to_owned();
    }
    if is_plain_start
        && text.len() <= 200
        && text.chars().all(is_plain_char)
        && !text.ends_with(':')
        && !has_meaning.contains(&text.to_lowercase().as_str())
    {
        return text.to_owned();
    }
    let is_printable = text.chars().all(|c| matches!(c, ' '..='~'));
    if is_printable && text.contains(['\\', '"']) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text::quoted(text)
}

/// Returns whether `text` is like `1m30s` or `2xx`, which start with a digit and are text all the same.
fn is_duration_or_class(text: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit();
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(digits);
        let end = unit.find(digits).unwrap_or(unit.len());
        let is_unit = matches!(&unit[..end], "ms" | "s" | "m" | "h" | "d" | "xx");
        if unit.len() == rest.len() || rest.len() > 20 || !is_unit {
            return false;
        }
        rest = &unit[end..];
    }
    !text.is_empty()
}

/// Writes a comment on a line of its own.
pub(super) fn write_comment(f: &mut impl Write, text: &str, indentation: usize) -> fmt::Result {
    // What YAML refuses even in comments, or takes for the end of a line, is no letter.
    let is_shown = |c: &char| c.is_alphanumeric() || matches!(c, ' '..='~' | '…');
    let shown = bounded(text.to_owned(), MAX_COMMENT);
    let line: String = "# ".chars().chain(shown.chars().filter(is_shown)).collect();
    writeln!(f, "{:indentation$}{}", "", line.trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::yaml::parse;

    /// Any tree that an importer makes: texts, numbers, lists and mappings.
    fn tree() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Node::Bool),
            any::<i64>().prop_map(|number| Node::Int(number.into())),
            any::<String>().prop_map(Node::Text),
            "[a-z0-9:# '\"\\\\{}\\[\\],&*!|>%@`~-]{0,20}".prop_map(Node::Text),
            prop::collection::vec(any::<u8>(), 0..10).prop_map(Node::Binary),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Node::List),
                prop::collection::btree_map("[^<\\x00]{0,12}", inner, 0..6)
                    .prop_map(|entries| Node::Map(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entries in prop::collection::btree_map("[a-z ]{1,12}", tree(), 1..6)) {
            let entries: Vec<_> = entries.into_iter().collect();
            let mut text = String::new();
            write_map(&mut text, &entries, 2).expect("a String takes all text");
            match parse(&text) {
                Ok(node) => prop_assert_eq!(node, Node::Map(entries), "{}", text),
                Err(error) => prop_assert!(false, "{}\n{}", error.message, text),
            }
        }

        #[test]
        fn a_comment_is_one_line_that_yaml_skips(comment: String) {
            let mut text = String::new();
            write_comment(&mut text, &comment, 4).expect("a String takes all text");
            prop_assert_eq!(text.matches('\n').count(), 1);
            let node = parse(&text).ok();
            prop_assert_eq!(node, Some(Node::Null), "{}", text);
        }
    }
}
