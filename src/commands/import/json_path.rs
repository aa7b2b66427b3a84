//! Translates paths into a JSON body, such as `.data[0].name`, to CEL.

use std::fmt::Write;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A path from the top of the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<Step>);

/// Words that CEL does not take for names.
const RESERVED: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "void",
    "while",
];

impl JsonPath {
    /// The path that `text` is, which follows the word for the body; `None` if it is not understood.
    #[must_use]
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let text = text.strip_prefix('.').unwrap_or(text);
        for part in text.split('.') {
            let (key, indices) = match part.find('[') {
                Some(at) => part.split_at(at),
                None => (part, ""),
            };
            match key {
                "" if indices.is_empty() || !steps.is_empty() => return None,
                "" => {}
                key => steps.push(Step::Key(key.to_owned())),
            }
            let mut rest = indices;
            while let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                rest = after;
            }
            if !rest.is_empty() {
                return None;
            }
        }
        Some(Self(steps))
    }

    /// Returns whether each key is a name, so that it can have no other meaning.
    #[must_use]
    pub(super) fn is_simple(&self) -> bool {
        let is_simple = |step: &Step| match step {
            Step::Key(key) => is_name(key),
            Step::Index(_) => true,
        };
        self.0.iter().all(is_simple)
    }

    /// The value there, in CEL.
    #[must_use]
    pub(super) fn value(&self) -> String {
        value(&self.0)
    }

    /// A condition of CEL that is true if there is a value.
    #[must_use]
    pub(super) fn exists(&self) -> String {
        let mut conditions = Vec::new();
        for (depth, step) in self.0.iter().enumerate() {
            let parent = value(&self.0[..depth]);
            conditions.push(match step {
                Step::Key(key) => format!("{} in {parent}", quoted(key)),
                Step::Index(index) => format!("size({parent}) > {index}"),
            });
        }
        conditions.join(" && ")
    }
}

fn value(steps: &[Step]) -> String {
    let mut text = String::from("body");
    for step in steps {
        let _ = match step {
            Step::Key(key) if is_name(key) => write!(text, ".{key}"),
            Step::Key(key) => write!(text, "[{}]", quoted(key)),
            Step::Index(index) => write!(text, "[{index}]"),
        };
    }
    text
}

fn is_name(key: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    key.starts_with(is_start)
        && key.chars().all(|c| is_start(c) || c.is_ascii_digit())
        && !RESERVED.contains(&key)
}

/// `text` as a text of CEL.
#[must_use]
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            '\r' => write!(quoted, "\\r"),
            '\t' => write!(quoted, "\\t"),
            c => write!(quoted, "{c}"),
        };
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_cel() {
        for (path, value, exists) in [
            (".status", "body.status", r#""status" in body"#),
            (
                ".data[0].id",
                "body.data[0].id",
                r#""data" in body && size(body.data) > 0 && "id" in body.data[0]"#,
            ),
            ("[1]", "body[1]", "size(body) > 1"),
            (
                ".my-key.in",
                r#"body["my-key"]["in"]"#,
                r#""my-key" in body && "in" in body["my-key"]"#,
            ),
        ] {
            let parsed = JsonPath::parse(path).expect("a path");
            assert_eq!(
                (parsed.value().as_str(), parsed.exists().as_str()),
                (value, exists)
            );
        }
        for wrong in ["", ".", ".a[", ".a[x]", ".a[0]b", ".a..b"] {
            assert_eq!(JsonPath::parse(wrong), None, "{wrong}");
        }
    }
}
