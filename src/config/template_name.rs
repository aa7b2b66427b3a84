//! `extends`: the name of the template that a monitor or template extends.

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

/// The value of `extends`.
pub(super) struct ExtendsRef {
    pub path: Path,
    /// The name of the template, or the problem with it.
    pub name: Result<String, String>,
    /// True if the name may be shown.
    pub(crate) is_shown: bool,
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

/// Marks `extends` as a known key. Its value has been read before; only its kind is checked here.
pub(super) fn mark_extends_read(fields: &mut Fields<'_>) {
    let _ = fields.optional::<TemplateName>(EXTENDS);
}
