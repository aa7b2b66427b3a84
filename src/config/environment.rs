//! Replaces `${VAR}` and `${VAR:-default}` in texts of the file with environment variables.

use std::{cell::Cell, ffi::OsString};

use crate::value::{EntryPart, Node, Path, Problems, Warning, WarningKind};

/// Looks up a variable by name.
pub(super) type Variables<'v> = &'v dyn Fn(&str) -> Option<OsString>;

/// Replaces references in any number of trees.
pub(super) struct Environment<'v> {
    variables: Variables<'v>,
    problems: &'v Problems,
    /// Number of bytes of all substituted values.
    substituted_bytes: Cell<usize>,
}

/// Maximum size of all substituted values; a variable may be used any number of times.
const MAX_TEXT: usize = 16 << 20;

impl<'v> Environment<'v> {
    pub(super) fn new(variables: Variables<'v>, problems: &'v Problems) -> Self {
        Self {
            variables,
            problems,
            substituted_bytes: Cell::new(0),
        }
    }

    /// Replaces references in all texts of `node`, which is at `path`, but not in keys.
    pub(super) fn substitute(&self, node: &mut Node, path: &Path) {
        if has_reference(node) {
            let groups = CaptureGroupNames::default();
            replace_texts(node, path, &groups, &mut |text, path, groups| {
                self.substitute_text(text, path, groups)
            });
        }
    }

    /// Returns the replacement of `text` if it contains references.
    fn substitute_text(&self, text: &str, path: &Path, groups: &CaptureGroupNames) -> Option<Node> {
        let mut result = String::new();
        let mut missing = Vec::new();
        let (mut is_changed, mut is_substituted) = (false, false);
        let mut rest = text;
        while let Some(at) = rest.find(OPENING) {
            let (before, from) = rest.split_at(at);
            let reference = Reference::parse(from).filter(|(reference, _)| !groups.has(reference));
            let Some((reference, after)) = reference else {
                if !before.ends_with('$') && !refers_to_group(from, groups) {
                    self.warn(path);
                }
                result.push_str(before);
                result.push_str(OPENING);
                rest = &from[OPENING.len()..];
                continue;
            };
            is_changed = true;
            if let Some(before) = before.strip_suffix('$') {
                result.push_str(before);
                result.push_str(&from[..from.len() - after.len()]);
            } else {
                is_substituted = true;
                result.push_str(before);
                match reference.value(self.variables) {
                    Ok(value) => result.push_str(&value),
                    Err(wrong) => missing.push((reference.name, wrong)),
                }
            }
            rest = after;
        }
        result.push_str(rest);
        if !missing.is_empty() {
            self.report_missing(&missing, path);
            return None;
        }
        if is_substituted {
            self.substituted_bytes
                .set(self.substituted_bytes.get() + result.len());
            if self.substituted_bytes.get() > MAX_TEXT {
                let wrong = "too large with the values from the environment";
                let expected = format_args!("at most {MAX_TEXT} bytes in all files together");
                self.problems
                    .add_and_suppress(path, EntryPart::Value, wrong, expected);
                return None;
            }
            return Some(Node::FromEnvironment(result));
        }
        is_changed.then_some(Node::Text(result))
    }

    fn warn(&self, path: &Path) {
        let message =
            "${ begins no reference to a variable (${NAME} or ${NAME:-default}) and stays";
        self.problems.warn(Warning {
            path: path.clone(),
            part: EntryPart::Value,
            message: message.to_owned(),
            kind: WarningKind::Suspicious,
        });
    }

    fn report_missing(&self, missing: &[(&str, &str)], path: &Path) {
        let wrong: Vec<_> = missing
            .iter()
            .map(|(name, wrong)| format!("{name} {wrong}"))
            .collect();
        let name = missing.first().map_or("NAME", |(name, _)| name);
        let expected = format!(
            "a variable that is set, ${{{name}:-default}}, or $${{{name}}} for the literal text"
        );
        let wrong = wrong.join(", ");
        self.problems
            .add_and_suppress(path, EntryPart::Value, wrong, expected);
    }
}

const OPENING: &str = "${";

/// `${name}` or `${name:-default}`.
struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
}

impl<'t> Reference<'t> {
    /// Parses the reference at the start of `text`, and returns the rest. Other text that starts with
    /// `${` is kept: `${1}` is a group of a pattern.
    fn parse(text: &'t str) -> Option<(Self, &'t str)> {
        let inner = text.strip_prefix(OPENING)?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = inner.find(|c| !is_part(c))?;
        let (name, rest) = inner.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        if let Some(after) = rest.strip_prefix('}') {
            let default = None;
            return Some((Self { name, default }, after));
        }
        let (default, after) = rest.strip_prefix(":-")?.split_once('}')?;
        let default = Some(default);
        Some((Self { name, default }, after))
    }

    /// As in a shell, the default also replaces an empty variable.
    fn value(&self, variables: Variables<'_>) -> Result<String, &'static str> {
        let value = variables(self.name).map(OsString::into_string);
        match (value, self.default) {
            (Some(Err(_)), _) => Err("is not UTF-8"),
            (Some(Ok(value)), None) => Ok(value),
            (Some(Ok(value)), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err("is not set"),
        }
    }
}

/// Names of a pattern's groups, which `${name}` in related keys also refers to.
#[derive(Default)]
struct CaptureGroupNames(Vec<String>);

impl CaptureGroupNames {
    /// The groups of `expect` in an entry of `query_response`, or of `regex` in a relabelling rule.
    fn from_entries(entries: &[(String, Node)]) -> Option<Self> {
        let pattern = entries.iter().find_map(|entry| match entry {
            (key, Node::Text(text)) if key == "expect" || key == "regex" => Some(text),
            _ => None,
        })?;
        let names = ["(?P<", "(?<"].into_iter().flat_map(|opening| {
            let groups = pattern.split(opening).skip(1);
            groups.filter_map(|group| Some(group.split_once('>')?.0.to_owned()))
        });
        Some(Self(names.collect()))
    }

    fn has(&self, reference: &Reference<'_>) -> bool {
        reference.default.is_none() && self.0.iter().any(|name| name == reference.name)
    }
}

/// Escapes all references in the texts of `node`, so that substitution restores the texts.
pub(super) fn escape(node: &mut Node) {
    if has_reference(node) {
        let groups = CaptureGroupNames::default();
        replace_texts(node, &Path::default(), &groups, &mut |text, _, groups| {
            Some(Node::Text(escaped(text, groups)))
        });
    }
}

/// Replaces each text in `node`, which is at `path`, but not keys. `replace` gets the text, its path, and the names of
/// the groups that it may refer to, and returns the replacement, if any.
fn replace_texts(
    node: &mut Node,
    path: &Path,
    groups: &CaptureGroupNames,
    replace: &mut dyn FnMut(&str, &Path, &CaptureGroupNames) -> Option<Node>,
) {
    match node {
        Node::Text(text) => {
            if let Some(replacement) = replace(text, path, groups) {
                *node = replacement;
            }
        }
        Node::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                replace_texts(item, &path.item(index), groups, replace);
            }
        }
        Node::Map(entries) => {
            let own = CaptureGroupNames::from_entries(entries);
            let groups = own.as_ref().unwrap_or(groups);
            for (index, (name, node)) in entries.iter_mut().enumerate() {
                replace_texts(node, &path.entry(name, index), groups, replace);
            }
        }
        Node::Null
        | Node::Bool(_)
        | Node::Int(_)
        | Node::Float(_)
        | Node::Binary(_)
        | Node::FromEnvironment(_) => {}
    }
}

fn escaped(text: &str, groups: &CaptureGroupNames) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPENING) {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        if Reference::parse(from).is_some_and(|(reference, _)| !groups.has(&reference)) {
            result.push('$');
        }
        result.push_str(OPENING);
        rest = &from[OPENING.len()..];
    }
    result + rest
}

/// Returns true if `text` starts with `${1}` or a reference to one of `groups`.
fn refers_to_group(text: &str, groups: &CaptureGroupNames) -> bool {
    let inner = text
        .strip_prefix(OPENING)
        .and_then(|text| text.split_once('}'));
    inner.is_some_and(|(name, _)| {
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        is_number || groups.0.iter().any(|group| group == name)
    })
}

fn has_reference(node: &Node) -> bool {
    node.any_text(&|text| text.contains(OPENING))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn variables(name: &str) -> Option<OsString> {
        match name {
            "USER" => Some("monitoring".into()),
            "_p4" => Some("$USER ${USER}".into()),
            "EMPTY" => Some(OsString::new()),
            "BYTES" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        }
    }

    fn substitute(node: &mut Node) -> Vec<String> {
        let problems = Problems::default();
        Environment::new(&variables, &problems).substitute(node, &Path::default());
        let (found, _) = problems.into_vec();
        found.into_iter().map(|problem| problem.message).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &Node) {
        let mut node = Node::Text(text.to_owned());
        assert_eq!(substitute(&mut node), [""; 0], "{text}");
        assert_eq!(&node, expected, "{text}");
    }

    #[test]
    fn what_is_escaped_stays_as_it_was() {
        for text in [
            "${USER}",
            "$${USER}",
            "a${USER:-x}b${1}$",
            "${",
            "$$${USER}${USER}",
        ] {
            let original = Node::Text(text.to_owned());
            let rule = |replacement: Node| {
                let regex = ("regex".to_owned(), Node::Text("(?P<USER>.*)".to_owned()));
                Node::Map(vec![regex, ("replacement".to_owned(), replacement)])
            };
            for original in [original.clone(), rule(original)] {
                let mut node = original.clone();
                escape(&mut node);
                assert_eq!(substitute(&mut node), [""; 0], "{text}");
                assert_eq!(node, original);
            }
        }
    }

    #[test]
    fn a_reference_is_replaced_by_the_variable_or_the_default() {
        for (text, expected) in [
            ("${USER}", "monitoring"),
            ("a ${USER} and ${USER}", "a monitoring and monitoring"),
            ("${USER:-nobody}", "monitoring"),
            ("${NOBODY:-nobody}", "nobody"),
            ("${NOBODY:-}", ""),
            ("${NOBODY:-a:-$b{c}", "a:-$b{c"),
            ("${EMPTY}", ""),
            ("${EMPTY:-something}", "something"),
            ("${_p4}", "$USER ${USER}"),
            ("$${USER} is ${USER}", "${USER} is monitoring"),
        ] {
            check(text, &Node::FromEnvironment(expected.to_owned()));
        }
        check("$${USER}", &Node::Text("${USER}".to_owned()));
        check("$${USER:-x}", &Node::Text("${USER:-x}".to_owned()));
    }

    #[test]
    fn everything_else_with_a_dollar_stays_as_it_is() {
        for text in [
            "$USER",
            "$",
            "$$",
            "^a$",
            "$1",
            "${1}",
            "$${1}",
            "${",
            "${}",
            "${USER",
            "${USER-x}",
            "${USER:x}",
            "${USER:-x",
            "${US ER}",
            "${é}",
            "%(message)s",
            "a{2}$",
            "$${",
        ] {
            check(text, &Node::Text(text.to_owned()));
        }
    }

    #[test]
    fn texts_are_replaced_wherever_they_are_and_keys_nowhere() {
        let reference = || Node::Text("${USER}".to_owned());
        let mut node = Node::Map(vec![
            ("${USER}".to_owned(), reference()),
            (
                "list".to_owned(),
                Node::List(vec![Node::Int(1), reference()]),
            ),
        ]);
        assert_eq!(substitute(&mut node), [""; 0]);
        let replaced = || Node::FromEnvironment("monitoring".to_owned());
        let expected = Node::Map(vec![
            ("${USER}".to_owned(), replaced()),
            (
                "list".to_owned(),
                Node::List(vec![Node::Int(1), replaced()]),
            ),
        ]);
        assert_eq!(node, expected);
    }

    #[test]
    fn the_name_of_a_group_stands_for_what_the_group_catches() {
        let text = |text: &str| Node::Text(text.to_owned());
        let entry = |send: Node, value: Node| {
            let label = Node::Map(vec![("value".to_owned(), value)]);
            Node::Map(vec![
                ("expect".to_owned(), text("^(?P<USER>.*) (?<_p4>.*)$")),
                ("send".to_owned(), send),
                ("labels".to_owned(), Node::List(vec![label])),
            ])
        };
        let mut node = entry(text("${USER} ${USER:-x}"), text("${_p4}"));
        assert_eq!(substitute(&mut node), [""; 0]);
        let sent = Node::FromEnvironment("${USER} monitoring".to_owned());
        assert_eq!(node, entry(sent, text("${_p4}")));
    }

    #[test]
    fn the_groups_of_a_relabelling_rule_are_no_variables() {
        let text = |text: &str| Node::Text(text.to_owned());
        let mut rule = Node::Map(vec![
            ("regex".to_owned(), text("(?P<host>.*):(?<USER>.*)")),
            ("replacement".to_owned(), text("${host}-${USER}")),
        ]);
        let before = rule.clone();
        assert_eq!(substitute(&mut rule), [""; 0]);
        assert_eq!(rule, before);
    }

    #[test]
    fn what_the_environment_lacks_is_told() {
        let mut node = Node::Text("${A}, ${USER} and ${BYTES}".to_owned());
        assert_eq!(
            substitute(&mut node),
            [
                "A is not set, BYTES is not UTF-8: expected a variable that is set, ${A:-default}, \
                 or $${A} for the literal text"
            ]
        );
    }

    #[test]
    fn variables_do_not_multiply_without_bounds() {
        let item = Node::Text("${USER}".repeat(1000));
        let mut node = Node::List(vec![item; 2000]);
        let problems = substitute(&mut node);
        assert!(problems[0].contains("too large"), "{}", problems[0]);
    }
}
