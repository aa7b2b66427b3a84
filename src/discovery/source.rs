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
    fn look(&mut self) -> impl Future<Output = Vec<Look>> + Send;

    /// The time from one look to the next.
    fn pause(&self) -> Duration;
}

/// What a look at one piece of a source, such as a file, has found.
#[derive(Debug)]
pub(super) struct Look {
    /// The piece in words.
    pub piece: String,
    /// Its list, or why there is none.
    pub found: Result<Found, String>,
}

#[derive(Debug)]
pub(super) enum Found {
    Targets(Vec<Target>),
    /// The piece is no part of the source any more.
    Gone,
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
pub struct Kept(pub(super) HashMap<(Arc<str>, String, String), Arc<[Target]>>);

#[derive(Default)]
struct Piece {
    targets: Option<Arc<[Target]>>,
    trouble: Option<String>,
}

/// Looks at one source and tells of what changes.
pub(super) struct Watch {
    pub index: usize,
    pub block: Arc<str>,
    pub name: String,
    pub stats: Arc<SourceStats>,
    pub before: Arc<Kept>,
    pub updates: mpsc::Sender<Update>,
    /// The time from one look to the next, in place of the source's own.
    pub poll_interval: Option<Duration>,
    pieces: BTreeMap<String, Piece>,
}

impl Watch {
    pub fn new(
        index: usize,
        (block, name): (Arc<str>, String),
        stats: Arc<SourceStats>,
        before: Arc<Kept>,
        updates: mpsc::Sender<Update>,
    ) -> Self {
        Self {
            index,
            block,
            name,
            stats,
            before,
            updates,
            poll_interval: None,
            pieces: BTreeMap::new(),
        }
    }

    /// Looks until `shutdown`, and leaves behind what is good.
    pub async fn run(mut self, mut source: impl Source, shutdown: CancellationToken) -> Kept {
        shutdown
            .run_until_cancelled(async {
                let mut is_first = true;
                loop {
                    let looks = source.look().await;
                    let changed = self.take(looks);
                    if changed || is_first {
                        let update = Update {
                            source: self.index,
                            lists: changed.then(|| self.lists()),
                        };
                        // Nobody is there any more only when all of this ends.
                        let _ = self.updates.send(update).await;
                    }
                    is_first = false;
                    let pause = self.poll_interval.unwrap_or_else(|| source.pause());
                    tokio::time::sleep(pause).await;
                }
            })
            .await;
        let Self { block, name, .. } = &self;
        let good = self.pieces.iter().filter_map(|(piece, state)| {
            let key = (block.clone(), name.clone(), piece.clone());
            Some((key, state.targets.clone()?))
        });
        Kept(good.collect())
    }

    fn lists(&self) -> Vec<Arc<[Target]>> {
        let pieces = self.pieces.values();
        pieces.filter_map(|piece| piece.targets.clone()).collect()
    }

    /// Takes in what was found, and says whether the list is another one now.
    fn take(&mut self, looks: Vec<Look>) -> bool {
        let mut changed = false;
        for Look { piece, found } in looks {
            let found = found.and_then(|found| self.bounded(&piece, found));
            changed |= match found {
                Ok(Found::Targets(targets)) => self.succeeded(&piece, targets),
                Ok(Found::Gone) => {
                    let gone = self.pieces.remove(&piece);
                    tracing::info!(
                        block = &*self.block,
                        source = self.name,
                        at = piece,
                        "Targets are not listed any more"
                    );
                    gone.is_some_and(|gone| gone.targets.is_some())
                }
                Err(error) => self.failed(&piece, error),
            };
        }
        let lists = self.lists();
        let targets = lists.iter().map(|list| list.len()).sum();
        let is_well = self.pieces.values().all(|piece| piece.trouble.is_none());
        self.stats.update(|findings| {
            findings.targets = (is_well || !lists.is_empty()).then_some(targets);
            if is_well {
                findings.last_success = Some(SystemTime::now());
            }
        });
        changed
    }

    /// `found`, unless it is too much together with the other pieces.
    fn bounded(&self, piece: &str, found: Found) -> Result<Found, String> {
        let Found::Targets(targets) = &found else {
            return Ok(found);
        };
        let others = self.pieces.iter().filter(|(name, _)| *name != piece);
        let others = others.filter_map(|(_, state)| state.targets.as_ref());
        let others: usize = others.map(|targets| targets.len()).sum();
        if others + targets.len() > MAX_TARGETS {
            return Err(format!(
                "makes it more than {MAX_TARGETS} targets of one source"
            ));
        }
        Ok(found)
    }

    fn succeeded(&mut self, piece: &str, targets: Vec<Target>) -> bool {
        let (block, source) = (&*self.block, &self.name);
        let state = self.pieces.entry(piece.to_owned()).or_default();
        if state.trouble.take().is_some() {
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

    fn failed(&mut self, piece: &str, error: String) -> bool {
        self.stats.update(|findings| findings.failures += 1);
        let state = self.pieces.entry(piece.to_owned()).or_default();
        let mut is_new = false;
        if state.targets.is_none() {
            let key = (self.block.clone(), self.name.clone(), piece.to_owned());
            state.targets = self.before.0.get(&key).cloned();
            is_new = state.targets.is_some();
        }
        if state.trouble.as_ref() != Some(&error) {
            tracing::warn!(
                block = &*self.block,
                source = self.name,
                at = piece,
                targets_kept = state.targets.as_ref().map_or(0, |targets| targets.len()),
                error,
                "Targets cannot be listed"
            );
            state.trouble = Some(error);
        }
        is_new
    }
}
