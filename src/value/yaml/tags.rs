//! Tags of YAML's core (<https://yaml.org/spec/1.2.2/#10.3-core-schema>): `!!str 5` is a text.

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::value::Node;

/// Replaces `tag:yaml.org,2002:` in [`Text`](super::text::Text).
pub(super) const CORE: &str = "yaml.org,2002:";

/// A supported tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Str,
    Binary,
    Null,
    Bool,
    Int,
    Float,
    Seq,
    Map,
}

impl Tag {
    /// The tag that the library shows as `name`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        // `!` without a name means that the value is not resolved.
        if name == "!" {
            return Some(Self::Str);
        }
        Some(match name.strip_prefix(CORE)? {
            "str" => Self::Str,
            "binary" => Self::Binary,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "seq" => Self::Seq,
            "map" => Self::Map,
            _ => return None,
        })
    }

    /// Returns true if the value is the text itself.
    pub(super) fn is_of_text(self) -> bool {
        matches!(self, Self::Str | Self::Binary)
    }

    /// Applies the tag to `node`, which was read without it; `None` if it does not fit.
    pub(super) fn apply(self, node: Node) -> Option<Node> {
        let node = match node {
            Node::Text(text) if self == Self::Binary => {
                let text: String = text.split_ascii_whitespace().collect();
                return BASE64_STANDARD.decode(text).ok().map(Node::Binary);
            }
            // Quoted values have been read as text.
            Node::Text(text) if self != Self::Str => Node::from_plain_scalar(&text),
            Node::Int(value) if self == Self::Float =>
            {
                #[expect(clippy::cast_precision_loss, reason = "as every number of that size")]
                Node::Float(value as f64)
            }
            node => node,
        };
        let fits = match self {
            Self::Str => matches!(node, Node::Text(_)),
            Self::Binary => false,
            Self::Null => node == Node::Null,
            Self::Bool => matches!(node, Node::Bool(_)),
            Self::Int => matches!(node, Node::Int(_)),
            Self::Float => matches!(node, Node::Float(_)),
            Self::Seq => matches!(node, Node::List(_)),
            Self::Map => matches!(node, Node::Map(_)),
        };
        fits.then_some(node)
    }
}
