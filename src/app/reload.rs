//! Reads the configuration again while the daemon runs, and applies what differs.

use std::{collections::BTreeSet, fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::Receiver,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{job, keep_for, tell_obstacles};
use crate::{
    check::Job,
    config::{self, Config, Invalid, of_files},
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

/// Reads the configuration again, when somebody asks for it or a file changes.
pub(super) struct Reloader {
    pub file: PathBuf,
    /// Whether a change of the configuration's own files is reason enough.
    pub watch: bool,
    pub shard: Option<Shard>,
    /// Monitors that are of no configuration.
    pub own: Vec<Job>,
    pub net: Arc<Net>,
    pub metrics: Arc<Metrics>,
    pub handle: Handle,
    /// What runs.
    pub config: Config,
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
        let work = async {
            loop {
                let mut all = Vec::new();
                tokio::select! {
                    count = wishes.recv_many(&mut all, usize::MAX) => if count == 0 {
                        return;
                    },
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
                for answer in all.into_iter().filter_map(|wish| wish.answer) {
                    // Whoever asked may have gone away.
                    let _ = answer.send(told.clone());
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
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
        let files = self.config.files.clone();
        let monitors = self.config.monitors.iter();
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
        match self.prepare(earnest).await {
            Err(error) => {
                if earnest {
                    self.refuse(&error);
                }
                Err(format!("{error}\n"))
            }
            Ok(prepared) => {
                let told = tell(&prepared.config, &prepared.difference);
                if earnest {
                    self.apply(prepared).await;
                }
                Ok(told)
            }
        }
    }

    /// Everything that can fail, and takes long: on a thread that runs no checks. Nothing that runs is
    /// touched.
    async fn prepare(&self, earnest: bool) -> Result<Prepared, Error> {
        let (file, shard, fixed) = (self.file.clone(), self.shard, self.config.fixed.clone());
        let (handle, net) = (self.handle.clone(), self.net.clone());
        let own = self.own.iter().map(|job| (job.name.clone(), job.version));
        let own: Vec<_> = own.collect();
        let prepare = move || {
            let mut config = config::read(&file).map_err(Error::Invalid)?;
            let changed = fixed.changed(&config.fixed);
            if !changed.is_empty() {
                return Err(Error::Fixed(Fixed(changed)));
            }
            if let Some(shard) = shard {
                keep_for(shard, &mut config);
            }
            let own = own.iter().map(|(name, version)| (&**name, *version));
            let difference = handle.difference(config.versions().chain(own));
            let jobs = |indices: &[usize]| -> Vec<_> {
                // Those beyond are of no configuration, and stay as they are.
                let indices = indices.iter().filter(|_| earnest);
                let configured = indices.filter_map(|index| config.monitors.get(*index));
                configured.map(|monitor| job(monitor, &net)).collect()
            };
            let new = [&*difference.started, &difference.restarted].concat();
            let change = Change {
                stop: difference.stopped.clone(),
                start: jobs(&new),
                renew: jobs(&difference.renewed),
            };
            Ok(Prepared {
                config,
                difference,
                change,
            })
        };
        spawn_blocking(prepare).await?
    }

    fn refuse(&self, error: &Error) {
        self.metrics.reloaded(false);
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

    async fn apply(&mut self, prepared: Prepared) {
        let Prepared {
            config,
            difference,
            change,
        } = prepared;
        tell_obstacles(&change.start);
        self.handle.apply(change).await;
        let old = std::mem::replace(&mut self.config, config);
        // Of many monitors that takes its time too.
        spawn_blocking(move || drop(old));
        self.metrics.reloaded(true);
        tracing::info!(
            started = difference.started.len(),
            restarted = difference.restarted.len(),
            renewed = difference.renewed.len(),
            stopped = difference.stopped.len(),
            unchanged = difference.unchanged,
            "The configuration has been reloaded"
        );
    }
}

/// What a reload is about to do.
struct Prepared {
    config: Config,
    difference: Difference,
    change: Change,
}

/// How the monitors of `config` differ from those that ran before: a line for each that does not stay
/// as it is, and one that sums them up.
pub(crate) fn tell(config: &Config, difference: &Difference) -> String {
    let named = |sign: &'static str, indices: &'_ [usize], note: &'static str| -> Vec<String> {
        let monitors = indices
            .iter()
            .filter_map(|index| config.monitors.get(*index));
        monitors
            .map(|monitor| format!("{sign} {}{note}\n", monitor.name))
            .collect()
    };
    let Difference {
        started,
        restarted,
        renewed,
        stopped,
        unchanged,
    } = difference;
    let mut lines = named("+", started, "");
    lines.extend(named("~", restarted, ""));
    lines.extend(named("~", renewed, " (a file of it)"));
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
