//! The task of a source: polls it, and keeps the last good list if polling fails.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    payload::{MAX_TARGETS, Target},
    stats::SourceStats,
};

/// A source of target lists.
pub(super) trait Source: Send + 'static {
    /// Polls all lists; unchanged ones may be omitted.
    fn poll(&mut self) -> impl Future<Output = Vec<PollResult>> + Send;

    /// The interval between polls.
    fn interval(&self) -> Duration;
}

/// The result of polling one list of a source, such as a file.
#[derive(Debug)]
pub(super) struct PollResult {
    /// The name of the list: a path, a URL, a DNS name.
    pub(crate) list_name: String,
    /// The list, or the error.
    pub found: Result<Found, String>,
}

#[derive(Debug)]
pub(super) enum Found {
    Targets(Vec<Target>),
    /// The source no longer has this list.
    Removed,
}

/// All lists of one source.
pub(super) struct Update {
    /// Index of the source over all blocks.
    pub source: usize,
    /// `None` if the first poll failed.
    pub lists: Option<Vec<Arc<[Target]>>>,
}

/// The last good lists, by block, source and list name.
#[derive(Default)]
pub struct LastGoodTargets(pub(super) HashMap<(Arc<str>, String, String), Arc<[Target]>>);

#[derive(Default)]
struct ListState {
    targets: Option<Arc<[Target]>>,
    last_error: Option<String>,
}

/// Polls one source and sends changes.
pub(super) struct SourceTask {
    pub index: usize,
    pub block: Arc<str>,
    pub name: String,
    pub stats: Arc<SourceStats>,
    pub(crate) last_good: Arc<LastGoodTargets>,
    pub(crate) updates: mpsc::Sender<Update>,
    /// Overrides the interval between polls.
    pub poll_interval: Option<Duration>,
    lists_by_name: BTreeMap<String, ListState>,
}

impl SourceTask {
    pub(super) fn new(
        index: usize,
        (block, name): (Arc<str>, String),
        stats: Arc<SourceStats>,
        before: Arc<LastGoodTargets>,
        updates: mpsc::Sender<Update>,
    ) -> Self {
        Self {
            index,
            block,
            name,
            stats,
            last_good: before,
            updates,
            poll_interval: None,
            lists_by_name: BTreeMap::new(),
        }
    }

    /// Polls until `shutdown`, and returns the last good lists.
    pub(super) async fn run(
        mut self,
        mut source: impl Source,
        shutdown: CancellationToken,
    ) -> LastGoodTargets {
        shutdown
            .run_until_cancelled(async {
                let mut is_first = true;
                loop {
                    let results = source.poll().await;
                    let changed = self.apply(results);
                    if changed || is_first {
                        let update = Update {
                            source: self.index,
                            lists: changed.then(|| self.lists()),
                        };
                        // Sending fails only at the end, when the receiver is gone.
                        let _ = self.updates.send(update).await;
                    }
                    is_first = false;
                    let interval = self.poll_interval.unwrap_or_else(|| source.interval());
                    tokio::time::sleep(interval).await;
                }
            })
            .await;
        let Self { block, name, .. } = &self;
        let good = self.lists_by_name.iter().filter_map(|(list_name, state)| {
            let key = (block.clone(), name.clone(), list_name.clone());
            Some((key, state.targets.clone()?))
        });
        LastGoodTargets(good.collect())
    }

    fn lists(&self) -> Vec<Arc<[Target]>> {
        let lists = self.lists_by_name.values();
        lists.filter_map(|list| list.targets.clone()).collect()
    }

    /// Applies the results of a poll. Returns true if a list changed.
    fn apply(&mut self, results: Vec<PollResult>) -> bool {
        let mut changed = false;
        for PollResult { list_name, found } in results {
            let found = found.and_then(|found| self.check_bounds(&list_name, found));
            changed |= match found {
                Ok(Found::Targets(targets)) => self.on_success(&list_name, targets),
                Ok(Found::Removed) => {
                    let gone = self.lists_by_name.remove(&list_name);
                    tracing::info!(
                        block = &*self.block,
                        source = self.name,
                        list = list_name,
                        "Target list removed"
                    );
                    gone.is_some_and(|gone| gone.targets.is_some())
                }
                Err(error) => self.on_failure(&list_name, error),
            };
        }
        let lists = self.lists();
        let targets = lists.iter().map(|list| list.len()).sum();
        let all_succeeded = self
            .lists_by_name
            .values()
            .all(|list| list.last_error.is_none());
        self.stats.update(|status| {
            status.targets = (all_succeeded || !lists.is_empty()).then_some(targets);
            if all_succeeded {
                status.last_success = Some(SystemTime::now());
            }
        });
        changed
    }

    /// Returns an error if the source would have too many targets with this list.
    fn check_bounds(&self, list_name: &str, found: Found) -> Result<Found, String> {
        let Found::Targets(targets) = &found else {
            return Ok(found);
        };
        let others: usize = self
            .lists_by_name
            .iter()
            .filter(|(name, _)| *name != list_name)
            .filter_map(|(_, state)| state.targets.as_ref())
            .map(|targets| targets.len())
            .sum();
        if others + targets.len() > MAX_TARGETS {
            return Err(format!("more than {MAX_TARGETS} targets in one source"));
        }
        Ok(found)
    }

    fn on_success(&mut self, list_name: &str, targets: Vec<Target>) -> bool {
        let (block, source) = (&*self.block, &self.name);
        let state = self.lists_by_name.entry(list_name.to_owned()).or_default();
        if state.last_error.take().is_some() {
            let targets = targets.len();
            tracing::info!(
                block,
                source,
                list = list_name,
                targets,
                "Target list available again"
            );
        }
        let is_new = state.targets.as_deref() != Some(&*targets);
        if is_new {
            tracing::debug!(
                block,
                source,
                list = list_name,
                targets = targets.len(),
                "Target list updated"
            );
            state.targets = Some(targets.into());
        }
        is_new
    }

    fn on_failure(&mut self, list_name: &str, error: String) -> bool {
        self.stats.update(|status| status.failures += 1);
        let state = self.lists_by_name.entry(list_name.to_owned()).or_default();
        let mut is_new = false;
        if state.targets.is_none() {
            let key = (self.block.clone(), self.name.clone(), list_name.to_owned());
            state.targets = self.last_good.0.get(&key).cloned();
            is_new = state.targets.is_some();
        }
        if state.last_error.as_ref() != Some(&error) {
            tracing::warn!(
                block = &*self.block,
                source = self.name,
                list = list_name,
                targets_kept = state.targets.as_ref().map_or(0, |targets| targets.len()),
                error,
                "Failed to read target list; keeping the last good one"
            );
            state.last_error = Some(error);
        }
        is_new
    }
}
