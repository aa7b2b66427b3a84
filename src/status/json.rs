//! The pages as JSON. Unknown values are `null`.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde::Serialize;

use super::{format::iso, now::Now, selection::Selection, uptime::uptime};
use crate::{
    check::{self, Cause, IncidentEnd, Phase},
    history::{self, CheckEntry, MonitorHistory, Snapshot},
    storage,
};

#[derive(Serialize)]
struct Overview<'k> {
    /// Number of all monitors in each state.
    #[serde(flatten)]
    counts: BTreeMap<&'static str, usize>,
    maintenance: Vec<MaintenanceWindow<'k>>,
    /// Number of selected monitors, on all pages.
    found: usize,
    page: usize,
    pages: usize,
    monitors: Vec<Monitor<'k>>,
}

#[derive(Serialize)]
struct Monitor<'k> {
    id: u32,
    name: &'k str,
    r#type: &'static str,
    target: String,
    labels: BTreeMap<&'k str, &'k str>,
    state: &'static str,
    since: Option<String>,
    /// The confirmed state.
    up: Option<bool>,
    degraded: bool,
    in_maintenance: bool,
    depends_on: Vec<&'k str>,
    unreachable_through: Vec<&'k str>,
    incident: Option<Incident>,
    /// Share of the `kept` checks that found the target up, from 0 to 1.
    uptime: Option<f64>,
    kept: usize,
    kept_since: Option<String>,
    check_every_seconds: f64,
    next_check: Option<String>,
    certificate_not_after: Option<String>,
    certificate_days: Option<i64>,
    last: Option<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptimes: Option<BTreeMap<&'static str, StoredUptime>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    older_failures: Option<Vec<Check>>,
    /// The steps of the last failure, if they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

/// The uptime over a time that ends now.
#[derive(Serialize)]
struct StoredUptime {
    /// Share of the known time in which the monitor was up, from 0 to 1.
    uptime: Option<f64>,
    up_seconds: f64,
    known_seconds: f64,
    checks: u64,
    failures: u64,
    latency_seconds: Option<Latency>,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
}

impl StoredUptime {
    fn new(uptime: &storage::Uptime) -> Self {
        let latency = uptime.latency.map(|latency| {
            let storage::Latency { p50, p90, p99 } = latency;
            Latency { p50, p90, p99 }
        });
        Self {
            uptime: uptime.share(),
            up_seconds: uptime.up.as_secs_f64(),
            known_seconds: uptime.known.as_secs_f64(),
            checks: uptime.checks,
            failures: uptime.failures,
            latency_seconds: latency,
        }
    }
}

#[derive(Serialize)]
struct Evidence {
    ended_at: String,
    cause: Option<&'static str>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    /// Time since the check began.
    seconds: f64,
    phase: Option<&'static str>,
    #[serde(rename = "step")]
    kind: &'static str,
    text: String,
}

impl Evidence {
    fn new(evidence: &history::Evidence) -> Self {
        let steps = evidence.steps.iter().map(|step| Step {
            seconds: step.at.as_secs_f64(),
            phase: step.phase.map(Phase::as_str),
            kind: step.kind.as_str(),
            text: step.text.to_string(),
        });
        Self {
            ended_at: iso(evidence.ended_at),
            cause: evidence.cause.map(Cause::as_str),
            steps: steps.collect(),
        }
    }
}

/// A maintenance window, and when it is or will be open.
#[derive(Serialize)]
struct MaintenanceWindow<'k> {
    name: &'k str,
    open: bool,
    from: String,
    until: String,
}

impl<'k> MaintenanceWindow<'k> {
    fn new(window: &'k check::MaintenanceWindow) -> Self {
        Self {
            name: &window.name,
            open: window.is_open,
            from: iso(window.from),
            until: iso(window.until),
        }
    }
}

/// The open incident, or else the last one.
#[derive(Serialize)]
struct Incident {
    began: String,
    reported: Option<String>,
    ended: Option<String>,
    end_reason: Option<&'static str>,
    reason: &'static str,
    phase: &'static str,
    error: String,
    relapses: u32,
    /// The failed checks that confirmed it.
    checks: Vec<FailedCheck>,
}

#[derive(Serialize)]
struct FailedCheck {
    ended_at: String,
    reason: &'static str,
    phase: &'static str,
    address: Option<IpAddr>,
}

impl Incident {
    fn new(incident: &check::Incident) -> Self {
        Self {
            began: iso(incident.began),
            reported: incident.reported.map(iso),
            ended: incident.ended.map(iso),
            end_reason: incident.end_reason.map(IncidentEnd::as_str),
            reason: incident.reason.as_str(),
            phase: incident.phase.as_str(),
            error: incident.error.to_string(),
            relapses: incident.relapses,
            checks: incident.checks.iter().map(FailedCheck::new).collect(),
        }
    }
}

impl FailedCheck {
    fn new(failed: &check::FailedCheck) -> Self {
        Self {
            ended_at: iso(failed.ended_at),
            reason: failed.reason.as_str(),
            phase: failed.phase.as_str(),
            address: failed.address,
        }
    }
}

#[derive(Serialize)]
struct Check {
    ended_at: String,
    outcome: &'static str,
    seconds: f32,
    phases: BTreeMap<&'static str, f32>,
    reason: Option<&'static str>,
    phase: Option<&'static str>,
    error: Option<String>,
}

/// The page of all monitors.
pub(super) fn overview(
    selection: &Selection,
    maintenance: &[check::MaintenanceWindow],
    uptimes: Option<&storage::Uptimes>,
    now: Now,
) -> String {
    let monitors = selection.groups.iter().flat_map(|group| &group.monitors);
    let snapshots: Vec<_> = monitors
        .map(|monitor| (monitor, monitor.snapshot()))
        .collect();
    let counts = selection.counts.iter();
    let overview = Overview {
        counts: counts
            .map(|(state, count)| (state.as_str(), count))
            .collect(),
        maintenance: maintenance.iter().map(MaintenanceWindow::new).collect(),
        found: selection.found,
        page: selection.page,
        pages: selection.pages,
        monitors: snapshots
            .iter()
            .map(|(history, snapshot)| Monitor {
                uptimes: uptimes.map(|uptimes| stored_uptimes(&uptimes.of(&history.name))),
                ..Monitor::new(history, snapshot, now)
            })
            .collect(),
    };
    to_json(&overview)
}

/// The page of one monitor.
pub(super) fn monitor(history: &MonitorHistory, uptimes: &[storage::Uptime], now: Now) -> String {
    let snapshot = history.snapshot();
    let checks = |checks: &[CheckEntry]| Some(checks.iter().map(Check::new).collect());
    to_json(&Monitor {
        checks: checks(&snapshot.recent),
        uptimes: Some(stored_uptimes(uptimes)),
        older_failures: checks(&snapshot.older_failures),
        evidence: history.evidence().as_deref().map(Evidence::new),
        ..Monitor::new(history, &snapshot, now)
    })
}

/// The uptimes by their span.
fn stored_uptimes(uptimes: &[storage::Uptime]) -> BTreeMap<&'static str, StoredUptime> {
    let uptimes = uptimes.iter();
    uptimes
        .map(|uptime| (uptime.span.name, StoredUptime::new(uptime)))
        .collect()
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data with texts for keys")
}

impl<'k> Monitor<'k> {
    fn new(history: &'k MonitorHistory, snapshot: &'k Snapshot, now: Now) -> Self {
        let status = &snapshot.status;
        let through = status.unreachable_through.iter();
        let certificate = snapshot
            .certificate
            .map(|certificate| certificate.not_after);
        Self {
            id: history.id,
            name: &history.name,
            r#type: history.kind(),
            target: history.target(),
            labels: history.labels.iter().map(|(k, v)| (&**k, &**v)).collect(),
            state: status.state.as_str(),
            since: snapshot.since().map(iso),
            up: status.is_up,
            degraded: status.is_degraded,
            in_maintenance: status.in_maintenance,
            depends_on: status.depends_on.iter().map(|name| &**name).collect(),
            unreachable_through: through.map(|name| &**name).collect(),
            incident: status.incident.as_deref().map(Incident::new),
            uptime: uptime(&snapshot.recent),
            kept: snapshot.recent.len(),
            kept_since: snapshot.recent.last().map(|c| iso(c.record.ended_at())),
            check_every_seconds: history.check_every.as_secs_f64(),
            next_check: snapshot.due.and_then(|due| now.to_wall_clock(due)).map(iso),
            certificate_not_after: certificate
                .and_then(|end| chrono::DateTime::from_timestamp(end, 0))
                .map(|end| iso(end.into())),
            certificate_days: certificate.map(|end| now.days_until(end)),
            last: snapshot.recent.first().map(Check::new),
            checks: None,
            uptimes: None,
            older_failures: None,
            evidence: None,
        }
    }
}

impl Check {
    fn new(check: &CheckEntry) -> Self {
        let record = &check.record;
        let failure = record.failure();
        let seconds = |time: Duration| time.as_secs_f32();
        Self {
            ended_at: iso(record.ended_at()),
            outcome: record.outcome().as_str(),
            seconds: seconds(record.duration()),
            phases: record
                .phases()
                .map(|(phase, spent)| (phase.as_str(), seconds(spent)))
                .collect(),
            reason: failure.map(|(_, reason)| reason.as_str()),
            phase: failure.map(|(phase, _)| phase.as_str()),
            error: check.error.as_deref().map(ToOwned::to_owned),
        }
    }
}
