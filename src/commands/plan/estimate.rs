//! Estimates the resources that a configuration needs.
//!
//! [`Plan::of`] is pure: it opens no connection and asks the machine nothing.

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
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
    dispatcher, metrics,
    net::Net,
};

/// How many checks may be in flight at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Over all monitors.
    pub checks: usize,
    /// Of one host, where that has a limit.
    pub checks_per_host: Option<usize>,
    /// Connections that others have to the daemon.
    pub connections: usize,
}

impl Limits {
    /// Checks in flight at once where all targets hang.
    fn checks_that_hang(self) -> usize {
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

/// What a configuration asks of the machine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The machine.
    pub machine: Machine,
    /// What the configuration allows.
    pub limits: Limits,
    /// Monitors, by type.
    pub types: BTreeMap<&'static str, usize>,
    /// Checks that come due a second.
    pub checks_per_second: f64,
    /// Threads that the daemon runs checks on.
    pub worker_threads: usize,
    /// Series of the daemon itself.
    pub daemon_series: usize,
    /// Where each check takes as long as is assumed of one that finds all well.
    pub well: Load,
    /// Where each check times out, no name server answers, and each monitor has also failed once.
    pub worst: Load,
    /// The hosts that are asked most often, the first one most of all.
    pub hosts: Vec<Host>,
    /// Hosts beside those.
    pub more_hosts: usize,
    /// What cannot be met.
    pub warnings: Vec<Warning>,
}

/// What there is at one time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Checks in flight on average, were there no limit.
    pub mean_in_flight: f64,
    /// The most checks in flight at once, were there no limit.
    pub peak_in_flight: usize,
    /// Open file descriptors, with as many checks in flight as the limit lets there be.
    pub descriptors: usize,
    /// Bytes of memory then.
    pub memory: usize,
    /// Bytes that response bodies take on top, if every target sends as much as its monitor allows.
    pub bodies: u64,
    /// Series of the monitors: sample lines with a label `monitor`.
    pub monitor_series: usize,
    /// Bytes of one scrape, not compressed.
    pub scrape: usize,
}

/// What one host gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name or address.
    pub name: String,
    /// Monitors that check it.
    pub monitors: usize,
    /// Requests a second, without those that redirects add.
    pub requests_per_second: f64,
    /// The most checks in flight at once where all time out.
    pub peak_in_flight: usize,
    /// The same on average.
    pub mean_in_flight: f64,
}

/// A demand that cannot be met, or that the other side may not like.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// More checks than there are places for.
    Places {
        /// Whether that is so even if all is well.
        well: bool,
        /// Checks in flight at once.
        peak: usize,
        /// Places.
        limit: usize,
        /// What the limit would have to be.
        needed: usize,
        /// Slots a second that are skipped for it.
        skipped_per_second: f64,
    },
    /// More checks of one host than it has places; of several hosts, the busiest.
    HostPlaces {
        /// The host.
        host: String,
        /// Hosts beside it of which the same is true.
        others: usize,
        /// Checks in flight at once.
        peak: usize,
        /// Places of a host.
        limit: usize,
        /// Slots a second of the host that are skipped for it.
        skipped_per_second: f64,
    },
    /// More checks a second than the threads have room for.
    Threads {
        /// Threads that would have room.
        needed: usize,
        /// Threads that the daemon uses.
        used: usize,
    },
    /// More open files than the system allows.
    Descriptors {
        /// How many at worst.
        needed: usize,
        /// The hard limit.
        limit: u64,
    },
    /// More memory than there is.
    Memory {
        /// Bytes at worst.
        needed: u64,
        /// Bytes available.
        limit: u64,
    },
    /// More memory than there is, if targets send bodies as large as their monitors allow.
    Bodies {
        /// Bytes of bodies at worst.
        bodies: u64,
        /// Bytes available.
        limit: u64,
    },
    /// More requests a second than one host may take for well meant; of several hosts, the busiest.
    Requests {
        /// The host.
        host: String,
        /// Hosts beside it of which the same is true.
        others: usize,
        /// Requests a second to it.
        per_second: f64,
    },
}

/// Hosts that are listed.
const LISTED_HOSTS: usize = 10;

/// Prints what `config` asks of this machine.
///
/// # Errors
/// Where standard output is closed or full.
pub fn run(config: &Config) -> io::Result<()> {
    let jobs = config.jobs(&Net::system());
    let plan = Plan::of(config, &jobs, Machine::this());
    let mut out = io::stdout().lock();
    write!(out, "{plan}")?;
    out.flush()
}

impl Plan {
    /// What `config`, of which `jobs` are the monitors, asks of `machine`.
    #[must_use]
    pub fn of(config: &Config, jobs: &[Job], machine: Machine) -> Self {
        let mut plan = Self::within(limits(config), &config.metrics, jobs, machine);
        if config.server.shows_status() {
            for load in [&mut plan.well, &mut plan.worst] {
                load.memory += jobs.len() * assumptions::HISTORY_MEMORY;
            }
        }
        plan
    }

    fn within(limits: Limits, metrics: &metrics::Settings, jobs: &[Job], machine: Machine) -> Self {
        let mut types = BTreeMap::new();
        for job in jobs {
            *types.entry(job.kind()).or_default() += 1;
        }
        let monitors: Vec<_> = jobs
            .iter()
            .enumerate()
            .map(|(index, job)| Monitor::of(index, job, metrics))
            .collect();
        let checks_per_second = dispatcher::checks_per_second(jobs);
        let threads_needed = dispatcher::threads_needed(jobs);
        let daemon_series = series::daemon_series(types.len(), limits.checks_per_host.is_some());
        let mut hosts = hosts(&monitors);
        let mut plan = Self {
            machine,
            limits,
            types,
            checks_per_second,
            worker_threads: threads_needed.min(machine.cores),
            daemon_series,
            well: Load::of(&monitors, Scenario::Healthy, limits, daemon_series),
            worst: Load::of(&monitors, Scenario::AllTimeOut, limits, daemon_series),
            hosts: Vec::new(),
            more_hosts: hosts.len().saturating_sub(LISTED_HOSTS),
            warnings: Vec::new(),
        };
        plan.warnings = plan.warnings(&hosts, threads_needed);
        hosts.truncate(LISTED_HOSTS);
        plan.hosts = hosts;
        plan
    }

    fn warnings(&self, hosts: &[Host], threads_needed: usize) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let (all, those_that_hang) = (self.limits.checks, self.limits.checks_that_hang());
        for (well, load, limit) in [
            (true, &self.well, all),
            (false, &self.worst, those_that_hang),
        ] {
            let peak = load.peak_in_flight;
            if peak > limit {
                warnings.push(Warning::Places {
                    well,
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
                warnings.push(Warning::HostPlaces {
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
            warnings.push(Warning::Threads {
                needed: threads_needed,
                used: self.worker_threads,
            });
        }
        let needed = self.worst.descriptors;
        if let Some(limit) = self
            .machine
            .descriptors
            .filter(|limit| needed as u64 > *limit)
        {
            warnings.push(Warning::Descriptors { needed, limit });
        }
        if let Some(limit) = self.machine.memory {
            let (needed, bodies) = (self.worst.memory as u64, self.worst.bodies);
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

/// What is known of a monitor without running it.
struct Monitor<'s> {
    /// Its place in the file, which is the one among the first checks.
    index: usize,
    /// Bytes of its name on the page.
    name: usize,
    host: Option<String>,
    /// Whether its host has to be looked up.
    named: bool,
    tls: bool,
    every: Duration,
    timeout: Duration,
    /// Bytes that a response body can take in memory.
    body: u64,
    series: SeriesModel<'s>,
}

/// One of the two situations that are estimated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Healthy,
    AllTimeOut,
}

impl<'s> Monitor<'s> {
    fn of(index: usize, job: &Job, metrics: &'s metrics::Settings) -> Self {
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

    /// What a check of it holds, and for how long.
    fn load(&self, scenario: Scenario) -> MonitorLoad {
        let lasts = match scenario {
            Scenario::Healthy => assumptions::HEALTHY_CHECK_DURATION.min(self.timeout),
            Scenario::AllTimeOut => self.timeout,
        };
        MonitorLoad::new(self.index, self.every, lasts)
    }

    /// Checks that come due a second.
    fn per_second(&self) -> f64 {
        self.every.as_secs_f64().recip()
    }

    fn series(&self, scenario: Scenario) -> usize {
        self.series.count(scenario == Scenario::AllTimeOut)
    }
}

impl Load {
    fn of(
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
        // Those that cost more come first, and the others get what room they leave.
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
        let scrape =
            |monitor: &Monitor| series(monitor) * (assumptions::SAMPLE_BYTES + monitor.name);
        Self {
            mean_in_flight: all.mean,
            peak_in_flight: all.peak,
            descriptors: assumptions::BASE_DESCRIPTORS
                + connections
                + named * sockets_of_a_lookup
                + (in_flight - named),
            memory: assumptions::BASE_MEMORY
                + monitors.len() * assumptions::MONITOR_MEMORY
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

/// Every host, the one that is asked most often first.
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
