//! The lists of targets in the form that is printed.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config,
    discovery::{DiscoveredList, DiscoveredTarget, Outcome},
    dispatcher::Shard,
    net::Net,
    value::format_duration,
};

/// A list of targets.
pub(super) struct List {
    pub block: Arc<str>,
    pub source: String,
    pub name: String,
    pub targets: Result<Vec<Target>, String>,
}

/// A target.
pub(super) struct Target {
    pub address: String,
    pub labels: BTreeMap<String, String>,
    pub result: TargetResult,
    /// The reason why it is not monitored here.
    pub reason: Option<String>,
    pub monitor: Option<Monitor>,
}

/// The result for one target, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetResult {
    Monitored,
    Paused,
    OtherShard,
    Dropped,
    Duplicate,
    Invalid,
}

impl TargetResult {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Monitored => "monitored",
            Self::Paused => "paused",
            Self::OtherShard => "other_shard",
            Self::Dropped => "dropped",
            Self::Duplicate => "duplicate",
            Self::Invalid => "invalid",
        }
    }

    /// Returns true if somebody should look at it.
    pub(super) const fn is_refused(self) -> bool {
        matches!(self, Self::Duplicate | Self::Invalid)
    }
}

/// The monitor of a target.
pub(super) struct Monitor {
    pub name: String,
    pub kind: &'static str,
    /// The target as its type shows it.
    pub target: String,
    pub check_every: String,
    pub timeout: String,
    pub labels: Arc<BTreeMap<String, String>>,
}

impl List {
    pub(super) fn new(
        list: DiscoveredList<config::Monitor>,
        shard: Option<Shard>,
        net: &Net,
    ) -> Self {
        let targets = list.targets.map(|targets| {
            let targets = targets.into_iter();
            targets
                .map(|target| Target::new(target, shard, net))
                .collect()
        });
        Self {
            block: list.block,
            source: list.source,
            name: list.list,
            targets,
        }
    }

    /// Returns true if the list could not be read, or a target was refused.
    pub(super) fn has_problems(&self) -> bool {
        match &self.targets {
            Ok(targets) => targets.iter().any(|target| target.result.is_refused()),
            Err(_) => true,
        }
    }
}

impl Target {
    fn new(target: DiscoveredTarget<config::Monitor>, shard: Option<Shard>, net: &Net) -> Self {
        let (result, reason, monitor) = match target.outcome {
            Outcome::Monitor(monitor) => {
                let result = if monitor.replica_of(shard).is_none() {
                    TargetResult::OtherShard
                } else if monitor.enabled {
                    TargetResult::Monitored
                } else {
                    TargetResult::Paused
                };
                let reason = match result {
                    TargetResult::OtherShard => Some("another shard runs it".to_owned()),
                    TargetResult::Paused => Some("paused".to_owned()),
                    _ => None,
                };
                (result, reason, Some(Monitor::new(&monitor, net)))
            }
            Outcome::Dropped { rule } => (
                TargetResult::Dropped,
                Some(format!("dropped by {rule}")),
                None,
            ),
            Outcome::Duplicate(name) => (
                TargetResult::Duplicate,
                Some(format!("another monitor is called {name:?}")),
                None,
            ),
            Outcome::Rejected { error } => (TargetResult::Invalid, Some(error), None),
        };
        Self {
            address: target.address,
            labels: target.labels,
            result,
            reason,
            monitor,
        }
    }
}

impl Monitor {
    fn new(monitor: &config::Monitor, net: &Net) -> Self {
        let job = monitor.job(net);
        Self {
            name: job.name.to_string(),
            kind: job.kind(),
            target: job.target(),
            check_every: format_duration(job.check_every),
            timeout: format_duration(job.timeout),
            labels: job.labels,
        }
    }
}
