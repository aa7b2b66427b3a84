//! The text of a file: to a tree, and from a path in the tree back to line and column.
//!
//! The one module that knows which YAML library there is.

mod outline;
mod positions;
mod tags;
mod text;
mod tree;

pub(crate) use positions::locate;
pub(crate) use text::{Position, read};
pub(crate) use tree::parse;
