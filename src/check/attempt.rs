//! The record of one check in progress: its current phase, the time of each phase, the facts found.

use std::{
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::{
    ErrorText, Fact, Failure, Job, Phase, Reason, Report, StepKind, Steps, Trace, TraceContext,
    TraceStart,
};

/// The recorder that a [`Monitor`](super::Monitor) writes to while it checks.
///
/// A clone writes to the same attempt: the hooks of an HTTP client, for one, hold a clone each.
/// The lock inside is held for a few assignments and never over an await.
#[derive(Clone, Debug)]
pub struct Attempt(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    progress: Mutex<Progress>,
    steps: Steps,
    /// The identity that is sent to the target.
    propagated: Option<TraceContext>,
}

#[derive(Debug)]
struct Progress {
    started: Instant,
    current: Option<(Phase, Instant)>,
    spent: [Option<Duration>; Phase::ALL.len()],
    /// Time of the check's own preparations, which is not part of the latency.
    excluded: Duration,
    facts: Vec<Fact>,
    timeout_failure: Option<Failure>,
    /// Explanation for a timeout in the current phase.
    explanation: Option<String>,
    /// Explanation for a timeout in any phase.
    explanation_in_any_phase: Option<&'static str>,
    /// True if details are recorded, which probes export and monitors do not.
    records_details: bool,
    /// End and result of the measured part.
    concluded: Option<(Instant, Result<(), Failure>)>,
    trace: Option<Box<Trace>>,
}

impl Attempt {
    /// Starts an attempt now, in no phase yet.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Steps::none())
    }

    /// The same with `steps`, which are told step by step.
    #[must_use]
    pub fn start_with(steps: Steps) -> Self {
        Self::start_traced(steps, None)
    }

    /// The same with `trace`, which the report then has.
    #[must_use]
    pub fn start_traced(steps: Steps, trace: Option<TraceStart>) -> Self {
        let propagated = trace.filter(|trace| trace.is_propagated);
        let progress = Mutex::new(Progress {
            started: Instant::now(),
            current: None,
            spent: [None; Phase::ALL.len()],
            excluded: Duration::ZERO,
            facts: Vec::new(),
            timeout_failure: None,
            explanation: None,
            explanation_in_any_phase: None,
            records_details: false,
            concluded: None,
            trace: trace.map(|trace| Box::new(Trace::new(trace))),
        });
        Self(Arc::new(Shared {
            progress,
            steps,
            propagated: propagated.map(|trace| trace.context),
        }))
    }

    /// The identity of the check's trace, if it is sent to the target.
    #[must_use]
    pub fn propagated_context(&self) -> Option<TraceContext> {
        self.0.propagated
    }

    /// The steps of the check, for whoever outlives a borrow of the attempt.
    #[must_use]
    #[inline]
    pub fn steps(&self) -> &Steps {
        &self.0.steps
    }

    /// Adds a step. Its text, which must not hold a secret, is made only if somebody listens.
    #[inline]
    pub fn step<T: Into<String>>(&self, kind: StepKind, text: impl FnOnce() -> T) {
        self.0.steps.add(kind, text);
    }

    /// Ends the current phase and begins `phase`. Entering a phase again adds to its time.
    pub fn enter(&self, phase: Phase) {
        let mut progress = self.progress();
        if progress
            .current
            .is_some_and(|(current, _)| current == phase)
        {
            return;
        }
        let now = Instant::now();
        progress.leave(now);
        progress.current = Some((phase, now));
        drop(progress);
        self.0.steps.enter(Some(phase));
    }

    /// Ends the current phase without beginning another.
    pub fn leave(&self) {
        self.progress().leave(Instant::now());
        self.0.steps.enter(None);
    }

    /// The phase that the check is in.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.progress().current.map(|(phase, _)| phase)
    }

    /// Runs a preparation that the target has no part in, such as fetching a token: within the
    /// deadline, in no phase, and excluded from the latency unless the deadline passes meanwhile.
    pub async fn untimed<F: Future>(&self, preparation: F) -> F::Output {
        self.leave();
        let began = Instant::now();
        let output = preparation.await;
        self.progress().excluded += began.elapsed();
        output
    }

    /// Records `fact`; it replaces an earlier fact of the same kind.
    pub fn record(&self, fact: Fact) {
        let fact = fact.bounded();
        let mut progress = self.progress();
        match progress
            .facts
            .iter_mut()
            .find(|known| known.is_same_kind(&fact))
        {
            Some(known) => *known = fact,
            None => progress.facts.push(fact),
        }
    }

    /// True if details are recorded, which probes export and monitors do not.
    #[must_use]
    pub fn records_details(&self) -> bool {
        self.progress().records_details
    }

    /// Records details from here on.
    #[must_use]
    pub fn with_details(self) -> Self {
        self.progress().records_details = true;
        self
    }

    /// Records a detail, which is made only if details are recorded.
    pub fn record_detail(&self, detail: impl FnOnce() -> Fact) {
        if self.records_details() {
            self.record(detail());
        }
    }

    /// Records the address that is checked.
    pub fn record_address(&self, address: IpAddr) {
        self.record(Fact::Address(address));
        let is_first = || {
            let first = |fact: &Fact| matches!(fact, Fact::FirstAddress(_)).then_some(());
            self.find_fact(first).is_none()
        };
        if self.records_details() && is_first() {
            self.record(Fact::FirstAddress(address));
        }
    }

    /// Removes all facts but the address, before the next address is checked.
    pub(crate) fn clear_facts_except_address(&self) {
        let mut progress = self.progress();
        progress
            .facts
            .retain(|fact| matches!(fact, Fact::Address(_) | Fact::FirstAddress(_)));
    }

    /// Removes the certificates of earlier handshakes.
    pub(crate) fn clear_certificates(&self) {
        let facts = &mut self.progress().facts;
        facts.retain(|fact| {
            !matches!(
                fact,
                Fact::Certificate(..) | Fact::LeafCertificate(_) | Fact::PeerCertificates(_)
            )
        });
    }

    /// Sets the failure that is reported instead of `timeout` if the deadline passes from now on; the
    /// first one set is kept.
    pub fn set_timeout_failure(&self, failure: Failure) {
        self.progress().timeout_failure.get_or_insert(failure);
    }

    /// Adds `awaited` to the text of a timeout in any phase, until the next call.
    pub(crate) fn explain_timeout_in_any_phase(&self, awaited: Option<&'static str>) {
        self.progress().explanation_in_any_phase = awaited;
    }

    /// Adds `awaited` to the text of the timeout if the deadline passes before another phase is
    /// entered.
    pub fn explain_timeout(&self, awaited: String) {
        self.progress().explanation = Some(awaited);
    }

    /// Ends the measured part with the result of the check. What follows, such as closing the
    /// connection, is not part of any phase or the latency, and the deadline no longer changes the
    /// result.
    pub fn conclude(&self, result: &Result<(), Failure>) {
        let mut progress = self.progress();
        let now = Instant::now();
        progress.leave(now);
        let result = result.clone();
        progress.concluded.get_or_insert((now, result));
    }

    /// Returns a failure for `reason` in the current phase.
    #[must_use]
    pub fn failure(&self, reason: Reason, error: impl Into<ErrorText>) -> Failure {
        Failure::new(self.phase().unwrap_or(DEFAULT_FAILURE_PHASE), reason, error)
    }

    /// Returns the first value that `read` finds in a fact.
    pub(crate) fn find_fact<T>(&self, read: impl Fn(&Fact) -> Option<T>) -> Option<T> {
        self.progress().facts.iter().find_map(read)
    }

    /// Ends the attempt with the result of its check.
    #[must_use]
    pub fn finish(self, result: Result<(), Failure>) -> Report {
        self.finish_at(Instant::now(), result)
    }

    fn finish_at(self, now: Instant, result: Result<(), Failure>) -> Report {
        match &result {
            Ok(()) => self.step(StepKind::Success, || "the target is as it should be"),
            Err(failure) => self.step(StepKind::Failure, || {
                format!("{} in {}: {}", failure.reason, failure.phase, failure.error)
            }),
        }
        let mut progress = self.progress();
        let now = progress.end(now);
        progress.leave(now);
        let trace = progress.trace.take().map(|mut trace| {
            trace.elapsed = now - progress.started;
            trace
        });
        Report {
            ended_at: SystemTime::now(),
            duration: progress.duration(now),
            phases: Phase::ALL
                .iter()
                .zip(&progress.spent)
                .filter_map(|(phase, spent)| spent.map(|spent| (*phase, spent)))
                .collect(),
            facts: std::mem::take(&mut progress.facts),
            failure: result.err(),
            steps: self.0.steps.take(),
            cause: self.0.steps.cause(),
            trace,
        }
    }

    /// Runs one check of `job` until `deadline`, told to `steps`, as part of `trace`.
    ///
    /// The deadline is enforced here and nowhere else: the check's future is dropped, and the attempt
    /// keeps the phases that it reached. A panic is a check that failed with `agent_error`.
    pub(crate) async fn run(
        job: &Job,
        deadline: Instant,
        steps: Steps,
        trace: Option<TraceStart>,
    ) -> Report {
        let mut attempt = Self::start_traced(steps, trace);
        if job.records_details {
            attempt = attempt.with_details();
        }
        let check = AssertUnwindSafe(async { job.monitor.check(&attempt).await }).catch_unwind();
        let result = tokio::time::timeout_at(deadline, check).await;
        // If the runtime was busy, a result can come after the deadline.
        let now = Instant::now();
        let is_late = now > deadline;
        let result = match result {
            Ok(Err(panic)) => Err(attempt.failure(
                Reason::AgentError,
                format!("the check panicked: {}", panic_message(&*panic)),
            )),
            Ok(Ok(result)) if !is_late => {
                result.and_then(|()| attempt.check_max_latency(job.fail_if_slower_than, now))
            }
            Ok(Ok(_)) | Err(_) => attempt.time_out(job, deadline, now),
        };
        attempt.finish_at(now, result)
    }

    /// The result of a check whose deadline has passed by `now`.
    fn time_out(&self, job: &Job, deadline: Instant, now: Instant) -> Result<(), Failure> {
        let mut progress = self.progress();
        let concluded = progress.concluded.clone();
        let (presumed, awaited) = (progress.timeout_failure.take(), progress.explanation.take());
        let awaited = awaited.or(progress.explanation_in_any_phase.map(str::to_owned));
        drop(progress);
        if let Some((_, result)) = concluded.filter(|(ended, _)| *ended <= deadline) {
            return result.and_then(|()| self.check_max_latency(job.fail_if_slower_than, now));
        }
        if let Some(failure) = presumed {
            return Err(failure);
        }
        let error = format!("no result within {:?}", job.timeout);
        let awaited = awaited.map(|awaited| format!(", {awaited}"));
        let error = error + &awaited.unwrap_or_default();
        Err(self.failure(Reason::Timeout, error))
    }

    /// Fails if the check, which ends `now`, took longer than `limit`, in the phase that took most of the time.
    fn check_max_latency(&self, limit: Option<Duration>, now: Instant) -> Result<(), Failure> {
        let Some(limit) = limit else { return Ok(()) };
        let mut progress = self.progress();
        let now = progress.end(now);
        progress.leave(now);
        let duration = progress.duration(now);
        self.step(StepKind::verdict(duration <= limit), || {
            let (took, limit) = (duration.as_secs_f64() * 1e3, limit.as_millis());
            format!("fail_if_slower_than: took {took:.3} ms, limit {limit} ms")
        });
        if duration <= limit {
            return Ok(());
        }
        let phases = Phase::ALL.iter().zip(&progress.spent);
        let slowest = phases.max_by_key(|(_, spent)| **spent);
        let phase = slowest.map_or(DEFAULT_FAILURE_PHASE, |(phase, _)| *phase);
        let error = format!(
            "took {} ms, limit {} ms",
            duration.as_millis(),
            limit.as_millis()
        );
        Err(Failure::new(phase, Reason::TooSlow, error))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.progress.lock()
    }
}

/// The phase of a failure that happened before the monitor entered one.
const DEFAULT_FAILURE_PHASE: Phase = Phase::Processing;

impl Progress {
    /// The time from the start until `now`, without the excluded time.
    fn duration(&self, now: Instant) -> Duration {
        (now - self.started).saturating_sub(self.excluded)
    }

    /// The end of the measured part: `now`, unless it has ended already.
    fn end(&self, now: Instant) -> Instant {
        let concluded = self.concluded.as_ref();
        concluded.map_or(now, |(at, _)| *at)
    }

    fn leave(&mut self, now: Instant) {
        self.explanation = None;
        if let Some((phase, since)) = self.current.take() {
            let spent = &mut self.spent[phase as usize];
            *spent = Some(spent.unwrap_or_default() + (now - since));
            if let Some(trace) = &mut self.trace {
                trace.add(phase, since - self.started, now - self.started);
            }
        }
    }
}

/// The text of a panic.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::{CertificateRole, CertificateValidity, Monitor};

    const SECOND: Duration = Duration::from_secs(1);

    /// A monitor that runs a closure.
    struct Act<F>(F);

    impl<F, R> Monitor for Act<F>
    where
        F: Fn(Attempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Failure>> + Send,
    {
        fn kind(&self) -> &'static str {
            "act"
        }

        fn target(&self) -> String {
            "nowhere".into()
        }

        async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
            (self.0)(attempt.clone()).await
        }
    }

    async fn run<F, R>(act: F) -> Report
    where
        F: Fn(Attempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Failure>> + Send,
    {
        Job::new("example", Act(act)).check_once().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_keeps_the_phases_it_reached() {
        let report = run(async |attempt| {
            attempt.enter(Phase::Connect);
            tokio::time::sleep(SECOND).await;
            attempt.enter(Phase::Tls);
            std::future::pending().await
        })
        .await;
        assert_eq!(
            report.phases,
            [(Phase::Connect, SECOND), (Phase::Tls, 4 * SECOND)]
        );
        assert_eq!(report.duration, 5 * SECOND);
        let failure = report.failure.expect("it hung");
        assert_eq!(
            (failure.reason, failure.phase),
            (Reason::Timeout, Phase::Tls)
        );
        assert_eq!(failure.error, "no result within 5s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_set_before_the_deadline_replaces_the_timeout() {
        let report = run(async |attempt| {
            attempt.set_timeout_failure(Failure::new(Phase::Processing, Reason::StatusCode, "500"));
            attempt.enter(Phase::Transfer);
            std::future::pending().await
        })
        .await;
        let failure = report.failure.expect("it hung");
        assert_eq!(failure.reason, Reason::StatusCode);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_says_what_the_check_waited_for_in_its_last_phase() {
        for (next, expected) in [
            (None, "no result within 5s, waiting for a line"),
            (Some(Phase::Tls), "no result within 5s"),
        ] {
            let report = run(move |attempt| async move {
                attempt.enter(Phase::Processing);
                attempt.explain_timeout("waiting for a line".to_owned());
                if let Some(phase) = next {
                    attempt.enter(phase);
                }
                std::future::pending().await
            });
            assert_eq!(report.await.failure.expect("it hung").error, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_after_the_conclusion_is_measured() {
        let failed = Err(Failure::new(Phase::Tls, Reason::TlsExpired, "expired"));
        for result in [Ok(()), failed] {
            for leave in [SECOND, 60 * SECOND] {
                let result = result.clone();
                let returned = result.clone();
                let report = run(move |attempt: Attempt| {
                    let result = returned.clone();
                    async move {
                        attempt.enter(Phase::Connect);
                        tokio::time::sleep(SECOND).await;
                        attempt.conclude(&result);
                        tokio::time::sleep(leave).await;
                        result
                    }
                })
                .await;
                assert_eq!(report.failure, result.err());
                assert_eq!(report.duration, SECOND);
                assert_eq!(report.phases, [(Phase::Connect, SECOND)]);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_after_the_deadline_is_a_timeout() {
        let finish_after = async |millis| {
            let report = run(move |attempt| async move {
                attempt.enter(Phase::Transfer);
                // Without a chance for the deadline to be enforced meanwhile.
                let _ = tokio::time::advance(Duration::from_millis(millis)).now_or_never();
                Ok(())
            });
            report.await.failure.map(|failure| failure.reason)
        };
        assert_eq!(finish_after(5000).await, None);
        assert_eq!(finish_after(5001).await, Some(Reason::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_entered_again_adds_up() {
        let report = run(async |attempt| {
            for phase in [Phase::Connect, Phase::Processing, Phase::Connect] {
                attempt.enter(phase);
                tokio::time::sleep(SECOND).await;
            }
            attempt.leave();
            tokio::time::sleep(SECOND).await;
            Ok(())
        })
        .await;
        assert_eq!(
            report.phases,
            [(Phase::Connect, 2 * SECOND), (Phase::Processing, SECOND)]
        );
        assert_eq!(report.duration, 4 * SECOND);
        assert_eq!(report.failure, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_check_fails_in_the_phase_that_took_most() {
        let slow = async |attempt: Attempt| {
            attempt.enter(Phase::Connect);
            tokio::time::sleep(SECOND).await;
            attempt.enter(Phase::Processing);
            tokio::time::sleep(2 * SECOND).await;
            Ok(())
        };
        for (limit, expected) in [(3, None), (2, Some((Reason::TooSlow, Phase::Processing)))] {
            let mut job = Job::new("slow", Act(slow));
            job.fail_if_slower_than = Some(limit * SECOND);
            let failure = job
                .check_once()
                .await
                .failure
                .map(|failure| (failure.reason, failure.phase));
            assert_eq!(failure, expected, "{limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_the_targets_is_not_in_the_latency() {
        let report = run(async |attempt| {
            attempt.enter(Phase::Connect);
            tokio::time::sleep(SECOND).await;
            attempt.untimed(tokio::time::sleep(2 * SECOND)).await;
            Ok(())
        })
        .await;
        assert_eq!(report.duration, SECOND);
        assert_eq!(report.phases, [(Phase::Connect, SECOND)]);
        let report = run(async |attempt| {
            attempt.untimed(std::future::pending::<()>()).await;
            Ok(())
        })
        .await;
        assert_eq!(report.duration, 5 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_agent_error() {
        let report = run(async |attempt| {
            attempt.enter(Phase::Transfer);
            panic!("ouch")
        })
        .await;
        let failure = report.failure.expect("it panicked");
        assert_eq!(
            (failure.reason, failure.phase),
            (Reason::AgentError, Phase::Transfer)
        );
        assert_eq!(failure.error, "the check panicked: ouch");
    }

    #[tokio::test]
    async fn a_later_fact_replaces_an_earlier_one_of_its_kind() {
        let report = run(async |attempt| {
            let dates = |not_after| CertificateValidity {
                not_before: 0,
                not_after,
            };
            attempt.record(Fact::HttpStatus(302));
            attempt.record(Fact::Certificate(CertificateRole::Leaf, dates(1)));
            attempt.record(Fact::Certificate(CertificateRole::EarliestExpiry, dates(2)));
            attempt.record(Fact::HttpStatus(200));
            Ok(())
        })
        .await;
        assert_eq!(report.status(), Some(200));
        assert_eq!(report.facts.len(), 3);
    }

    #[tokio::test]
    async fn captured_values_are_bounded() {
        let report = run(async |attempt| {
            let captured = vec![("name".to_owned(), "\n".repeat(9000))];
            attempt.record(Fact::Captured(captured));
            Ok(())
        })
        .await;
        let Some(Fact::Captured(captured)) = report.facts.first() else {
            panic!("nothing is captured: {report:?}");
        };
        assert!(captured[0].1.starts_with("\\n"), "{captured:?}");
        assert!(captured[0].1.len() <= 256, "{captured:?}");
    }

    proptest! {
        #[test]
        fn phases_never_add_up_to_more_than_the_duration(
            steps in prop::collection::vec((0..=Phase::ALL.len(), 0_u64..3_000), 0..40)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime without I/O");
            runtime.block_on(async {
                let attempt = Attempt::start();
                for (phase, millis) in steps {
                    match Phase::ALL.get(phase) {
                        Some(phase) => attempt.enter(*phase),
                        None => attempt.leave(),
                    }
                    tokio::time::advance(Duration::from_millis(millis)).await;
                }
                let report = attempt.finish(Ok(()));
                let sum: Duration = report.phases.iter().map(|(_, spent)| *spent).sum();
                assert!(sum <= report.duration);
                assert!(report.phases.is_sorted_by_key(|(phase, _)| *phase));
            });
        }
    }
}
