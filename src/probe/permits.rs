//! Permits for probes of each host.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

/// The number of probes in progress, for each host that has any.
#[derive(Debug, Default)]
pub(super) struct ProbesPerHost(Mutex<HashMap<String, usize>>);

/// A probe of one host; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct HostPermit {
    probes: Arc<ProbesPerHost>,
    host: String,
}

impl ProbesPerHost {
    /// A permit for a probe of `host`, if fewer than `limit` are in progress.
    pub(super) fn acquire(self: &Arc<Self>, host: String, limit: usize) -> Option<HostPermit> {
        let mut probes = self.0.lock();
        let count = probes.entry(host.clone()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(probes);
        Some(HostPermit {
            probes: self.clone(),
            host,
        })
    }
}

impl Drop for HostPermit {
    fn drop(&mut self) {
        let mut probes = self.probes.0.lock();
        if let Entry::Occupied(mut count) = probes.entry(std::mem::take(&mut self.host)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_permits_of_its_own() {
        let probes = Arc::new(ProbesPerHost::default());
        let acquire = |host: &str| probes.acquire(host.to_owned(), 2);
        let first = acquire("a").expect("the first");
        let _second = acquire("a").expect("the second");
        assert!(acquire("a").is_none());
        let other = acquire("b");
        assert!(other.is_some());
        drop((first, other));
        assert!(acquire("a").is_some(), "a permit comes back");
        assert_eq!(
            probes.0.lock().len(),
            1,
            "hosts without probes are forgotten"
        );
    }
}
