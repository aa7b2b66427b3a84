//! Prints the rule file for the objectives of monitors.

use std::fmt::{self, Display};

use super::objective::objectives;
use crate::{
    config::{Config, Monitor},
    text::quoted,
};

const BURN_RATES: &str = include_str!("burn_rates.yml");

/// The rules for the objectives of a configuration. Its `Display` is a rule file.
#[derive(Debug)]
pub struct Rules<'c>(&'c [Monitor]);

/// The rules for the objectives of the monitors in `config`.
#[must_use]
pub fn for_config(config: &Config) -> Rules<'_> {
    Rules(&config.monitors)
}

impl Display for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Printed by `monitoringdaemon rules`. Do not edit.\n\n")?;
        let objectives: Vec<_> = self.0.iter().map(objectives).collect();
        if objectives.iter().all(Vec::is_empty) {
            return f.write_str("# No monitor has an slo.\ngroups: []\n");
        }
        f.write_str("groups:\n\n")?;
        for (monitor, objectives) in self.0.iter().zip(objectives) {
            if !objectives.is_empty() {
                let group = quoted(&format!("slo of {}", monitor.name));
                write!(f, "  - name: {group}\n    rules:\n\n")?;
            }
            for objective in objectives {
                writeln!(f, "{objective}")?;
            }
        }
        f.write_str(BURN_RATES)
    }
}
