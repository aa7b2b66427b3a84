//! Creates jobs from the monitors of a configuration.

use super::{Config, Monitor};
use crate::{
    check::{Job, Replica},
    dispatcher::Shard,
    net::Net,
};

impl Config {
    /// Creates a job for each monitor.
    pub(crate) fn jobs(&self, net: &Net) -> Vec<Job> {
        net.forbid_targets(self.forbid_targets.clone());
        net.record_leaf_certificates(self.metrics.exports_leaf_certificates());
        let monitors = self.monitors.iter();
        monitors.map(|monitor| monitor.job(net)).collect()
    }

    /// Removes the monitors that `shard` does not run.
    pub(crate) fn retain_shard(&mut self, shard: Shard) {
        self.monitors.retain_mut(|monitor| {
            let replica = monitor.replica_of(Some(shard));
            monitor.replica = replica.unwrap_or_default();
            replica.is_some()
        });
    }
}

impl Monitor {
    /// Creates the job of the monitor.
    pub(crate) fn job(&self, net: &Net) -> Job {
        Job {
            check_every: self.check_every,
            timeout: self.timeout,
            labels: self.labels.clone(),
            duration_buckets: self.duration_buckets.clone(),
            fail_if_slower_than: self.fail_if_slower_than,
            propagate: self.propagate,
            enabled: self.enabled,
            state_rules: self.state_rules.clone(),
            replica: self.replica,
            fingerprint: self.fingerprint,
            ..self.settings.bind(&self.name, net)
        }
    }

    /// The replica that `shard` runs, if it runs one. Without a shard, the daemon runs all monitors.
    pub(crate) fn replica_of(&self, shard: Option<Shard>) -> Option<Replica> {
        match shard {
            Some(shard) => shard.replica(&self.name, self.replicas.0),
            None => Some(Replica::default()),
        }
    }
}
