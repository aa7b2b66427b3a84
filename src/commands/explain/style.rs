//! Colours the output of `explain` on a terminal.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal},
};

/// The style of texts: coloured or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Style {
    Plain,
    Coloured,
}

/// A colour of a terminal, by its number in ECMA-48 (SGR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Cyan = 36,
    Dim = 2,
    Bold = 1,
}

impl Style {
    /// Colours if standard output is a terminal that can show them, and `NO_COLOR`
    /// (<https://no-color.org>) is not set.
    pub(crate) fn for_stdout() -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    pub(super) fn paint(self, text: impl Display, colour: Option<Colour>) -> String {
        match (self, colour) {
            (Self::Coloured, Some(colour)) => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            _ => text.to_string(),
        }
    }
}
