//! The service level objectives of a monitor, as expressions of PromQL.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use super::{
    promql::{decimal, le},
    windows::shortest_window,
};
use crate::{
    config::{LatencySlo, Monitor, Percentage},
    text::quoted,
    value::format_duration,
};

/// One objective, with the two counters that burn rates are calculated from.
pub(super) struct Objective {
    /// The monitor's name in quotes.
    monitor: String,
    name: &'static str,
    /// The objective as a comment.
    meaning: String,
    /// The share of checks that may be bad.
    budget: f64,
    check_every: Duration,
    /// PromQL for the number of checks that miss the objective.
    bad: String,
    /// PromQL for the number of checks that the objective is about.
    total: String,
}

/// The objectives of `monitor`.
pub(super) fn objectives(monitor: &Monitor) -> Vec<Objective> {
    let Some(slo) = monitor.slo else {
        return Vec::new();
    };
    let availability = slo
        .availability
        .map(|percentage| availability(monitor, percentage));
    let latency = slo.latency.map(|slo| latency(monitor, slo));
    availability.into_iter().chain(latency).collect()
}

/// Checks with reason `agent_error` say nothing about the target and count neither way, and those in maintenance are left
/// out. A target that has not failed yet, or not been in maintenance, has no counter of that; the `or` gives it zero.
fn availability(monitor: &Monitor, percentage: Percentage) -> Objective {
    let name = quoted(&monitor.name);
    let zero = format!("0 * sum without (outcome) (monitor_checks_total{{monitor={name}}})");
    let failed = format!(
        "(sum without (phase, reason) \
         (monitor_check_failures_total{{monitor={name},reason!=\"agent_error\"}}) or {zero})"
    );
    let of_outcome = |family: &str, outcome: &str| {
        format!(r#"sum without (outcome) ({family}{{monitor={name},outcome="{outcome}"}})"#)
    };
    let left_out = |outcome| {
        let in_maintenance = of_outcome("monitor_maintenance_checks_total", outcome);
        format!("({in_maintenance} or {zero})")
    };
    let succeeded = of_outcome("monitor_checks_total", "success");
    let bad = lines(&[&failed, &format!("- {}", left_out("failure"))]);
    let good = lines(&[&succeeded, &format!("- {}", left_out("success"))]);
    Objective {
        monitor: name,
        name: "availability",
        meaning: format!("{} % of the checks succeed", percentage.get()),
        budget: percentage.error_budget(),
        check_every: monitor.check_every,
        total: lines(&["(", &good, &format!("+ {bad}"), ")"]),
        bad,
    }
}

/// Counts successful checks only: failed ones count against availability, and their latency says how they failed. Those
/// in maintenance are left out.
///
/// A native histogram, if there is one, is asked how many of its observations are above the threshold. As it interpolates,
/// the number is rounded: a counter that decreases by a rounding error would count as restarted. Those in maintenance are
/// subtracted from it before that, so that it interpolates among the others only.
fn latency(monitor: &Monitor, slo: LatencySlo) -> Objective {
    const FAMILY: &str = "monitor_check_duration_seconds";
    const IN_MAINTENANCE: &str = "monitor_maintenance_check_duration_seconds";
    let name = quoted(&monitor.name);
    let counted = |suffix: &str, without: &str, matchers: &str| {
        let all = format!(
            r#"sum without ({without}) ({FAMILY}{suffix}{{monitor={name},outcome="success"{matchers}}})"#
        );
        let in_maintenance =
            format!("sum without (le) ({IN_MAINTENANCE}{suffix}{{monitor={name}{matchers}}})");
        format!("({all} - {in_maintenance} or {all})")
    };
    let native = counted("", "outcome", "");
    let native_total = format!("histogram_count({native})");
    let classic_total = counted("_count", "outcome", "");
    let threshold = slo.threshold.as_secs_f64();
    let within = counted("_bucket", "outcome, le", &format!(",{}", le(threshold)));
    let slow = format!("(1 - histogram_fraction(-Inf, {threshold}, {native}))");
    Objective {
        monitor: name,
        name: "latency",
        meaning: format!(
            "{} % of the checks that succeed take at most {}",
            slo.objective.get(),
            format_duration(slo.threshold)
        ),
        budget: slo.objective.error_budget(),
        check_every: monitor.check_every,
        bad: lines(&[
            // Without any check, the share is NaN.
            &format!("round({native_total} * {slow}, 0.001) >= 0"),
            &format!("or 0 * {native_total}"),
            &format!("or {classic_total} - {within}"),
        ]),
        total: format!("({native_total} or {classic_total})"),
    }
}

/// An expression over several lines of a rule.
fn lines(parts: &[&str]) -> String {
    parts.join("\n          ")
}

/// The period that a budget is for.
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
        let allowed = format!("{budget} * {}", self.total);
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
