//! `once`: runs every monitor once and prints the results as a table, JSON lines or JUnit XML.

mod output;
mod run;
mod watch;

pub(crate) use output::Output;
pub(super) use output::write_json;
pub(super) use run::{CheckResult, LOG_FLUSH_TIMEOUT, select};
pub(crate) use run::{Error, Options, run};
