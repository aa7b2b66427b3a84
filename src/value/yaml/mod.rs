//! Parses YAML into a tree, and finds the line and column of a path in the tree.
//!
//! No other module uses the YAML library.

mod outline;
mod positions;
mod tags;
mod text;
mod tree;

pub(crate) use positions::locate;
pub(crate) use text::{Position, read};
pub(crate) use tree::parse;
pub(super) use tree::{BoundedNodeSeed, TreeSize};
