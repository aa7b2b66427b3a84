//! `plan`: estimates the resources that a configuration needs, without running it.

mod assumptions;
mod estimate;
mod in_flight;
mod json;
mod machine;
mod output;
mod run;
mod series;

pub(crate) use estimate::{Host, Load, Plan, Warning};
pub(crate) use machine::Machine;
pub(crate) use run::{Output, text};
