//! Passes a text to the YAML library, and returns the positions of errors.

use std::borrow::Cow;

use serde::de::DeserializeSeed;

use super::{
    outline::{Outline, Refused, outline},
    tags,
};

/// A position in the file, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// The same column, `lines` further up.
    fn above(self, lines: usize) -> Self {
        Self {
            line: self.line.saturating_sub(lines).max(1),
            ..self
        }
    }

    /// The position of the byte `at` of `text`.
    fn of_byte(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let mut lines = before.split('\n');
        let last = lines.next_back().unwrap_or_default();
        Self {
            line: lines.count() + 1,
            column: last.chars().count() + 1,
        }
    }
}

/// The error of a text that is invalid YAML or too large.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub position: Position,
    pub message: String,
}

/// Deserializes `text` with `seed`, which limits the expansion of aliases. Tags are rejected.
///
/// The message of an error may repeat a value that the seed does not accept.
pub(crate) fn read<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
) -> Result<S::Value, SyntaxError> {
    if outlined(text)?.has_tags {
        return Err(SyntaxError {
            position: Position::START,
            message: "tags are not supported here".to_owned(),
        });
    }
    deserialize(text, 0, seed)
}

fn outlined(text: &str) -> Result<Outline, SyntaxError> {
    outline(text).map_err(|Refused { at, message }| SyntaxError {
        position: Position::of_byte(text, at),
        message: message.to_owned(),
    })
}

/// A text for the library.
pub(super) struct Text<'t> {
    text: Cow<'t, str>,
    /// Number of lines added in front.
    added: usize,
}

impl<'t> Text<'t> {
    /// Prepares `text`, so that the library shows the tags of YAML's core.
    pub(super) fn new(text: &'t str) -> Result<Self, SyntaxError> {
        Ok(if outlined(text)?.has_tags {
            Self::tagged(text)
        } else {
            Self::plain(text)
        })
    }

    fn plain(text: &'t str) -> Self {
        Self {
            text: Cow::Borrowed(text),
            added: 0,
        }
    }

    /// The library shows only tags of applications, so those of YAML's core are declared as such.
    fn tagged(text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_content = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        let begins_document = text
            .lines()
            .find(is_content)
            .is_some_and(|line| line.starts_with("---") || line.starts_with('%'));
        let (head, added) = if begins_document {
            (format!("%TAG !! !{}\n", tags::CORE), 1)
        } else {
            (format!("%TAG !! !{}\n---\n", tags::CORE), 2)
        };
        Self {
            text: Cow::Owned(head + text),
            added,
        }
    }

    pub(super) fn deserialize<'de, S: DeserializeSeed<'de>>(
        &'de self,
        seed: S,
    ) -> Result<S::Value, SyntaxError> {
        deserialize(&self.text, self.added, seed)
    }

    /// Converts `position` to the original text.
    pub(super) fn original(&self, position: Position) -> Position {
        position.above(self.added)
    }
}

/// Deserializes `text`, whose first `added` lines are not part of the original.
fn deserialize<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    added: usize,
    seed: S,
) -> Result<S::Value, SyntaxError> {
    let value = seed.deserialize(serde_yaml::Deserializer::from_str(text));
    value.map_err(|error| {
        let position = error.location().map(|location| Position {
            line: location.line(),
            column: location.column(),
        });
        // The position is removed from the message; others in it are kept.
        let mut message = error.to_string();
        if let Some(Position { line, column }) = position {
            message = message.replace(&format!(" at line {line} column {column}"), "");
        }
        SyntaxError {
            position: position.unwrap_or(Position::START).above(added),
            message: with_lines_above(added, message),
        }
    })
}

/// Reduces each line number in `message` by `added`.
fn with_lines_above(added: usize, message: String) -> String {
    const AT: &str = " at line ";
    if added == 0 {
        return message;
    }
    let mut parts = message.split(AT);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !c.is_ascii_digit());
        let (line, rest) = part.split_at(digits.unwrap_or(part.len()));
        result.push_str(AT);
        match line.parse::<usize>() {
            Ok(line) => result.push_str(&line.saturating_sub(added).max(1).to_string()),
            Err(_) => result.push_str(line),
        }
        result.push_str(rest);
    }
    result
}
