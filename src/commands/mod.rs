//! The commands, one module each. Without a command, the program runs as a daemon.

pub(crate) mod blackbox;
mod closed_pipe;
pub(crate) mod completions;
mod daemon_request;
mod discover;
pub(crate) mod explain;
pub(crate) mod healthcheck;
pub(crate) mod history;
pub mod import;
pub(crate) mod man;
pub(crate) mod once;
pub(crate) mod plan;
mod progress;
pub mod rules;
pub(crate) mod run;
pub(crate) mod schema;
mod table;
pub(crate) mod targets;
pub(crate) mod validate;

pub(crate) use closed_pipe::ignore_closed_pipe;
