//! What all sources have in common: they are looked at again and again, and what was good stays.

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

/// Where lists come from.
pub(super) trait Source: Send + 'static {
    /// Looks at all that it has; what is as it was may be left out.
    fn poll(&mut self) -> impl Future<Output = Vec<PollResult>> + Send;

    /// The time from one look to the next.
    fn interval(&self) -> Duration;
}

/// What a look at one piece of a source, such as a file, has found.
#[derive(Debug)]
pub(super) struct PollResult {
    /// The piece in words.
    pub list_name: String,
    /// Its list, or why there is none.
    pub found: Result<Found, String>,
}

#[derive(Debug)]
pub(super) enum Found {
    Targets(Vec<Target>),
    /// The piece is no part of the source any more.
    Removed,
}

/// The whole list of one source, piece by piece.
pub(super) struct Update {
    /// Which source, counted over all blocks.
    pub source: usize,
    /// `None` where the first look has found nothing.
    pub lists: Option<Vec<Arc<[Target]>>>,
}

/// The last good lists, by block, source's name and piece.
#[derive(Default)]
pub struct LastGoodTargets(pub(super) HashMap<(Arc<str>, String, String), Arc<[Target]>>);

#[derive(Default)]
struct ListState {
    targets: Option<Arc<[Target]>>,
    last_error: Option<String>,
}

/// Looks at one source and tells of what changes.
pub(super) struct SourceTask {
    pub index: usize,
    pub block: Arc<str>,
    pub name: String,
    pub stats: Arc<SourceStats>,
    pub last_good: Arc<LastGoodTargets>,
    pub updates: mpsc::Sender<Update>,
    /// The time from one look to the next, in place of the source's own.
    pub poll_interval: Option<Duration>,
    lists_by_name: BTreeMap<String, ListState>,
}

impl SourceTask {
    pub fn new(
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

    /// Looks until `shutdown`, and leaves behind what is good.
    pub async fn run(
        mut self,
        mut source: impl Source,
        shutdown: CancellationToken,
    ) -> LastGoodTargets {
        shutdown
            .run_until_cancelled(async {
                let mut is_first = true;
                loop {
                    let looks = source.poll().await;
                    let changed = self.apply(looks);
                    if changed || is_first {
                        let update = Update {
                            source: self.index,
                            lists: changed.then(|| self.lists()),
                        };
                        // Nobody is there any more only when all of this ends.
                        let _ = self.updates.send(update).await;
                    }
                    is_first = false;
                    let pause = self.poll_interval.unwrap_or_else(|| source.interval());
                    tokio::time::sleep(pause).await;
                }
            })
            .await;
        let Self { block, name, .. } = &self;
        let good = self.lists_by_name.iter().filter_map(|(piece, state)| {
            let key = (block.clone(), name.clone(), piece.clone());
            Some((key, state.targets.clone()?))
        });
        LastGoodTargets(good.collect())
    }

    fn lists(&self) -> Vec<Arc<[Target]>> {
        let pieces = self.lists_by_name.values();
        pieces.filter_map(|piece| piece.targets.clone()).collect()
    }

    /// Takes in what was found, and says whether the list is another one now.
    fn apply(&mut self, looks: Vec<PollResult>) -> bool {
        let mut changed = false;
        for PollResult {
            list_name: piece,
            found,
        } in looks
        {
            let found = found.and_then(|found| self.check_bounds(&piece, found));
            changed |= match found {
                Ok(Found::Targets(targets)) => self.on_success(&piece, targets),
                Ok(Found::Removed) => {
                    let gone = self.lists_by_name.remove(&piece);
                    tracing::info!(
                        block = &*self.block,
                        source = self.name,
                        at = piece,
                        "Targets are not listed any more"
                    );
                    gone.is_some_and(|gone| gone.targets.is_some())
                }
                Err(error) => self.on_failure(&piece, error),
            };
        }
        let lists = self.lists();
        let targets = lists.iter().map(|list| list.len()).sum();
        let is_well = self
            .lists_by_name
            .values()
            .all(|piece| piece.last_error.is_none());
        self.stats.update(|findings| {
            findings.targets = (is_well || !lists.is_empty()).then_some(targets);
            if is_well {
                findings.last_success = Some(SystemTime::now());
            }
        });
        changed
    }

    /// `found`, unless it is too much together with the other pieces.
    fn check_bounds(&self, piece: &str, found: Found) -> Result<Found, String> {
        let Found::Targets(targets) = &found else {
            return Ok(found);
        };
        let others = self.lists_by_name.iter().filter(|(name, _)| *name != piece);
        let others = others.filter_map(|(_, state)| state.targets.as_ref());
        let others: usize = others.map(|targets| targets.len()).sum();
        if others + targets.len() > MAX_TARGETS {
            return Err(format!(
                "makes it more than {MAX_TARGETS} targets of one source"
            ));
        }
        Ok(found)
    }

    fn on_success(&mut self, piece: &str, targets: Vec<Target>) -> bool {
        let (block, source) = (&*self.block, &self.name);
        let state = self.lists_by_name.entry(piece.to_owned()).or_default();
        if state.last_error.take().is_some() {
            let targets = targets.len();
            tracing::info!(
                block,
                source,
                at = piece,
                targets,
                "Targets can be listed again"
            );
        }
        let is_new = state.targets.as_deref() != Some(&*targets);
        if is_new {
            tracing::debug!(
                block,
                source,
                at = piece,
                targets = targets.len(),
                "Targets are listed"
            );
            state.targets = Some(targets.into());
        }
        is_new
    }

    fn on_failure(&mut self, piece: &str, error: String) -> bool {
        self.stats.update(|findings| findings.failures += 1);
        let state = self.lists_by_name.entry(piece.to_owned()).or_default();
        let mut is_new = false;
        if state.targets.is_none() {
            let key = (self.block.clone(), self.name.clone(), piece.to_owned());
            state.targets = self.last_good.0.get(&key).cloned();
            is_new = state.targets.is_some();
        }
        if state.last_error.as_ref() != Some(&error) {
            tracing::warn!(
                block = &*self.block,
                source = self.name,
                at = piece,
                targets_kept = state.targets.as_ref().map_or(0, |targets| targets.len()),
                error,
                "Targets cannot be listed"
            );
            state.last_error = Some(error);
        }
        is_new
    }
}
