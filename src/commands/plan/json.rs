//! Prints a plan as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Host, Load, Plan, Warning, assumptions};

/// Returns the plan as one JSON object.
pub(super) fn text(plan: &Plan) -> String {
    let document = Document::new(plan);
    let text = serde_json::to_string_pretty(&document);
    text.expect("numbers and text can be written as JSON") + "\n"
}

/// A plan. Sizes are in bytes, durations in seconds; a limit that does not exist is `null`.
#[derive(Serialize)]
struct Document<'p> {
    /// Number of monitors by type.
    monitors: &'p BTreeMap<&'static str, usize>,
    checks_per_second: f64,
    worker_threads: usize,
    cores: usize,
    /// Duration that is assumed for a check that succeeds.
    healthy_check_seconds: f64,
    healthy: Scenario,
    worst_case: Scenario,
    limits: Limits,
    daemon_series: usize,
    /// The store, if there is one.
    store: Option<Store>,
    /// The hosts that get the most requests.
    hosts: Vec<HostLoad<'p>>,
    more_hosts: usize,
    warnings: Vec<Exceeded>,
}

#[derive(Serialize)]
struct Store {
    /// Size once data is as old as it is kept.
    bytes: u64,
    written_bytes_per_second: f64,
}

/// The load in one scenario.
#[derive(Serialize)]
struct Scenario {
    checks_in_flight_average: f64,
    checks_in_flight_peak: usize,
    open_files_peak: usize,
    memory_peak_bytes: usize,
    /// The memory that response bodies may take in addition.
    bodies_bytes: u64,
    monitor_series: usize,
    scrape_bytes: usize,
}

#[derive(Serialize)]
struct Limits {
    checks_in_flight: usize,
    checks_in_flight_per_host: Option<usize>,
    connections: usize,
    open_files: Option<u64>,
    memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct HostLoad<'p> {
    host: &'p str,
    monitors: usize,
    requests_per_second: f64,
    worst_case_in_flight: usize,
}

/// An exceeded limit.
#[derive(Serialize)]
struct Exceeded {
    kind: &'static str,
    message: String,
}

impl<'p> Document<'p> {
    fn new(plan: &'p Plan) -> Self {
        let warnings = plan.warnings.iter();
        Self {
            monitors: &plan.types,
            checks_per_second: plan.checks_per_second.max(0.0),
            worker_threads: plan.worker_threads,
            cores: plan.machine.cores,
            healthy_check_seconds: assumptions::HEALTHY_CHECK_DURATION.as_secs_f64(),
            healthy: Scenario::new(&plan.healthy),
            worst_case: Scenario::new(&plan.worst_case),
            limits: Limits {
                checks_in_flight: plan.limits.checks,
                checks_in_flight_per_host: plan.limits.checks_per_host,
                connections: plan.limits.connections,
                open_files: plan.machine.descriptors,
                memory_bytes: plan.machine.memory,
            },
            daemon_series: plan.daemon_series,
            store: plan.storage.map(|store| Store {
                bytes: store.bytes,
                written_bytes_per_second: store.bytes_per_second,
            }),
            hosts: plan.hosts.iter().map(HostLoad::new).collect(),
            more_hosts: plan.more_hosts,
            warnings: warnings
                .map(|warning| Exceeded {
                    kind: kind(warning),
                    message: warning.to_string(),
                })
                .collect(),
        }
    }
}

impl Scenario {
    fn new(load: &Load) -> Self {
        Self {
            checks_in_flight_average: load.mean_in_flight.max(0.0),
            checks_in_flight_peak: load.peak_in_flight,
            open_files_peak: load.descriptors,
            memory_peak_bytes: load.memory,
            bodies_bytes: load.bodies,
            monitor_series: load.monitor_series,
            scrape_bytes: load.scrape,
        }
    }
}

impl<'p> HostLoad<'p> {
    fn new(host: &'p Host) -> Self {
        Self {
            host: &host.name,
            monitors: host.monitors,
            requests_per_second: host.requests_per_second,
            worst_case_in_flight: host.peak_in_flight,
        }
    }
}

/// The name of a kind of warning.
fn kind(warning: &Warning) -> &'static str {
    match warning {
        Warning::ConcurrencyLimit { .. } => "checks_in_flight",
        Warning::HostLimit { .. } => "checks_in_flight_per_host",
        Warning::WorkerThreads { .. } => "worker_threads",
        Warning::Descriptors { .. } => "open_files",
        Warning::Memory { .. } => "memory",
        Warning::Bodies { .. } => "bodies",
        Warning::Requests { .. } => "requests_per_second",
    }
}
