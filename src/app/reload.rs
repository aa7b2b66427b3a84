//! Reloads the configuration while the daemon runs, and applies changes of discovery.

use std::{
    collections::HashSet,
    fmt::Write,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::{mpsc::Receiver, oneshot},
    task::{JoinError, spawn_blocking},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{LOG_TARGET, unlinked_files::UnlinkedFiles};
use crate::{
    check::{Job, Replica, missing_prerequisites},
    config::{self, Config, Invalid, SectionFingerprints},
    discovery::{BuildMonitor, Discovery, LastGoodTargets, Monitors, Stats},
    dispatcher::{ChangeSet, ConfigDiff, DispatcherHandle, Shard},
    heartbeat::Heartbeat,
    metrics::Metrics,
    net::Net,
    probe::Prober,
    server::ReloadRequest,
    state::{DependencyGraph, LeftOut, MAX_DEPENDENCIES, States},
    storage::RetentionHandle,
    telemetry::Telemetry,
    value::FileHashes,
};

/// Maximum delay before changed files are read again to confirm the change, because they may have been
/// half written.
const MAX_CONFIRM_DELAY: Duration = Duration::from_secs(1);

/// Delay before discovery is started again after it ended unexpectedly.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Maximum number of problems of a configuration that are logged, one per line.
const MAX_LOGGED_PROBLEMS: usize = 20;

/// Maximum number of times that a configuration is read in a row because it names new files.
const MAX_READINGS: usize = 3;

/// Reloads on request and when files change, and applies discovered monitors.
pub(super) struct Reloader {
    /// The configuration file.
    pub(crate) config_path: Option<PathBuf>,
    pub(crate) read_config: Arc<ReadConfig>,
    /// Reload when the configuration files change.
    pub watch: bool,
    pub poll_interval: Duration,
    pub(crate) min_reload_interval: Duration,
    pub net: Arc<Net>,
    pub metrics: Arc<Metrics>,
    pub stats: Arc<Stats>,
    pub prober: Arc<Prober>,
    pub telemetry: Arc<Telemetry>,
    pub heartbeat: Arc<Heartbeat>,
    pub states: Arc<States>,
    /// Changes how long the store keeps data.
    pub retention: Option<RetentionHandle>,
    pub(crate) handle: DispatcherHandle,
    /// The running configuration.
    pub desired: DesiredState,
    /// The files of a rejected configuration, which may be corrected.
    pub(crate) rejected_config_files: Vec<PathBuf>,
    /// Hashes of the configuration files when the daemon started.
    pub(crate) config_hashes: FileHashes,
    /// Makes the next reload panic, for a test.
    #[cfg(test)]
    pub(crate) panic_at_next_reload: bool,
}

/// The monitors that should run.
#[derive(Clone)]
pub(super) struct DesiredState {
    pub config: Arc<Config>,
    pub discovered: Monitors<config::Monitor>,
    /// Monitors that are not in the configuration.
    pub(crate) extra_jobs: Arc<[Job]>,
    pub shard: Option<Shard>,
}

impl DesiredState {
    /// All monitors except the extra ones, each with its replica. A discovered monitor with the name of
    /// a configured one is omitted.
    fn monitors(&self) -> Vec<(&config::Monitor, Replica)> {
        let configured = self.config.monitors.iter();
        let names: HashSet<_> = configured.clone().map(|monitor| &*monitor.name).collect();
        let discovered = self
            .discovered
            .iter()
            .filter(|monitor| !names.contains(&*monitor.name));
        configured
            .chain(discovered.map(|monitor| &**monitor))
            .filter_map(|monitor| Some((monitor, monitor.replica_of(self.shard)?)))
            .collect()
    }

    /// Who depends on whom, whichever of them run here.
    pub(super) fn dependencies(&self) -> DependencyGraph {
        let configured = self.config.members.iter().cloned();
        let discovered = self.discovered.iter().map(|monitor| monitor.member());
        let members: Vec<_> = configured.chain(discovered).collect();
        let (graph, left_out) = DependencyGraph::new(&members);
        // Of the configuration itself, this is an error.
        for left_out in left_out.iter().take(MAX_LOGGED_PROBLEMS) {
            match left_out {
                LeftOut::Cycle(cycle) => tracing::warn!(
                    target: LOG_TARGET,
                    cycle = cycle.join(" > "),
                    "Dependencies form a cycle, the last of which is ignored"
                ),
                LeftOut::TooMany(name) => tracing::warn!(
                    target: LOG_TARGET,
                    monitor = &**name,
                    max = MAX_DEPENDENCIES,
                    "Monitor has too many dependencies, and the rest are ignored"
                ),
            }
        }
        graph
    }

    /// Compares the configuration with the running monitors; with `apply`, also prepares the change.
    fn plan(&self, handle: &DispatcherHandle, net: &Net, apply: bool) -> ReloadPlan {
        if apply {
            net.forbid_targets(self.config.forbid_targets.clone());
        }
        let monitors = self.monitors();
        let versions = monitors
            .iter()
            .map(|(monitor, _)| (&*monitor.name, monitor.fingerprint));
        let extra = self
            .extra_jobs
            .iter()
            .map(|job| (&*job.name, job.fingerprint));
        let diff = handle.diff(versions.chain(extra));
        let jobs = |indices: &[usize]| -> Vec<_> {
            // Indices beyond are extra jobs, which never change.
            let indices = indices.iter().filter(|_| apply);
            let monitors = indices.filter_map(|index| monitors.get(*index));
            monitors
                .map(|(monitor, replica)| Job {
                    replica: *replica,
                    ..monitor.job(net)
                })
                .collect()
        };
        let new = [&*diff.added, &diff.changed].concat();
        let change = ChangeSet {
            stop: diff.removed.clone(),
            start: jobs(&new),
            renew: jobs(&diff.files_changed),
        };
        let names: Vec<_> = monitors.iter().map(|(monitor, _)| &*monitor.name).collect();
        ReloadPlan {
            dependencies: if apply {
                self.dependencies()
            } else {
                DependencyGraph::default()
            },
            summary: diff.describe(&names),
            diff,
            change,
        }
    }

    /// Adds missing files to `named`, with the contents that monitors were built from.
    fn add_named_files(&self, named: &mut FileHashes) {
        let before = named.clone();
        named.add_missing(self.named_files());
        let discovered = self.discovered.iter().map(|monitor| &**monitor);
        for monitor in self.config.monitors.iter().chain(discovered) {
            // Changes since then must be detected.
            if monitor.files.iter().any(|file| !before.contains(file))
                && FileHashes::read(&monitor.files).fingerprint() != monitor.fingerprint.files
            {
                let new = monitor.files.iter().filter(|file| !before.contains(file));
                new.for_each(|file| named.mark_changed(file));
            }
        }
    }

    /// The files named in monitors and sources.
    fn named_files(&self) -> impl Iterator<Item = &PathBuf> {
        let discovered = self.discovered.iter().map(|monitor| &**monitor);
        let monitors = self.config.monitors.iter().chain(discovered);
        let of_monitors = monitors.flat_map(|monitor| &monitor.files);
        of_monitors
            .chain(&self.config.discovery_files)
            .chain(self.config.section_files())
    }
}

/// A prepared change of the running monitors.
struct ReloadPlan {
    dependencies: DependencyGraph,
    diff: ConfigDiff,
    change: ChangeSet,
    /// The description of the change.
    summary: String,
}

/// Hashes of files when the configuration was last read.
#[derive(Clone, Default, PartialEq, Eq)]
struct WatchedFiles {
    /// The configuration files.
    config: FileHashes,
    /// The files named in the configuration.
    named: FileHashes,
}

/// The way in which a configuration is read from a file.
pub(crate) type ReadConfig = dyn Fn(&Path) -> Result<Config, Invalid> + Send + Sync;

/// The reason why the configuration was not reloaded.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("there is no file that the configuration was read from")]
    NoConfigFile,
    #[error("{0}")]
    Invalid(Invalid),
    #[error("failed to read the configuration: {0}")]
    TaskPanicked(#[from] JoinError),
}

/// The result of reading a configuration.
struct Reading {
    files: WatchedFiles,
    result: Result<(DesiredState, ReloadPlan, Vec<String>), Error>,
}

/// State of the reload loop.
struct State {
    discovery: Option<Discovery<config::Monitor>>,
    /// The last good lists of a stopped discovery.
    last_good_targets: LastGoodTargets,
    /// Hashes when the configuration was last read.
    seen: WatchedFiles,
    /// Hashes when the configuration was last applied.
    applied: WatchedFiles,
    /// Hashes of changed files, to be confirmed by another poll.
    unconfirmed: Option<WatchedFiles>,
    /// Files that changes can no longer be seen of.
    unlinked: UnlinkedFiles,
    next_poll: Instant,
    /// Earliest time of the next reload.
    not_before: Instant,
    /// True if a change of a file is confirmed.
    is_due: bool,
    requests: Vec<ReloadRequest>,
    is_open: bool,
}

impl State {
    fn new(seen: WatchedFiles) -> Self {
        let now = Instant::now();
        Self {
            discovery: None,
            last_good_targets: LastGoodTargets::default(),
            applied: seen.clone(),
            seen,
            unconfirmed: None,
            unlinked: UnlinkedFiles::default(),
            next_poll: now,
            not_before: now,
            is_due: false,
            requests: Vec::new(),
            is_open: true,
        }
    }
}

impl Reloader {
    /// Reloads when needed, until `shutdown`.
    pub(super) async fn run(
        mut self,
        mut requests: Receiver<ReloadRequest>,
        shutdown: CancellationToken,
    ) {
        let mut state = State::new(self.hash_files_at_start().await);
        let work = async {
            loop {
                let step = self.step(&mut state, &mut requests, &shutdown);
                if AssertUnwindSafe(step).catch_unwind().await.is_err() {
                    // Dropping the requests tells the clients that there is no response.
                    state.requests.clear();
                    state.is_due = false;
                    state.next_poll = Instant::now() + self.poll_interval;
                    self.metrics.reloaded(false);
                    tracing::error!(
                        target: LOG_TARGET,
                        "Reload panicked; the running configuration stays in effect"
                    );
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Waits for one event and handles it.
    async fn step(
        &mut self,
        state: &mut State,
        requests: &mut Receiver<ReloadRequest>,
        shutdown: &CancellationToken,
    ) {
        if state.discovery.is_none() {
            let kept = std::mem::take(&mut state.last_good_targets);
            state.discovery = Some(self.start_discovery(kept, shutdown));
        }
        let Some(discovery) = &mut state.discovery else {
            return;
        };
        let is_wanted = state.is_due || !state.requests.is_empty();
        tokio::select! {
            count = requests.recv_many(&mut state.requests, usize::MAX), if state.is_open => {
                state.is_open = count > 0;
            }
            discovered = discovery.changed() => if let Some(monitors) = discovered {
                self.apply_discovered(state, monitors).await;
            } else {
                tracing::error!(
                    target: LOG_TARGET,
                    "Discovery ended unexpectedly, and starts again"
                );
                tokio::time::sleep(RESTART_DELAY).await;
                if let Some(discovery) = state.discovery.take() {
                    state.last_good_targets = discovery.stop().await;
                }
            },
            () = sleep_until(state.next_poll) => self.poll_files(state).await,
            () = sleep_until(state.not_before), if is_wanted => self.serve_requests(state).await,
        }
    }

    /// Starts discovery; `kept` are the last good lists.
    fn start_discovery(
        &self,
        kept: LastGoodTargets,
        shutdown: &CancellationToken,
    ) -> Discovery<config::Monitor> {
        Discovery::start(
            &self.desired.config.discovery,
            &self.net,
            self.monitor_builder(),
            &self.stats,
            kept,
            shutdown,
        )
    }

    /// Returns a function that builds monitors from the templates of the configuration.
    fn monitor_builder(&self) -> Arc<BuildMonitor<config::Monitor>> {
        let monitor_builder = self.desired.config.monitor_builder.clone();
        Arc::new(move |wanted| monitor_builder.build_discovered(wanted))
    }

    /// Replaces the discovered monitors that run.
    async fn apply_discovered(&mut self, state: &mut State, discovered: Monitors<config::Monitor>) {
        self.desired.discovered = discovered;
        let (desired, handle, net) = (self.desired.clone(), self.handle.clone(), self.net.clone());
        let mut named = state.seen.named.clone();
        let plan = move || {
            desired.add_named_files(&mut named);
            (named, desired.plan(&handle, &net, true))
        };
        match spawn_blocking(plan).await {
            Ok((named, plan)) => {
                let ReloadPlan {
                    dependencies,
                    diff,
                    change,
                    ..
                } = plan;
                state.seen.named = named;
                self.states.set_dependencies(dependencies);
                self.apply(change).await;
                if !diff.is_empty() {
                    tracing::info!(
                        target: LOG_TARGET,
                        started = diff.added.len(),
                        restarted = diff.changed.len(),
                        renewed = diff.files_changed.len(),
                        stopped = diff.removed.len(),
                        unchanged = diff.unchanged,
                        "Discovered monitors changed"
                    );
                }
            }
            Err(error) => tracing::error!(
                target: LOG_TARGET,
                %error,
                "Failed to apply discovered monitors"
            ),
        }
    }

    /// Polls the files, and schedules a reload if they have changed and were the same in two polls.
    async fn poll_files(&mut self, state: &mut State) {
        state.next_poll = Instant::now() + self.poll_interval;
        self.warn_of_unlinked_files(state).await;
        if !self.watch && self.desired.named_files().next().is_none() {
            return;
        }
        let now = self.read_files().await;
        let config_changed = state.seen.config.differ_from(&now.config);
        let named_changed = state.seen.named.differ_from(&now.named);
        if !(named_changed || config_changed && self.watch) {
            state.unconfirmed = None;
            return;
        }
        if state.unconfirmed.as_ref() != Some(&now) {
            let delay = self.poll_interval.min(MAX_CONFIRM_DELAY);
            state.next_poll = Instant::now() + delay;
            state.unconfirmed = Some(now);
            return;
        }
        state.unconfirmed = None;
        if config_changed && !self.watch {
            state.seen.named = now.named;
            tracing::warn!(
                target: LOG_TARGET,
                "Referenced file changed but was not reloaded: the configuration itself has \
                 unapplied changes (reload needed)"
            );
            return;
        }
        state.is_due = true;
    }

    /// Warns of files that the daemon reads, and nobody can change any more.
    async fn warn_of_unlinked_files(&self, state: &mut State) {
        let (desired, mut unlinked) = (self.desired.clone(), state.unlinked.clone());
        let look = move || {
            unlinked.warn(desired.config.files.iter().chain(desired.named_files()));
            unlinked
        };
        if let Ok(unlinked) = spawn_blocking(look).await {
            state.unlinked = unlinked;
        }
    }

    /// Hashes of the watched files when the daemon started.
    async fn hash_files_at_start(&self) -> WatchedFiles {
        let (desired, config) = (self.desired.clone(), self.config_hashes.clone());
        let look = move || {
            let mut named = FileHashes::default();
            desired.add_named_files(&mut named);
            WatchedFiles { config, named }
        };
        spawn_blocking(look).await.unwrap_or_default()
    }

    /// Hashes the watched files.
    async fn read_files(&self) -> WatchedFiles {
        let desired = self.desired.clone();
        let rejected = self.rejected_config_files.clone();
        let read = move || WatchedFiles {
            config: FileHashes::read(desired.config.files.iter().chain(&rejected)),
            named: FileHashes::read(desired.named_files()),
        };
        spawn_blocking(read).await.unwrap_or_default()
    }

    /// Reloads the configuration for all waiting requests, and responds to them.
    async fn serve_requests(&mut self, state: &mut State) {
        state.not_before = Instant::now() + self.min_reload_interval;
        // If this panics, dropping the senders responds to the requests.
        let requests = std::mem::take(&mut state.requests);
        let is_due = std::mem::take(&mut state.is_due);
        let apply = is_due || requests.iter().any(|request| !request.dry_run);
        #[cfg(test)]
        assert!(!std::mem::take(&mut self.panic_at_next_reload), "as asked");
        self.warn_of_unlinked_files(state).await;
        let outcome = self.reload(state, apply).await;
        let answers = requests.into_iter().filter_map(|request| request.answer);
        for answer in answers {
            respond(answer, outcome.clone());
        }
    }

    /// Reads the configuration, applies it if `apply`, and returns a summary of the changes.
    async fn reload(&mut self, state: &mut State, apply: bool) -> Result<String, String> {
        let reading = match self.read_config(apply).await {
            Ok(reading) => reading,
            Err(error) => {
                let error = Error::from(error);
                if apply {
                    self.log_rejected(&error);
                }
                return Err(format!("{error}\n"));
            }
        };
        let Reading { files, result } = reading;
        let (desired, plan, restart_required) = match result {
            Ok(result) => result,
            Err(error) => {
                if apply {
                    self.log_rejected(&error);
                    state.seen = files;
                    state.unconfirmed = None;
                }
                return Err(format!("{error}\n"));
            }
        };
        let ReloadPlan {
            dependencies,
            diff,
            change,
            mut summary,
        } = plan;
        if !restart_required.is_empty() {
            let keys = restart_required.join(", ");
            let _ = writeln!(summary, "restart required for {keys}");
        }
        if apply {
            self.rejected_config_files.clear();
            let old = std::mem::replace(&mut self.desired, desired);
            let has_other_sources =
                old.config.discovery_fingerprint != self.desired.config.discovery_fingerprint;
            let old_sections = old.config.section_fingerprints();
            // This also takes time for many monitors.
            spawn_blocking(move || drop(old));
            if diff.removes_most() {
                tracing::warn!(
                    target: LOG_TARGET,
                    stopped = diff.removed.len(),
                    unchanged = diff.unchanged,
                    "More than half of the monitors are gone from the configuration"
                );
            }
            let settings = self.desired.config.states.clone();
            self.states.configure(settings, dependencies);
            if let Some(retention) = &self.retention {
                retention.set(self.desired.config.storage.retention);
            }
            self.apply(change).await;
            let config = &self.desired.config;
            self.prober
                .replace(&config.probe, config.probe_binder(&self.net));
            self.restart_changed_sections(old_sections).await;
            self.metrics.reloaded(true);
            self.metrics.restart_required(!restart_required.is_empty());
            tracing::info!(
                target: LOG_TARGET,
                started = diff.added.len(),
                restarted = diff.changed.len(),
                renewed = diff.files_changed.len(),
                stopped = diff.removed.len(),
                unchanged = diff.unchanged,
                "The configuration has been reloaded"
            );
            self.desired.config.log_warnings();
            if !restart_required.is_empty() {
                tracing::warn!(
                    target: LOG_TARGET,
                    keys = restart_required.join(","),
                    "The configuration has changes that take effect after a restart only"
                );
            }
            if has_other_sources {
                if let Some(discovery) = state.discovery.take() {
                    state.last_good_targets = discovery.stop().await;
                }
            } else if state.applied != files
                && let Some(discovery) = &state.discovery
            {
                // The sources are unchanged, but monitors may have to be built again.
                discovery.rebuild(self.monitor_builder());
            }
            state.applied = files.clone();
            state.seen = files;
            state.unconfirmed = None;
        }
        Ok(summary)
    }

    /// Reads and validates the configuration on a blocking thread, without touching running monitors.
    async fn read_config(&self, apply: bool) -> Result<Reading, JoinError> {
        let (path, desired) = (self.config_path.clone(), self.desired.clone());
        let read_config = self.read_config.clone();
        let rejected = self.rejected_config_files.clone();
        let (handle, net) = (self.handle.clone(), self.net.clone());
        let read = move || {
            // Hashed before it is read, so that a change meanwhile is detected.
            let mut files = WatchedFiles {
                config: FileHashes::read(desired.config.files.iter().chain(&rejected)),
                named: FileHashes::read(desired.named_files()),
            };
            let result = path.ok_or(Error::NoConfigFile).and_then(|path| {
                let config =
                    read_with_files(&path, &*read_config, &mut files).map_err(Error::Invalid)?;
                let (config, restart_required) = keep_restart_only_keys(config, &desired.config);
                let desired = DesiredState {
                    config: Arc::new(config),
                    ..desired
                };
                let named: HashSet<_> = desired.named_files().collect();
                files.named.retain(|file| named.contains(file));
                let known = &desired.config.files;
                files.config.retain(|file| known.contains(file));
                let plan = desired.plan(&handle, &net, apply);
                Ok((desired, plan, restart_required))
            });
            Reading { files, result }
        };
        spawn_blocking(read).await
    }

    /// Restarts the parts of the daemon whose section differs from the one of the fingerprint `old`.
    async fn restart_changed_sections(&self, old: SectionFingerprints) {
        let config = &self.desired.config;
        let new = config.section_fingerprints();
        if old.telemetry != new.telemetry {
            let settings = &config.telemetry.settings;
            let metrics = self.metrics.clone();
            self.telemetry.configure(settings, &self.net, metrics).await;
        }
        if old.heartbeat != new.heartbeat {
            let settings = config.heartbeat.settings.as_ref();
            self.heartbeat.configure(settings, &self.net).await;
        }
    }

    async fn apply(&self, change: ChangeSet) {
        log_missing_prerequisites(&change.start);
        self.handle.apply(change).await;
    }

    fn log_rejected(&mut self, error: &Error) {
        self.metrics.reloaded(false);
        if let Error::Invalid(invalid) = error {
            self.rejected_config_files = invalid.files().to_vec();
        }
        let problems = error.to_string();
        for problem in problems.lines().take(MAX_LOGGED_PROBLEMS) {
            tracing::error!(target: LOG_TARGET, problem, "The configuration is not valid");
        }
        let problems = problems.lines().count();
        tracing::error!(
            target: LOG_TARGET,
            problems,
            "Reload rejected; the running configuration stays in effect"
        );
    }
}

/// Reads the configuration at `path`, and again if it has files that are not in `files` yet, because
/// each file must be hashed before it is read.
fn read_with_files(
    path: &Path,
    read_config: &ReadConfig,
    files: &mut WatchedFiles,
) -> Result<Config, Invalid> {
    let mut readings = 0;
    loop {
        let config = match read_config(path) {
            Ok(config) => config,
            Err(invalid) => {
                files.config.add_missing(invalid.files());
                return Err(invalid);
            }
        };
        readings += 1;
        let monitors = config.monitors.iter();
        let of_monitors = monitors.flat_map(|monitor| &monitor.files);
        let named = of_monitors
            .chain(&config.discovery_files)
            .chain(config.section_files());
        let are_new = files.named.add_missing(named) | files.config.add_missing(&config.files);
        if !are_new || readings == MAX_READINGS {
            return Ok(config);
        }
    }
}

/// Replaces the restart-only sections of `config` with those of `running`, and returns the keys that
/// differ.
fn keep_restart_only_keys(config: Config, running: &Config) -> (Config, Vec<String>) {
    let changed = running
        .restart_only_keys
        .changed_keys(&config.restart_only_keys);
    let config = Config {
        log: running.log.clone(),
        server: running.server.clone(),
        dispatcher: running.dispatcher,
        metrics: running.metrics.clone(),
        restart_only_keys: running.restart_only_keys.clone(),
        ..config
    };
    (config, changed)
}

/// Responds to a request, if the requester still waits.
fn respond(answer: oneshot::Sender<Result<String, String>>, outcome: Result<String, String>) {
    let _ = answer.send(outcome);
}

/// Logs local problems that make checks of `jobs` fail.
pub(super) fn log_missing_prerequisites(jobs: &[Job]) {
    for (error, monitors) in missing_prerequisites(jobs.iter().filter(|job| job.enabled)) {
        tracing::error!(
            target: LOG_TARGET,
            monitors,
            error,
            "Missing permission or resource on this host: these monitors will always fail"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        check::{DispatcherObserver, Job, MonitorObserver},
        dispatcher::{Dispatcher, Settings},
    };

    struct Nobody;

    impl DispatcherObserver for Nobody {
        fn observe(&self, _: &Job) -> Arc<dyn MonitorObserver> {
            unreachable!("nothing is started")
        }

        fn on_stopped(&self, _: &Job) {}
    }

    /// A reloader that watches the file at `path`, which has not been read.
    fn reloader(path: &Path, dispatcher: &mut Dispatcher) -> Reloader {
        let config = config::read(path).expect("a configuration");
        let states = Arc::new(States::new(Arc::new(Nobody)));
        let heartbeat = Heartbeat::new(dispatcher.health(), states.clone(), Arc::default());
        Reloader {
            config_hashes: FileHashes::read(&config.files),
            config_path: Some(path.to_owned()),
            read_config: Arc::new(config::read),
            watch: true,
            poll_interval: Duration::from_secs(5),
            min_reload_interval: Duration::from_secs(1),
            net: Arc::new(Net::system()),
            metrics: Arc::new(Metrics::new(&config.metrics, || 0)),
            stats: Arc::default(),
            prober: Arc::new(Prober::new(
                &config.probe,
                config.probe_binder(&Net::system()),
                Arc::default(),
            )),
            telemetry: Arc::new(Telemetry::new(&config.telemetry.settings)),
            heartbeat: Arc::new(heartbeat),
            states,
            retention: None,
            handle: dispatcher.handle(),
            desired: DesiredState {
                config: Arc::new(config),
                discovered: Vec::new().into(),
                extra_jobs: Vec::new().into(),
                shard: None,
            },
            rejected_config_files: Vec::new(),
            panic_at_next_reload: false,
        }
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_read_once_two_looks_are_alike() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let write = |text: &str| fs::write(file.path(), text).expect("room for it");
        write("monitors: {a: {url: 'http://a/'}, b: {url: 'http://b/'}}\n");
        let shutdown = CancellationToken::new();
        let mut dispatcher = Dispatcher::new(Settings::default(), Arc::new(Nobody), shutdown);
        let mut reloader = reloader(file.path(), &mut dispatcher);
        let mut state = State::new(reloader.hash_files_at_start().await);
        let mut poll = async || {
            reloader.poll_files(&mut state).await;
            state.is_due
        };
        assert!(!poll().await, "nothing has changed");
        write("monitors: {a: {url: 'http://a/'}}\n");
        assert!(!poll().await, "it may be cut short");
        write("monitors: {a: {url: 'http://a/'}, b: {url: 'http://c/'}}\n");
        assert!(!poll().await, "it goes on");
        assert!(poll().await, "it is done");
    }

    #[tokio::test]
    async fn a_change_that_is_taken_back_is_none() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let write = |text: &str| fs::write(file.path(), text).expect("room for it");
        write("monitors: {}\n");
        let shutdown = CancellationToken::new();
        let mut dispatcher = Dispatcher::new(Settings::default(), Arc::new(Nobody), shutdown);
        let mut reloader = reloader(file.path(), &mut dispatcher);
        let mut state = State::new(reloader.hash_files_at_start().await);
        for text in ["", "monitors: {}\n", "", "monitors: {}\n"] {
            write(text);
            reloader.poll_files(&mut state).await;
            assert!(!state.is_due);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_while_reloading_is_survived() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let shutdown = CancellationToken::new();
        let settings = Settings::default();
        let mut dispatcher = Dispatcher::new(settings, Arc::new(Nobody), shutdown.clone());
        let mut reloader = reloader(file.path(), &mut dispatcher);
        reloader.panic_at_next_reload = true;
        let running = tokio::spawn(dispatcher.run());
        let (handle, requests) = crate::server::ReloadHandle::new();
        let task = tokio::spawn(reloader.run(requests, shutdown.clone()));
        assert_eq!(handle.ask(false).await, None, "there is no answer");
        let answer = handle.ask(false).await.expect("the next is answered");
        let none = "0 added, 0 changed, 0 removed, 0 unchanged\n";
        assert_eq!(answer.as_deref(), Ok(none));
        shutdown.cancel();
        task.await.expect("it ends in good order");
        running.await.expect("likewise");
    }
}
