//! The tasks of discovery: one for each source, and one that merges their lists.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    assembly::{BuildMonitor, TargetMerger},
    settings::{Settings, SourceSettings},
    source::{LastGoodTargets, SourceTask, Update},
    stats::Stats,
};
use crate::net::Net;

/// Target of log lines: the component.
const LOG_TARGET: &str = "monitoringdaemon::discovery";

/// Maximum wait for the first poll of all sources before the first monitors are published.
const INITIAL_SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of updates that may be queued before sources have to wait.
const UPDATE_QUEUE_LENGTH: usize = 16;

/// All discovered monitors.
pub(crate) type Monitors<M> = Arc<[Arc<M>]>;

/// A running discovery. Dropping it stops its tasks.
pub struct Discovery<M> {
    sources: JoinSet<LastGoodTargets>,
    merger_task: JoinSet<()>,
    monitors: watch::Receiver<Option<Monitors<M>>>,
    build: watch::Sender<Arc<BuildMonitor<M>>>,
    shutdown: CancellationToken,
}

impl<M: Send + Sync + 'static> Discovery<M> {
    /// Starts polling all sources. `last_good` are the lists of an earlier discovery, which are used
    /// for sources that fail now.
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn start(
        settings: &Settings,
        net: &Net,
        build: Arc<BuildMonitor<M>>,
        stats: &Stats,
        last_good: LastGoodTargets,
        shutdown: &CancellationToken,
    ) -> Self {
        let shutdown = shutdown.child_token();
        let last_good = Arc::new(last_good);
        let (updates, received) = mpsc::channel(UPDATE_QUEUE_LENGTH);
        let mut sources = JoinSet::new();
        let mut known = HashSet::new();
        let mut blocks = Vec::new();
        for block in &settings.blocks {
            known.insert((block.name.to_string(), None));
            for (source, name) in block.sources.iter().zip(block.source_names()) {
                known.insert((block.name.to_string(), Some(name.clone())));
                let counters = stats.source(&block.name, &name);
                let mut task = SourceTask::new(
                    sources.len(),
                    (block.name.clone(), name),
                    counters,
                    last_good.clone(),
                    updates.clone(),
                );
                task.poll_interval = settings.poll_interval;
                let shutdown = shutdown.clone();
                match source {
                    SourceSettings::File(files) => {
                        sources.spawn(task.run(files.source(), shutdown))
                    }
                    SourceSettings::Http(http) => {
                        sources.spawn(task.run(http.source(net), shutdown))
                    }
                    SourceSettings::Dns(dns) => sources.spawn(task.run(dns.source(net), shutdown)),
                    SourceSettings::Static(list) => {
                        sources.spawn(task.run(list.source(), shutdown))
                    }
                };
            }
            blocks.push((block.clone(), stats.block(&block.name)));
        }
        stats.retain(|block, source| {
            known.contains(&(block.to_owned(), source.map(ToOwned::to_owned)))
        });
        let (publish, monitors) = watch::channel(None);
        let mut merger_task = JoinSet::new();
        let merger = TargetMerger::new(blocks, build.clone());
        let (build, builds) = watch::channel(build);
        merger_task.spawn(merge(merger, sources.len(), received, builds, publish));
        Self {
            sources,
            merger_task,
            monitors,
            build,
            shutdown,
        }
    }

    /// Builds all monitors again with `build`, without polling the sources.
    pub(crate) fn rebuild(&self, build: Arc<BuildMonitor<M>>) {
        self.build.send_replace(build);
    }

    /// Waits until the monitors change, and returns all of them: the first time when every source has
    /// been polled or has timed out. Cancel-safe. Returns `None` if a task ended unexpectedly, so that
    /// discovery must be started again.
    pub async fn changed(&mut self) -> Option<Monitors<M>> {
        loop {
            tokio::select! {
                changed = self.monitors.changed() => {
                    if changed.is_err() {
                        if self.sources.is_empty() {
                            // Without sources nothing ever changes.
                            std::future::pending::<()>().await;
                        }
                        return None;
                    }
                    if let Some(monitors) = &*self.monitors.borrow_and_update() {
                        return Some(monitors.clone());
                    }
                }
                Some(ended) = self.sources.join_next() => {
                    log_unexpected_end(ended.map(drop));
                    return None;
                }
            }
        }
    }

    /// Stops all tasks, and returns the last good lists.
    pub async fn stop(mut self) -> LastGoodTargets {
        self.shutdown.cancel();
        let mut last_good = LastGoodTargets::default();
        while let Some(ended) = self.sources.join_next().await {
            match ended {
                Ok(left) => last_good.0.extend(left.0),
                Err(error) => log_unexpected_end(Err(error)),
            }
        }
        // It ends because its channel is closed.
        while self.merger_task.join_next().await.is_some() {}
        last_good
    }
}

fn log_unexpected_end(ended: Result<(), JoinError>) {
    let error = ended.map_or_else(|error| error.to_string(), |()| "it returned".to_owned());
    tracing::error!(target: LOG_TARGET, error, "Discovery source task ended unexpectedly");
}

/// Merges the lists of the sources until they end.
async fn merge<M: Send + Sync + 'static>(
    mut merger: TargetMerger<M>,
    sources: usize,
    mut updates: mpsc::Receiver<Update>,
    mut builds: watch::Receiver<Arc<BuildMonitor<M>>>,
    publish: watch::Sender<Option<Monitors<M>>>,
) {
    let first_by = Instant::now() + INITIAL_SYNC_TIMEOUT;
    let mut pending_sources: HashSet<usize> = (0..sources).collect();
    while !pending_sources.is_empty()
        && let Ok(Some(update)) = timeout_at(first_by, updates.recv()).await
    {
        pending_sources.remove(&update.source);
        merger.apply(update);
    }
    loop {
        // Building thousands of monitors takes a while, and must not delay checks.
        let result = tokio::task::spawn_blocking(move || {
            let monitors = merger.monitors();
            (merger, monitors)
        });
        let monitors;
        match result.await {
            Ok(result) => (merger, monitors) = result,
            Err(error) => {
                tracing::error!(target: LOG_TARGET, %error, "Discovery task ended unexpectedly");
                return;
            }
        }
        publish.send_if_modified(|known| {
            let is_same = known.as_ref().is_some_and(|known| {
                known.len() == monitors.len()
                    && known.iter().zip(&monitors).all(|(a, b)| Arc::ptr_eq(a, b))
            });
            if !is_same {
                *known = Some(monitors.into());
            }
            !is_same
        });
        tokio::select! {
            update = updates.recv() => match update {
                Some(update) => merger.apply(update),
                None => return,
            },
            changed = builds.changed() => match changed {
                Ok(()) => merger.rebuild(builds.borrow_and_update().clone()),
                Err(_) => return,
            },
        }
        while let Ok(update) = updates.try_recv() {
            merger.apply(update);
        }
    }
}
