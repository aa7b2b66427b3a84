//! What discovery tells of itself. Names of blocks are users' own, so this is no vector of the
//! prometheus crate, which would take two of them for one where their bytes are the same when joined.

use std::sync::Arc;

use prometheus::{
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{
    daemon::{Families, describe},
    families::Id,
    series::unix_seconds,
};
use crate::discovery::Stats;

/// Collects the counters of all blocks and their sources.
pub(super) struct Discovery {
    descs: Vec<Desc>,
    stats: Arc<Stats>,
}

const COLLECTED: [Id; 4] = [
    Id::DiscoveryTargets,
    Id::DiscoveryLastSuccess,
    Id::DiscoveryFailures,
    Id::DiscoveryOutcomes,
];

impl Discovery {
    pub fn new(stats: Arc<Stats>) -> Self {
        Self {
            descs: COLLECTED.map(|id| describe(id.family())).into(),
            stats,
        }
    }
}

impl Collector for Discovery {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        for (block, source, findings) in self.stats.sources() {
            let labels = [("block", &*block), ("source", &*source)];
            if let Some(targets) = findings.targets {
                families.add(Id::DiscoveryTargets, &labels, float(targets as u64));
            }
            if let Some(at) = findings.last_success {
                families.add(Id::DiscoveryLastSuccess, &labels, unix_seconds(at));
            }
            families.add(Id::DiscoveryFailures, &labels, float(findings.failures));
        }
        for (block, outcomes) in self.stats.blocks() {
            for (outcome, count) in [
                ("monitor", outcomes.monitors),
                ("dropped", outcomes.dropped),
                ("duplicate", outcomes.duplicates),
                ("refused", outcomes.refused),
            ] {
                let labels = [("block", &*block), ("outcome", outcome)];
                families.add(Id::DiscoveryOutcomes, &labels, float(count as u64));
            }
        }
        families.merged()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "samples are floats; exact up to 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_and_each_block_has_its_series() {
        let stats = Arc::new(Stats::default());
        stats.fill_for_tests();
        let registry = prometheus::Registry::new();
        let registered = registry.register(Box::new(Discovery::new(stats)));
        registered.expect("names are valid");
        let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        let page = page.expect("a page");
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"monitoringdaemon_discovery_block_targets{block="a\"b",outcome="dropped"} 2"#,
                r#"monitoringdaemon_discovery_block_targets{block="a\"b",outcome="duplicate"} 3"#,
                r#"monitoringdaemon_discovery_block_targets{block="a\"b",outcome="monitor"} 1"#,
                r#"monitoringdaemon_discovery_block_targets{block="a\"b",outcome="refused"} 4"#,
                r#"monitoringdaemon_discovery_failures_total{block="a\"b",source="file_sd/0"} 5"#,
                r#"monitoringdaemon_discovery_failures_total{block="a\"b",source="http_sd/0"} 0"#,
                r#"monitoringdaemon_discovery_last_success_timestamp_seconds{block="a\"b",source="file_sd/0"} 7"#,
                r#"monitoringdaemon_discovery_targets{block="a\"b",source="file_sd/0"} 6"#,
            ]
        );
    }
}
