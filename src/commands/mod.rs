//! The commands, one module each. Without a command, the program runs as a daemon.

pub mod blackbox;
mod closed_pipe;
pub mod completions;
mod daemon_request;
mod discover;
pub mod explain;
pub mod healthcheck;
pub mod history;
pub mod import;
pub mod man;
pub mod once;
pub mod plan;
mod progress;
pub mod rules;
pub mod run;
pub mod schema;
mod table;
pub mod targets;
pub mod validate;

pub(crate) use closed_pipe::ignore_closed_pipe;
