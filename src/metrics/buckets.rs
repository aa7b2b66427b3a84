//! The bounds of histogram buckets: the defaults, and bounds that many histograms share.

/// Default upper bounds of `monitor_check_duration_seconds`, in seconds.
pub const DURATION_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Default upper bounds of `monitor_response_size_bytes`, in bytes.
pub const RESPONSE_SIZE_BUCKETS: [f64; 6] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

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

/// The upper bounds of a histogram's buckets, shared by all histograms with the same bounds.
#[derive(Debug)]
pub(super) struct Buckets {
    pub bounds: Box<[f64]>,
    /// The bounds as values of the label `le`, `+Inf` last.
    pub labels: Box<[Box<str>]>,
}

impl Buckets {
    /// Buckets with these upper bounds, in ascending order.
    pub fn new(bounds: &[f64]) -> Self {
        let labels = bounds.iter().map(ToString::to_string);
        Self {
            bounds: bounds.into(),
            labels: labels
                .chain(["+Inf".to_owned()])
                .map(String::into_boxed_str)
                .collect(),
        }
    }
}
