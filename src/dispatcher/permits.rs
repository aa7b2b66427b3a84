//! Permits for concurrent checks: global ones, and those of each host.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::skipped::SkipCause;

/// The permits that all monitors share, in the order of requests.
pub(crate) struct ConcurrencyLimits {
    global: Arc<Semaphore>,
    /// The part of the global permits for monitors whose last check timed out.
    timed_out: Arc<Semaphore>,
    /// Number of permits of each host, if limited.
    per_host: Option<usize>,
    /// Hosts of running monitors. Other entries are removed from time to time.
    hosts: HashMap<String, Weak<Semaphore>>,
    /// Number of hosts at which unused entries are removed.
    prune_at: usize,
}

/// Minimum number of hosts before unused entries are removed.
const MIN_PRUNE: usize = 64;

impl ConcurrencyLimits {
    pub(crate) fn new(global: usize, per_host: Option<usize>) -> Self {
        Self {
            global: semaphore(global),
            timed_out: semaphore(max_permits_after_timeout(global)),
            per_host,
            hosts: HashMap::new(),
            prune_at: MIN_PRUNE,
        }
    }

    /// The permits of a monitor whose connections go to `host`.
    pub(crate) fn for_host(&mut self, host: Option<String>) -> MonitorPermits {
        let host = host.zip(self.per_host).map(|(host, permits)| {
            if let Some(shared) = self.hosts.get(&host).and_then(Weak::upgrade) {
                return shared;
            }
            let shared = semaphore(permits);
            self.hosts.insert(host, Arc::downgrade(&shared));
            shared
        });
        if self.hosts.len() >= self.prune_at {
            self.hosts.retain(|_, shared| shared.strong_count() > 0);
            self.prune_at = MIN_PRUNE.max(2 * self.hosts.len());
        }
        MonitorPermits {
            host,
            timed_out: self.timed_out.clone(),
            global: self.global.clone(),
        }
    }
}

/// Number of `permits` for checks of monitors whose last check timed out: all but a tenth, which is
/// reserved for targets that answer. A check that times out holds its permit a thousand times as long.
pub(crate) const fn max_permits_after_timeout(permits: usize) -> usize {
    permits - permits / 10
}

/// The smallest number of permits whose [`max_permits_after_timeout`] is `timed_out`, which is above 0.
pub(crate) const fn permits_needed_for_timeouts(timed_out: usize) -> usize {
    timed_out + (timed_out - 1) / 9
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

/// The semaphores from which a monitor acquires permits before a check.
pub(crate) struct MonitorPermits {
    host: Option<Arc<Semaphore>>,
    timed_out: Arc<Semaphore>,
    global: Arc<Semaphore>,
}

/// A permit of the host, if those are limited, and a global one; released when dropped.
pub(crate) struct Permit<'p> {
    _host: Option<SemaphorePermit<'p>>,
    _timed_out: Option<SemaphorePermit<'p>>,
    _global: SemaphorePermit<'p>,
    /// The first limit that had no permit free at once.
    pub(super) contended: Option<SkipCause>,
}

impl MonitorPermits {
    /// Waits for a permit until `until`. Returns the exceeded limit if there is none.
    ///
    /// The permit of the host comes first, so that a check that waits for a slow host holds no global one.
    pub(super) async fn acquire(
        &self,
        until: Instant,
        last_timed_out: bool,
    ) -> Result<Permit<'_>, SkipCause> {
        let mut contended = None;
        let host = match &self.host {
            Some(host) => Some(acquire(host, until, SkipCause::HostLimit, &mut contended).await?),
            None => None,
        };
        let timed_out = if last_timed_out {
            let permit = acquire(
                &self.timed_out,
                until,
                SkipCause::GlobalLimit,
                &mut contended,
            );
            Some(permit.await?)
        } else {
            None
        };
        let global = acquire(&self.global, until, SkipCause::GlobalLimit, &mut contended).await?;
        Ok(Permit {
            _host: host,
            _timed_out: timed_out,
            _global: global,
            contended,
        })
    }

    /// Waits for a permit without a deadline.
    pub(crate) async fn acquire_without_deadline(&self) -> Option<Permit<'_>> {
        let host = match &self.host {
            Some(host) => Some(host.acquire().await.ok()?),
            None => None,
        };
        Some(Permit {
            _host: host,
            _timed_out: None,
            _global: self.global.acquire().await.ok()?,
            contended: None,
        })
    }
}

async fn acquire<'p>(
    semaphore: &'p Semaphore,
    until: Instant,
    missing: SkipCause,
    contended: &mut Option<SkipCause>,
) -> Result<SemaphorePermit<'p>, SkipCause> {
    if let Ok(permit) = semaphore.try_acquire() {
        return Ok(permit);
    }
    contended.get_or_insert(missing);
    let permit = timeout_at(until, semaphore.acquire()).await;
    // After the process was stopped, a permit can become free after the deadline.
    let in_time = permit.ok().filter(|_| Instant::now() < until);
    in_time.and_then(Result::ok).ok_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fewer_permits_are_enough_for_so_many_that_hang() {
        for hanging in 1..1_000 {
            let permits = permits_needed_for_timeouts(hanging);
            assert_eq!(max_permits_after_timeout(permits), hanging);
            assert!(max_permits_after_timeout(permits - 1) < hanging);
        }
    }

    #[test]
    fn hosts_that_no_monitor_checks_any_more_are_forgotten() {
        let mut limits = ConcurrencyLimits::new(10, Some(1));
        let stays = limits.for_host(Some("stays".to_owned()));
        for host in 0..10_000 {
            drop(limits.for_host(Some(format!("host {host}"))));
        }
        assert!(limits.hosts.len() <= MIN_PRUNE, "{}", limits.hosts.len());
        let again = limits.for_host(Some("stays".to_owned()));
        let (stays, again) = (stays.host.expect("limited"), again.host.expect("limited"));
        assert!(Arc::ptr_eq(&stays, &again), "a host has one semaphore");
    }
}
