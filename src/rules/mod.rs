//! `rules`: the objectives of monitors as rules for Prometheus, by way of two counters for each objective.
//!
//! What is the same for all objectives, alerts included, is in `burn_rates.yml`.

#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

use crate::{
    config::{Config, LatencySlo, Monitor, Percentage},
    value::format_duration,
};

const BURN_RATES: &str = include_str!("burn_rates.yml");

/// The rules for the objectives of a configuration, to be shown as a file of rules.
#[derive(Debug)]
pub struct Rules<'c>(&'c [Monitor]);

/// The rules for the objectives that the monitors of `config` have.
#[must_use]
pub fn of(config: &Config) -> Rules<'_> {
    Rules(&config.monitors)
}

impl Display for Rules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Printed by `monitoringdaemon rules`: not to be edited.\n\n")?;
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

/// One objective, by the two counters that burn rates are made of.
struct Objective {
    /// The monitor's name in quotes.
    monitor: String,
    name: &'static str,
    /// What it says, for people.
    meaning: String,
    budget: f64,
    check_every: Duration,
    /// Checks that were not as they are to be.
    bad: String,
    /// Checks of which the objective is.
    all: String,
}

fn objectives(monitor: &Monitor) -> Vec<Objective> {
    let Some(slo) = monitor.slo else {
        return Vec::new();
    };
    let availability = slo
        .availability
        .map(|percentage| availability(monitor, percentage));
    let latency = slo.latency.map(|slo| latency(monitor, slo));
    availability.into_iter().chain(latency).collect()
}

fn availability(monitor: &Monitor, percentage: Percentage) -> Objective {
    let name = quoted(&monitor.name);
    Objective {
        monitor: name.clone(),
        name: "availability",
        meaning: format!("{} % of the checks succeed", percentage.get()),
        budget: percentage.rest(),
        check_every: monitor.check_every,
        bad: format!(
            r#"sum without (outcome) (monitor_checks_total{{monitor={name},outcome="failure"}})"#
        ),
        all: format!("sum without (outcome) (monitor_checks_total{{monitor={name}}})"),
    }
}

/// Of the successful checks alone: one that failed is counted by availability, and what it took tells
/// how it failed.
fn latency(monitor: &Monitor, slo: LatencySlo) -> Objective {
    let name = quoted(&monitor.name);
    let all = format!(
        r#"sum without (outcome) (monitor_check_duration_seconds_count{{monitor={name},outcome="success"}})"#
    );
    let le = le(slo.threshold.as_secs_f64());
    Objective {
        monitor: name.clone(),
        name: "latency",
        meaning: format!(
            "{} % of the checks that succeed take at most {}",
            slo.objective.get(),
            format_duration(slo.threshold)
        ),
        budget: slo.objective.rest(),
        check_every: monitor.check_every,
        bad: format!(
            "{all} - sum without (outcome, le) \
             (monitor_check_duration_seconds_bucket{{monitor={name},outcome=\"success\",{le}}})"
        ),
        all,
    }
}

/// The budgets are those of so much time.
const PERIOD: Duration = Duration::from_hours(30 * 24);

impl Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = PERIOD.as_secs_f64() / self.check_every.as_secs_f64();
        let (monitor, name, meaning) = (&self.monitor, self.name, &self.meaning);
        let (checks, budget, allowed) = (
            decimal(checks, 1),
            decimal(self.budget, 10),
            decimal(checks * self.budget, 1),
        );
        writeln!(
            f,
            "      # {name}: {meaning}; of {checks} checks in 30 days, {allowed} may be otherwise"
        )?;
        let window = shortest_window(self.check_every);
        let allowed = format!("{budget} * {}", self.all);
        for (record, expression) in [("bad_checks", &self.bad), ("allowed_bad_checks", &allowed)] {
            write!(
                f,
                "      - record: monitor_slo:{record}:total\n        expr: |\n          {expression}\n        \
                 labels: {{monitor: {monitor}, slo: {name}, shortest_window: {window}}}\n"
            )?;
        }
        Ok(())
    }
}

/// Checks that a window must have to tell anything.
const CHECKS_IN_A_WINDOW: u32 = 4;

/// The shortest of the windows in `burn_rates.yml` that tells something of checks at this interval.
fn shortest_window(check_every: Duration) -> &'static str {
    const WINDOWS: [(&str, Duration); 4] = [
        ("5m", Duration::from_mins(5)),
        ("30m", Duration::from_mins(30)),
        ("2h", Duration::from_hours(2)),
        ("6h", Duration::from_hours(6)),
    ];
    let needed = check_every * CHECKS_IN_A_WINDOW;
    let fitting = WINDOWS.iter().find(|(_, window)| *window >= needed);
    fitting.map_or("4d", |(name, _)| name)
}

/// The matcher of the bucket with this upper bound: as we write it, and as Prometheus 3 does.
fn le(bound: f64) -> String {
    let ours = bound.to_string();
    if bound.fract() != 0.0 {
        return format!("le=\"{ours}\"");
    }
    if bound < 1e6 {
        return format!(r#"le=~"{ours}|{ours}[.]0""#);
    }
    let theirs = format!("{bound:e}");
    let (digits, exponent) = theirs.split_once('e').expect("it was asked for");
    let digits = digits.replace('.', "[.]");
    format!(r#"le=~"{ours}|{digits}e[+]{exponent:0>2}""#)
}

/// `number` with at most so many decimals, and no zeros at their end.
fn decimal(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    text.to_owned()
}

/// `text` in quotes, with the escapes that YAML and PromQL have in common.
///
/// What is neither a letter nor a digit outside of ASCII may end a line of YAML, or be refused there.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let code = u32::from(c);
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            ' '..='~' => write!(quoted, "{c}"),
            _ if c.is_alphanumeric() => write!(quoted, "{c}"),
            _ if code <= 0xFFFF => write!(quoted, "\\u{code:04x}"),
            _ => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted.push('"');
    quoted
}
