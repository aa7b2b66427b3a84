//! Puts the daemon together: builds every component, hands each what it needs, owns every task,
//! and shuts down in order.

mod reload;

use std::{
    collections::BTreeMap, io, num::NonZero, path::PathBuf, process, sync::Arc, thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::Receiver,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::reload::tell;
use self::reload::{Reloader, Wanted};
use crate::{
    check::{Both, Job, Overseer},
    config::{self, Config},
    discovery::Stats,
    dispatcher::{self, Dispatcher, Shard},
    history::History,
    logging::{self, Output},
    metrics::Metrics,
    net::Net,
    server::{Address, Readiness, Reload, Reloads, Server, Site},
    status::Status,
};

/// Why the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address of `server.listen` cannot be had.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The server is gone, and nobody could see what the daemon does.
    #[error("failed to serve: {0}")]
    Serve(String),
    /// The system gives no thread or no signal handler.
    #[error("failed to start: {0}")]
    Start(#[source] io::Error),
}

/// How long each of the three parts that stop one after the other may take: the dispatcher, the
/// server, the log. Together less than the second that the daemon has.
const PATIENCE: Duration = Duration::from_millis(300);

/// Runs the configured monitors until the daemon is told to stop.
///
/// # Errors
/// Where it cannot start, or cannot listen; nothing has been checked then.
pub fn run(config: &Config) -> Result<(), Error> {
    run_with(config, Vec::new())
}

/// Runs monitors of one's own, and the configured ones, until the daemon is told to stop.
///
/// # Errors
/// Where it cannot start, or cannot listen; nothing has been checked then.
pub fn run_with(config: &Config, own: Vec<Job>) -> Result<(), Error> {
    let setup = Setup {
        own,
        ..Setup::default()
    };
    run_as(config, setup)
}

/// How the daemon runs, apart from what is configured.
#[derive(Default)]
pub struct Setup {
    /// Monitors that are of no configuration.
    pub own: Vec<Job>,
    /// Where the configuration is read from again; without one it is not.
    pub file: Option<PathBuf>,
    /// Whether it is read again when it changes, and not when somebody asks for it alone.
    pub watch: bool,
    /// Which of several daemons this is, where they share the monitors.
    pub shard: Option<Shard>,
}

/// Runs the daemon as `setup` says until it is told to stop.
///
/// # Errors
/// Where it cannot start, or cannot listen; nothing has been checked then.
pub fn run_as(config: &Config, setup: Setup) -> Result<(), Error> {
    let logging = logging::start(&config.log.settings(), Output::Stdout).map_err(Error::Start)?;
    let dropped = logging.dropped();
    let stats = Arc::new(Stats::default());
    let metrics = Metrics::new(&config.metrics, move || dropped.get())
        .with_limits(
            config.dispatcher.max_concurrent_checks,
            config.dispatcher.max_concurrent_checks_per_host,
        )
        .with_discovery(stats.clone());
    raise_descriptor_limit();
    let mut config = config.clone();
    if let Some(shard) = setup.shard {
        keep_for(shard, &mut config);
    }
    let net = Arc::new(Net::system());
    let mut jobs = jobs(&config, &net);
    jobs.extend(setup.own.iter().cloned());
    tell_obstacles(&jobs);
    config.log_warnings();
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads_needed(&jobs).min(cores()))
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let shutdown = CancellationToken::new();
    let (reloads, wishes) = Reloads::new();
    let signals = {
        let _runtime = runtime.enter();
        Signals::install()
            .map_err(Error::Start)?
            .watch(shutdown.clone(), reloads.clone())
    };
    let daemon = Daemon {
        config,
        setup,
        jobs,
        net,
        metrics: Arc::new(metrics),
        stats,
        reloads,
        wishes,
    };
    let result = runtime.block_on(daemon.serve(shutdown));
    logging.finish(PATIENCE);
    // Until here a second signal exits at once, whatever the rest waits for.
    signals.abort();
    // Name lookups and renderings that nobody waits for any more are not waited for here either.
    runtime.shutdown_background();
    result
}

/// Threads for what takes long without waiting: pages to render, large bodies to match.
const BLOCKING_THREADS: usize = 32;

/// Checks a second that one thread has room for: without TLS they take some 60 % of its time, by what
/// `benches/` measures.
const CHECKS_PER_WORKER: f64 = 4_000.0;

/// A check over TLS takes so many times the CPU time of one without, by what `benches/` measures.
const COST_OVER_TLS: f64 = 5.0;

/// Checks that come due a second, over all of `jobs`.
pub(crate) fn checks_per_second<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> f64 {
    let rate = |job: &Job| job.check_every.as_secs_f64().recip();
    jobs.into_iter().map(rate).sum()
}

/// The cores that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// How many threads have room for the checks of `jobs`.
///
/// No more than that run them, as far as there are cores: threads that have little to do wake each
/// other for every check, which costs a fifth of its CPU time. What blocks (rendering a page, reading
/// files) does so on threads of its own.
pub(crate) fn threads_needed<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> usize {
    let load = |job: &Job| {
        let cost = if job.speaks_tls() { COST_OVER_TLS } else { 1.0 };
        cost * job.check_every.as_secs_f64().recip()
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0"
    )]
    let needed = (jobs.into_iter().map(load).sum::<f64>() / CHECKS_PER_WORKER).ceil() as usize;
    needed.max(1)
}

/// Everything that the daemon is made of before it is asynchronous.
struct Daemon {
    config: Config,
    setup: Setup,
    jobs: Vec<Job>,
    net: Arc<Net>,
    metrics: Arc<Metrics>,
    stats: Arc<Stats>,
    reloads: Reloads,
    wishes: Receiver<Reload>,
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
        let overseer: Arc<dyn Overseer> = match history {
            None => self.metrics.clone(),
            Some(history) => Arc::new(Both(self.metrics.clone(), history)),
        };
        let mut dispatcher = Dispatcher::new(settings, overseer, shutdown.clone());
        let (reloader, jobs, wishes) = self.into_reloader(&mut dispatcher);
        dispatcher.start(jobs);
        readiness.set(true);
        tell_systemd(NotifyState::Ready);
        let mut reloading = JoinSet::new();
        if let Some(reloader) = reloader {
            reloading.spawn(reloader.run(wishes, shutdown.clone()));
        }
        let stopping = async {
            shutdown.cancelled().await;
            readiness.set(false);
            tokio::time::sleep(PATIENCE).await;
        };
        let mut result = Ok(());
        tokio::select! {
            () = dispatcher.run() => {}
            // A monitor that blocks its thread cannot be stopped, and must not stop the daemon from it.
            () = stopping => tracing::error!("A monitoring task does not stop and is left behind"),
            error = failed(&mut serving) => result = Err(error),
        }
        readiness.set(false);
        tell_systemd(NotifyState::Stopping);
        reloading.shutdown().await;

        stop_serving.cancel();
        if let Some(serving) = serving.filter(|_| result.is_ok()) {
            let _ = tokio::time::timeout(PATIENCE, serving).await;
        }
        result
    }

    /// A server that has its port, where one is wanted.
    async fn server(
        &self,
        readiness: &Readiness,
        history: Option<&Arc<History>>,
    ) -> Result<Option<Server>, Error> {
        let settings = &self.config.server;
        if settings.listen.is_empty() {
            return Ok(None);
        }
        let site = Site {
            metrics: self.metrics.clone(),
            readiness: readiness.clone(),
            status: history.cloned().map(Status::new),
            reloads: self.setup.file.is_some().then(|| self.reloads.clone()),
        };
        let bound = Server::bind(settings, site).await;
        let server = bound.map_err(|(address, source)| Error::Listen { address, source })?;
        for address in server.addresses() {
            tracing::info!(address, "Server is listening");
        }
        Ok(Some(server))
    }

    /// What changes the monitors, where anything can, and what else is left.
    fn into_reloader(
        self,
        dispatcher: &mut Dispatcher,
    ) -> (Option<Reloader>, Vec<Job>, Receiver<Reload>) {
        let Setup {
            own,
            file,
            watch,
            shard,
        } = self.setup;
        let discovers = !self.config.discovery.is_empty();
        // A daemon that has nothing to do, and no prospect of it, ends by itself.
        let stays = !self.jobs.is_empty() || watch || shard.is_some() || discovers;
        let reloader = (stays && (file.is_some() || discovers)).then(|| Reloader {
            file,
            watch,
            net: self.net,
            metrics: self.metrics,
            stats: self.stats,
            handle: dispatcher.handle(),
            wanted: Wanted {
                config: Arc::new(self.config),
                discovered: Vec::new().into(),
                own: own.into(),
                shard,
            },
            refused: Vec::new(),
        });
        (reloader, self.jobs, self.wishes)
    }
}

/// Tells the service manager, where there is one that wants to know (sd_notify(3)).
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "The service manager cannot be told of the daemon's state");
    }
}

/// Waits until the server ends, which it does not do by itself.
async fn failed(serving: &mut Option<JoinHandle<()>>) -> Error {
    match serving {
        None => std::future::pending().await,
        Some(serving) => match serving.await {
            Ok(()) => Error::Serve("it ended".to_owned()),
            Err(error) => Error::Serve(error.to_string()),
        },
    }
}

/// The configured monitors, ready to run.
pub(crate) fn jobs(config: &Config, net: &Net) -> Vec<Job> {
    net.forbid_targets(config.forbid_targets.clone());
    config
        .monitors
        .iter()
        .map(|monitor| job(monitor, net))
        .collect()
}

fn job(monitor: &config::Monitor, net: &Net) -> Job {
    Job {
        check_every: monitor.check_every,
        timeout: monitor.timeout,
        labels: monitor.labels.clone(),
        duration_buckets: monitor.duration_buckets.clone(),
        fail_if_slower_than: monitor.fail_if_slower_than,
        replica: monitor.replica,
        version: monitor.version,
        ..monitor.settings.bind(&monitor.name, net)
    }
}

/// Keeps the monitors that `shard` runs, each as the replica that it is there.
pub(crate) fn keep_for(shard: Shard, config: &mut Config) {
    config.monitors.retain_mut(|monitor| {
        let replica = shard.replica(&monitor.name, monitor.replicas.0);
        monitor.replica = replica.unwrap_or_default();
        replica.is_some()
    });
}

fn tell_obstacles(jobs: &[Job]) {
    for (error, monitors) in obstacles(jobs) {
        tracing::error!(
            monitors,
            error,
            "Monitors cannot check anything on this machine"
        );
    }
}

/// What on this machine keeps checks from succeeding, and how many of `jobs` it keeps from it.
pub(crate) fn obstacles<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> BTreeMap<String, usize> {
    let mut obstacles = BTreeMap::new();
    for obstacle in jobs.into_iter().filter_map(Job::obstacle) {
        *obstacles.entry(obstacle).or_default() += 1;
    }
    obstacles
}

/// The signals that the daemon reacts to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Cancels `shutdown` at the first signal to end, and exits at the second; SIGHUP asks `reloads`.
    fn watch(mut self, shutdown: CancellationToken, reloads: Reloads) -> JoinHandle<()> {
        tokio::spawn(async move {
            self.end(&reloads).await;
            shutdown.cancel();
            let number = self.end(&reloads).await.as_raw_value();
            process::exit(128 + number);
        })
    }

    async fn end(&mut self, reloads: &Reloads) -> SignalKind {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.hangup.recv() => reloads.request(),
            }
        }
    }
}

/// Takes as many file descriptors as the system allows: each check in flight holds one.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current < maximum || maximum.is_none() {
        let raised = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        );
        if let Err(error) = raised {
            tracing::debug!(%error, "The limit of file descriptors cannot be raised");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Attempt, Failure, Monitor};

    struct Kept(Option<&'static str>);

    impl Monitor for Kept {
        fn kind(&self) -> &'static str {
            "kept"
        }

        fn target(&self) -> String {
            "nowhere".into()
        }

        fn obstacle(&self) -> Option<String> {
            self.0.map(ToOwned::to_owned)
        }

        async fn check(&self, _: &Attempt) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn each_obstacle_is_told_once_with_how_many_it_is_in_the_way_of() {
        let kept = [
            Some("no permission"),
            None,
            Some("no socket"),
            Some("no permission"),
        ];
        let jobs = kept.map(|obstacle| Job::new("kept", Kept(obstacle)));
        let found: Vec<_> = obstacles(&jobs).into_iter().collect();
        let expected = [("no permission", 2), ("no socket", 1)];
        assert_eq!(
            found,
            expected.map(|(text, count)| (text.to_owned(), count))
        );
    }
}
