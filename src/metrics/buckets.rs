//! The bounds of histogram buckets: the defaults, and bounds that many histograms share.

use super::{format::Syntax, native_histogram::NativeHistograms};

/// Default upper bounds of `monitor_check_duration_seconds`, in seconds.
pub(crate) const DURATION_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Default upper bounds of `monitor_response_size_bytes`, in bytes.
pub(crate) const RESPONSE_SIZE_BUCKETS: [f64; 6] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// Upper bounds of the histograms of the daemon's own delays, in seconds. Timers have a resolution of 0.001.
pub(super) const LAG_BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The set of buckets that a histogram family uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BucketSet {
    /// `duration_buckets` of the monitor or of `metrics`.
    Duration,
    /// `metrics.response_size_buckets`.
    ResponseSize,
    /// The daemon's own delays; not configurable.
    Lag,
}

impl BucketSet {
    /// The upper bounds unless others are configured.
    pub(crate) const fn default_bounds(self) -> &'static [f64] {
        match self {
            Self::Duration => &DURATION_BUCKETS,
            Self::ResponseSize => &RESPONSE_SIZE_BUCKETS,
            Self::Lag => &LAG_BUCKETS,
        }
    }
}

/// The buckets that a histogram has, shared by all histograms with the same ones.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The upper bounds of classic buckets.
    pub bounds: Box<[f64]>,
    /// The bounds as values of the label `le`, `+Inf` last.
    labels: Box<[Box<str>]>,
    /// The same in OpenMetrics, where a number has a point or an exponent.
    open_metrics_labels: Box<[Box<str>]>,
    /// Native buckets, unless they are off.
    pub native: Option<NativeHistograms>,
    has_classic: bool,
}

impl Buckets {
    /// Buckets with these upper bounds, in ascending order; `native` ones beside them, or instead of them unless
    /// `has_classic`.
    pub(super) fn new(bounds: &[f64], native: Option<NativeHistograms>, has_classic: bool) -> Self {
        let labels = |label: fn(&f64) -> String| {
            let labels = bounds.iter().map(label);
            labels
                .chain(["+Inf".to_owned()])
                .map(String::into_boxed_str)
                .collect()
        };
        Self {
            bounds: bounds.into(),
            labels: labels(ToString::to_string),
            open_metrics_labels: labels(|bound| open_metrics_float(*bound)),
            native,
            has_classic: has_classic || native.is_none(),
        }
    }

    /// The same with these upper bounds.
    pub(super) fn with_bounds(&self, bounds: &[f64]) -> Self {
        Self::new(bounds, self.native, self.has_classic)
    }

    /// Returns whether classic buckets are counted.
    pub(super) fn has_classic(&self) -> bool {
        self.has_classic
    }

    /// The bounds as values of the label `le`, `+Inf` last.
    pub(super) fn labels(&self, syntax: Syntax) -> impl Iterator<Item = &str> {
        let labels = match syntax {
            Syntax::OpenMetrics => &self.open_metrics_labels,
            Syntax::Text | Syntax::Protobuf => &self.labels,
        };
        labels.iter().map(|label| &**label)
    }
}

/// A number as Go writes it, and OpenMetrics requires of bounds: `1.0`, `0.25`, `1e+06`.
fn open_metrics_float(number: f64) -> String {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse() {
        Ok(-4..6) => format!("{number:?}"),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", i32::abs(exponent))
        }
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_openmetrics_are_those_of_go() {
        for (number, expected) in [
            (1.0, "1.0"),
            (0.25, "0.25"),
            (100.0, "100.0"),
            (1e5, "100000.0"),
            (1e6, "1e+06"),
            (1e7, "1e+07"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (1e-7, "1e-07"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(open_metrics_float(number), expected);
        }
    }
}
