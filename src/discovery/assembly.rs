//! From lists of targets to monitors. What a target became is remembered, so that a list in which
//! little has changed costs little.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
    time::Duration,
};

use url::Url;

use super::{
    payload::Target,
    relabel::Labels,
    settings::Block,
    source::Update,
    stats::{BlockCounts, BlockStats},
};
use crate::value::{FromNode, HttpUrl, Node, format_duration};

/// A monitor that a target is to become.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveredMonitor {
    /// Its name, which is valid.
    pub name: String,
    /// The name of its template.
    pub template: Arc<str>,
    /// What to check, for types that take a `target`.
    pub target: String,
    /// The same, for types that take a `url`.
    pub url: String,
    /// The host to ask for, where that is not the one of the target.
    pub hostname: Option<String>,
    /// Keys that it has beside that: `labels`, and `check_every` and `timeout` where it says so.
    pub keys: Vec<(String, Node)>,
}

/// What makes a monitor; it says all that is wrong where it cannot.
pub type BuildMonitor<M> = dyn Fn(DiscoveredMonitor) -> Result<M, Vec<String>> + Send + Sync;

/// Log lines of one kind that are written each time.
const MAX_LOGGED_TARGETS: usize = 10;

/// The labels that mean something to us.
const ADDRESS: &str = "__address__";
const NAME: &str = "monitor";

/// All lists, and the monitors that they stand for.
pub(super) struct TargetMerger<M> {
    blocks: Vec<BlockState<M>>,
    build: Arc<BuildMonitor<M>>,
    /// Names that more than one target has.
    duplicates: HashSet<Arc<str>>,
}

/// One block.
struct BlockState<M> {
    block: Block,
    stats: Arc<BlockStats>,
    /// By source, the lists of its pieces.
    lists: Vec<Vec<Arc<[Target]>>>,
    results: HashMap<Target, TargetResult<M>>,
    /// In the order of the lists.
    monitors: Vec<(Arc<str>, Arc<M>)>,
    dropped: usize,
    rejected: usize,
    is_outdated: bool,
}

/// What became of a target.
enum TargetResult<M> {
    Monitor(Arc<str>, Arc<M>),
    Dropped,
    Rejected,
}

impl<M> Clone for TargetResult<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Monitor(name, monitor) => Self::Monitor(name.clone(), monitor.clone()),
            Self::Dropped => Self::Dropped,
            Self::Rejected => Self::Rejected,
        }
    }
}

impl<M> TargetMerger<M> {
    pub fn new(
        blocks: impl IntoIterator<Item = (Block, Arc<BlockStats>)>,
        make: Arc<BuildMonitor<M>>,
    ) -> Self {
        let blocks = blocks.into_iter().map(|(block, stats)| BlockState {
            lists: vec![Vec::new(); block.sources.len()],
            block,
            stats,
            results: HashMap::new(),
            monitors: Vec::new(),
            dropped: 0,
            rejected: 0,
            is_outdated: true,
        });
        Self {
            blocks: blocks.collect(),
            build: make,
            duplicates: HashSet::new(),
        }
    }

    /// Takes the list of a source for what it was before.
    pub fn apply(&mut self, update: Update) {
        let Some(lists) = update.lists else { return };
        let mut index = update.source;
        for block in &mut self.blocks {
            match block.lists.get_mut(index) {
                Some(known) => {
                    *known = lists;
                    block.is_outdated = true;
                    return;
                }
                None => index -= block.lists.len(),
            }
        }
    }

    /// Makes all monitors anew.
    pub fn rebuild(&mut self, make: Arc<BuildMonitor<M>>) {
        self.build = make;
        for block in &mut self.blocks {
            block.results.clear();
            block.is_outdated = true;
        }
    }

    /// All monitors, each name once: the first one that has it.
    pub fn monitors(&mut self) -> Vec<Arc<M>> {
        for block in &mut self.blocks {
            if mem::take(&mut block.is_outdated) {
                block.update(&*self.build);
            }
        }
        let mut names = HashSet::new();
        let mut monitors = Vec::new();
        let mut duplicates = HashSet::new();
        let mut lines = LogLimiter::default();
        for block in &self.blocks {
            let before = monitors.len();
            for (name, monitor) in &block.monitors {
                if names.insert(name) {
                    monitors.push(monitor.clone());
                    continue;
                }
                if !self.duplicates.contains(name) && lines.allows() {
                    tracing::warn!(
                        block = &*block.block.name,
                        monitor = &**name,
                        "Another target has the name of a monitor already, and is left out"
                    );
                }
                duplicates.insert(name.clone());
            }
            let of_block = monitors.len() - before;
            block.stats.set(BlockCounts {
                monitors: of_block,
                dropped: block.dropped,
                duplicates: block.monitors.len() - of_block,
                rejected: block.rejected,
            });
        }
        lines.finish("Further targets have names of monitors already");
        self.duplicates = duplicates;
        monitors
    }
}

impl<M> BlockState<M> {
    /// Makes monitors of the targets that were not there before, and forgets those that are gone.
    fn update(&mut self, make: &BuildMonitor<M>) {
        let mut before = mem::take(&mut self.results);
        let mut became: HashMap<Target, TargetResult<M>> = HashMap::with_capacity(before.len());
        (self.dropped, self.rejected) = (0, 0);
        let mut monitors = Vec::with_capacity(self.monitors.len());
        let mut lines = LogLimiter::default();
        for target in self.lists.iter().flatten().flat_map(|list| list.iter()) {
            let now = if let Some(known) = became.get(target) {
                known.clone()
            } else {
                let (target, now) = match before.remove_entry(target) {
                    Some(known) => known,
                    None => (
                        target.clone(),
                        build_monitor(&self.block, target, make, &mut lines),
                    ),
                };
                became.insert(target, now.clone());
                now
            };
            match now {
                TargetResult::Monitor(name, monitor) => monitors.push((name, monitor)),
                TargetResult::Dropped => self.dropped += 1,
                TargetResult::Rejected => self.rejected += 1,
            }
        }
        lines.finish("Further targets cannot be monitored");
        self.results = became;
        self.monitors = monitors;
    }
}

/// What becomes of a target that was not there before.
fn build_monitor<M>(
    block: &Block,
    target: &Target,
    make: &BuildMonitor<M>,
    lines: &mut LogLimiter,
) -> TargetResult<M> {
    let wanted = match to_monitor(block, target) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return TargetResult::Dropped,
        Err(error) => {
            lines.log_rejected(block, &redacted(&target.address), &error);
            return TargetResult::Rejected;
        }
    };
    let name: Arc<str> = wanted.name.as_str().into();
    match make(wanted) {
        Ok(monitor) => TargetResult::Monitor(name, Arc::new(monitor)),
        Err(errors) => {
            lines.log_rejected(block, &name, &errors.join("; "));
            TargetResult::Rejected
        }
    }
}

/// The monitor that `target` is to become; `None` where the rules drop it.
fn to_monitor(block: &Block, target: &Target) -> Result<Option<DiscoveredMonitor>, String> {
    let mut labels = Labels::clone(&target.labels);
    labels.insert(ADDRESS.to_owned(), target.address.clone());
    let Some(mut labels) = block.rules.apply(labels) else {
        return Ok(None);
    };
    // Where Prometheus' rules for blackbox_exporter put it, while the address becomes the exporter's.
    let address = labels
        .remove("__param_target")
        .or_else(|| labels.remove(ADDRESS));
    let Some(address) = address else {
        return Err(format!("{ADDRESS} was taken away"));
    };
    let name = match labels.remove(NAME) {
        Some(name) => name,
        None => format!("{}/{}", block.name, redacted(&address)),
    };
    if name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err("its name is longer than 200 characters, or has one for control".to_owned());
    }
    let url = url(&address, &labels);
    let hostname = labels.remove("__param_hostname");
    let mut keys = Vec::new();
    for (key, label) in [
        ("check_every", "__check_every__"),
        ("timeout", "__timeout__"),
    ] {
        if let Some(value) = labels.remove(label) {
            if key == "check_every" {
                check_interval(&value, block.min_check_every)?;
            }
            keys.push((key.to_owned(), Node::Text(value)));
        }
    }
    let own = labels.into_iter();
    let own = own.filter(|(name, _)| !name.starts_with("__"));
    let own: Vec<_> = own.map(|(name, value)| (name, Node::Text(value))).collect();
    if !own.is_empty() {
        keys.push(("labels".to_owned(), Node::Map(own)));
    }
    Ok(Some(DiscoveredMonitor {
        name,
        template: block.template.clone(),
        target: address,
        url,
        hostname,
        keys,
    }))
}

/// Refuses an interval that is shorter than a list may ask for; one that is none is refused later.
fn check_interval(value: &str, min: Duration) -> Result<(), String> {
    match Duration::from_node(&Node::Text(value.to_owned())) {
        Ok(interval) if interval < min => Err(format!(
            "__check_every__ is {}, expected at least min_check_every, {}",
            format_duration(interval),
            format_duration(min)
        )),
        _ => Ok(()),
    }
}

/// The URL of `address`, which may be one, with Prometheus' labels for what it may lack.
fn url(address: &str, labels: &Labels) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let label = |name: &str, default| labels.get(name).map_or(default, String::as_str);
    let scheme = label("__scheme__", "http");
    let path = label("__metrics_path__", "");
    let separator = if path.is_empty() || path.starts_with('/') {
        ""
    } else {
        "/"
    };
    format!("{scheme}://{address}{separator}{path}")
}

/// `address` without what may be secret in it, if it is a URL.
fn redacted(address: &str) -> String {
    if !address.contains(['@', '?', '#']) {
        return address.to_owned();
    }
    match Url::parse(address) {
        Ok(url) if url.has_host() => HttpUrl::redacted(&url),
        _ => {
            let end = address.find(['?', '#']).unwrap_or(address.len());
            let start = address[..end].rfind('@').map_or(0, |at| at + 1);
            address[start..end].to_owned()
        }
    }
}

/// Log lines of one kind, of which there are only so many.
#[derive(Default)]
struct LogLimiter {
    count: usize,
}

impl LogLimiter {
    fn allows(&mut self) -> bool {
        self.count += 1;
        self.count <= MAX_LOGGED_TARGETS
    }

    fn log_rejected(&mut self, block: &Block, target: &str, error: &str) {
        if self.allows() {
            let block = &*block.name;
            tracing::warn!(block, target, error, "A target cannot be monitored");
        }
    }

    fn finish(self, message: &str) {
        let more = self.count.saturating_sub(MAX_LOGGED_TARGETS);
        if more > 0 {
            tracing::warn!(targets = more, "{message}");
        }
    }
}
