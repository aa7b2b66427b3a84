//! Counters by key, of what seldom occurs.

use std::time::SystemTime;

use super::exemplar::Exemplar;

/// A counter that exists since it was first counted.
#[derive(Debug)]
pub(super) struct Counter {
    pub count: u64,
    /// The time before which there was nothing to count.
    pub since: SystemTime,
    /// The last exemplar of what was counted.
    pub(crate) exemplar: Option<Box<Exemplar>>,
}

/// Counters by key, in the order in which they first occurred: there are few, and most monitors have none.
#[derive(Debug)]
pub(super) struct Counters<K>(Vec<(K, Counter)>);

impl<K: PartialEq> Counters<K> {
    /// No counters.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Counts an occurrence of `key`, in what began at `since`.
    pub(super) fn count(&mut self, key: K, since: SystemTime, exemplar: Option<Exemplar>) {
        let at = self.0.iter().position(|(known, _)| *known == key);
        let at = at.unwrap_or_else(|| {
            let counter = Counter {
                count: 0,
                since,
                exemplar: None,
            };
            // Most have one: four at once would take a tenth of a kilobyte more.
            self.0.reserve_exact(1);
            self.0.push((key, counter));
            self.0.len() - 1
        });
        let (_, counter) = &mut self.0[at];
        counter.count += 1;
        if let Some(exemplar) = exemplar {
            counter.exemplar = Some(exemplar.into());
        }
    }

    /// The counters with their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, Counter)> {
        self.0.iter()
    }
}
