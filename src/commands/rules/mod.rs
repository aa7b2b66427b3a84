//! `rules`: Prometheus rules for the objectives of monitors, as two counters for each objective.
//!
//! The rules that all objectives share, including the alerts, are in `burn_rates.yml`.

mod file;
mod objective;
mod printed;
mod promql;
#[cfg(test)]
mod tests;
mod windows;

pub use file::{Error, Written, write};
pub use printed::{Rules, for_config};
