//! Counters and gauges of the prometheus crate, for what is counted over all monitors. Their names on a page are those of
//! `metrics/families.rs`.

use prometheus::{IntCounter, IntGauge};

/// A counter at 0.
pub(crate) fn counter() -> IntCounter {
    IntCounter::new("counter", "-").expect("a valid name")
}

/// A gauge at 0.
pub(crate) fn gauge() -> IntGauge {
    IntGauge::new("gauge", "-").expect("a valid name")
}
