//! `once`: runs every monitor once and prints the results as a table, JSON lines or JUnit XML.

mod output;
mod run;

pub use output::Output;
pub use run::{Error, run};
