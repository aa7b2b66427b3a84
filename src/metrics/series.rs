//! One series and its value, in no format yet.

use std::time::SystemTime;

use super::{exemplar::Exemplar, family::Family};

/// A series of a family, by the values of its labels.
#[derive(Clone, Copy)]
pub(super) struct Series<'s> {
    pub family: &'static Family,
    /// The name of the monitor.
    pub monitor: &'s str,
    /// The position of `monitor` among the labels of the family.
    pub(crate) monitor_at: Option<usize>,
    /// The values of the other labels, in the family's order.
    pub values: &'s [&'s str],
}

impl<'s> Series<'s> {
    /// The labels in the family's order.
    pub(super) fn labels(self) -> impl Iterator<Item = (&'s str, &'s str)> {
        let mut values = self.values.iter();
        let names = self.family.labels.iter().enumerate();
        names.map(move |(index, name)| {
            let value = if self.monitor_at == Some(index) {
                self.monitor
            } else {
                values.next().copied().unwrap_or_default()
            };
            (*name, value)
        })
    }
}

/// The value of a sample.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl Number {
    /// As a float.
    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Whole(count) => count as f64,
            Self::Real(number) => number,
        }
    }

    /// The increase since it was `earlier`.
    pub(super) fn minus(self, earlier: Self) -> Self {
        match (self, earlier) {
            (Self::Whole(count), Self::Whole(earlier)) => {
                Self::Whole(count.saturating_sub(earlier))
            }
            _ => Self::Real(self.as_f64() - earlier.as_f64()),
        }
    }

    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Whole(count) => count == 0,
            Self::Real(number) => number == 0.0,
        }
    }
}

/// The value of a sample, and what is known of it besides.
#[derive(Clone, Copy)]
pub(super) struct Value<'v> {
    pub number: Number,
    /// The time at which it was 0, of a counter.
    pub since: SystemTime,
    pub(crate) exemplar: Option<&'v Exemplar>,
}
