//! `slo`: what a monitor's checks are to achieve, for `rules` to hold them against.

use std::{sync::Arc, time::Duration};

use crate::{
    metrics::{self, DURATION_BUCKETS},
    value::{Fields, FromNode, Node, format_duration},
};

/// The objectives of a monitor; at least one is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// `slo.availability`: percentage of checks that succeed.
    pub availability: Option<Percentage>,
    /// `slo.latency`
    pub latency: Option<LatencySlo>,
}

/// The objective for the latency of successful checks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencySlo {
    /// `slo.latency.threshold`: a bound of the monitor's buckets.
    pub threshold: Duration,
    /// `slo.latency.objective`
    pub objective: Percentage,
}

/// A percentage above 0 and below 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentage(f64);

impl Percentage {
    /// The number before the percent sign.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// The ratio of checks that may miss the objective.
    #[must_use]
    pub(crate) fn error_budget(self) -> f64 {
        (100.0 - self.0) / 100.0
    }
}

impl FromNode for Percentage {
    const EXPECTED: &'static str = "a percentage above 0 and at most 99.99999, such as 99.9";

    fn from_node(node: &Node) -> Result<Self, String> {
        let percentage = f64::from_node(node)?;
        if percentage > 0.0 && percentage <= 99.999_99 {
            Ok(Self(percentage))
        } else {
            Err(format!("{percentage} is out of range"))
        }
    }
}

/// Warns about a percentage that looks like a ratio.
fn warn_of_ratio(fields: &Fields<'_>, key: &str, percentage: Option<Percentage>) {
    if let Some(Percentage(value)) = percentage
        && value <= 1.0
    {
        // Without what binary fractions add.
        let meant = (value * 100.0 * 1e9).round() / 1e9;
        let message = format_args!("{value} is a percentage; the ratio {value} is {meant}");
        fields.warn(key, message);
    }
}

/// Upper bounds for the latency of a successful check.
pub(super) struct LatencyBounds {
    pub timeout: Duration,
    pub fail_if_slower_than: Option<Duration>,
}

impl Slo {
    /// Reads the section.
    pub(super) fn read(
        mut fields: Fields<'_>,
        timing: &LatencyBounds,
        metrics: &metrics::Settings,
    ) -> Self {
        let given = fields.problems().count();
        let availability = fields.optional("availability");
        warn_of_ratio(&fields, "availability", availability);
        let latency = fields.section("latency");
        let has_latency = latency.is_some();
        let latency = latency.and_then(|fields| LatencySlo::read(fields, timing));
        let slo = Self {
            availability,
            latency,
        };
        if slo.availability.is_none() && !has_latency && fields.problems().count() == given {
            fields.add_problem("no objective", "availability, latency or both");
        }
        for (key, is_given, family) in [
            ("availability", slo.availability.is_some(), CHECKS),
            ("availability", slo.availability.is_some(), FAILURES),
            (
                "availability",
                slo.availability.is_some(),
                MAINTENANCE_CHECKS,
            ),
            ("latency", slo.latency.is_some(), DURATION),
            ("latency", slo.latency.is_some(), MAINTENANCE_DURATION),
        ] {
            if is_given && metrics.disabled.contains(&family) {
                let wrong = format_args!("needs {family}, which metrics.disabled names");
                fields.add_value_problem(key, wrong, "metrics.disabled without it");
            }
        }
        fields.reject_unknown_keys();
        slo
    }
}

/// Metrics that the rules of objectives query.
const CHECKS: &str = "monitor_checks_total";
const FAILURES: &str = "monitor_check_failures_total";
const DURATION: &str = "monitor_check_duration_seconds";
const MAINTENANCE_CHECKS: &str = "monitor_maintenance_checks_total";
const MAINTENANCE_DURATION: &str = "monitor_maintenance_check_duration_seconds";

impl LatencySlo {
    fn read(mut fields: Fields<'_>, timing: &LatencyBounds) -> Option<Self> {
        let threshold = fields.required("threshold");
        let objective = fields.required("objective");
        warn_of_ratio(&fields, "objective", objective);
        let longest = match timing.fail_if_slower_than {
            Some(limit) if limit < timing.timeout => ("fail_if_slower_than", limit),
            _ => ("the timeout", timing.timeout),
        };
        if let Some(threshold) = threshold.filter(|threshold| *threshold >= longest.1) {
            let (threshold, limit) = (format_duration(threshold), format_duration(longest.1));
            let wrong = format_args!("{threshold} can never be exceeded by a successful check");
            let expected = format_args!("less than {}, {limit}", longest.0);
            fields.add_value_problem("threshold", wrong, expected);
        }
        fields.reject_unknown_keys();
        Some(Self {
            threshold: threshold?,
            objective: objective?,
        })
    }

    /// Adds a bucket at the threshold to the monitor's `own` buckets, so that the histogram counts fast checks.
    pub(super) fn buckets(
        &self,
        own: Option<Arc<[f64]>>,
        metrics: &metrics::Settings,
    ) -> Option<Arc<[f64]>> {
        let common = metrics.duration_buckets.as_deref();
        let buckets = own.as_deref().or(common).unwrap_or(&DURATION_BUCKETS);
        let threshold = self.threshold.as_secs_f64();
        if buckets.contains(&threshold) {
            return own;
        }
        let below = buckets.partition_point(|bound| *bound < threshold);
        let (below, above) = buckets.split_at(below);
        Some([below, &[threshold], above].concat().into())
    }
}
