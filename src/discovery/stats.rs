//! What is known of each source and of each block, for metrics.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use parking_lot::Mutex;

/// What all of discovery tells of itself. It outlives a change of the configuration.
#[derive(Debug, Default)]
pub struct Stats {
    sources: Mutex<Sources>,
    blocks: Mutex<BTreeMap<Arc<str>, Arc<BlockStats>>>,
}

/// By block and source.
type Sources = BTreeMap<(Arc<str>, String), Arc<SourceStats>>;

/// What a source has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceStatus {
    /// Targets in its last good list; `None` before it had one.
    pub targets: Option<usize>,
    /// When it last was as it should be.
    pub last_success: Option<SystemTime>,
    /// Times that it was not.
    pub failures: u64,
}

/// What became of the targets of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    /// They are monitors.
    pub monitors: usize,
    /// The rules of the block have dropped them.
    pub dropped: usize,
    /// Another monitor has their name.
    pub duplicates: usize,
    /// They cannot be monitors: the log says why.
    pub rejected: usize,
}

/// The counters of one source.
#[derive(Debug, Default)]
pub(super) struct SourceStats(Mutex<SourceStatus>);

impl SourceStats {
    pub fn update(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.0.lock());
    }
}

/// The counters of one block.
#[derive(Debug, Default)]
pub(super) struct BlockStats(Mutex<Option<BlockCounts>>);

impl BlockStats {
    pub fn set(&self, outcomes: BlockCounts) {
        *self.0.lock() = Some(outcomes);
    }
}

impl Stats {
    /// Every source: the name of its block, its own name such as `http_sd/0`, and what it has found.
    #[must_use]
    pub fn sources(&self) -> Vec<(Arc<str>, String, SourceStatus)> {
        let sources = self.sources.lock();
        let all = sources.iter().map(|((block, source), stats)| {
            let findings = *stats.0.lock();
            (block.clone(), source.clone(), findings)
        });
        all.collect()
    }

    /// Every block whose first lists are there, and what became of its targets.
    #[must_use]
    pub fn blocks(&self) -> Vec<(Arc<str>, BlockCounts)> {
        let blocks = self.blocks.lock();
        let all = blocks.iter().filter_map(|(block, stats)| {
            let outcomes = *stats.0.lock();
            Some((block.clone(), outcomes?))
        });
        all.collect()
    }

    pub(super) fn source(&self, block: &Arc<str>, source: &str) -> Arc<SourceStats> {
        let mut sources = self.sources.lock();
        let key = (block.clone(), source.to_owned());
        sources.entry(key).or_default().clone()
    }

    pub(super) fn block(&self, block: &Arc<str>) -> Arc<BlockStats> {
        let mut blocks = self.blocks.lock();
        blocks.entry(block.clone()).or_default().clone()
    }

    /// Forgets all sources and blocks but those of which `has` is true, by block and source.
    pub(super) fn retain(&self, has: impl Fn(&str, Option<&str>) -> bool) {
        let mut sources = self.sources.lock();
        sources.retain(|(block, source), _| has(block, Some(source)));
        drop(sources);
        let mut blocks = self.blocks.lock();
        blocks.retain(|block, _| has(block, None));
    }

    /// One block with two sources, of which one has never been looked at.
    #[cfg(test)]
    pub(crate) fn fill_for_tests(&self) {
        let block: Arc<str> = "a\"b".into();
        self.block(&block).set(BlockCounts {
            monitors: 1,
            dropped: 2,
            duplicates: 3,
            rejected: 4,
        });
        self.source(&block, "http_sd/0");
        self.source(&block, "file_sd/0").update(|findings| {
            *findings = SourceStatus {
                targets: Some(6),
                last_success: Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7)),
                failures: 5,
            };
        });
    }
}
