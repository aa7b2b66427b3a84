//! `once`: runs every monitor once and prints the results for people, programs or CI.

mod output;
mod run;

pub use output::Output;
pub use run::{Error, run};
