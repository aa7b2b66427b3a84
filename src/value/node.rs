//! The tree of a YAML file, and the trait for reading values from it.

/// A YAML value. Mappings keep the order of keys, and duplicate keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// Text with a value from the environment. It is read as whatever type is expected, and errors do
    /// not repeat it.
    FromEnvironment(String),
    /// Bytes: `!!binary`.
    Binary(Vec<u8>),
    /// A list.
    List(Vec<Node>),
    /// A mapping; keys are texts.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The kind of the value, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) | Self::FromEnvironment(_) => "text",
            Self::Binary(_) => "binary data",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    /// Returns true if `matches` is true for any text in the tree; keys and values from the environment are left out.
    pub(crate) fn any_text(&self, matches: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Text(text) => matches(text),
            Self::List(items) => items.iter().any(|item| item.any_text(matches)),
            Self::Map(entries) => entries.iter().any(|(_, node)| node.any_text(matches)),
            _ => false,
        }
    }

    /// Calls `edit` with every text in the tree; keys and values from the environment are left out.
    pub(crate) fn edit_texts(&mut self, edit: &mut dyn FnMut(&mut String)) {
        match self {
            Self::Text(text) => edit(text),
            Self::List(items) => items.iter_mut().for_each(|item| item.edit_texts(edit)),
            Self::Map(entries) => entries
                .iter_mut()
                .for_each(|(_, node)| node.edit_texts(edit)),
            _ => {}
        }
    }

    /// Parses `text` as YAML does without quotes.
    pub(super) fn from_plain_scalar(text: &str) -> Self {
        let begins_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
        match text {
            "true" => return Self::Bool(true),
            "false" => return Self::Bool(false),
            _ => {}
        }
        if let Ok(number) = text.parse() {
            return Self::Int(number);
        }
        match text.parse::<f64>() {
            Ok(number) if text.starts_with(begins_number) && number.is_finite() => {
                Self::Float(number)
            }
            _ => Self::Text(text.to_owned()),
        }
    }
}

/// A type that can be read from a YAML value.
pub trait FromNode: Sized {
    /// The expected values, in a few words after "expected".
    const EXPECTED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// The problem, or the kind that was found (`found a list`), without values that may be secret.
    fn from_node(node: &Node) -> Result<Self, String>;

    /// Reads the value from the file or the environment.
    ///
    /// # Errors
    /// The problem.
    fn read_node(node: &Node) -> Result<Self, String> {
        let Node::FromEnvironment(text) = node else {
            return Self::from_node(node);
        };
        Self::from_node(&Node::Text(text.clone()))
            .or_else(|_| Self::from_node(&Node::from_plain_scalar(text)))
            .map_err(|_| INVALID_ENVIRONMENT_VALUE.to_owned())
    }
}

/// The error for values from the environment, which may be secret.
pub(super) const INVALID_ENVIRONMENT_VALUE: &str = "invalid value from the environment";

/// The error for a value of an unexpected kind.
pub(super) fn unexpected_kind(node: &Node) -> String {
    format!("found {}", node.kind())
}

impl FromNode for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Bool(value) => Ok(*value),
            _ => Err(unexpected_kind(node)),
        }
    }
}

impl FromNode for usize {
    const EXPECTED: &'static str = "a whole number from 1 to 1000000";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(value @ 1..=1_000_000) => {
                Ok(usize::try_from(*value).expect("the pattern bounds it"))
            }
            Node::Int(value) => Err(format!("{value} is out of range")),
            _ => Err(unexpected_kind(node)),
        }
    }
}

impl FromNode for i128 {
    const EXPECTED: &'static str = "a whole number";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(value) => Ok(*value),
            _ => Err(unexpected_kind(node)),
        }
    }
}

impl FromNode for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            #[expect(
                clippy::cast_precision_loss,
                reason = "such numbers are no bounds of seconds"
            )]
            Node::Int(value) => Ok(*value as Self),
            Node::Float(value) => Ok(*value),
            _ => Err(unexpected_kind(node)),
        }
    }
}

impl FromNode for String {
    const EXPECTED: &'static str = "text";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Text(text) | Node::FromEnvironment(text) => Ok(text.clone()),
            Node::Binary(bytes) => {
                let text = std::str::from_utf8(bytes);
                text.map(str::to_owned).map_err(|_| "not UTF-8".to_owned())
            }
            _ => Err(unexpected_kind(node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check<T: FromNode + PartialEq + std::fmt::Debug>(text: &str, expected: Option<&T>) {
        let read = T::read_node(&Node::FromEnvironment(text.to_owned()));
        match read {
            Err(wrong) => {
                assert_eq!(expected, None);
                assert!(!wrong.contains(text), "{wrong}");
            }
            Ok(read) => assert_eq!(Some(&read), expected),
        }
    }

    #[test]
    fn what_comes_of_the_environment_is_read_as_what_is_wanted() {
        check("5", Some(&"5".to_owned()));
        check("5", Some(&Duration::from_secs(5)));
        check("0.5", Some(&Duration::from_millis(500)));
        check("1m30s", Some(&Duration::from_secs(90)));
        check("17", Some(&17_usize));
        check("+1.5e3", Some(&1500.0));
        check("true", Some(&true));
        check("true", Some(&"true".to_owned()));
    }

    #[test]
    fn what_is_wrong_with_it_does_not_repeat_it() {
        check::<Duration>("hunter2", None);
        check::<usize>("987654321", None);
        check::<f64>("nan", None);
        check::<f64>("infinity", None);
        check::<bool>("yes", None);
        check::<crate::value::Endpoint>("hunter2", None);
        check::<crate::value::Pattern>("hunter2(", None);
    }
}
