//! `plan`: estimates the resources that a configuration needs, without running it.

mod assumptions;
mod estimate;
mod in_flight;
mod json;
mod machine;
mod output;
mod run;
mod series;

pub use estimate::{Host, Limits, Load, Plan, StorageLoad, Warning};
pub use machine::Machine;
pub use run::{Output, text};
