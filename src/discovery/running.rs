//! The tasks of discovery: one for each source, and one that puts their lists together.

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

/// How long the first list of all monitors waits for sources that have not answered once.
const INITIAL_SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// Updates that wait to be taken: a source that is faster than that waits itself.
const UPDATE_QUEUE_LENGTH: usize = 16;

/// All monitors that are discovered.
pub type Monitors<M> = Arc<[Arc<M>]>;

/// Discovery that runs; dropped, it ends.
pub struct Discovery<M> {
    sources: JoinSet<LastGoodTargets>,
    assembler: JoinSet<()>,
    monitors: watch::Receiver<Option<Monitors<M>>>,
    build: watch::Sender<Arc<BuildMonitor<M>>>,
    shutdown: CancellationToken,
}

impl<M: Send + Sync + 'static> Discovery<M> {
    /// Begins to look at all sources. `kept` is what a discovery before this one has left behind: its
    /// lists stand in for those of sources that fail now.
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn start(
        settings: &Settings,
        net: &Net,
        make: Arc<BuildMonitor<M>>,
        stats: &Stats,
        kept: LastGoodTargets,
        shutdown: &CancellationToken,
    ) -> Self {
        let shutdown = shutdown.child_token();
        let kept = Arc::new(kept);
        let (updates, received) = mpsc::channel(UPDATE_QUEUE_LENGTH);
        let mut sources = JoinSet::new();
        let mut known = HashSet::new();
        let mut blocks = Vec::new();
        for block in &settings.blocks {
            known.insert((block.name.to_string(), None));
            for (source, name) in block.sources.iter().zip(block.source_names()) {
                known.insert((block.name.to_string(), Some(name.clone())));
                let counters = stats.source(&block.name, &name);
                let mut watch = SourceTask::new(
                    sources.len(),
                    (block.name.clone(), name),
                    counters,
                    kept.clone(),
                    updates.clone(),
                );
                watch.poll_interval = settings.poll_interval;
                let shutdown = shutdown.clone();
                match source {
                    SourceSettings::File(files) => {
                        sources.spawn(watch.run(files.source(), shutdown))
                    }
                    SourceSettings::Http(http) => {
                        sources.spawn(watch.run(http.source(net), shutdown))
                    }
                    SourceSettings::Dns(dns) => sources.spawn(watch.run(dns.source(net), shutdown)),
                    SourceSettings::Static(list) => {
                        sources.spawn(watch.run(list.source(), shutdown))
                    }
                };
            }
            blocks.push((block.clone(), stats.block(&block.name)));
        }
        stats.retain(|block, source| {
            known.contains(&(block.to_owned(), source.map(ToOwned::to_owned)))
        });
        let (publish, monitors) = watch::channel(None);
        let mut assembler = JoinSet::new();
        let assembly = TargetMerger::new(blocks, make.clone());
        let (make, makes) = watch::channel(make);
        assembler.spawn(assemble(assembly, sources.len(), received, makes, publish));
        Self {
            sources,
            assembler,
            monitors,
            build: make,
            shutdown,
        }
    }

    /// Makes all monitors anew, by another way; sources are not looked at for that.
    pub fn rebuild(&self, make: Arc<BuildMonitor<M>>) {
        self.build.send_replace(make);
    }

    /// All monitors, when they are others than those that were last told: for the first time when
    /// every source has been looked at, or has taken too long. Nothing is lost where the future is
    /// dropped. `None` if a part of it has ended unexpectedly, so that it must be started again.
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

    /// Ends, and leaves the last good lists behind.
    pub async fn stop(mut self) -> LastGoodTargets {
        self.shutdown.cancel();
        let mut kept = LastGoodTargets::default();
        while let Some(ended) = self.sources.join_next().await {
            match ended {
                Ok(left) => kept.0.extend(left.0),
                Err(error) => log_unexpected_end(Err(error)),
            }
        }
        // Nobody tells it of anything any more.
        while self.assembler.join_next().await.is_some() {}
        kept
    }
}

fn log_unexpected_end(ended: Result<(), JoinError>) {
    let error = ended.map_or_else(|error| error.to_string(), |()| "it returned".to_owned());
    tracing::error!(target: LOG_TARGET, error, "Discovery source task ended unexpectedly");
}

/// Puts together what the sources find, until they end.
async fn assemble<M: Send + Sync + 'static>(
    mut assembly: TargetMerger<M>,
    sources: usize,
    mut updates: mpsc::Receiver<Update>,
    mut makes: watch::Receiver<Arc<BuildMonitor<M>>>,
    publish: watch::Sender<Option<Monitors<M>>>,
) {
    let first_by = Instant::now() + INITIAL_SYNC_TIMEOUT;
    let mut silent: HashSet<usize> = (0..sources).collect();
    while !silent.is_empty()
        && let Ok(Some(update)) = timeout_at(first_by, updates.recv()).await
    {
        silent.remove(&update.source);
        assembly.apply(update);
    }
    loop {
        // Thousands of monitors take a while to be made, and checks must not wait for them.
        let assembled = tokio::task::spawn_blocking(move || {
            let monitors = assembly.monitors();
            (assembly, monitors)
        });
        let monitors;
        match assembled.await {
            Ok(result) => (assembly, monitors) = result,
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
                Some(update) => assembly.apply(update),
                None => return,
            },
            changed = makes.changed() => match changed {
                Ok(()) => assembly.rebuild(makes.borrow_and_update().clone()),
                Err(_) => return,
            },
        }
        while let Ok(update) = updates.try_recv() {
            assembly.apply(update);
        }
    }
}
