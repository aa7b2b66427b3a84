//! The plan of a configuration for this machine.

use clap::ValueEnum;

use super::{Machine, Plan, json};
use crate::{config::Config, net::Net};

/// The output format of `plan`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and warnings
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Returns the plan of `config` for this machine.
#[must_use]
pub(crate) fn text(config: &Config, output: Output) -> String {
    let jobs = config.jobs(&Net::system());
    let plan = Plan::estimate(config, &jobs, Machine::this());
    match output {
        Output::Text => plan.to_string(),
        Output::Json => json::text(&plan),
    }
}
