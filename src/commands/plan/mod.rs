//! `plan`: what a configuration asks of the machine, worked out before it runs.

mod assumptions;
mod estimate;
mod in_flight;
mod machine;
mod output;
mod series;

pub use estimate::{Host, Limits, Load, Plan, Warning, run};
pub use machine::Machine;
