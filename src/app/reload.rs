//! Reads the configuration again while the daemon runs, and applies what differs.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc::Receiver,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{job, tell_obstacles};
use crate::{
    check::{Job, Replica},
    config::{self, Config, Invalid, of_files},
    discovery::{Discovery, Kept, Monitors, Stats},
    dispatcher::{Change, Difference, Handle, Shard},
    metrics::Metrics,
    net::Net,
    server::Reload,
};

/// How often files are looked at. Their contents are compared: what tells of changes to files misses
/// that of a mounted Kubernetes `ConfigMap`.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Problems of a file that are logged, a line each.
const LOGGED: usize = 20;

/// Monitors that an answer names, a line each.
const NAMED: usize = 1000;

/// Reads the configuration again, when somebody asks for it or a file changes, and follows what is
/// discovered.
pub(super) struct Reloader {
    /// Where the configuration is read from again.
    pub file: Option<PathBuf>,
    /// Whether a change of the configuration's own files is reason enough.
    pub watch: bool,
    pub net: Arc<Net>,
    pub metrics: Arc<Metrics>,
    pub stats: Arc<Stats>,
    pub handle: Handle,
    /// What runs.
    pub wanted: Wanted,
    /// The files of a configuration that was not taken, and may be mended.
    pub refused: Vec<PathBuf>,
}

/// What is to run.
#[derive(Clone)]
pub(super) struct Wanted {
    pub config: Arc<Config>,
    pub discovered: Monitors<config::Monitor>,
    /// Monitors that are of no configuration.
    pub own: Arc<[Job]>,
    pub shard: Option<Shard>,
}

impl Wanted {
    /// All monitors but one's own, each as the replica that it is here; a discovered one has no name
    /// that a configured one has.
    fn monitors(&self) -> Vec<(&config::Monitor, Replica)> {
        let configured = self.config.monitors.iter();
        let names: HashSet<_> = configured.clone().map(|monitor| &*monitor.name).collect();
        let discovered = self.discovered.iter();
        let discovered = discovered.filter(|monitor| !names.contains(&*monitor.name));
        let replica = |monitor: &config::Monitor| match self.shard {
            Some(shard) => shard.replica(&monitor.name, monitor.replicas.0),
            None => Some(Replica::default()),
        };
        configured
            .chain(discovered.map(|monitor| &**monitor))
            .filter_map(|monitor| Some((monitor, replica(monitor)?)))
            .collect()
    }

    /// How that differs from what runs, and where that is meant in earnest what is to become of it.
    fn prepare(&self, handle: &Handle, net: &Net, earnest: bool) -> Prepared {
        if earnest {
            net.forbid_targets(self.config.forbid_targets.clone());
        }
        let monitors = self.monitors();
        let versions = monitors.iter();
        let versions = versions.map(|(monitor, _)| (&*monitor.name, monitor.version));
        let own = self.own.iter().map(|job| (&*job.name, job.version));
        let difference = handle.difference(versions.chain(own));
        let jobs = |indices: &[usize]| -> Vec<_> {
            // Those beyond are one's own, and stay as they are.
            let indices = indices.iter().filter(|_| earnest);
            let monitors = indices.filter_map(|index| monitors.get(*index));
            monitors
                .map(|(monitor, replica)| Job {
                    replica: *replica,
                    ..job(monitor, net)
                })
                .collect()
        };
        let new = [&*difference.started, &difference.restarted].concat();
        let change = Change {
            stop: difference.stopped.clone(),
            start: jobs(&new),
            renew: jobs(&difference.renewed),
        };
        let names: Vec<_> = monitors.iter().map(|(monitor, _)| &*monitor.name).collect();
        Prepared {
            told: tell(&names, &difference),
            difference,
            change,
        }
    }
}

/// What there was when the configuration was last read, rightly or not.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// In the files of the configuration.
    config: u64,
    /// In the files that it names.
    named: u64,
}

/// Why the configuration was not reloaded.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("there is no file that the configuration was read from")]
    Nowhere,
    #[error("{0}")]
    Invalid(Invalid),
    #[error("{0}")]
    Fixed(Fixed),
    #[error("failed to read the configuration: {0}")]
    Gone(#[from] tokio::task::JoinError),
}

/// Keys that a restart alone can change.
#[derive(Debug)]
struct Fixed(Vec<String>);

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.iter();
        let lines =
            lines.map(|key| format!("{key} cannot change while the daemon runs; restart it"));
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl Reloader {
    /// Reloads whenever there is a reason to, until `shutdown`.
    pub async fn run(mut self, mut wishes: Receiver<Reload>, shutdown: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.look().await;
        let mut discovery = self.discover(Kept::default(), &shutdown);
        let work = async {
            loop {
                let mut all = Vec::new();
                tokio::select! {
                    count = wishes.recv_many(&mut all, usize::MAX) => if count == 0 {
                        return;
                    },
                    discovered = discovery.changed() => {
                        self.follow(discovered).await;
                        continue;
                    }
                    _ = look.tick() => if !self.is_reason(&mut seen).await {
                        continue;
                    },
                }
                // Nobody wishes for what is done for the sake of a file.
                let earnest = all.is_empty() || all.iter().any(|wish| !wish.dry_run);
                if earnest {
                    // Before it is read: a file that changes meanwhile is seen to have changed.
                    seen = self.look().await;
                }
                let told = self.reload(earnest).await;
                if earnest && told.is_err() {
                    seen = self.look().await;
                }
                if earnest && told.is_ok() {
                    let kept = discovery.stop().await;
                    discovery = self.discover(kept, &shutdown);
                }
                for answer in all.into_iter().filter_map(|wish| wish.answer) {
                    // Whoever asked may have gone away.
                    let _ = answer.send(told.clone());
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Begins to look at the sources of the configuration; `kept` is what was found before.
    fn discover(&self, kept: Kept, shutdown: &CancellationToken) -> Discovery<config::Monitor> {
        let config = &self.wanted.config;
        let blueprints = config.blueprints.clone();
        let make = Arc::new(move |wanted| blueprints.discovered(wanted));
        Discovery::start(
            &config.discovery,
            &self.net,
            make,
            &self.stats,
            kept,
            shutdown,
        )
    }

    /// Has the monitors run that are discovered, and no others that were.
    async fn follow(&mut self, discovered: Monitors<config::Monitor>) {
        self.wanted.discovered = discovered;
        let (wanted, handle, net) = (self.wanted.clone(), self.handle.clone(), self.net.clone());
        let prepared = spawn_blocking(move || wanted.prepare(&handle, &net, true)).await;
        match prepared {
            Ok(prepared) => {
                let (started, restarted, stopped, unchanged) = prepared.difference.lengths();
                self.apply(prepared.change).await;
                if started + restarted + stopped > 0 {
                    tracing::info!(
                        started,
                        restarted,
                        stopped,
                        unchanged,
                        "Other monitors have been discovered"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "Discovered monitors cannot be run"),
        }
    }

    /// Whether what the files hold is to be read without anybody's wish.
    async fn is_reason(&self, seen: &mut Seen) -> bool {
        let now = self.look().await;
        if now.config == seen.config {
            // A secret that is replaced is used from the next check on.
            return now.named != seen.named;
        }
        if !self.watch && now.named != seen.named {
            seen.named = now.named;
            tracing::warn!(
                "A file that the configuration names has changed and is not read, as the \
                 configuration has changed too and is not reloaded"
            );
        }
        self.watch
    }

    /// What the files hold.
    async fn look(&self) -> Seen {
        let Wanted {
            config, discovered, ..
        } = &self.wanted;
        let files = [&*config.files, &self.refused].concat();
        let monitors = discovered.iter().map(|monitor| &**monitor);
        let monitors = config.monitors.iter().chain(monitors);
        let named: BTreeSet<_> = monitors
            .flat_map(|monitor| &monitor.files)
            .cloned()
            .collect();
        if !self.watch && named.is_empty() {
            return Seen::default();
        }
        let look = move || Seen {
            config: of_files(&files),
            named: of_files(&named),
        };
        spawn_blocking(look).await.unwrap_or_default()
    }

    /// Reads the configuration, applies it where that is meant in earnest, and tells what differs.
    async fn reload(&mut self, earnest: bool) -> Result<String, String> {
        let (wanted, prepared) = match self.prepare(earnest).await {
            Ok(prepared) => prepared,
            Err(error) => {
                if earnest {
                    self.refuse(&error);
                }
                return Err(format!("{error}\n"));
            }
        };
        if earnest {
            self.refused.clear();
            let old = std::mem::replace(&mut self.wanted, wanted);
            // Of many monitors that takes its time too.
            spawn_blocking(move || drop(old));
            let difference = prepared.difference;
            self.apply(prepared.change).await;
            self.metrics.reloaded(true);
            tracing::info!(
                started = difference.started.len(),
                restarted = difference.restarted.len(),
                renewed = difference.renewed.len(),
                stopped = difference.stopped.len(),
                unchanged = difference.unchanged,
                "The configuration has been reloaded"
            );
            self.wanted.config.log_warnings();
        }
        Ok(prepared.told)
    }

    /// Everything that can fail, and takes long: on a thread that runs no checks. Nothing that runs is
    /// touched.
    async fn prepare(&self, earnest: bool) -> Result<(Wanted, Prepared), Error> {
        let (file, wanted) = (self.file.clone(), self.wanted.clone());
        let (handle, net) = (self.handle.clone(), self.net.clone());
        let prepare = move || {
            let file = file.ok_or(Error::Nowhere)?;
            let config = config::read(&file).map_err(Error::Invalid)?;
            let fixed = wanted.config.fixed.changed(&config.fixed);
            if !fixed.is_empty() {
                return Err(Error::Fixed(Fixed(fixed)));
            }
            let wanted = Wanted {
                config: Arc::new(config),
                ..wanted
            };
            let prepared = wanted.prepare(&handle, &net, earnest);
            Ok((wanted, prepared))
        };
        spawn_blocking(prepare).await?
    }

    async fn apply(&self, change: Change) {
        tell_obstacles(&change.start);
        self.handle.apply(change).await;
    }

    fn refuse(&mut self, error: &Error) {
        self.metrics.reloaded(false);
        if let Error::Invalid(invalid) = error {
            self.refused = invalid.files().to_vec();
        }
        let problems = error.to_string();
        for problem in problems.lines().take(LOGGED) {
            tracing::error!(problem, "The configuration is not valid");
        }
        let problems = problems.lines().count();
        tracing::error!(
            problems,
            "The configuration has not been reloaded, and what ran goes on"
        );
    }
}

/// What is about to be done.
struct Prepared {
    difference: Difference,
    change: Change,
    told: String,
}

/// How the monitors of these names differ from those that ran before: a line for each that does not
/// stay as it is, and one that sums them up.
pub(crate) fn tell(names: &[&str], difference: &Difference) -> String {
    let line_each = |sign: &'static str, indices: &'_ [usize], note: &'static str| -> Vec<String> {
        let names = indices.iter().filter_map(|index| names.get(*index));
        names.map(|name| format!("{sign} {name}{note}\n")).collect()
    };
    let Difference {
        started,
        restarted,
        renewed,
        stopped,
        unchanged,
    } = difference;
    let mut lines = line_each("+", started, "");
    lines.extend(line_each("~", restarted, ""));
    lines.extend(line_each("~", renewed, " (a file of it)"));
    lines.extend(stopped.iter().map(|name| format!("- {name}\n")));
    let beyond = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if beyond > 0 {
        lines.push(format!("and {beyond} more\n"));
    }
    let (new, changed, gone) = (
        started.len(),
        restarted.len() + renewed.len(),
        stopped.len(),
    );
    lines.push(format!(
        "{new} new, {changed} changed, {gone} gone, {unchanged} unchanged\n"
    ));
    lines.concat()
}
