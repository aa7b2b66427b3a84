//! Builds the daemon, runs it, and stops it in order.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    sync::mpsc::Receiver,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    COMPONENT_STOP_TIMEOUT, LOG_TARGET,
    reload::{DesiredState, Reloader, log_missing_prerequisites},
    signals::SignalThread,
};
use crate::{
    check::{DispatcherObserver, Job, Tee},
    config::Config,
    descriptors::{self, Budget},
    discovery::Stats,
    dispatcher::{self, Dispatcher, Shard},
    history::History,
    logging::{self, Output},
    metrics::Metrics,
    net::Net,
    runtime,
    server::{Address, Readiness, ReloadHandle, ReloadRequest, Server, Services},
    status::Status,
    value::FileHashes,
};

/// Why the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address of `server.listen` cannot be had.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: Address,
        /// The system's error.
        source: io::Error,
    },
    /// The server is gone, and nobody could see what the daemon does.
    #[error("failed to serve: {0}")]
    Serve(String),
    /// The task that reloads is gone, and the daemon would run what it ran for ever.
    #[error("failed to follow the configuration: {0}")]
    Reload(String),
    /// The system gives no thread or no signal handler.
    #[error("failed to start: {0}")]
    Start(#[source] io::Error),
}

/// Runs the configured monitors until the daemon is told to stop.
///
/// # Errors
/// If it cannot start or cannot listen; nothing has been checked then.
pub fn run(config: &Config) -> Result<(), Error> {
    run_with_jobs(config, Vec::new())
}

/// Runs `jobs` and the configured monitors until the daemon is told to stop.
///
/// # Errors
/// If it cannot start or cannot listen; nothing has been checked then.
pub fn run_with_jobs(config: &Config, jobs: Vec<Job>) -> Result<(), Error> {
    let options = RunOptions {
        extra_jobs: jobs,
        ..RunOptions::default()
    };
    run_with_options(config, options)
}

/// Options of the command line, and whatever else the configuration does not hold.
pub struct RunOptions {
    /// Monitors that are in no configuration.
    pub extra_jobs: Vec<Job>,
    /// The file that the configuration is read from again; without one it is not.
    pub config_path: Option<PathBuf>,
    /// Whether to reload when the files of the configuration change.
    pub watch: bool,
    /// The shard that this daemon is, if several share the monitors.
    pub shard: Option<Shard>,
    /// How often files are looked at: those of the configuration, those that it names, and the
    /// server's certificate.
    pub poll_interval: Duration,
    /// The shortest time from one reload to the next.
    pub min_reload_interval: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            extra_jobs: Vec::new(),
            config_path: None,
            watch: false,
            shard: None,
            poll_interval: Duration::from_secs(5),
            min_reload_interval: Duration::from_secs(1),
        }
    }
}

/// Runs the daemon with `options` until it is told to stop.
///
/// # Errors
/// If it cannot start or cannot listen; nothing has been checked then.
pub fn run_with_options(config: &Config, options: RunOptions) -> Result<(), Error> {
    // At once: what changes from here on is seen to have changed.
    let config_hashes = FileHashes::read(&config.files);
    let logging = logging::start(&config.log.settings(), Output::Stdout).map_err(Error::Start)?;
    let mut config = config.clone();
    fit_into_descriptor_limit(&mut config);
    let dropped = logging.dropped();
    let stats = Arc::new(Stats::default());
    let metrics = Metrics::new(&config.metrics, move || dropped.get())
        .with_limits(
            config.dispatcher.max_concurrent_checks,
            config.dispatcher.max_concurrent_checks_per_host,
        )
        .with_discovery(stats.clone());
    if let Some(shard) = options.shard {
        config.retain_shard(shard);
    }
    let net = Arc::new(Net::system());
    let mut jobs = config.jobs(&net);
    jobs.extend(options.extra_jobs.iter().cloned());
    log_missing_prerequisites(&jobs);
    config.log_warnings();
    let workers = dispatcher::threads_needed(&jobs).min(dispatcher::cores());
    let runtime = runtime::build(workers).map_err(Error::Start)?;
    let shutdown = CancellationToken::new();
    let (reload_handle, reload_requests) = ReloadHandle::new();
    let signals =
        SignalThread::start(shutdown.clone(), reload_handle.clone()).map_err(Error::Start)?;
    let daemon = Daemon {
        config,
        config_hashes,
        options,
        jobs,
        net,
        metrics: Arc::new(metrics),
        stats,
        reload_handle,
        reload_requests,
    };
    let result = runtime.block_on(daemon.serve(shutdown));
    logging.finish(COMPONENT_STOP_TIMEOUT);
    // Until here a second signal exits at once, whatever the rest waits for.
    drop(signals);
    // Name lookups and renderings that nobody waits for any more are not waited for here either.
    runtime.shutdown_background();
    result
}

/// Raises the limit of descriptors, and lowers the limits of `config` that it has no room for: clients
/// that are idle must not make every check fail.
fn fit_into_descriptor_limit(config: &mut Config) {
    let wanted = Budget {
        checks: config.dispatcher.max_concurrent_checks,
        connections: config.server.max_connections,
    };
    let limit = descriptors::raise_limit();
    let budget = wanted.within(limit);
    if budget != wanted {
        tracing::warn!(
            target: LOG_TARGET,
            limit,
            max_concurrent_checks = budget.checks,
            max_connections = budget.connections,
            "RLIMIT_NOFILE is too low for the configured limits, which are lowered"
        );
    }
    config.dispatcher.max_concurrent_checks = budget.checks;
    config.server.max_connections = budget.connections;
}

/// Everything that the daemon is made of before it is asynchronous.
struct Daemon {
    config: Config,
    config_hashes: FileHashes,
    options: RunOptions,
    jobs: Vec<Job>,
    net: Arc<Net>,
    metrics: Arc<Metrics>,
    stats: Arc<Stats>,
    reload_handle: ReloadHandle,
    reload_requests: Receiver<ReloadRequest>,
}

impl Daemon {
    /// The part that is asynchronous, from the first socket to the last.
    async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let readiness = Readiness::default();
        let history = self.config.server.shows_status();
        let history = history.then(|| Arc::new(History::default()));
        let server = self.server(&readiness, history.as_ref()).await?;
        // Outlives the dispatcher, so that the daemon answers as long as it does anything.
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
        let mut dispatcher = Dispatcher::new(settings, observer, shutdown.clone());
        let (reloader, jobs, reload_requests) = self.into_reloader(&mut dispatcher);
        if jobs.is_empty() && reloader.is_none() {
            tracing::warn!(target: LOG_TARGET, "No monitors are configured, so there is nothing to run");
        } else if jobs.is_empty() {
            tracing::warn!(target: LOG_TARGET, "No monitors are configured here yet");
        }
        dispatcher.start(jobs);
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
            // A monitor that blocks its thread cannot be stopped, and must not stop the daemon from it.
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

        stop_serving.cancel();
        let is_serving = !matches!(result, Err(Error::Serve(_)));
        if let Some(serving) = serving.filter(|_| is_serving) {
            let _ = tokio::time::timeout(COMPONENT_STOP_TIMEOUT, serving).await;
        }
        result
    }

    /// A server that has its port, if one is wanted.
    async fn server(
        &self,
        readiness: &Readiness,
        history: Option<&Arc<History>>,
    ) -> Result<Option<Server>, Error> {
        let settings = &self.config.server;
        if settings.listen.is_empty() {
            return Ok(None);
        }
        let reloads = self.options.config_path.is_some();
        let services = Services {
            metrics: self.metrics.clone(),
            readiness: readiness.clone(),
            status: history.cloned().map(Status::new),
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

    /// What changes the monitors, if anything can, and what else is left.
    fn into_reloader(
        self,
        dispatcher: &mut Dispatcher,
    ) -> (Option<Reloader>, Vec<Job>, Receiver<ReloadRequest>) {
        let RunOptions {
            extra_jobs,
            config_path,
            watch,
            shard,
            poll_interval,
            min_reload_interval,
        } = self.options;
        let discovers = !self.config.discovery.is_empty();
        // A daemon that has nothing to do, and no prospect of it, ends by itself.
        let must_keep_running = !self.jobs.is_empty() || watch || shard.is_some() || discovers;
        let reloader =
            (must_keep_running && (config_path.is_some() || discovers)).then(|| Reloader {
                config_path,
                watch,
                poll_interval,
                min_reload_interval,
                net: self.net,
                metrics: self.metrics,
                stats: self.stats,
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

/// Notifies the service manager, if there is one that wants to know (sd_notify(3)).
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(target: LOG_TARGET, %error, "Failed to notify systemd");
    }
}

/// Waits until the server ends, which it does not do by itself.
async fn wait_for_server_exit(serving: &mut Option<JoinHandle<()>>) -> Error {
    match serving {
        None => std::future::pending().await,
        Some(serving) => match serving.await {
            Ok(()) => Error::Serve("it ended".to_owned()),
            Err(error) => Error::Serve(error.to_string()),
        },
    }
}

/// Waits until the reloader ends, which it does not do before `shutdown`.
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
