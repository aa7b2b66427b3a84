//! What is known of one monitor: everything of its reports that outlives them.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::IntCounter;

use super::{
    families::Id,
    histogram::{Buckets, Histogram},
    text::{Samples, escape},
};
use crate::{
    check::{
        Certificate, DnsResponse, Echoes, Fact, Job, Observer, Outcome, Phase, Rcode, Reason,
        Report, RoundTrips, ServingStatus, Skip,
    },
    value::format_duration,
};

/// The series of one monitor.
pub(super) struct Series {
    pub kind: &'static str,
    /// As a label has it.
    name: Arc<str>,
    target: Box<str>,
    check_every: Duration,
    timeout: Duration,
    /// The user's own labels, for `monitor_info`.
    labels: BTreeMap<String, String>,
    state: Mutex<State>,
    /// What all monitors count together.
    shared: Shared,
}

/// What is counted over all monitors, and kept in types of the prometheus crate.
#[derive(Clone)]
pub(super) struct Shared {
    pub start_lag: prometheus::Histogram,
    pub tainted: IntCounter,
}

struct State {
    totals: Totals,
    /// In the order in which they first occurred: there are few, and most monitors have none.
    failures: Vec<((Phase, Reason), u64)>,
    durations: [Histogram; Outcome::ALL.len()],
    phase_seconds: [Option<Duration>; Phase::ALL.len()],
    response_sizes: Histogram,
    http_responses: Vec<(u16, u64)>,
    dns_responses: Vec<(Rcode, u64)>,
    /// ICMP echo requests that were sent, and those of them that were answered.
    echoes: Option<(u64, u64)>,
    /// What it did not find out is not known, whatever an earlier one found.
    last: Option<Report>,
    last_success: Option<SystemTime>,
}

/// What became of the slots of a monitor: what a scrape tells of them adds up.
#[derive(Clone, Copy, Default)]
pub(super) struct Totals {
    checks: [u64; Outcome::ALL.len()],
    skipped: [u64; Skip::ALL.len()],
    pub in_flight: u64,
}

impl Totals {
    fn scheduled(&self) -> u64 {
        let ended = self.checks.iter().chain(&self.skipped);
        ended.sum::<u64>() + self.in_flight
    }
}

/// The buckets of a monitor's histograms.
#[derive(Clone)]
pub(super) struct MonitorBuckets {
    pub durations: Arc<Buckets>,
    pub response_sizes: Arc<Buckets>,
}

impl Series {
    pub fn new(job: &Job, buckets: MonitorBuckets, shared: Shared) -> Self {
        let durations = match &job.duration_buckets {
            Some(own) => Arc::new(Buckets::new(own)),
            None => buckets.durations,
        };
        let state = State {
            totals: Totals::default(),
            failures: Vec::new(),
            durations: [(); Outcome::ALL.len()].map(|()| Histogram::new(durations.clone())),
            phase_seconds: [None; Phase::ALL.len()],
            response_sizes: Histogram::new(buckets.response_sizes),
            http_responses: Vec::new(),
            dns_responses: Vec::new(),
            echoes: None,
            last: None,
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
            labels: job.labels.clone(),
            state: Mutex::new(state),
            shared,
        }
    }

    /// What became of the slots up to now.
    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    /// Writes the samples of the family `id`; those on slots as `totals` has them.
    ///
    /// A check that ends meanwhile waits, so this is short: one family of one monitor.
    pub fn write(&self, id: Id, totals: &Totals, samples: &mut Samples<'_>) {
        let monitor = ("monitor", &*self.name);
        match id {
            Id::Info => self.write_info(samples),
            Id::Scheduled => samples.count(&[monitor], totals.scheduled()),
            Id::Checks => {
                for outcome in Outcome::ALL {
                    let labels = [monitor, ("outcome", outcome.as_str())];
                    samples.count(&labels, totals.checks[*outcome as usize]);
                }
            }
            Id::Skipped => {
                for why in Skip::ALL {
                    let labels = [monitor, ("reason", why.as_str())];
                    samples.count(&labels, totals.skipped[*why as usize]);
                }
            }
            _ => self.state().write(id, monitor, samples),
        }
    }

    fn write_info(&self, samples: &mut Samples<'_>) {
        let (check_every, timeout) = (
            format_duration(self.check_every),
            format_duration(self.timeout),
        );
        let own = [
            ("monitor", &*self.name),
            ("type", self.kind),
            ("target", &self.target),
            ("check_every", &check_every),
            ("timeout", &timeout),
        ];
        let users = self.labels.iter();
        let users: Vec<_> = users
            .map(|(name, value)| (&**name, escape(value)))
            .collect();
        let users = users.iter().map(|(name, value)| (*name, &**value));
        let mut labels: Vec<_> = users.chain(own).collect();
        labels.sort_unstable();
        samples.count(&labels, 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic between two assignments, every counter is still right by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Series {
    fn begun(&self, lag: Duration) {
        self.state().totals.in_flight += 1;
        self.shared.start_lag.observe(lag.as_secs_f64());
    }

    fn tainted(&self) {
        self.shared.tainted.inc();
    }

    fn completed(&self, report: &Report) {
        self.state().record(report);
    }

    fn cancelled(&self) {
        let mut state = self.state();
        state.totals.in_flight -= 1;
        state.totals.skipped[Skip::Shutdown as usize] += 1;
    }

    fn skipped(&self, slots: u64, why: Skip) {
        self.state().totals.skipped[why as usize] += slots;
    }
}

impl State {
    fn record(&mut self, report: &Report) {
        let outcome = report.outcome();
        self.totals.in_flight -= 1;
        self.totals.checks[outcome as usize] += 1;
        self.durations[outcome as usize].observe(report.duration.as_secs_f64());
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
                    let (sent, received) = self.echoes.get_or_insert_default();
                    *sent += u64::from(echoes.sent);
                    *received += u64::from(echoes.received);
                }
                Fact::Address(_)
                | Fact::Certificate(..)
                | Fact::Tls { .. }
                | Fact::GrpcStatus(_)
                | Fact::Serving(_)
                | Fact::Captured(_) => {}
            }
        }
        match &report.failure {
            None => self.last_success = Some(report.ended_at),
            Some(failure) => count(&mut self.failures, (failure.phase, failure.reason)),
        }
        match &mut self.last {
            None => self.last = Some(report.clone()),
            // Into the room that the one before had.
            Some(last) => {
                last.ended_at = report.ended_at;
                last.duration = report.duration;
                last.phases.clone_from(&report.phases);
                last.facts.clone_from(&report.facts);
                last.failure.clone_from(&report.failure);
            }
        }
    }

    fn write(&self, id: Id, monitor: (&str, &str), samples: &mut Samples<'_>) {
        match id {
            Id::Duration => {
                for (outcome, durations) in Outcome::ALL.iter().zip(&self.durations) {
                    samples.histogram(&[monitor, ("outcome", outcome.as_str())], durations);
                }
            }
            Id::Failures => {
                for ((phase, reason), count) in &self.failures {
                    let labels = [
                        monitor,
                        ("phase", phase.as_str()),
                        ("reason", reason.as_str()),
                    ];
                    samples.count(&labels, *count);
                }
            }
            Id::PhaseSeconds => {
                for (phase, spent) in Phase::ALL.iter().zip(self.phase_seconds) {
                    if let Some(spent) = spent {
                        let labels = [monitor, ("phase", phase.as_str())];
                        samples.add(&labels, spent.as_secs_f64());
                    }
                }
            }
            Id::ResponseSize => samples.histogram(&[monitor], &self.response_sizes),
            Id::HttpResponses => {
                let mut digits = itoa::Buffer::new();
                for (code, count) in &self.http_responses {
                    samples.count(&[("code", digits.format(*code)), monitor], *count);
                }
            }
            Id::DnsResponses => {
                for (rcode, count) in &self.dns_responses {
                    samples.count(&[monitor, ("rcode", &rcode.to_string())], *count);
                }
            }
            Id::IcmpSent | Id::IcmpReceived => {
                if let Some((sent, received)) = self.echoes {
                    let count = if id == Id::IcmpSent { sent } else { received };
                    samples.count(&[monitor], count);
                }
            }
            Id::LastSuccess => {
                if let Some(ended_at) = self.last_success {
                    samples.add(&[monitor], unix_seconds(ended_at));
                }
            }
            _ => {
                if let Some(last) = &self.last {
                    write_last(last, id, monitor, samples);
                }
            }
        }
    }
}

fn count<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += 1,
        None => counts.push((key, 1)),
    }
}

fn write_last(last: &Report, id: Id, monitor: (&str, &str), samples: &mut Samples<'_>) {
    match id {
        Id::Up => samples.count(&[monitor], (last.outcome() == Outcome::Success).into()),
        Id::LastCheck => samples.add(&[monitor], unix_seconds(last.ended_at)),
        Id::LastDuration => samples.add(&[monitor], last.duration.as_secs_f64()),
        Id::PhaseDuration => {
            for (phase, spent) in &last.phases {
                samples.add(&[monitor, ("phase", phase.as_str())], spent.as_secs_f64());
            }
        }
        _ => {
            for fact in &last.facts {
                write_fact(fact, id, monitor, samples);
            }
        }
    }
}

fn write_fact(fact: &Fact, id: Id, monitor: (&str, &str), samples: &mut Samples<'_>) {
    match fact {
        Fact::Address(_) => {}
        Fact::HttpStatus(status) => {
            if id == Id::HttpStatus {
                samples.count(&[monitor], (*status).into());
            }
        }
        Fact::ResponseBytes(bytes) => {
            if id == Id::LastResponseSize {
                samples.count(&[monitor], *bytes);
            }
        }
        Fact::Certificate(
            rank,
            Certificate {
                not_before,
                not_after,
            },
        ) => {
            let seconds = match id {
                Id::NotBefore => not_before,
                Id::NotAfter => not_after,
                _ => return,
            };
            #[expect(clippy::cast_precision_loss, reason = "seconds of all calendars fit")]
            samples.add(&[("certificate", rank.as_str()), monitor], *seconds as f64);
        }
        Fact::Tls { version, cipher } => {
            if id == Id::Tls {
                samples.count(&[("cipher", cipher), monitor, ("version", version)], 1);
            }
        }
        Fact::Dns(response) => write_dns(response, id, monitor, samples),
        Fact::Icmp(echoes) => write_echoes(echoes, id, monitor, samples),
        Fact::GrpcStatus(status) => {
            if id == Id::GrpcStatus {
                samples.count(&[monitor], (*status).into());
            }
        }
        Fact::Serving(said) => {
            if id == Id::GrpcServing {
                for status in ServingStatus::ALL {
                    let labels = [monitor, ("serving_status", status.as_str())];
                    samples.count(&labels, (status == said).into());
                }
            }
        }
        Fact::Captured(caught) => {
            if id == Id::Expected {
                write_caught(caught, monitor, samples);
            }
        }
    }
}

fn write_dns(response: &DnsResponse, id: Id, monitor: (&str, &str), samples: &mut Samples<'_>) {
    let value = match id {
        Id::DnsAnswers => Some(response.answers.into()),
        Id::DnsAuthorities => Some(response.authorities.into()),
        Id::DnsAdditionals => Some(response.additionals.into()),
        Id::DnsSerial => response.serial.map(u64::from),
        Id::DnsAuthenticated => Some(response.authenticated_data.into()),
        Id::DnsTruncated => Some(response.truncated.into()),
        _ => None,
    };
    if let Some(value) = value {
        samples.count(&[monitor], value);
    }
}

fn write_echoes(echoes: &Echoes, id: Id, monitor: (&str, &str), samples: &mut Samples<'_>) {
    match (id, echoes.round_trips) {
        (Id::IcmpLoss, _) => samples.add(&[monitor], echoes.loss_ratio()),
        (Id::IcmpHopLimit, _) => {
            if let Some(limit) = echoes.reply_hop_limit {
                samples.count(&[monitor], limit.into());
            }
        }
        (Id::IcmpRoundTrip, Some(RoundTrips { min, avg, max, .. })) => {
            for (statistic, time) in [("min", min), ("avg", avg), ("max", max)] {
                samples.add(&[monitor, ("statistic", statistic)], time.as_secs_f64());
            }
        }
        (
            Id::IcmpJitter,
            Some(RoundTrips {
                jitter: Some(jitter),
                ..
            }),
        ) => {
            samples.add(&[monitor], jitter.as_secs_f64());
        }
        _ => {}
    }
}

fn write_caught(caught: &[(String, String)], monitor: (&str, &str), samples: &mut Samples<'_>) {
    let escaped = caught.iter().map(|(name, value)| (&**name, escape(value)));
    let escaped: Vec<_> = escaped.collect();
    let caught = escaped.iter().map(|(name, value)| (*name, &**value));
    let mut labels: Vec<_> = caught.chain([monitor]).collect();
    labels.sort_unstable();
    samples.count(&labels, 1);
}

/// Unix time, to the millisecond: the rest would be noise of the conversion to a float.
pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}
