//! Text that no message and no `Debug` output shows.

use super::{Fields, FromNode, Node};

/// A password or a token, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for sending it.
    #[must_use]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl Secret {
    /// Reads a secret from the key `inline`, or from the file named under the key `file`.
    pub fn read(fields: &mut Fields<'_>, inline: &'static str, file: &'static str) -> Option<Self> {
        fields.at_most_one(&[inline, file]);
        let text = fields.optional::<Self>(inline);
        let contents = fields
            .file(file)
            .and_then(|contents| match contents.text() {
                Ok(text) => Some(Self::from(text.to_owned())),
                Err(wrong) => {
                    fields.add_value_problem(file, wrong, "text");
                    None
                }
            });
        text.or(contents)
    }

    /// Like [`read`](Self::read), but required.
    pub fn required(
        fields: &mut Fields<'_>,
        inline: &'static str,
        file: &'static str,
    ) -> Option<Self> {
        let problems = fields.problems().count();
        let secret = Self::read(fields, inline, file);
        if secret.is_none() && fields.problems().count() == problems {
            fields.add_problem(
                format_args!("{inline} is missing"),
                format_args!("{inline} or {file}"),
            );
        }
        secret
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
    const EXPECTED: &'static str = "text";

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
