//! The file as a tree, before anybody says what it means.

/// A value of the file. Mappings keep the order of their keys, and keys that stand twice.
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
    /// A list.
    List(Vec<Node>),
    /// A mapping, by the text of its keys.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What kind of value this is, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// A setting's type: how it is read from a scalar.
pub trait FromNode: Sized {
    /// What is allowed, in a few words; stands in brackets behind what is wrong.
    const ALLOWED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong, as a fragment; it never repeats a value that may be secret.
    fn from_node(node: &Node) -> Result<Self, String>;
}

/// What is wrong with a value of another kind than the wanted one.
pub(super) fn wrong_kind(node: &Node) -> String {
    format!("is {}", node.kind())
}

impl FromNode for bool {
    const ALLOWED: &'static str = "true or false";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Bool(value) => Ok(*value),
            _ => Err(wrong_kind(node)),
        }
    }
}

impl FromNode for usize {
    const ALLOWED: &'static str = "a whole number from 1 to 1000000";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(value @ 1..=1_000_000) => {
                Ok(usize::try_from(*value).expect("the pattern bounds it"))
            }
            Node::Int(value) => Err(format!("{value} is out of range")),
            _ => Err(wrong_kind(node)),
        }
    }
}

impl FromNode for f64 {
    const ALLOWED: &'static str = "a number";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            #[expect(
                clippy::cast_precision_loss,
                reason = "such numbers are no bounds of seconds"
            )]
            Node::Int(value) => Ok(*value as Self),
            Node::Float(value) => Ok(*value),
            _ => Err(wrong_kind(node)),
        }
    }
}

impl FromNode for String {
    const ALLOWED: &'static str = "a text; quote what YAML takes for something else";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Text(text) => Ok(text.clone()),
            _ => Err(wrong_kind(node)),
        }
    }
}
