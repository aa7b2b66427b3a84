//! The parts of discovery that need no socket.

mod payload;
mod relabel;
