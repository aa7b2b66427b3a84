//! The states of monitors: results of checks, what is confirmed of them, and what they depend on.

mod degraded;
mod dependencies;
mod machine;
mod maintenance;
mod settings;
mod shared;
mod states;
mod tracked;

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::state";

pub use dependencies::DependencyGraph;
pub(crate) use dependencies::{LeftOut, MAX_DEPENDENCIES, Member};
pub(crate) use maintenance::read_maintenance;
pub(crate) use settings::{
    PlacedDependency, Settings, Timing, check_dependencies, read_confirm, read_degraded_if,
    read_depends_on, read_self_check, warn_of_retries,
};
pub use states::States;
