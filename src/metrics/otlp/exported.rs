//! The values that were exported last: deltas are the difference from them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::metrics::{
    histogram::Histogram,
    series::{Number, Series},
};

/// The last exported value of each counter and histogram. It outlives a change of the collector.
#[derive(Default)]
pub(in crate::metrics) struct Exported {
    series: HashMap<SeriesId, Last>,
    hashers: [RandomState; 2],
    /// The time of the last collection that was exported as a whole.
    completed_at: Option<SystemTime>,
}

/// A series, by hashes of its labels: the labels of 10,000 monitors would take more memory than their values.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SeriesId([u64; 2]);

/// The last exported value of a series.
pub(super) struct Last {
    pub value: LastValue,
    /// The time since which the series counts. If it is another one, the series is new.
    pub since: SystemTime,
    /// The time of the value.
    pub at: SystemTime,
    /// The start of the collection that had it.
    pub collection: SystemTime,
}

pub(super) enum LastValue {
    Number(Number),
    Histogram(Box<Histogram>),
}

impl Exported {
    pub(super) fn id(&self, series: Series<'_>) -> SeriesId {
        let identity = (series.family.name, series.monitor, series.values);
        SeriesId(self.hashers.each_ref().map(|hasher| {
            let mut hasher = hasher.build_hasher();
            identity.hash(&mut hasher);
            std::hash::Hasher::finish(&hasher)
        }))
    }

    /// The last exported value of a series that counts since `since`.
    pub(super) fn last(&self, id: SeriesId, since: SystemTime) -> Option<&Last> {
        self.series.get(&id).filter(|last| last.since == since)
    }

    pub(super) fn insert(&mut self, values: impl Iterator<Item = (SeriesId, Last)>) {
        self.series.extend(values);
    }

    /// The time after which exemplars have not been exported yet.
    pub(super) fn completed_at(&self) -> SystemTime {
        self.completed_at.unwrap_or(UNIX_EPOCH)
    }

    /// Forgets series of which the collection that began at `began` had no deltas.
    pub(crate) fn retain(&mut self, began: SystemTime) {
        self.series.retain(|_, last| last.collection == began);
        self.series.shrink_to(2 * self.series.len());
    }

    /// Notes that the collection that began at `began` was exported as a whole.
    pub(crate) fn complete(&mut self, began: SystemTime) {
        self.completed_at = Some(began);
    }
}
