//! Discovery that runs once: the lists of all sources, and the decision on each target.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;

use super::{
    assembly::{BuildMonitor, Decision, decide, redacted},
    payload::{MAX_TARGETS, Target},
    relabel::Labels,
    settings::{Block, Settings, SourceSettings},
    source::{Found, PollResult, Source},
};
use crate::net::Net;

/// A list of targets, such as a file, with what became of them.
#[derive(Debug)]
pub(crate) struct DiscoveredList<M> {
    /// The name of the block.
    pub block: Arc<str>,
    /// The name of the source, such as `http_sd/0`.
    pub source: String,
    /// The name of the list: a path, a URL, a DNS name.
    pub list: String,
    /// The targets in their order, or the reason why the list could not be read.
    pub targets: Result<Vec<DiscoveredTarget<M>>, String>,
}

/// A target with its labels before relabelling, and what became of it. Secrets in URLs are left out.
#[derive(Debug)]
pub(crate) struct DiscoveredTarget<M> {
    /// Its `__address__`.
    pub address: String,
    /// Its other labels.
    pub labels: Labels,
    /// The result.
    pub outcome: Outcome<M>,
}

/// The result for one target.
#[derive(Debug)]
pub(crate) enum Outcome<M> {
    /// It is monitored.
    Monitor(M),
    /// A monitor with this name is configured, or was discovered before.
    Duplicate(Arc<str>),
    /// A relabelling rule drops it.
    Dropped {
        /// The rule in words.
        rule: String,
    },
    /// It has no valid monitor.
    Rejected {
        /// The reason.
        error: String,
    },
}

/// Polls every source once, and builds a monitor for each target; none with a name that is `taken`.
pub(crate) async fn run_once<M>(
    settings: &Settings,
    net: &Net,
    build: &BuildMonitor<M>,
    taken: impl IntoIterator<Item = &str>,
) -> Vec<DiscoveredList<M>> {
    let sources = settings.blocks.iter().flat_map(|block| {
        let sources = block.sources.iter().zip(block.source_names());
        sources.map(move |(settings, name)| (block, settings, name))
    });
    let polled = join_all(sources.map(async |(block, settings, name)| {
        let lists = poll(settings, net).await;
        (block, name, lists)
    }));
    let mut names: HashSet<Arc<str>> = taken.into_iter().map(Arc::from).collect();
    let mut found = Vec::new();
    for (block, source, lists) in polled.await {
        let mut room = MAX_TARGETS;
        for PollResult {
            list_name,
            found: list,
        } in lists
        {
            let targets = list.and_then(|list| {
                let targets = match list {
                    Found::Targets(targets) => targets,
                    Found::Removed => Vec::new(),
                };
                room = room
                    .checked_sub(targets.len())
                    .ok_or_else(|| format!("more than {MAX_TARGETS} targets in one source"))?;
                let mut judge = |target: &Target| judge(block, target, build, &mut names);
                Ok(targets.iter().map(&mut judge).collect())
            });
            found.push(DiscoveredList {
                block: block.name.clone(),
                source: source.clone(),
                list: list_name,
                targets,
            });
        }
    }
    found
}

async fn poll(settings: &SourceSettings, net: &Net) -> Vec<PollResult> {
    match settings {
        SourceSettings::File(files) => files.source().poll().await,
        SourceSettings::Http(http) => http.source(net).poll().await,
        SourceSettings::Dns(dns) => dns.source(net).poll().await,
        SourceSettings::Static(list) => list.source().poll().await,
    }
}

fn judge<M>(
    block: &Block,
    target: &Target,
    build: &BuildMonitor<M>,
    names: &mut HashSet<Arc<str>>,
) -> DiscoveredTarget<M> {
    let outcome = match decide(block, target, build) {
        Decision::Monitor { name, monitor } => {
            if names.insert(name.clone()) {
                Outcome::Monitor(monitor)
            } else {
                Outcome::Duplicate(name)
            }
        }
        Decision::Dropped(rule) => Outcome::Dropped {
            rule: block.rules.describe(rule),
        },
        Decision::Rejected { error, .. } => Outcome::Rejected { error },
    };
    let labels = target.labels.iter();
    DiscoveredTarget {
        address: redacted(&target.address),
        labels: labels
            .map(|(name, value)| (name.clone(), shown(value)))
            .collect(),
        outcome,
    }
}

/// The value of a label without secrets, which a URL may have.
fn shown(value: &str) -> String {
    if value.contains("://") {
        redacted(value)
    } else {
        value.to_owned()
    }
}
