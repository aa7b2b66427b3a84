//! Text that must not be seen.

use super::{FromNode, Node};

/// A password or a token: no way of printing it shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl FromNode for Secret {
    const ALLOWED: &'static str = "a text; quote what YAML takes for something else";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "<secret>");
        assert_eq!(secret.reveal(), "hunter2");
        let wrong = Secret::from_node(&Node::Int(12345)).expect_err("a number");
        assert!(!wrong.contains("12345"));
    }
}
