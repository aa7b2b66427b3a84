//! The metrics of one monitor.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    buckets::Buckets, daemon::CheckCounters, family::MonitorWriter, histogram::Histogram,
    label_value::escape, text::FamilyWriter,
};
use crate::{
    check::{
        Fact, Job, MonitorObserver, MonitorStatus, Outcome, Phase, Rcode, Reason, Report, Skip,
        State,
    },
    value::format_duration,
};

/// The metrics of one monitor.
pub(super) struct MonitorMetrics {
    pub kind: &'static str,
    /// Escaped for the text format.
    name: Arc<str>,
    /// Escaped for the text format.
    target: Box<str>,
    check_every: Duration,
    timeout: Duration,
    /// Failures that confirm that it is down.
    pub confirm_failures: u32,
    /// The user's own labels, for `monitor_info`.
    labels: BTreeMap<String, String>,
    progress: Mutex<Progress>,
    /// Counters over all monitors.
    all_checks: CheckCounters,
}

struct Progress {
    slots: SlotCounts,
    status: MonitorStatus,
    totals: CheckTotals,
    /// The last report. A fact that it lacks exports no sample, even if an earlier report had it.
    last: Option<Report>,
}

/// Numbers of slots of a monitor. On one page, they add up.
#[derive(Clone, Copy, Default)]
pub(super) struct SlotCounts {
    completed: [u64; Outcome::ALL.len()],
    skipped: [u64; Skip::ALL.len()],
    pub in_flight: u64,
}

impl SlotCounts {
    /// Slots whose checks ended with `outcome`.
    pub fn completed(&self, outcome: Outcome) -> u64 {
        self.completed[outcome as usize]
    }

    /// Slots skipped because of `reason`.
    pub fn skipped(&self, reason: Skip) -> u64 {
        self.skipped[reason as usize]
    }

    /// Slots that came due.
    pub fn scheduled(&self) -> u64 {
        let ended = self.completed.iter().chain(&self.skipped);
        ended.sum::<u64>() + self.in_flight
    }
}

/// Totals of the checks of a monitor.
pub(super) struct CheckTotals {
    /// Number of checks whose result is unreliable because of the daemon.
    pub tainted: u64,
    /// In the order in which they first occurred: there are few, and most monitors have none.
    pub failures: Vec<((Phase, Reason), u64)>,
    /// By outcome.
    pub durations: [Histogram; Outcome::ALL.len()],
    /// By phase, of those that were reached.
    pub phase_seconds: [Option<Duration>; Phase::ALL.len()],
    pub response_sizes: Histogram,
    pub http_responses: Vec<(u16, u64)>,
    pub dns_responses: Vec<(Rcode, u64)>,
    pub echoes: Option<EchoTotals>,
    pub last_success: Option<SystemTime>,
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
    pub durations: Arc<Buckets>,
    pub response_sizes: Arc<Buckets>,
}

impl MonitorMetrics {
    /// The values of the monitor of `job`, before its first check.
    pub fn new(job: &Job, buckets: MonitorBuckets, all_checks: CheckCounters) -> Self {
        let durations = match &job.duration_buckets {
            Some(own) => Arc::new(Buckets::new(own)),
            None => buckets.durations,
        };
        let totals = CheckTotals {
            tainted: 0,
            failures: Vec::new(),
            durations: [(); Outcome::ALL.len()].map(|()| Histogram::new(durations.clone())),
            phase_seconds: [None; Phase::ALL.len()],
            response_sizes: Histogram::new(buckets.response_sizes),
            http_responses: Vec::new(),
            dns_responses: Vec::new(),
            echoes: None,
            last_success: None,
        };
        Self {
            kind: job.kind(),
            name: match escape(&job.name) {
                Cow::Borrowed(_) => job.name.clone(),
                Cow::Owned(escaped) => escaped.into(),
            },
            target: escape(&job.target()).into(),
            check_every: job.check_every,
            timeout: job.timeout,
            confirm_failures: job.state_rules.confirm.failures,
            labels: job.labels.clone(),
            progress: Mutex::new(Progress {
                slots: SlotCounts::default(),
                status: MonitorStatus::default(),
                totals,
                last: None,
            }),
            all_checks,
        }
    }

    /// The monitor's name, escaped.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numbers of slots up to now.
    pub fn slots(&self) -> SlotCounts {
        self.progress().slots
    }

    /// True if it is checked at all.
    pub fn is_paused(&self) -> bool {
        self.progress().status.state == State::Paused
    }

    /// Writes the samples of one family; those on slots as of `slots`.
    ///
    /// A check that ends meanwhile waits, so this is short: one family of one monitor.
    pub fn write(&self, writer: MonitorWriter, slots: &SlotCounts, out: &mut FamilyWriter<'_>) {
        match writer {
            MonitorWriter::Settings(write) => write(self, out),
            MonitorWriter::Slots(write) => write(slots, out),
            MonitorWriter::Status(write) => write(&self.progress().status, out),
            MonitorWriter::Totals(write) => write(&self.progress().totals, out),
            MonitorWriter::LastCheck(write) => {
                if let Some(last) = &self.progress().last {
                    write(last, out);
                }
            }
        }
    }

    /// Writes the sample of `monitor_info`.
    pub fn write_info(&self, out: &mut FamilyWriter<'_>) {
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
        let users: Vec<_> = self
            .labels
            .iter()
            .map(|(name, value)| (&**name, escape(value)))
            .collect();
        let users = users.iter().map(|(name, value)| (*name, &**value));
        out.info_escaped(users.chain(own));
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Even after a panic between two assignments, each counter is correct.
        self.progress.lock()
    }
}

impl MonitorObserver for MonitorMetrics {
    fn on_started(&self, lag: Duration) {
        self.progress().slots.in_flight += 1;
        self.all_checks.start_lag.observe(lag.as_secs_f64());
    }

    fn on_tainted(&self) {
        self.progress().totals.tainted += 1;
        self.all_checks.tainted.inc();
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
        match &mut self.last {
            None => self.last = Some(report.clone()),
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
    fn add(&mut self, report: &Report) {
        self.durations[report.outcome() as usize].observe(report.duration.as_secs_f64());
        for (phase, spent) in &report.phases {
            *self.phase_seconds[*phase as usize].get_or_insert_default() += *spent;
        }
        for fact in &report.facts {
            match fact {
                #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
                Fact::ResponseBytes(bytes) => self.response_sizes.observe(*bytes as f64),
                Fact::HttpStatus(status) => count(&mut self.http_responses, *status),
                Fact::Dns(response) => count(&mut self.dns_responses, response.rcode),
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
        match &report.failure {
            None => self.last_success = Some(report.ended_at),
            Some(failure) => count(&mut self.failures, (failure.phase, failure.reason)),
        }
    }
}

fn count<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += 1,
        None => counts.push((key, 1)),
    }
}
