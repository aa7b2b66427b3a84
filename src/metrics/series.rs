//! What is known of one monitor: everything of its reports that outlives them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    families::Id,
    page::{Histogram, Page},
};
use crate::{
    check::{Fact, Job, Observer, Outcome, Phase, Reason, Report, Skip},
    value::format_duration,
};

/// The series of one monitor. They share one lock, so that a scrape sees them at one moment.
pub(super) struct Series {
    pub kind: &'static str,
    name: Arc<str>,
    /// The labels of `monitor_info`.
    info: Vec<(String, String)>,
    state: Mutex<State>,
    start_lag: prometheus::Histogram,
}

#[derive(Clone)]
struct State {
    checks: [u64; Outcome::ALL.len()],
    failures: BTreeMap<(Phase, Reason), u64>,
    durations: [Histogram; Outcome::ALL.len()],
    phase_seconds: [Option<Duration>; Phase::ALL.len()],
    response_sizes: Histogram,
    http_responses: BTreeMap<u16, u64>,
    skipped: [u64; Skip::ALL.len()],
    in_flight: u64,
    /// What it did not find out is not known, whatever an earlier one found.
    last: Option<Report>,
    last_success: Option<SystemTime>,
}

/// Upper bounds of `monitor_response_size_bytes`.
const SIZE_BUCKETS: [f64; 6] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

impl Series {
    pub fn new(job: &Job, duration_buckets: &Arc<[f64]>, start_lag: prometheus::Histogram) -> Self {
        let buckets = job.duration_buckets.as_ref().unwrap_or(duration_buckets);
        let own = [
            ("monitor", job.name.to_string()),
            ("type", job.kind().to_owned()),
            ("target", job.target()),
            ("check_every", format_duration(job.check_every)),
            ("timeout", format_duration(job.timeout)),
        ];
        let mut info = job.labels.clone();
        info.extend(own.map(|(name, value)| (name.to_owned(), value)));
        let state = State {
            checks: [0; Outcome::ALL.len()],
            failures: BTreeMap::new(),
            durations: [(); Outcome::ALL.len()].map(|()| Histogram::new(buckets.clone())),
            phase_seconds: [None; Phase::ALL.len()],
            response_sizes: Histogram::new(Arc::from(SIZE_BUCKETS)),
            http_responses: BTreeMap::new(),
            skipped: [0; Skip::ALL.len()],
            in_flight: 0,
            last: None,
            last_success: None,
        };
        Self {
            kind: job.kind(),
            name: job.name.clone(),
            info: info.into_iter().collect(),
            state: Mutex::new(state),
            start_lag,
        }
    }

    /// Writes the series to `page`, as they are at one moment; returns the checks in flight then.
    pub fn collect(&self, page: &mut Page) -> u64 {
        // To copy is short, to write it all out is not: a check that ends must not wait for that.
        let state = self.state().clone();
        let info: Vec<_> = self
            .info
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        page.add(Id::Info, &info, 1.0);
        state.collect_totals(&self.name, page);
        if let Some(last) = &state.last {
            collect_last(last, &self.name, page);
        }
        state.in_flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic between two assignments, every counter is still right by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Series {
    fn begun(&self, lag: Duration) {
        self.state().in_flight += 1;
        self.start_lag.observe(lag.as_secs_f64());
    }

    fn completed(&self, report: &Report) {
        self.state().record(report);
    }

    fn cancelled(&self) {
        let mut state = self.state();
        state.in_flight -= 1;
        state.skipped[Skip::Shutdown as usize] += 1;
    }

    fn skipped(&self, slots: u64, why: Skip) {
        self.state().skipped[why as usize] += slots;
    }
}

impl State {
    fn record(&mut self, report: &Report) {
        let outcome = report.outcome();
        self.in_flight -= 1;
        self.checks[outcome as usize] += 1;
        self.durations[outcome as usize].observe(report.duration.as_secs_f64());
        for (phase, spent) in &report.phases {
            *self.phase_seconds[*phase as usize].get_or_insert_default() += *spent;
        }
        for fact in &report.facts {
            match fact {
                #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
                Fact::ResponseBytes(bytes) => self.response_sizes.observe(*bytes as f64),
                Fact::HttpStatus(status) => *self.http_responses.entry(*status).or_default() += 1,
                Fact::Certificate(..) | Fact::Tls { .. } => {}
            }
        }
        match &report.failure {
            None => self.last_success = Some(report.ended_at),
            Some(failure) => {
                *self
                    .failures
                    .entry((failure.phase, failure.reason))
                    .or_default() += 1;
            }
        }
        self.last = Some(report.clone());
    }

    fn collect_totals(&self, name: &str, page: &mut Page) {
        let monitor = ("monitor", name);
        let completed: u64 = self.checks.iter().sum();
        let skipped: u64 = self.skipped.iter().sum();
        page.count(
            Id::Scheduled,
            &[monitor],
            completed + skipped + self.in_flight,
        );
        for why in Skip::ALL {
            let labels = [monitor, ("reason", why.as_str())];
            page.count(Id::Skipped, &labels, self.skipped[*why as usize]);
        }
        for outcome in Outcome::ALL {
            let labels = [monitor, ("outcome", outcome.as_str())];
            page.count(Id::Checks, &labels, self.checks[*outcome as usize]);
            let durations = &self.durations[*outcome as usize];
            if !durations.is_empty() {
                page.histogram(Id::Duration, &labels, durations);
            }
        }
        for ((phase, reason), count) in &self.failures {
            let labels = [
                monitor,
                ("phase", phase.as_str()),
                ("reason", reason.as_str()),
            ];
            page.count(Id::Failures, &labels, *count);
        }
        for (phase, spent) in Phase::ALL.iter().zip(self.phase_seconds) {
            if let Some(spent) = spent {
                let labels = [monitor, ("phase", phase.as_str())];
                page.add(Id::PhaseSeconds, &labels, spent.as_secs_f64());
            }
        }
        if !self.response_sizes.is_empty() {
            page.histogram(Id::ResponseSize, &[monitor], &self.response_sizes);
        }
        for (code, count) in &self.http_responses {
            page.count(
                Id::HttpResponses,
                &[monitor, ("code", &code.to_string())],
                *count,
            );
        }
        if let Some(ended_at) = self.last_success {
            page.add(Id::LastSuccess, &[monitor], unix_seconds(ended_at));
        }
    }
}

fn collect_last(last: &Report, name: &str, page: &mut Page) {
    let monitor = ("monitor", name);
    let up = last.outcome() == Outcome::Success;
    page.add(Id::Up, &[monitor], f64::from(u8::from(up)));
    page.add(Id::LastCheck, &[monitor], unix_seconds(last.ended_at));
    page.add(Id::LastDuration, &[monitor], last.duration.as_secs_f64());
    for (phase, spent) in &last.phases {
        let labels = [monitor, ("phase", phase.as_str())];
        page.add(Id::PhaseDuration, &labels, spent.as_secs_f64());
    }
    for fact in &last.facts {
        match fact {
            Fact::HttpStatus(status) => page.add(Id::HttpStatus, &[monitor], f64::from(*status)),
            Fact::ResponseBytes(bytes) => page.count(Id::LastResponseSize, &[monitor], *bytes),
            Fact::Certificate(rank, validity) => {
                let labels = [monitor, ("certificate", rank.as_str())];
                #[expect(clippy::cast_precision_loss, reason = "seconds of all calendars fit")]
                let seconds = |unix: i64| unix as f64;
                page.add(Id::NotBefore, &labels, seconds(validity.not_before));
                page.add(Id::NotAfter, &labels, seconds(validity.not_after));
            }
            Fact::Tls { version, cipher } => {
                page.add(
                    Id::Tls,
                    &[monitor, ("version", version), ("cipher", cipher)],
                    1.0,
                );
            }
        }
    }
}

/// Unix time, to the millisecond: the rest would be noise of the conversion to a float.
pub(super) fn unix_seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}
