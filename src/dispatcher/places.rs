//! Places among the concurrent checks: those of the whole, and those of each host.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::tally::Cause;

/// The places that the monitors of a dispatcher share. Whoever waits longest for one gets it first.
pub(super) struct Room {
    whole: Arc<Semaphore>,
    /// As many of the whole as targets that hang may take.
    hanging: Arc<Semaphore>,
    /// How many each host has, where they are limited.
    each_host: Option<usize>,
    hosts: HashMap<String, Arc<Semaphore>>,
}

impl Room {
    pub fn new(whole: usize, each_host: Option<usize>) -> Self {
        Self {
            whole: places(whole),
            hanging: places(for_those_that_hang(whole)),
            each_host,
            hosts: HashMap::new(),
        }
    }

    /// The places of a monitor whose connections go to `host`.
    pub fn of(&mut self, host: Option<String>) -> Places {
        let host = host.zip(self.each_host).map(|(host, each)| {
            let shared = self.hosts.entry(host).or_insert_with(|| places(each));
            shared.clone()
        });
        Places {
            host,
            hanging: self.hanging.clone(),
            whole: self.whole.clone(),
        }
    }
}

/// How many of `places` may be taken by checks of monitors whose last check timed out: all but a
/// tenth, which is left to those that answer. They hold a place a thousand times as long.
pub(crate) const fn for_those_that_hang(places: usize) -> usize {
    places - places / 10
}

/// The fewest places of which so many are [`for_those_that_hang`]; there is at least one.
pub(crate) const fn of_which_may_hang(hanging: usize) -> usize {
    hanging + (hanging - 1) / 9
}

fn places(number: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS)))
}

/// Where a check needs a place before it begins.
pub(super) struct Places {
    host: Option<Arc<Semaphore>>,
    hanging: Arc<Semaphore>,
    whole: Arc<Semaphore>,
}

/// A place of the host, where those are limited, and one of the whole; free again when dropped.
pub(super) struct Place<'p> {
    _host: Option<SemaphorePermit<'p>>,
    _hanging: Option<SemaphorePermit<'p>>,
    _whole: SemaphorePermit<'p>,
    /// Which of them was not free at once.
    pub waited_for: Option<Cause>,
}

impl Places {
    /// A place, if one is free before `until`, for a check of a monitor whose last one hung or did
    /// not; else which place was not free.
    ///
    /// The host's comes first, so that those that wait for a slow host hold no place of the whole.
    pub async fn take(&self, until: Instant, hung: bool) -> Result<Place<'_>, Cause> {
        let mut waited_for = None;
        let host = match &self.host {
            Some(host) => Some(take(host, until, Cause::NoPlaceOfHost, &mut waited_for).await?),
            None => None,
        };
        let hanging = if hung {
            Some(take(&self.hanging, until, Cause::NoPlace, &mut waited_for).await?)
        } else {
            None
        };
        let whole = take(&self.whole, until, Cause::NoPlace, &mut waited_for).await?;
        Ok(Place {
            _host: host,
            _hanging: hanging,
            _whole: whole,
            waited_for,
        })
    }
}

async fn take<'p>(
    places: &'p Semaphore,
    until: Instant,
    missing: Cause,
    waited_for: &mut Option<Cause>,
) -> Result<SemaphorePermit<'p>, Cause> {
    if let Ok(place) = places.try_acquire() {
        return Ok(place);
    }
    waited_for.get_or_insert(missing);
    let place = timeout_at(until, places.acquire()).await;
    // After a standstill, places become free together with the end of the time to wait for them.
    let in_time = place.ok().filter(|_| Instant::now() < until);
    in_time.and_then(Result::ok).ok_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fewer_places_are_enough_for_so_many_that_hang() {
        for hanging in 1..1_000 {
            let places = of_which_may_hang(hanging);
            assert_eq!(for_those_that_hang(places), hanging);
            assert!(for_those_that_hang(places - 1) < hanging);
        }
    }
}
