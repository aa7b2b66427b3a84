//! Decides which checks are traced, and queues the traces that are exported.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{TraceSettings, queue::Queue, settings::SampleRatio, spans};
use crate::check::{Job, Report, TraceContext, TraceStart, Tracer};

/// The tracer of all checks. Where traces are off, it costs one comparison a check.
///
/// Traces of failed checks are chosen at the end, so steps and times of every check are recorded unless no failure is
/// exported. A target is told whether a trace is sampled before its check has ended: it is if the check is exported
/// whatever its result, as one after a failed check is.
pub(crate) struct CheckTracer {
    queue: Arc<Queue>,
    failures: AtomicU64,
    successes: AtomicU64,
}

impl CheckTracer {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            failures: AtomicU64::new(u64::MAX),
            successes: AtomicU64::new(u64::MAX),
        }
    }

    /// Samples as `settings` say.
    pub(super) fn configure(&self, settings: Option<&TraceSettings>) {
        let threshold = |ratio: Option<SampleRatio>| ratio.map_or(u64::MAX, SampleRatio::threshold);
        let failures = threshold(settings.map(|settings| settings.failures));
        let successes = threshold(settings.map(|settings| settings.successes));
        self.failures.store(failures, Ordering::Relaxed);
        self.successes.store(successes, Ordering::Relaxed);
    }

    fn samples_failure(&self, context: &TraceContext) -> bool {
        context.trace_id.randomness() >= self.failures.load(Ordering::Relaxed)
    }
}

impl Tracer for CheckTracer {
    fn start(&self, job: &Job, last_failed: bool) -> Option<TraceStart> {
        if !self.queue.is_open() {
            return TraceStart::unrecorded(job);
        }
        let mut context = TraceContext::random();
        let randomness = context.trace_id.randomness();
        let if_failed = self.samples_failure(&context);
        context.is_sampled =
            randomness >= self.successes.load(Ordering::Relaxed) || last_failed && if_failed;
        let is_recorded = context.is_sampled || if_failed;
        (is_recorded || job.propagate).then_some(TraceStart {
            context,
            is_propagated: job.propagate,
            is_recorded,
        })
    }

    fn end(&self, job: &Job, report: &mut Report) {
        let has_failed = report.failure.is_some();
        let Some(trace) = &mut report.trace else {
            return;
        };
        let is_chosen =
            trace.context.is_sampled || has_failed && self.samples_failure(&trace.context);
        // It may have been turned off meanwhile.
        trace.context.is_sampled = is_chosen && trace.phases.is_some() && self.queue.is_open();
        if trace.context.is_sampled {
            self.queue.push(spans::encode(job, report).into());
        } else if !trace.is_propagated {
            report.trace = None;
        }
    }
}
