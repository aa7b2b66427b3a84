//! The commands, a module each; without one, the program runs as a daemon.

pub mod once;
pub mod plan;
pub mod rules;
pub mod run;
pub mod schema;
pub mod validate;
