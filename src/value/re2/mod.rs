//! Regular expressions in RE2's syntax, as Go's `regexp` has it, translated to what regex-automata compiles.

mod class;
mod error;
mod expand;
mod parser;
mod search;
#[cfg(test)]
mod tests;
mod text;

pub(super) use error::Error;
pub(super) use expand::{expand, number};
pub(super) use parser::{Parsed, parse};
pub(super) use search::Search;
pub(super) use text::Text;
