//! Estimates the resources that a configuration needs.
//!
//! [`Plan::estimate`] is pure: it opens no connections and does no I/O.

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    assumptions,
    in_flight::{self, InFlight, MonitorLoad},
    machine::Machine,
    series::{self, SeriesModel},
};
use crate::{
    check::{Job, Phase},
    config::Config,
    dispatcher,
    heartbeat::HeartbeatOutcome,
    history::MAX_EVIDENCE_BYTES,
    metrics,
    state::DependencyGraph,
    storage,
};

/// The limits of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Checks in flight at once, over all monitors.
    pub checks: usize,
    /// Checks in flight at once to one host, if limited.
    pub(crate) checks_per_host: Option<usize>,
    /// Connections of clients to the server of the daemon.
    pub connections: usize,
}

impl Limits {
    /// Checks in flight at once if all targets time out.
    fn checks_after_timeout(self) -> usize {
        dispatcher::max_permits_after_timeout(self.checks)
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        checks: config.dispatcher.max_concurrent_checks,
        checks_per_host: config.dispatcher.max_concurrent_checks_per_host,
        connections: config.server.max_connections,
    }
}

/// The resources that a configuration needs on a machine.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The machine.
    pub machine: Machine,
    /// The limits of the configuration.
    pub limits: Limits,
    /// Number of monitors, by type.
    pub types: BTreeMap<&'static str, usize>,
    /// Checks due per second.
    pub checks_per_second: f64,
    /// Number of threads that run checks.
    pub worker_threads: usize,
    /// Number of series of the daemon itself.
    pub(crate) daemon_series: usize,
    /// The load if every check succeeds in the assumed time.
    pub healthy: Load,
    /// The load if every check times out, no name server answers, and every monitor has failed before.
    pub worst_case: Load,
    /// The hosts that get the most requests, in descending order.
    pub hosts: Vec<Host>,
    /// Number of further hosts.
    pub(crate) more_hosts: usize,
    /// The store, if there is one.
    pub storage: Option<StorageLoad>,
    /// Exceeded limits.
    pub warnings: Vec<Warning>,
}

/// The load in one scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Average number of checks in flight without a limit.
    pub(crate) mean_in_flight: f64,
    /// Peak number of checks in flight without a limit.
    pub(crate) peak_in_flight: usize,
    /// Number of open file descriptors at the peak, within the limit.
    pub descriptors: usize,
    /// Bytes of memory at the peak, within the limit.
    pub memory: usize,
    /// Additional bytes for response bodies, if every target sends as much as its monitor allows.
    pub bodies: u64,
    /// Number of series with a label `monitor`.
    pub(crate) monitor_series: usize,
    /// Bytes of one uncompressed scrape.
    pub scrape: usize,
}

/// The load of the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StorageLoad {
    /// Bytes once data is as old as it is kept.
    pub bytes: u64,
    /// Bytes written per second.
    pub(crate) bytes_per_second: f64,
}

impl StorageLoad {
    /// The load of a store for `monitors`, `checks_per_second` and `settings`.
    #[must_use]
    pub(crate) fn estimate(
        monitors: usize,
        checks_per_second: f64,
        settings: &storage::Settings,
    ) -> Self {
        const HOUR: u64 = 3600;
        let monitors = monitors as u64;
        let retention = settings.retention;
        let hours = retention.min(storage::HOURS_RETENTION).as_secs() / HOUR;
        let days = retention.as_secs() / (24 * HOUR);
        let of_monitor =
            (hours + days) * assumptions::PERIOD_BYTES + assumptions::STORED_MONITOR_BYTES;
        let journal_per_second = checks_per_second * assumptions::JOURNALED_CHECK_BYTES;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate"
        )]
        let journal = (journal_per_second * assumptions::JOURNAL_SECONDS) as u64;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let folded =
            (monitors * (assumptions::STORED_MONITOR_BYTES + 2 * assumptions::PERIOD_BYTES)) as f64
                / assumptions::JOURNAL_SECONDS;
        let batches = assumptions::BATCH_BYTES / storage::BATCH_INTERVAL.as_secs_f64();
        Self {
            bytes: monitors * of_monitor + journal,
            // Everything is written to the write-ahead log first.
            bytes_per_second: 2.0 * (journal_per_second + folded) + batches,
        }
    }
}

/// The load on one host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Host {
    /// Its name or address.
    pub name: String,
    /// Number of monitors that check it.
    pub monitors: usize,
    /// Requests per second, without redirects.
    pub(crate) requests_per_second: f64,
    /// Peak number of checks in flight if all time out.
    pub(crate) peak_in_flight: usize,
    /// Average number of checks in flight if all time out.
    pub(crate) mean_in_flight: f64,
}

/// An exceeded limit of the configuration, the machine or a host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Warning {
    /// More checks than `max_concurrent_checks` allows.
    ConcurrencyLimit {
        /// True if the limit is exceeded even if all checks succeed.
        is_healthy: bool,
        /// Peak number of checks in flight.
        peak: usize,
        /// The current limit.
        limit: usize,
        /// The limit that would suffice.
        needed: usize,
        /// Slots skipped per second.
        skipped_per_second: f64,
    },
    /// More checks of one host than `max_concurrent_checks_per_host` allows, for the busiest host.
    HostLimit {
        /// The host.
        host: String,
        /// Number of further hosts over the limit.
        others: usize,
        /// Peak number of checks in flight.
        peak: usize,
        /// The current limit.
        limit: usize,
        /// Slots of the host skipped per second.
        skipped_per_second: f64,
    },
    /// More checks per second than the worker threads can run.
    WorkerThreads {
        /// Number of threads that would suffice.
        needed: usize,
        /// Number of threads that the daemon uses.
        used: usize,
    },
    /// More open files than the system allows.
    Descriptors {
        /// Number of open files in the worst case.
        needed: usize,
        /// The hard limit.
        limit: u64,
    },
    /// More memory than is available.
    Memory {
        /// Bytes in the worst case.
        needed: u64,
        /// Bytes available.
        limit: u64,
    },
    /// More memory than is available, if targets send bodies as large as their monitors allow.
    Bodies {
        /// Bytes of bodies in the worst case.
        bodies: u64,
        /// Bytes available.
        limit: u64,
    },
    /// More requests per second than rate limits commonly allow, for the busiest host.
    Requests {
        /// The host.
        host: String,
        /// Number of further hosts over the limit.
        others: usize,
        /// Requests per second to the host.
        per_second: f64,
    },
}

/// Maximum number of hosts in the list.
const LISTED_HOSTS: usize = 10;

impl Plan {
    /// Estimates the resources that `config`, whose monitors are `jobs`, needs on `machine`.
    #[must_use]
    pub(crate) fn estimate(config: &Config, jobs: &[Job], machine: Machine) -> Self {
        let enabled: Vec<_> = jobs.iter().filter(|job| job.enabled).cloned().collect();
        let with_history = if config.server.shows_status() {
            jobs.len()
        } else {
            0
        };
        let limits = limits(config);
        let mut plan = Self::within(limits, &config.metrics, &enabled, machine, with_history);
        plan.add_states(config, &enabled);
        if config.storage.directory().is_some() {
            for load in [&mut plan.healthy, &mut plan.worst_case] {
                load.memory += jobs.len() * assumptions::STORAGE_MEMORY;
            }
            let checks = plan.checks_per_second;
            plan.storage = Some(StorageLoad::estimate(jobs.len(), checks, &config.storage));
            plan.daemon_series += series::storage_series();
        }
        // A collector that is gone.
        let telemetry = &config.telemetry.settings;
        plan.worst_case.memory += telemetry.queues() * assumptions::TELEMETRY_MEMORY;
        if telemetry.metrics.is_some() {
            for load in [&mut plan.healthy, &mut plan.worst_case] {
                load.memory += assumptions::METRICS_EXPORT_MEMORY;
                if telemetry.has_deltas() {
                    load.memory += jobs.len() * assumptions::DELTA_MEMORY;
                }
            }
        }
        plan
    }

    /// Adds the series of dependencies, of `self_check` and of heartbeats.
    fn add_states(&mut self, config: &Config, jobs: &[Job]) {
        let (graph, _) = DependencyGraph::new(&config.members);
        let names = jobs
            .iter()
            .map(|job| (&job.name, graph.depends_on(&job.name)));
        let (mut dependencies, mut bytes) = (0, 0);
        for (name, on) in names {
            dependencies += on.len();
            let labels = on.iter().map(|on| on.len() + name.len());
            bytes += labels.sum::<usize>() + on.len() * assumptions::SAMPLE_BYTES;
        }
        let series = series::count_of_dependencies(dependencies, &config.metrics);
        for load in [&mut self.healthy, &mut self.worst_case] {
            load.monitor_series += series;
            load.scrape += if series > 0 { bytes } else { 0 };
        }
        self.daemon_series += usize::from(!config.states.self_check.is_empty());
        if config.heartbeat.settings.is_some() {
            self.daemon_series += HeartbeatOutcome::ALL.len();
        }
    }

    /// Estimates for `jobs`; the status page has a history for `with_history` monitors.
    fn within(
        limits: Limits,
        metrics: &metrics::Settings,
        jobs: &[Job],
        machine: Machine,
        with_history: usize,
    ) -> Self {
        let mut types = BTreeMap::new();
        for job in jobs {
            *types.entry(job.kind()).or_default() += 1;
        }
        let monitors: Vec<_> = jobs
            .iter()
            .enumerate()
            .map(|(index, job)| Monitor::new(index, job, metrics))
            .collect();
        let checks_per_second = dispatcher::checks_per_second(jobs);
        let threads_needed = dispatcher::threads_needed(jobs);
        let daemon_series =
            series::daemon_series(types.len(), limits.checks_per_host.is_some(), metrics);
        let mut hosts = hosts(&monitors);
        let mut plan = Self {
            machine,
            limits,
            types,
            checks_per_second,
            worker_threads: threads_needed.min(machine.cores),
            daemon_series,
            healthy: Load::estimate(&monitors, Scenario::Healthy, limits, daemon_series),
            worst_case: Load::estimate(&monitors, Scenario::AllTimeOut, limits, daemon_series),
            hosts: Vec::new(),
            more_hosts: hosts.len().saturating_sub(LISTED_HOSTS),
            storage: None,
            warnings: Vec::new(),
        };
        for load in [&mut plan.healthy, &mut plan.worst_case] {
            load.memory += with_history * assumptions::HISTORY_MEMORY;
        }
        // Only failures leave evidence.
        let evidence = with_history * assumptions::EVIDENCE_MEMORY;
        plan.worst_case.memory += evidence.min(MAX_EVIDENCE_BYTES);
        plan.warnings = plan.warnings(&hosts, threads_needed);
        hosts.truncate(LISTED_HOSTS);
        plan.hosts = hosts;
        plan
    }

    fn warnings(&self, hosts: &[Host], threads_needed: usize) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let (all, those_that_hang) = (self.limits.checks, self.limits.checks_after_timeout());
        for (well, load, limit) in [
            (true, &self.healthy, all),
            (false, &self.worst_case, those_that_hang),
        ] {
            let peak = load.peak_in_flight;
            if peak > limit {
                warnings.push(Warning::ConcurrencyLimit {
                    is_healthy: well,
                    peak,
                    limit,
                    needed: if well {
                        peak
                    } else {
                        dispatcher::permits_needed_for_timeouts(peak)
                    },
                    skipped_per_second: self.checks_per_second
                        * in_flight::skipped(load.mean_in_flight, limit),
                });
            }
        }
        if let Some(limit) = self.limits.checks_per_host {
            let over = hosts.iter().filter(|host| host.peak_in_flight > limit);
            let count = over.clone().count();
            if let Some(host) = over.max_by_key(|host| host.peak_in_flight) {
                warnings.push(Warning::HostLimit {
                    host: host.name.clone(),
                    others: count - 1,
                    peak: host.peak_in_flight,
                    limit,
                    skipped_per_second: host.requests_per_second
                        * in_flight::skipped(host.mean_in_flight, limit),
                });
            }
        }
        if threads_needed > self.worker_threads {
            warnings.push(Warning::WorkerThreads {
                needed: threads_needed,
                used: self.worker_threads,
            });
        }
        let needed = self.worst_case.descriptors;
        if let Some(limit) = self
            .machine
            .descriptors
            .filter(|limit| needed as u64 > *limit)
        {
            warnings.push(Warning::Descriptors { needed, limit });
        }
        if let Some(limit) = self.machine.memory {
            let (needed, bodies) = (self.worst_case.memory as u64, self.worst_case.bodies);
            if needed > limit {
                warnings.push(Warning::Memory { needed, limit });
            } else if needed.saturating_add(bodies) > limit {
                warnings.push(Warning::Bodies { bodies, limit });
            }
        }
        let asked_often =
            |host: &&Host| host.requests_per_second > assumptions::MAX_REQUESTS_PER_HOST;
        if let Some(host) = hosts.first().filter(asked_often) {
            warnings.push(Warning::Requests {
                host: host.name.clone(),
                others: hosts.iter().filter(asked_often).count() - 1,
                per_second: host.requests_per_second,
            });
        }
        warnings
    }
}

/// The properties of a monitor that determine its load.
struct Monitor<'s> {
    /// Its position in the file, which is also the order of the first checks.
    index: usize,
    /// Bytes of its name.
    name: usize,
    host: Option<String>,
    /// True if its host is looked up.
    named: bool,
    tls: bool,
    every: Duration,
    timeout: Duration,
    /// Bytes that a response body can take in memory.
    body: u64,
    series: SeriesModel<'s>,
}

/// The two scenarios of the estimate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Healthy,
    AllTimeOut,
}

impl<'s> Monitor<'s> {
    fn new(index: usize, job: &Job, metrics: &'s metrics::Settings) -> Self {
        let series = SeriesModel::new(job, metrics);
        Self {
            index,
            name: job.name.len(),
            host: job.host(),
            named: series.reaches(Phase::Resolve),
            tls: series.reaches(Phase::Tls),
            every: job.check_every,
            timeout: job.timeout,
            body: job.max_body_memory(),
            series,
        }
    }

    /// The load of its checks.
    fn load(&self, scenario: Scenario) -> MonitorLoad {
        let lasts = match scenario {
            Scenario::Healthy => assumptions::HEALTHY_CHECK_DURATION.min(self.timeout),
            Scenario::AllTimeOut => self.timeout,
        };
        MonitorLoad::new(self.index, self.every, lasts)
    }

    /// Checks due per second.
    fn per_second(&self) -> f64 {
        self.every.as_secs_f64().recip()
    }

    fn series(&self, scenario: Scenario) -> usize {
        self.series.count(scenario == Scenario::AllTimeOut)
    }
}

impl Load {
    fn estimate(
        monitors: &[Monitor<'_>],
        scenario: Scenario,
        limits: Limits,
        daemon_series: usize,
    ) -> Self {
        let flight = |wanted: &dyn Fn(&Monitor<'_>) -> bool| {
            let wanted = monitors.iter().filter(|monitor| wanted(monitor));
            InFlight::estimate(wanted.map(|monitor| monitor.load(scenario)))
        };
        let all = flight(&|_| true);
        let in_flight = all.peak.min(limits.checks);
        // The more expensive checks are counted first.
        let over_tls = flight(&|monitor| monitor.tls).peak.min(in_flight);
        let named = flight(&|monitor| monitor.named).peak.min(in_flight);
        let (sockets_of_a_lookup, connections) = match scenario {
            Scenario::Healthy => (assumptions::LOOKUP_SOCKETS, 1),
            Scenario::AllTimeOut => (assumptions::SILENT_LOOKUP_SOCKETS, limits.connections),
        };
        let mut bodies: Vec<_> = monitors.iter().map(|monitor| monitor.body).collect();
        bodies.sort_unstable_by(|a, b| b.cmp(a));
        let bodies = bodies.into_iter().take(in_flight);
        let series = |monitor: &Monitor| monitor.series(scenario);
        let models: Vec<_> = monitors.iter().map(|monitor| &monitor.series).collect();
        let lines = |monitor: &Monitor| monitor.series.lines(scenario == Scenario::AllTimeOut);
        let scrape =
            |monitor: &Monitor| lines(monitor) * (assumptions::SAMPLE_BYTES + monitor.name);
        let native_memory = monitors
            .iter()
            .filter(|monitor| monitor.series.has_native_histograms());
        Self {
            mean_in_flight: all.mean,
            peak_in_flight: all.peak,
            descriptors: assumptions::BASE_DESCRIPTORS
                + connections
                + named * sockets_of_a_lookup
                + (in_flight - named),
            memory: assumptions::BASE_MEMORY
                + monitors.len() * assumptions::MONITOR_MEMORY
                + native_memory.count() * assumptions::NATIVE_HISTOGRAM_MEMORY
                + over_tls * assumptions::TLS_CHECK_MEMORY
                + (in_flight - over_tls) * assumptions::CHECK_MEMORY,
            bodies: bodies.fold(0, u64::saturating_add),
            monitor_series: monitors.iter().map(series).sum(),
            scrape: monitors.iter().map(scrape).sum::<usize>()
                + daemon_series * assumptions::SAMPLE_BYTES
                + series::header_bytes(&models),
        }
    }
}

/// All hosts, in descending order of requests per second.
fn hosts(monitors: &[Monitor<'_>]) -> Vec<Host> {
    let mut by_host = HashMap::<&str, Vec<&Monitor<'_>>>::new();
    for monitor in monitors {
        if let Some(host) = &monitor.host {
            by_host.entry(host).or_default().push(monitor);
        }
    }
    let host = |(name, monitors): (&str, Vec<&Monitor<'_>>)| {
        let timing_out = monitors
            .iter()
            .map(|monitor| monitor.load(Scenario::AllTimeOut));
        let InFlight { mean, peak } = InFlight::estimate(timing_out);
        Host {
            name: name.to_owned(),
            monitors: monitors.len(),
            requests_per_second: monitors.iter().map(|monitor| monitor.per_second()).sum(),
            peak_in_flight: peak,
            mean_in_flight: mean,
        }
    };
    let mut hosts: Vec<_> = by_host.into_iter().map(host).collect();
    hosts.sort_by(|a, b| {
        let by_rate = b.requests_per_second.total_cmp(&a.requests_per_second);
        by_rate.then_with(|| a.name.cmp(&b.name))
    });
    hosts
}
