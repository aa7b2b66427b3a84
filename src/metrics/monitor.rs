//! The metrics of one monitor.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    buckets::Buckets, counters::Counters, daemon::CheckCounters, exemplar::Exemplar,
    family_writer::FamilyWriter, histogram::Histogram, label_value::escape, selection::Traits,
};
use crate::{
    check::{
        Fact, Job, MonitorObserver, MonitorStatus, Outcome, Phase, Rcode, Reason, Report, Skip,
    },
    value::format_duration,
};

/// The metrics of one monitor.
pub(super) struct MonitorMetrics {
    pub kind: &'static str,
    name: Arc<str>,
    /// Its name as the text formats have it, if that is another one.
    escaped_name: Option<Box<str>>,
    target: Box<str>,
    /// The time since which its checks are counted.
    since: SystemTime,
    check_every: Duration,
    timeout: Duration,
    /// Failures that confirm that it is down.
    pub(crate) confirm_failures: u32,
    /// The user's own labels, for `monitor_info`.
    labels: Arc<BTreeMap<String, String>>,
    progress: Mutex<Progress>,
    /// Counters over all monitors.
    all_checks: CheckCounters,
}

struct Progress {
    slots: SlotCounts,
    status: MonitorStatus,
    totals: CheckTotals,
    /// The last report. A fact that it lacks exports no sample, even if an earlier report had it.
    last: Option<Arc<Report>>,
    last_success: Option<SystemTime>,
}

/// Numbers of slots of a monitor. On one page, they add up.
#[derive(Clone, Copy, Default)]
pub(super) struct SlotCounts {
    completed: [u64; Outcome::ALL.len()],
    skipped: [u64; Skip::ALL.len()],
    pub in_flight: u64,
    /// Those of the completed ones whose result is unreliable because of the daemon.
    pub tainted: u64,
}

impl SlotCounts {
    /// Slots whose checks ended with `outcome`.
    pub(super) fn completed(&self, outcome: Outcome) -> u64 {
        self.completed[outcome as usize]
    }

    /// Slots skipped because of `reason`.
    pub(super) fn skipped(&self, reason: Skip) -> u64 {
        self.skipped[reason as usize]
    }

    /// Slots that came due.
    pub(super) fn scheduled(&self) -> u64 {
        let ended = self.completed.iter().chain(&self.skipped);
        ended.sum::<u64>() + self.in_flight
    }
}

/// The values of a monitor that a page shows as of its start.
pub(super) struct MonitorSnapshot {
    pub slots: SlotCounts,
    pub status: MonitorStatus,
    pub last: Option<LastCheck>,
    pub last_success: Option<SystemTime>,
}

/// The last check of a monitor: its report, and what every page needs of it, as reports are all over the memory.
pub(super) struct LastCheck {
    pub outcome: Outcome,
    pub duration: Duration,
    pub ended_at: SystemTime,
    pub response_bytes: Option<u64>,
    pub http_status: Option<u16>,
    pub report: Arc<Report>,
}

impl From<&Arc<Report>> for LastCheck {
    fn from(report: &Arc<Report>) -> Self {
        Self {
            outcome: report.outcome(),
            duration: report.duration,
            ended_at: report.ended_at,
            response_bytes: report.response_bytes(),
            http_status: report.status(),
            report: report.clone(),
        }
    }
}

/// The time that checks of a monitor spent in a phase.
pub(super) struct TimeInPhase {
    pub phase: Phase,
    /// Of the last check, if it reached the phase.
    pub last: Option<Duration>,
    pub total: Duration,
}

/// Totals of the checks of a monitor.
pub(super) struct CheckTotals {
    pub failures: Counters<(Phase, Reason)>,
    /// By outcome.
    pub(crate) durations: [Histogram; Outcome::ALL.len()],
    /// By phase, of those that were reached.
    pub(crate) phase_seconds: [Option<Duration>; Phase::ALL.len()],
    pub(crate) response_sizes: Histogram,
    pub(crate) http_responses: Counters<u16>,
    pub(crate) dns_responses: Counters<Rcode>,
    pub echoes: Option<EchoTotals>,
    /// Those in maintenance, which are counted apart too; `None` before the first one.
    pub(crate) maintenance: Option<Box<MaintenanceTotals>>,
}

/// Totals of the checks of a monitor that ended while a maintenance window was open.
pub(super) struct MaintenanceTotals {
    /// Numbers of checks by outcome, but for those that failed on the daemon's side.
    pub(crate) checks: [u64; Outcome::ALL.len()],
    /// Latencies of the successful ones.
    pub(crate) durations: Histogram,
}

/// ICMP echo requests of all checks.
#[derive(Clone, Copy, Default)]
pub(super) struct EchoTotals {
    pub sent: u64,
    /// Those that were answered.
    pub received: u64,
}

/// The buckets of a monitor's histograms.
#[derive(Clone)]
pub(super) struct MonitorBuckets {
    pub(crate) durations: Arc<Buckets>,
    pub(crate) response_sizes: Arc<Buckets>,
}

impl MonitorMetrics {
    /// The values of the monitor of `job`, before its first check.
    pub(super) fn new(job: &Job, buckets: MonitorBuckets, all_checks: CheckCounters) -> Self {
        let durations = match &job.duration_buckets {
            Some(own) => Arc::new(buckets.durations.with_bounds(own)),
            None => buckets.durations,
        };
        let totals = CheckTotals {
            failures: Counters::new(),
            durations: [(); Outcome::ALL.len()].map(|()| Histogram::new(durations.clone())),
            phase_seconds: [None; Phase::ALL.len()],
            response_sizes: Histogram::new(buckets.response_sizes),
            http_responses: Counters::new(),
            dns_responses: Counters::new(),
            echoes: None,
            maintenance: None,
        };
        Self {
            kind: job.kind(),
            name: job.name.clone(),
            escaped_name: match escape(&job.name) {
                Cow::Borrowed(_) => None,
                Cow::Owned(escaped) => Some(escaped.into()),
            },
            target: job.target().into(),
            since: SystemTime::now(),
            check_every: job.check_every,
            timeout: job.timeout,
            confirm_failures: job.state_rules.confirm.failures,
            labels: job.labels.clone(),
            progress: Mutex::new(Progress {
                slots: SlotCounts::default(),
                status: MonitorStatus::default(),
                totals,
                last: None,
                last_success: None,
            }),
            all_checks,
        }
    }

    /// The monitor's name as a label, escaped if `is_escaped`.
    pub(super) fn name(&self, is_escaped: bool) -> &str {
        match &self.escaped_name {
            Some(escaped) if is_escaped => escaped,
            _ => &self.name,
        }
    }

    /// The time since which its checks are counted.
    pub(super) fn since(&self) -> SystemTime {
        self.since
    }

    /// The values that a page shows as of its start, with all traits but its type; its phases are added to `phases`.
    pub(super) fn snapshot(&self, phases: &mut Vec<TimeInPhase>) -> (MonitorSnapshot, Traits) {
        let progress = self.progress();
        let last = progress.last.as_ref();
        let reached = progress.totals.reached_phases();
        phases.extend(reached.map(|(phase, total)| TimeInPhase {
            phase,
            last: last.and_then(|report| report.time_in(phase)),
            total,
        }));
        let traits = progress.totals.traits()
            | Traits::CONFIRMED.only_if(self.confirm_failures > 1)
            | Traits::DEPENDENT.only_if(!progress.status.depends_on.is_empty());
        let snapshot = MonitorSnapshot {
            slots: progress.slots,
            status: progress.status.clone(),
            last: last.map(LastCheck::from),
            last_success: progress.last_success,
        };
        (snapshot, traits)
    }

    /// Reads a byte of what its checks change.
    pub(super) fn touch(&self) {
        black_box(self.progress.is_locked());
    }

    /// Writes the samples of one family of the totals of its checks.
    ///
    /// A check that ends meanwhile waits, so this is short: one family of one monitor.
    pub(super) fn write_totals(
        &self,
        write: fn(&CheckTotals, &mut FamilyWriter<'_>),
        out: &mut FamilyWriter<'_>,
    ) {
        write(&self.progress().totals, out);
    }

    /// Writes the sample of `monitor_info`.
    pub(super) fn write_info(&self, out: &mut FamilyWriter<'_>) {
        let (check_every, timeout) = (
            format_duration(self.check_every),
            format_duration(self.timeout),
        );
        let own = [
            ("type", self.kind),
            ("target", &*self.target),
            ("check_every", &check_every),
            ("timeout", &timeout),
        ];
        let users = self.labels.iter();
        let users = users.map(|(name, value)| (&**name, &**value));
        out.info(users.chain(own));
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Even after a panic between two assignments, each counter is correct.
        self.progress.lock()
    }
}

impl MonitorObserver for MonitorMetrics {
    fn on_started(&self, lag: Duration) {
        self.progress().slots.in_flight += 1;
        self.all_checks.started(lag);
    }

    fn on_tainted(&self) {
        self.progress().slots.tainted += 1;
        self.all_checks.count_tainted();
    }

    fn on_completed(&self, report: &Report) {
        self.progress().record(report);
    }

    fn on_cancelled(&self) {
        let mut progress = self.progress();
        progress.slots.in_flight -= 1;
        progress.slots.skipped[Skip::Shutdown as usize] += 1;
    }

    fn on_skipped(&self, slots: u64, why: Skip) {
        self.progress().slots.skipped[why as usize] += slots;
    }

    fn on_status(&self, status: &MonitorStatus) {
        self.progress().status = status.clone();
    }
}

impl Progress {
    fn record(&mut self, report: &Report) {
        self.slots.in_flight -= 1;
        self.slots.completed[report.outcome() as usize] += 1;
        self.totals.add(report);
        if self.status.in_maintenance {
            self.totals.add_in_maintenance(report);
        }
        if report.failure.is_none() {
            self.last_success = Some(report.ended_at);
        }
        match self.last.as_mut().and_then(Arc::get_mut) {
            // It is the first one, or a page has the one before.
            None => {
                self.last = Some(Arc::new(Report {
                    ended_at: report.ended_at,
                    duration: report.duration,
                    phases: report.phases.clone(),
                    facts: report.facts.clone(),
                    failure: report.failure.clone(),
                    // No metric needs these, and there may be many.
                    steps: Vec::new(),
                    cause: None,
                    trace: None,
                }));
            }
            // Reuses the allocations of the report before.
            Some(last) => {
                last.ended_at = report.ended_at;
                last.duration = report.duration;
                last.phases.clone_from(&report.phases);
                last.facts.clone_from(&report.facts);
                last.failure.clone_from(&report.failure);
            }
        }
    }
}

impl CheckTotals {
    /// The phases that were reached, with the time spent in each.
    fn reached_phases(&self) -> impl Iterator<Item = (Phase, Duration)> {
        let phases = Phase::ALL.iter().zip(&self.phase_seconds);
        phases.filter_map(|(phase, spent)| Some((*phase, (*spent)?)))
    }

    fn traits(&self) -> Traits {
        let phases = self.reached_phases();
        phases
            .map(|(phase, _)| Traits::reached(phase))
            .collect::<Traits>()
            | Traits::FAILED.only_if(self.failures.iter().next().is_some())
            | Traits::MAINTAINED.only_if(self.maintenance.is_some())
    }

    fn add(&mut self, report: &Report) {
        let since = report.ended_at.checked_sub(report.duration);
        let since = since.unwrap_or(report.ended_at);
        let exemplar = |value| Exemplar::new(report, value);
        let duration = report.duration.as_secs_f64();
        self.durations[report.outcome() as usize].observe(duration, since, exemplar(duration));
        for (phase, spent) in &report.phases {
            *self.phase_seconds[*phase as usize].get_or_insert_default() += *spent;
        }
        for fact in &report.facts {
            match fact {
                Fact::ResponseBytes(bytes) => {
                    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
                    let bytes = *bytes as f64;
                    self.response_sizes.observe(bytes, since, exemplar(bytes));
                }
                Fact::HttpStatus(status) => self.http_responses.count(*status, since, None),
                Fact::Dns(response) => self.dns_responses.count(response.rcode, since, None),
                Fact::Icmp(echoes) => {
                    let totals = self.echoes.get_or_insert_default();
                    totals.sent += u64::from(echoes.sent);
                    totals.received += u64::from(echoes.received);
                }
                Fact::Address(_)
                | Fact::Certificate(..)
                | Fact::LeafCertificate(_)
                | Fact::Tls { .. }
                | Fact::GrpcStatus(_)
                | Fact::Serving(_)
                | Fact::Captured(_)
                | Fact::FirstAddress(_)
                | Fact::Redirects(_)
                | Fact::HttpHead(_)
                | Fact::DecodedBytes(_)
                | Fact::Unexpected(_)
                | Fact::PeerCertificates(_) => {}
            }
        }
        if let Some(failure) = &report.failure {
            let key = (failure.phase, failure.reason);
            self.failures.count(key, since, exemplar(1.0));
        }
    }

    /// Counts a check that ended while a maintenance window was open.
    fn add_in_maintenance(&mut self, report: &Report) {
        if report
            .failure
            .as_ref()
            .is_some_and(|failure| failure.reason == Reason::AgentError)
        {
            return;
        }
        let outcome = report.outcome();
        let totals = self.maintenance.get_or_insert_with(|| {
            Box::new(MaintenanceTotals {
                checks: [0; Outcome::ALL.len()],
                durations: self.durations[outcome as usize].empty_copy(),
            })
        });
        totals.checks[outcome as usize] += 1;
        if outcome == Outcome::Success {
            let since = report.ended_at.checked_sub(report.duration);
            let since = since.unwrap_or(report.ended_at);
            let duration = report.duration.as_secs_f64();
            totals.durations.observe(duration, since, None);
        }
    }
}
