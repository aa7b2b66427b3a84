//! Statistics of sources and blocks, for metrics.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use parking_lot::Mutex;

/// Statistics of all sources and blocks. They outlive changes of the configuration.
#[derive(Debug, Default)]
pub struct Stats {
    sources: Mutex<Sources>,
    blocks: Mutex<BTreeMap<Arc<str>, Arc<BlockStats>>>,
}

/// Statistics by block and source.
type Sources = BTreeMap<(Arc<str>, String), Arc<SourceStats>>;

/// The status of one source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceStatus {
    /// Number of targets in the last good lists; `None` before the first one.
    pub targets: Option<usize>,
    /// Time of the last successful poll.
    pub(crate) last_success: Option<SystemTime>,
    /// Number of failed polls.
    pub failures: u64,
}

/// Number of targets of a block by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    /// Targets that are monitored.
    pub monitors: usize,
    /// Targets dropped by relabelling rules.
    pub dropped: usize,
    /// Targets with the name of another monitor.
    pub(crate) duplicates: usize,
    /// Targets without a valid monitor; the log has the errors.
    pub rejected: usize,
}

/// The counters of one source.
#[derive(Debug, Default)]
pub(super) struct SourceStats(Mutex<SourceStatus>);

impl SourceStats {
    pub(super) fn update(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.0.lock());
    }
}

/// The counters of one block.
#[derive(Debug, Default)]
pub(super) struct BlockStats(Mutex<Option<BlockCounts>>);

impl BlockStats {
    pub(super) fn set(&self, counts: BlockCounts) {
        *self.0.lock() = Some(counts);
    }
}

impl Stats {
    /// Every source with the name of its block, its name such as `http_sd/0`, and its status.
    #[must_use]
    pub fn sources(&self) -> Vec<(Arc<str>, String, SourceStatus)> {
        let sources = self.sources.lock();
        let all = sources.iter().map(|((block, source), stats)| {
            let status = *stats.0.lock();
            (block.clone(), source.clone(), status)
        });
        all.collect()
    }

    /// Every block whose first lists are merged, with its counts.
    #[must_use]
    pub fn blocks(&self) -> Vec<(Arc<str>, BlockCounts)> {
        let blocks = self.blocks.lock();
        let all = blocks.iter().filter_map(|(block, stats)| {
            let counts = *stats.0.lock();
            Some((block.clone(), counts?))
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

    /// Keeps only the blocks and sources for which `has` returns true.
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
        self.source(&block, "file_sd/0").update(|status| {
            *status = SourceStatus {
                targets: Some(6),
                last_success: Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7)),
                failures: 5,
            };
        });
    }
}
