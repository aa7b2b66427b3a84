//! Runs one probe: its module bound to its target, within its deadline and the limits.

use std::{collections::HashMap, fmt::Write, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    BadRequest, LOG_TARGET, Module, ProbeLog, ProbeRequest, ProbeStats, Recent, RecentProbe,
    Rejection, Settings, Traits, Unusable,
    families::ProbeResult,
    permits::{HostPermit, ProbesPerHost},
    thread::ProbeThread,
};
use crate::{
    check::{Attempt, Failure, Job, Phase, Reason, Report, StepLimits, Steps},
    monitors::Type,
    offload, text,
};

/// Modules that are bound to a target and kept for the next probe of it.
const MAX_BOUND: usize = 4096;
/// Bytes of a target that is kept.
const MAX_KEPT_TARGET: usize = 1024;
/// The steps that are kept of a probe whose log is asked for.
const DEBUG_STEPS: StepLimits = StepLimits {
    first: 100,
    last: 100,
    text_bytes: 600,
};
/// Time after which files that a module names are read again.
const FILES_LIFETIME: Duration = Duration::from_secs(30);

/// Makes a check of a module and a target.
pub(crate) type Bind = dyn Fn(&BindRequest<'_>) -> Result<Bound, BindError> + Send + Sync;

/// A request to bind a module to a target.
#[derive(Clone, Copy, Debug)]
pub struct BindRequest<'w> {
    /// The name of the module.
    pub module: &'w str,
    /// The target as it was asked for.
    pub target: &'w str,
    /// The parameter `hostname`.
    pub hostname: Option<&'w str>,
}

/// A module bound to a target.
#[derive(Debug)]
pub struct Bound {
    /// The check.
    pub job: Job,
    /// The traits of the module that its metrics depend on.
    pub(crate) traits: Traits,
    /// True if it was made from files, which may change.
    pub(crate) has_files: bool,
}

/// Why a module and a target do not go together.
#[derive(Clone, Debug)]
pub enum BindError {
    /// The module has another Host header than the parameter `hostname`.
    HostConflict {
        /// The module's.
        module: String,
        /// The parameter.
        parameter: String,
    },
    /// The target is not one, or a file of the module cannot be read.
    Invalid(String),
}

/// The result of a probe.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The metrics in the text format.
    pub metrics: Arc<str>,
    /// The log of the probe, if it was asked for.
    pub log: Option<String>,
}

/// Answers requests for probes.
pub struct Prober {
    state: RwLock<Arc<State>>,
    recent: Recent,
    stats: Arc<ProbeStats>,
    thread: ProbeThread,
    /// The maximum number of probes, whatever is configured.
    max_probes: usize,
}

/// The part that a change of the configuration replaces.
struct State {
    settings: Settings,
    /// The modules as text, by name.
    shown: HashMap<String, Arc<str>>,
    bind: Arc<Bind>,
    permits: Permits,
    bound: Mutex<HashMap<Key, Kept>>,
}

/// The permits of probes: those of all, and those of each host.
#[derive(Clone)]
struct Permits {
    most: usize,
    all: Arc<Semaphore>,
    per_host: Arc<ProbesPerHost>,
}

impl Permits {
    fn new(most: usize, per_host: Arc<ProbesPerHost>) -> Self {
        Self {
            most,
            all: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            per_host,
        }
    }
}

/// Module, target and host name.
type Key = (String, String, Option<String>);

struct Kept {
    bound: Arc<Bound>,
    since: Instant,
}

impl Prober {
    /// Probes with the modules of `settings`, which `bind` binds.
    #[must_use]
    pub fn new(settings: &Settings, bind: Arc<Bind>, counters: Arc<ProbeStats>) -> Self {
        let permits = Permits::new(settings.max_concurrent_probes, Arc::default());
        let prober = Self {
            state: RwLock::new(Arc::new(State::new(settings, bind, permits))),
            recent: Recent::default(),
            stats: counters,
            thread: ProbeThread::default(),
            max_probes: usize::MAX,
        };
        prober.announce(settings);
        prober
    }

    /// Runs no more than `max_probes` at once, whatever is configured.
    #[must_use]
    pub(crate) fn at_most(mut self, max_probes: usize) -> Self {
        self.max_probes = max_probes;
        let (settings, bind) = {
            let state = self.state.read();
            (state.settings.clone(), state.bind.clone())
        };
        self.replace(&settings, bind);
        self
    }

    /// Probes with the modules of `settings` from here on.
    pub fn replace(&self, settings: &Settings, bind: Arc<Bind>) {
        let most = settings.max_concurrent_probes.min(self.max_probes);
        let mut state = self.state.write();
        let permits = &state.permits;
        let permits = if permits.most == most {
            permits.clone()
        } else {
            Permits::new(most, permits.per_host.clone())
        };
        *state = Arc::new(State::new(settings, bind, permits));
        drop(state);
        self.announce(settings);
    }

    fn announce(&self, settings: &Settings) {
        self.stats.set_enabled(settings.is_enabled);
        self.stats.retain_modules(settings.modules.keys());
        self.recent.set_limit(settings.history_limit);
        if settings.is_enabled {
            self.thread.start();
        }
    }

    /// The last probes.
    #[must_use]
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// True if there are modules.
    #[must_use]
    pub(crate) fn is_enabled(&self) -> bool {
        self.stats.is_enabled()
    }

    /// The names of the modules.
    #[must_use]
    pub fn module_names(&self) -> Vec<String> {
        let state = self.state.read().clone();
        state.settings.modules.keys().cloned().collect()
    }

    /// The modules as YAML, with secrets hidden.
    #[must_use]
    pub fn modules(&self) -> String {
        let state = self.state.read().clone();
        let mut text = "modules:\n".to_owned();
        for (name, module) in &state.settings.modules {
            let name = serde_json::to_string(name).unwrap_or_default();
            let _ = writeln!(text, "  {name}:");
            for line in module.shown.lines() {
                text.push_str("    ");
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }

    /// Probes as `request` says.
    ///
    /// # Errors
    /// If no module is configured, or as many probes run as may.
    pub async fn probe(&self, request: &ProbeRequest) -> Result<Answer, BadRequest> {
        let result = self.run(request).await;
        if let Err(refused) = &result {
            self.stats.reject(match refused {
                BadRequest::UnknownModule(_) | BadRequest::UnknownProber(_) => {
                    Rejection::UnknownModule
                }
                BadRequest::Saturated => Rejection::Saturated,
                BadRequest::InvalidTimeout(_)
                | BadRequest::NoTarget
                | BadRequest::HostConflict { .. } => Rejection::BadRequest,
            });
        }
        result
    }

    async fn run(&self, request: &ProbeRequest) -> Result<Answer, BadRequest> {
        let state = self.state.read().clone();
        let name = &request.module;
        let module = state
            .settings
            .modules
            .get(name)
            .ok_or_else(|| BadRequest::UnknownModule(name.clone()))?;
        let timeout = request.timeout(module.timeout, state.settings.timeout_offset)?;
        if request.target.is_empty() {
            return Err(BadRequest::NoTarget);
        }
        let prober = module.prober_type()?;
        let _permit = state.permit()?;
        let _in_flight = self.stats.begin();
        let bound = match &module.prober {
            Err(unusable) => Err(unusable.to_string()),
            Ok(_) => state.bind(request).await?,
        };
        let _host_permit = match &bound {
            Ok(bound) => state.host_permit(&bound.job)?,
            Err(_) => None,
        };
        let limits = if request.is_debug {
            DEBUG_STEPS
        } else {
            StepLimits::EVIDENCE
        };
        let (report, traits, target) = match &bound {
            Ok(bound) => {
                let job = Job {
                    timeout,
                    ..bound.job.clone()
                };
                let report = match state.refuse_socket(prober, &request.target) {
                    Some(report) => report,
                    None => self.thread.check(job, Steps::record(limits)).await,
                };
                (report, bound.traits, bound.job.target())
            }
            Err(error) => {
                let failure = Failure::new(Phase::Resolve, Reason::AgentError, &**error);
                let report = Attempt::start().finish(Err(failure));
                (report, Traits::default(), shown_target(&request.target))
            }
        };
        let result = ProbeResult {
            prober,
            traits,
            report: &report,
            timeout,
            is_target_valid: bound.is_ok(),
        };
        let metrics: Arc<str> = result.write().into();
        self.stats.complete(name, report.outcome());
        log(state.settings.log, name, &target, &report);
        let text = state.shown.get(name).cloned().unwrap_or_default();
        let targets = (&*request.target, target);
        let recent = RecentProbe::new(name, targets, text, &result, metrics.clone());
        let recent = self.recent.add(recent);
        Ok(Answer {
            metrics,
            log: request.is_debug.then(|| recent.log()),
        })
    }
}

impl Module {
    /// The type of its probes.
    fn prober_type(&self) -> Result<Type, BadRequest> {
        match &self.prober {
            Ok(prober) | Err(Unusable::Unsupported(prober, _)) => Ok(*prober),
            Err(Unusable::UnknownProber(word)) => Err(BadRequest::UnknownProber(word.clone())),
        }
    }
}

impl State {
    fn new(settings: &Settings, bind: Arc<Bind>, permits: Permits) -> Self {
        let modules = settings.modules.iter();
        Self {
            shown: modules
                .map(|(name, module)| (name.clone(), module.shown.as_str().into()))
                .collect(),
            settings: settings.clone(),
            bind,
            permits,
            bound: Mutex::default(),
        }
    }

    /// A permit of those that probes have for themselves, if one is free.
    fn permit(&self) -> Result<OwnedSemaphorePermit, BadRequest> {
        let permit = self.permits.all.clone().try_acquire_owned();
        permit.map_err(|_| BadRequest::Saturated)
    }

    /// A permit of the host of `job`, if those are limited, and one is free.
    fn host_permit(&self, job: &Job) -> Result<Option<HostPermit>, BadRequest> {
        let limit = self.settings.max_concurrent_probes_per_host;
        let Some((limit, host)) = limit.zip(job.host()) else {
            return Ok(None);
        };
        let permit = self.permits.per_host.acquire(host, limit);
        permit.map(Some).ok_or(BadRequest::Saturated)
    }

    /// The report of a probe of `target`, if that is a socket that may not be probed.
    fn refuse_socket(&self, prober: Type, target: &str) -> Option<Report> {
        let allowed = self.settings.allowed_targets.as_ref()?;
        if prober != Type::Unix || allowed.has_socket(target) {
            return None;
        }
        let error = format!("unix:{target} is not in probe.allowed_targets");
        let failure = Failure::new(Phase::Resolve, Reason::TargetForbidden, error);
        Some(Attempt::start().finish(Err(failure)))
    }

    /// The module of `request` bound to its target, or what is wrong with it.
    async fn bind(&self, request: &ProbeRequest) -> Result<Result<Arc<Bound>, String>, BadRequest> {
        let key = (
            request.module.clone(),
            request.target.clone(),
            request.hostname.clone(),
        );
        let is_fresh =
            |kept: &&Kept| !kept.bound.has_files || kept.since.elapsed() < FILES_LIFETIME;
        let known = self
            .bound
            .lock()
            .get(&key)
            .filter(is_fresh)
            .map(|kept| kept.bound.clone());
        if let Some(bound) = known {
            return Ok(Ok(bound));
        }
        let bind = self.bind.clone();
        let (module, target, hostname) = key.clone();
        // Reads files, and compiles patterns.
        let bound = offload::run(false, move |_| {
            bind(&BindRequest {
                module: &module,
                target: &target,
                hostname: hostname.as_deref(),
            })
        });
        match bound.await {
            Ok(bound) => {
                let bound = Arc::new(bound);
                let mut known = self.bound.lock();
                if known.len() >= MAX_BOUND {
                    known.clear();
                }
                if key.1.len() <= MAX_KEPT_TARGET {
                    let kept = Kept {
                        bound: bound.clone(),
                        since: Instant::now(),
                    };
                    known.insert(key, kept);
                }
                Ok(Ok(bound))
            }
            Err(BindError::Invalid(error)) => Ok(Err(error)),
            Err(BindError::HostConflict { module, parameter }) => {
                Err(BadRequest::HostConflict { module, parameter })
            }
        }
    }
}

/// `target` without what may be secret in it.
fn shown_target(target: &str) -> String {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let target = &target[..end];
    let shown = match target.rsplit_once('@') {
        Some((_, host)) => host,
        None => target,
    };
    text::bounded(shown.to_owned(), 256)
}

fn log(wanted: ProbeLog, module: &str, target: &str, report: &Report) {
    let seconds = report.duration.as_secs_f64();
    match &report.failure {
        None if wanted == ProbeLog::All => {
            tracing::info!(target: LOG_TARGET, module, target, seconds, "Probe succeeded");
        }
        Some(failure) if wanted != ProbeLog::None => tracing::info!(
            target: LOG_TARGET,
            module,
            target,
            reason = failure.reason.as_str(),
            phase = failure.phase.as_str(),
            seconds,
            error = &*failure.error,
            "Probe failed"
        ),
        _ => {}
    }
}
