//! `extends`: the name of the template that a monitor or a template is built on.

use crate::value::{Fields, FromNode, Node, Path, Problems};

const EXTENDS: &str = "extends";

/// `extends`
pub(super) struct TemplateName(String);

impl FromNode for TemplateName {
    const EXPECTED: &'static str = "the name of a template";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node).map(Self)
    }
}

/// What stands under `extends`.
pub(super) struct ExtendsRef {
    pub path: Path,
    /// The template, or what is wrong with its name.
    pub name: Result<String, String>,
    /// Whether the name may be shown.
    pub is_shown: bool,
}

pub(super) fn read_extends(node: &Node, path: &Path) -> Option<ExtendsRef> {
    let scratch = Problems::default();
    let (node, path) = Fields::from_node(node, path.clone(), &scratch)?.node(EXTENDS)?;
    Some(ExtendsRef {
        path,
        name: TemplateName::read_node(node).map(|TemplateName(name)| name),
        is_shown: matches!(node, Node::Text(_)),
    })
}

/// Asks for `extends`, of which everything but its kind is known by then.
pub(super) fn mark_extends_read(fields: &mut Fields<'_>) {
    let _ = fields.optional::<TemplateName>(EXTENDS);
}
