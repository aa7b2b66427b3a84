//! `plan`: estimates the resources that a configuration needs, without running it.

mod assumptions;
mod estimate;
mod in_flight;
mod machine;
mod output;
mod series;

pub use estimate::{Host, Limits, Load, Plan, Warning, run};
pub use machine::Machine;
