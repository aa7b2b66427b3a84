//! Tags of YAML's core (<https://yaml.org/spec/1.2.2/#10.3-core-schema>): `!!str 5` is a text.

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::value::Node;

/// What [`Text`](super::text::Text) has in place of `tag:yaml.org,2002:`.
pub(super) const CORE: &str = "yaml.org,2002:";

/// A tag that means something here.
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
    pub fn parse(name: &str) -> Option<Self> {
        // Without a name it says that the value is not to be resolved.
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

    /// Whether the value is the text as it stands.
    pub fn is_of_text(self) -> bool {
        matches!(self, Self::Str | Self::Binary)
    }

    /// The value that `node`, read without the tag, is with it; `None` where it cannot be that.
    pub fn apply(self, node: Node) -> Option<Node> {
        let node = match node {
            Node::Text(text) if self == Self::Binary => {
                let text: String = text.split_ascii_whitespace().collect();
                return BASE64_STANDARD.decode(text).ok().map(Node::Binary);
            }
            // What has quotes has been taken for a text.
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
