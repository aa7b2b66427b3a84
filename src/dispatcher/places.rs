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
    /// How many each host has, where they are limited.
    each_host: Option<usize>,
    hosts: HashMap<String, Arc<Semaphore>>,
}

impl Room {
    pub fn new(whole: usize, each_host: Option<usize>) -> Self {
        Self {
            whole: places(whole),
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
            whole: self.whole.clone(),
        }
    }
}

fn places(number: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS)))
}

/// Where a check needs a place before it begins.
pub(super) struct Places {
    host: Option<Arc<Semaphore>>,
    whole: Arc<Semaphore>,
}

/// A place of the host, where those are limited, and one of the whole; free again when dropped.
pub(super) struct Place<'p> {
    _host: Option<SemaphorePermit<'p>>,
    _whole: SemaphorePermit<'p>,
    /// Which of them was not free at once.
    pub waited_for: Option<Cause>,
}

impl Places {
    /// A place, if one is free before `until`; else which one was not.
    ///
    /// The host's comes first, so that those that wait for a slow host hold no place of the whole.
    pub async fn take(&self, until: Instant) -> Result<Place<'_>, Cause> {
        let mut waited_for = None;
        let host = match &self.host {
            Some(host) => Some(take(host, until, Cause::NoPlaceOfHost, &mut waited_for).await?),
            None => None,
        };
        let whole = take(&self.whole, until, Cause::NoPlace, &mut waited_for).await?;
        Ok(Place {
            _host: host,
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
