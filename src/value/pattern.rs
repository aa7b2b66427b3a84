//! Regular expressions that answers are matched against.

use regex::bytes::{Regex, RegexBuilder};

use super::{FromNode, Node};

/// A regular expression over bytes, unanchored, of linear time whatever the input.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Bounds what one expression may cost in memory.
    const COMPILED_LIMIT: usize = 1 << 20;

    /// What its groups catch of `bytes`, where it matches anywhere in them.
    #[must_use]
    pub fn captures<'b>(&self, bytes: &'b [u8]) -> Option<Captures<'b>> {
        self.0.captures(bytes).map(Captures)
    }

    /// Whether it matches anywhere in `bytes`.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

/// What the groups of a pattern have caught.
pub struct Captures<'b>(regex::bytes::Captures<'b>);

impl Captures<'_> {
    /// Bytes that a template may become: a peer has a say in how many.
    pub const LONGEST: usize = 1 << 20;

    /// `template` with `$1`, `${1}` and `${name}` replaced by what was caught, as Go's `Expand` does;
    /// `None` where that could be longer than [`LONGEST`](Self::LONGEST).
    #[must_use]
    pub fn expand(&self, template: &[u8]) -> Option<Vec<u8>> {
        let groups = self.0.iter().flatten();
        let longest = groups.map(|group| group.len()).max().unwrap_or_default();
        let references = template.split(|byte| *byte == b'$').count() - 1;
        let bound = references
            .saturating_mul(longest)
            .saturating_add(template.len());
        if bound > Self::LONGEST {
            return None;
        }
        let mut expanded = Vec::with_capacity(template.len());
        self.0.expand(template, &mut expanded);
        Some(expanded)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromNode for Pattern {
    const ALLOWED: &'static str = "a regular expression, https://docs.rs/regex/#syntax";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        RegexBuilder::new(&text)
            .size_limit(Self::COMPILED_LIMIT)
            .build()
            .map(Self)
            .map_err(|error| {
                // The message draws the place over several lines; its last one says what is wrong.
                let error = error.to_string();
                let reason = error
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .trim_end_matches('.');
                format!("does not compile: {reason}")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[u8], &str>) {
        match (Pattern::from_node(&Node::Text(text.to_owned())), expected) {
            (Ok(pattern), Ok(bytes)) => assert!(pattern.matches(bytes), "{text}"),
            (read, expected) => {
                assert_eq!(
                    read.map(|_| ()).map_err(|e| e.clone()),
                    expected.map(|_| ()).map_err(str::to_owned)
                );
            }
        }
    }

    #[test]
    fn a_pattern_matches_anywhere_in_any_bytes() {
        check("b+", Ok(b"\xff\xfeabbc"));
        check("(?i)ÉTÉ", Ok("l'été".as_bytes()));
        check("(", Err("does not compile: unclosed group"));
        check(
            "a{1000}{1000}{1000}",
            Err("does not compile: Compiled regex exceeds size limit of 1048576 bytes"),
        );
    }
}
