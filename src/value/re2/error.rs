//! The errors of invalid expressions, in the words of Go's `regexp`.

use std::fmt;

/// Why an expression is no expression of RE2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// A part of it is not of RE2's syntax.
    Syntax {
        /// The reason.
        reason: &'static str,
        /// The part.
        part: String,
    },
    /// A closing parenthesis is missing.
    MissingParen,
    /// A parenthesis closes nothing.
    UnexpectedParen,
    /// Too many parts are within each other.
    TooDeep,
    /// It takes more memory than one expression may.
    TooLarge,
}

/// Characters of an expression that an error shows.
const MAX_SHOWN_CHARS: usize = 50;

impl Error {
    pub(super) fn syntax(reason: &'static str, part: &str) -> Self {
        let mut shown: String = part.chars().take(MAX_SHOWN_CHARS).collect();
        if shown.len() < part.len() {
            shown.push('…');
        }
        Self::Syntax {
            reason,
            part: shown,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { reason, part } => write!(f, "{reason}: {part}"),
            Self::MissingParen => f.write_str("missing closing )"),
            Self::UnexpectedParen => f.write_str("unexpected )"),
            Self::TooDeep => f.write_str("expression nests too deeply"),
            Self::TooLarge => f.write_str("expression too large"),
        }
    }
}
