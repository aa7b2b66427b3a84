//! The data points of one collection: their start, their value, and what is exported of them.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use super::exported::{Exported, Last, LastValue, SeriesId};
use crate::{
    metrics::{
        exemplar::Exemplar,
        histogram::Histogram,
        series::{Number, Series, Value},
    },
    telemetry::Temporality,
};

/// The data points of one collection.
pub(in crate::metrics) struct Points {
    temporality: Temporality,
    exported: Arc<Mutex<Exported>>,
    /// The start of the collection.
    began: SystemTime,
    /// The time after which exemplars have not been exported yet.
    exemplars_after: SystemTime,
    /// Number of data points of the part that is being written.
    count: u64,
    /// The values of that part, for the next deltas if the collector accepts it.
    values: Vec<(SeriesId, Last)>,
}

impl Points {
    /// No points. Deltas are those since what is `exported`.
    pub(crate) fn new(temporality: Temporality, exported: Arc<Mutex<Exported>>) -> Self {
        let exemplars_after = exported.lock().completed_at();
        Self {
            temporality,
            exported,
            began: SystemTime::now(),
            exemplars_after,
            count: 0,
            values: Vec::new(),
        }
    }

    pub(super) fn temporality(&self) -> Temporality {
        self.temporality
    }

    /// Returns true if `exemplar` has not been exported yet.
    pub(super) fn has_new(&self, exemplar: &Exemplar) -> bool {
        exemplar.at > self.exemplars_after
    }

    pub(super) fn count_one(&mut self) {
        self.count += 1;
    }

    /// The start and the value at `now` of a data point of a counter; `None` if nothing was counted since the last one.
    pub(super) fn number(
        &mut self,
        series: Series<'_>,
        value: Value<'_>,
        now: SystemTime,
    ) -> Option<(SystemTime, Number)> {
        if self.temporality == Temporality::Cumulative {
            return Some((value.since, value.number));
        }
        let exported = self.exported.lock();
        let id = exported.id(series);
        let last = exported.last(id, value.since);
        let point = match last {
            Some(Last {
                value: LastValue::Number(last),
                at,
                ..
            }) => (*at, value.number.minus(*last)),
            _ => (value.since, value.number),
        };
        let is_new = last.is_none();
        drop(exported);
        self.remember(id, LastValue::Number(value.number), value.since, now);
        (is_new || !point.1.is_zero()).then_some(point)
    }

    /// The same for a histogram that counts since `since`.
    pub(super) fn histogram(
        &mut self,
        series: Series<'_>,
        histogram: &Histogram,
        since: SystemTime,
        now: SystemTime,
    ) -> Option<(SystemTime, Histogram)> {
        let exported = self.exported.lock();
        let id = exported.id(series);
        let last = exported.last(id, since);
        let point = match last {
            Some(Last {
                value: LastValue::Histogram(last),
                at,
                ..
            }) => (*at, histogram.minus(last)),
            _ => (since, histogram.clone()),
        };
        let is_new = last.is_none();
        drop(exported);
        let value = LastValue::Histogram(Box::new(histogram.clone()));
        self.remember(id, value, since, now);
        (is_new || point.1.count() > 0).then_some(point)
    }

    fn remember(&mut self, id: SeriesId, value: LastValue, since: SystemTime, at: SystemTime) {
        let collection = self.began;
        let last = Last {
            value,
            since,
            at,
            collection,
        };
        self.values.push((id, last));
    }

    /// The number of data points of the part that has been written; the next one begins.
    pub(crate) fn end_part(&mut self) -> u64 {
        std::mem::take(&mut self.count)
    }

    /// The collector has the last part.
    pub(crate) fn accept(&mut self) {
        self.exported.lock().insert(self.values.drain(..));
    }

    /// Forgets the values of the last part, so that the next collection has them.
    pub(crate) fn discard(&mut self) {
        self.values.clear();
    }

    /// The collector has every part.
    pub(crate) fn complete(&mut self) {
        let mut exported = self.exported.lock();
        exported.retain(self.began);
        exported.complete(self.began);
    }
}
