//! Builds the daemon, runs it, and stops it in order.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    sync::mpsc::Receiver,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    COMPONENT_STOP_TIMEOUT, LOG_TARGET,
    reload::{DesiredState, ReadConfig, Reloader, log_missing_prerequisites},
    signals::SignalThread,
};
use crate::{
    check::{DispatcherObserver, Job, Tee},
    config::{self, Config},
    descriptors::{self, Budget},
    discovery::Stats,
    dispatcher::{self, Dispatcher, Health, Shard},
    heartbeat::{Heartbeat, HeartbeatStats},
    history::History,
    logging::{self, Output},
    metrics::Metrics,
    net::Net,
    probe::{ProbeStats, Prober},
    runtime::Runtime,
    server::{Address, Readiness, ReloadHandle, ReloadRequest, Server, Services},
    state::{DependencyGraph, States},
    status::Status,
    storage::{self, Past, RetentionHandle, Storage},
    telemetry::Telemetry,
    value::FileHashes,
};

/// The reason why the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Listening on an address of `server.listen` failed.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: Address,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The server ended unexpectedly.
    #[error("failed to serve: {0}")]
    Serve(String),
    /// The task that reloads ended unexpectedly.
    #[error("failed to follow the configuration: {0}")]
    Reload(String),
    /// The store cannot be used.
    #[error("failed to start: {0}")]
    Storage(#[source] storage::StartError),
    /// A thread or signal handler could not be set up.
    #[error("failed to start: {0}")]
    Start(#[source] io::Error),
}

/// Runs `jobs` and the configured monitors until a signal stops the daemon.
///
/// # Errors
/// If the daemon cannot start or listen; no check has run then.
pub fn run_with_jobs(config: &Config, jobs: Vec<Job>) -> Result<(), Error> {
    let options = RunOptions {
        extra_jobs: jobs,
        ..RunOptions::default()
    };
    run_with_options(config.clone(), options)
}

/// Options from the command line, and others that are not in the configuration.
pub(crate) struct RunOptions {
    /// Monitors that are not in the configuration.
    pub(crate) extra_jobs: Vec<Job>,
    /// The configuration file, for reloads.
    pub(crate) config_path: Option<PathBuf>,
    /// The way in which it is read.
    pub(crate) read_config: Arc<ReadConfig>,
    /// Reload when the configuration files change.
    pub watch: bool,
    /// The shard that this daemon runs.
    pub shard: Option<Shard>,
    /// Interval at which files are polled: the configuration, files named in it, and the server's
    /// certificate.
    pub poll_interval: Duration,
    /// Minimum time between reloads.
    pub(crate) min_reload_interval: Duration,
    /// Time between batches that are written to the store.
    pub(crate) storage_interval: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            extra_jobs: Vec::new(),
            config_path: None,
            read_config: Arc::new(config::read),
            watch: false,
            shard: None,
            poll_interval: Duration::from_secs(5),
            min_reload_interval: Duration::from_secs(1),
            storage_interval: storage::BATCH_INTERVAL,
        }
    }
}

/// Runs the daemon with `options` until a signal stops it.
///
/// # Errors
/// If the daemon cannot start or listen; no check has run then.
pub(crate) fn run_with_options(mut config: Config, options: RunOptions) -> Result<(), Error> {
    // First, so that later changes are detected.
    let config_hashes = FileHashes::read(&config.files);
    let telemetry = Arc::new(Telemetry::new(&config.telemetry.settings));
    let layer = telemetry.log_layer();
    let logging = logging::start_with(&config.log.settings(), Output::Stdout, layer);
    let logging = logging.map_err(Error::Start)?;
    let max_probes = fit_into_descriptor_limit(&mut config);
    let dropped = logging.dropped();
    let stats = Arc::new(Stats::default());
    let metrics = Metrics::new(&config.metrics, move || dropped.get())
        .with_limits(
            config.dispatcher.max_concurrent_checks,
            config.dispatcher.max_concurrent_checks_per_host,
        )
        .with_discovery(stats.clone());
    let probe_stats = Arc::new(ProbeStats::default());
    let heartbeat_stats = Arc::new(HeartbeatStats::default());
    let metrics = metrics
        .with_probes(probe_stats.clone())
        .with_telemetry(telemetry.stats())
        .with_heartbeats(heartbeat_stats.clone());
    if let Some(shard) = options.shard {
        config.retain_shard(shard);
    }
    let net = Arc::new(Net::system());
    let mut jobs = config.jobs(&net);
    let binder = config.probe_binder(&net);
    let prober = Prober::new(&config.probe, binder, probe_stats).at_most(max_probes);
    let prober = Arc::new(prober);
    jobs.extend(options.extra_jobs.iter().cloned());
    log_start(options.config_path.as_deref(), &jobs);
    log_missing_prerequisites(&jobs);
    config.log_warnings();
    let shutdown = CancellationToken::new();
    let (reload_handle, reload_requests) = ReloadHandle::new();
    let signals =
        SignalThread::start(shutdown.clone(), reload_handle.clone()).map_err(Error::Start)?;
    // Opening a large store takes a while; a signal meanwhile stops the daemon in order.
    let opened = open_storage(&config, &options, &shutdown)?;
    let (storage, past) = match opened {
        Some((storage, past)) => (Some(storage), past),
        None => (None, Past::default()),
    };
    let metrics = match &storage {
        Some(storage) => metrics.with_storage(storage.stats()),
        None => metrics,
    };
    let workers = dispatcher::threads_needed(&jobs).min(dispatcher::cores());
    let runtime = Runtime::start(workers).map_err(Error::Start)?;
    let daemon = Daemon {
        config,
        config_hashes,
        options,
        jobs,
        net,
        metrics: Arc::new(metrics),
        stats,
        prober,
        storage,
        past,
        telemetry,
        heartbeat_stats,
        reload_handle,
        reload_requests,
    };
    let result = runtime.block_on(daemon.serve(shutdown));
    logging.finish(COMPONENT_STOP_TIMEOUT);
    // Until here, a second signal exits at once.
    drop(signals);
    // Abandoned lookups and renderings are not waited for.
    runtime.shutdown_background();
    result
}

/// Logs the program, its configuration, and the number of monitors by type.
fn log_start(config_path: Option<&Path>, jobs: &[Job]) {
    let mut types = BTreeMap::<_, usize>::new();
    for job in jobs {
        *types.entry(job.kind()).or_default() += 1;
    }
    let types: Vec<_> = types
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    tracing::info!(
        target: LOG_TARGET,
        version = env!("CARGO_PKG_VERSION"),
        revision = env!("MONITORINGDAEMON_REVISION"),
        config = config_path.map(|path| tracing::field::display(path.display())),
        monitors = jobs.len(),
        types = (!types.is_empty()).then(|| types.join(", ")),
        "Starting monitoringdaemon"
    );
}

/// Opens the store, if there is to be one.
fn open_storage(
    config: &Config,
    options: &RunOptions,
    shutdown: &CancellationToken,
) -> Result<Option<(Storage, Past)>, Error> {
    let settings = &config.storage;
    let Some(directory) = settings.directory() else {
        return Ok(None);
    };
    let interval = options.storage_interval;
    Storage::open(&directory, settings.retention, interval, shutdown.clone())
        .map(Some)
        .map_err(Error::Storage)
}

/// Raises the limit of descriptors, and lowers limits of `config` that exceed it, so that idle clients
/// cannot make checks fail.
///
/// Returns the maximum number of concurrent probes, whatever a later configuration says.
fn fit_into_descriptor_limit(config: &mut Config) -> usize {
    let connections = config.server.max_connections;
    let probes = if config.probe.is_enabled {
        // Each has a client that waits for it.
        config.probe.max_concurrent_probes.min(connections)
    } else {
        0
    };
    let wanted = Budget {
        checks: config.dispatcher.max_concurrent_checks,
        probes,
        connections,
    };
    let limit = descriptors::raise_limit();
    let budget = wanted.within(limit);
    if budget != wanted {
        tracing::warn!(
            target: LOG_TARGET,
            limit,
            max_concurrent_checks = budget.checks,
            max_concurrent_probes = budget.probes,
            max_connections = budget.connections,
            "RLIMIT_NOFILE is too low for the configured limits, which are lowered"
        );
    }
    config.dispatcher.max_concurrent_checks = budget.checks;
    config.server.max_connections = budget.connections;
    budget.max_probes(limit)
}

/// The components that are built before the asynchronous part starts.
struct Daemon {
    config: Config,
    config_hashes: FileHashes,
    options: RunOptions,
    jobs: Vec<Job>,
    net: Arc<Net>,
    metrics: Arc<Metrics>,
    stats: Arc<Stats>,
    prober: Arc<Prober>,
    storage: Option<Storage>,
    past: Past,
    telemetry: Arc<Telemetry>,
    heartbeat_stats: Arc<HeartbeatStats>,
    reload_handle: ReloadHandle,
    reload_requests: Receiver<ReloadRequest>,
}

impl Daemon {
    /// Runs the asynchronous part.
    async fn serve(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let readiness = Readiness::default();
        let history = self.config.server.shows_status();
        let history = history.then(|| Arc::new(History::default()));
        let storage = self.storage.take();
        let Past { states, checks } = std::mem::take(&mut self.past);
        if let Some(history) = &history {
            history.restore(checks);
        }
        let uptimes = storage.as_ref().and_then(Storage::uptimes);
        let server = self.server(&readiness, history.as_ref(), uptimes).await?;
        // Outlives the dispatcher, so that the daemon responds until the end.
        let stop_serving = CancellationToken::new();
        let mut serving = server.map(|server| tokio::spawn(server.serve(stop_serving.clone())));

        let limits = self.config.dispatcher;
        let settings = dispatcher::Settings {
            max_concurrent_checks: limits.max_concurrent_checks,
            max_concurrent_checks_per_host: limits.max_concurrent_checks_per_host,
            log: self.config.log.checks,
        };
        let observer: Arc<dyn DispatcherObserver> = match history {
            None => self.metrics.clone(),
            Some(history) => Arc::new(Tee(self.metrics.clone(), history)),
        };
        let observer = match storage.as_ref().and_then(Storage::observer) {
            None => observer,
            Some(storage) => Arc::new(Tee(observer, storage)),
        };
        let past = states;
        let states = Arc::new(States::new(observer));
        states.restore(past);
        let (graph, _) = DependencyGraph::new(&self.config.members);
        states.configure(self.config.states.clone(), graph);
        let mut following = JoinSet::new();
        following.spawn(states.clone().run(shutdown.clone()));
        let telemetry = self.telemetry.clone();
        let exported = &self.config.telemetry.settings;
        let metrics = self.metrics.clone();
        telemetry.configure(exported, &self.net, metrics).await;
        let dispatcher = Dispatcher::new(settings, states.clone(), shutdown.clone());
        let mut dispatcher = dispatcher.with_tracer(telemetry.tracer());
        let retention = storage.as_ref().map(Storage::retention);
        let heartbeat = self.heartbeat(dispatcher.health(), &states).await;
        let (reloader, jobs, reload_requests) = self.into_reloader(
            &mut dispatcher,
            states.clone(),
            retention,
            heartbeat.clone(),
        );
        if jobs.is_empty() && reloader.is_none() {
            tracing::warn!(target: LOG_TARGET, "No monitors are configured");
        } else if jobs.is_empty() {
            tracing::warn!(target: LOG_TARGET, "No monitors are configured here yet");
        }
        dispatcher.start(jobs);
        states.end_start();
        readiness.set(true);
        notify_systemd(NotifyState::Ready);
        let mut reloading = JoinSet::new();
        if let Some(reloader) = reloader {
            reloading.spawn(reloader.run(reload_requests, shutdown.clone()));
        }
        let stopping = async {
            shutdown.cancelled().await;
            readiness.set(false);
            tokio::time::sleep(COMPONENT_STOP_TIMEOUT).await;
        };
        let mut result = Ok(());
        tokio::select! {
            () = dispatcher.run() => {}
            // A monitor that blocks its thread must not keep the daemon from stopping.
            () = stopping => tracing::error!(
                target: LOG_TARGET,
                "Monitoring task did not stop in time; exiting without it"
            ),
            error = wait_for_server_exit(&mut serving) => result = Err(error),
            error = wait_for_reloader_exit(&mut reloading, &shutdown) => result = Err(error),
        }
        readiness.set(false);
        notify_systemd(NotifyState::Stopping);
        reloading.shutdown().await;
        heartbeat.stop().await;
        following.shutdown().await;

        // The disk may be slow: not on this thread, and while the server stops.
        let storing = storage.map(|storage| {
            tokio::task::spawn_blocking(move || storage.finish(COMPONENT_STOP_TIMEOUT))
        });
        stop_serving.cancel();
        let is_serving = !matches!(result, Err(Error::Serve(_)));
        let stop_server = async {
            if let Some(serving) = serving.filter(|_| is_serving) {
                let _ = tokio::time::timeout(COMPONENT_STOP_TIMEOUT, serving).await;
            }
        };
        tokio::join!(stop_server, telemetry.finish(COMPONENT_STOP_TIMEOUT));
        if let Some(storing) = storing {
            // It ends in time, and a panic has been reported.
            let _ = storing.await;
        }
        result
    }

    /// Starts listening, if a server is configured.
    async fn server(
        &self,
        readiness: &Readiness,
        history: Option<&Arc<History>>,
        uptimes: Option<Arc<storage::Uptimes>>,
    ) -> Result<Option<Server>, Error> {
        let settings = &self.config.server;
        if settings.listen.is_empty() {
            return Ok(None);
        }
        let reloads = self.options.config_path.is_some();
        let services = Services {
            metrics: self.metrics.clone(),
            readiness: readiness.clone(),
            status: history.map(|history| Status::new(history.clone(), uptimes)),
            probe: Some(self.prober.clone()),
            reload: reloads.then(|| self.reload_handle.clone()),
            poll_interval: self.options.poll_interval,
        };
        let bound = Server::bind(settings, services).await;
        let server = bound.map_err(|(address, source)| Error::Listen { address, source })?;
        for address in server.addresses() {
            tracing::info!(target: LOG_TARGET, address, "Server is listening");
        }
        Ok(Some(server))
    }

    /// Starts heartbeats, if they are configured.
    async fn heartbeat(&self, health: Health, states: &Arc<States>) -> Arc<Heartbeat> {
        let counters = self.heartbeat_stats.clone();
        let heartbeat = Heartbeat::new(health, states.clone(), counters);
        let settings = self.config.heartbeat.settings.as_ref();
        heartbeat.configure(settings, &self.net).await;
        Arc::new(heartbeat)
    }

    /// Builds the reloader, if monitors can change.
    fn into_reloader(
        self,
        dispatcher: &mut Dispatcher,
        states: Arc<States>,
        retention: Option<RetentionHandle>,
        heartbeat: Arc<Heartbeat>,
    ) -> (Option<Reloader>, Vec<Job>, Receiver<ReloadRequest>) {
        let RunOptions {
            extra_jobs,
            config_path,
            read_config,
            watch,
            shard,
            poll_interval,
            min_reload_interval,
            storage_interval: _,
        } = self.options;
        let discovers = !self.config.discovery.is_empty();
        // A daemon without monitors, which cannot get any, ends.
        let probes = self.config.probe.is_enabled && !self.config.server.listen.is_empty();
        let must_keep_running =
            !self.jobs.is_empty() || watch || shard.is_some() || discovers || probes;
        let reloader =
            (must_keep_running && (config_path.is_some() || discovers)).then(|| Reloader {
                config_path,
                read_config,
                watch,
                poll_interval,
                min_reload_interval,
                net: self.net,
                metrics: self.metrics,
                stats: self.stats,
                prober: self.prober,
                telemetry: self.telemetry,
                heartbeat,
                states,
                retention,
                handle: dispatcher.handle(),
                desired: DesiredState {
                    config: Arc::new(self.config),
                    discovered: Vec::new().into(),
                    extra_jobs: extra_jobs.into(),
                    shard,
                },
                rejected_config_files: Vec::new(),
                config_hashes: self.config_hashes,
                #[cfg(test)]
                panic_at_next_reload: false,
            });
        (reloader, self.jobs, self.reload_requests)
    }
}

/// Notifies systemd, if it started the daemon (sd_notify(3)).
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(target: LOG_TARGET, %error, "Failed to notify systemd");
    }
}

/// Waits until the server ends unexpectedly.
async fn wait_for_server_exit(serving: &mut Option<JoinHandle<()>>) -> Error {
    match serving {
        None => std::future::pending().await,
        Some(serving) => match serving.await {
            Ok(()) => Error::Serve("it ended".to_owned()),
            Err(error) => Error::Serve(error.to_string()),
        },
    }
}

/// Waits until the reloader ends, which is unexpected before `shutdown`.
async fn wait_for_reloader_exit(
    reloading: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Error {
    match reloading.join_next().await {
        Some(ended) if !shutdown.is_cancelled() => match ended {
            Ok(()) => Error::Reload("its task ended".to_owned()),
            Err(error) => Error::Reload(error.to_string()),
        },
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_daemon_ends_with_its_server() {
        for (serving, expected) in [
            (tokio::spawn(async {}), "failed to serve: it ended"),
            (
                tokio::spawn(async { panic!("ouch") }),
                "failed to serve: task 2 panicked with message \"ouch\"",
            ),
        ] {
            let error = wait_for_server_exit(&mut Some(serving)).await.to_string();
            let without_number = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
            assert_eq!(without_number(&error), without_number(expected));
        }
    }

    #[tokio::test]
    async fn the_daemon_ends_with_its_reloader_unless_it_stops() {
        let shutdown = CancellationToken::new();
        let mut reloading = JoinSet::new();
        reloading.spawn(async { panic!("ouch") });
        let error = wait_for_reloader_exit(&mut reloading, &shutdown).await;
        let error = error.to_string();
        assert!(
            error.starts_with("failed to follow the configuration: "),
            "{error}"
        );
        assert!(error.contains("ouch"), "{error}");
        reloading.spawn(async {});
        shutdown.cancel();
        let waiting = wait_for_reloader_exit(&mut reloading, &shutdown);
        let end = tokio::time::timeout(Duration::from_millis(50), waiting).await;
        assert!(end.is_err(), "the reloader ends with the daemon");
    }
}
