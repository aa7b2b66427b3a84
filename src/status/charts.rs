//! The small charts of a page: a line of latencies, and a bar of phases.

use std::{fmt::Write, time::Duration};

use super::format::latency;
use crate::{
    check::Phase,
    history::{CheckEntry, MAX_RECENT_CHECKS, Record},
    text::counted,
};

/// Units from one check to the next, and of the whole height.
const STEP: usize = 3;
const HEIGHT: f64 = 20.0;
/// Units of a bar.
const WIDTH: f64 = 100.0;

/// The latencies of the last checks, the latest at the right, and a stroke for each that failed.
pub(super) struct Sparkline {
    pub width: usize,
    pub line: String,
    pub failures: String,
    /// A description for screen readers.
    pub(crate) aria_label: String,
}

impl Sparkline {
    /// The sparkline of `checks`, the latest first.
    pub(super) fn new(checks: &[CheckEntry]) -> Self {
        let succeeded = |check: &&CheckEntry| check.record.failure().is_none();
        let times = || checks.iter().filter(succeeded).map(|c| c.record.duration());
        let (least, most) = (times().min(), times().max());
        let scale = (HEIGHT - 4.0) / most.unwrap_or_default().as_secs_f64().max(1e-9);
        let (mut line, mut failures) = (String::new(), String::new());
        let mut pen = 'M';
        for (place, check) in checks.iter().rev().enumerate() {
            let x = (MAX_RECENT_CHECKS - checks.len() + place) * STEP + 1;
            if check.record.failure().is_some() {
                let _ = write!(failures, "M{x} 0V{HEIGHT}");
                pen = 'M';
                continue;
            }
            let y = HEIGHT - 2.0 - scale * check.record.duration().as_secs_f64();
            // A line of no length has round ends, so that a check between two failures is a dot.
            let dot = if pen == 'M' { "h0" } else { "" };
            let _ = write!(line, "{pen}{x} {y:.1}{dot}");
            pen = 'L';
        }
        Self {
            width: MAX_RECENT_CHECKS * STEP,
            line,
            failures,
            aria_label: latency_summary(checks.len(), times().count(), least.zip(most)),
        }
    }
}

fn latency_summary(all: usize, good: usize, between: Option<(Duration, Duration)>) -> String {
    let latencies = between.map_or(String::new(), |(least, most)| {
        format!(", latency {} to {}", latency(least), latency(most))
    });
    let checks = counted(all, "check");
    format!("{checks}, {} failed{latencies}", all - good)
}

/// The phases of one check, side by side.
pub(super) struct Bar {
    pub parts: Vec<Part>,
    /// A description for screen readers.
    pub(crate) aria_label: String,
}

/// One phase.
pub(super) struct Part {
    pub phase: Phase,
    pub x: String,
    pub width: String,
}

impl Bar {
    /// The bar of `record`, in a chart as wide as `longest` is long.
    pub(super) fn new(record: &Record, longest: Duration) -> Self {
        let scale = WIDTH / longest.as_secs_f64().max(1e-9);
        let (mut parts, mut words) = (Vec::new(), String::new());
        let mut x = 0.0;
        for (phase, spent) in record.phases() {
            let width = (spent.as_secs_f64() * scale).min(WIDTH - x);
            parts.push(Part {
                phase,
                x: format!("{x:.1}"),
                width: format!("{width:.1}"),
            });
            x += width;
            let comma = if words.is_empty() { "" } else { ", " };
            let _ = write!(words, "{comma}{phase} {}", latency(spent));
        }
        Self {
            parts,
            aria_label: words,
        }
    }
}
