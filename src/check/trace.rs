//! The identity of a check in a distributed trace, and the times that its spans are made of.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{Job, Phase, Report};

/// The id of a trace; never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The id of a span; never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

impl SpanId {
    /// Returns a random id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random::<u64>().max(1).to_be_bytes())
    }
}

impl TraceId {
    /// The greatest [`randomness`](Self::randomness).
    pub const MAX_RANDOMNESS: u64 = (1 << 56) - 1;

    /// Returns a random id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random::<u128>().max(1).to_be_bytes())
    }

    /// The random number that sampling decides by: the last seven bytes (W3C Trace Context Level 2, section 3.2.2.3).
    #[must_use]
    pub fn randomness(&self) -> u64 {
        let last = u128::from_be_bytes(self.0) & u128::from(Self::MAX_RANDOMNESS);
        u64::try_from(last).unwrap_or(Self::MAX_RANDOMNESS)
    }
}

/// Writes the digits of an id.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

/// The identity of a check in a trace (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span of the check.
    pub span_id: SpanId,
    /// True if the trace is exported. Before the end of a check, that it is exported whatever its result.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Returns a new trace that is not sampled.
    #[must_use]
    pub fn random() -> Self {
        Self {
            trace_id: TraceId::random(),
            span_id: SpanId::random(),
            is_sampled: false,
        }
    }

    /// The value of the header `traceparent` (W3C Trace Context, section 3.2).
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = u8::from(self.is_sampled);
        format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }
}

/// The part of a trace that is decided before its check starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceStart {
    /// The identity.
    pub context: TraceContext,
    /// True if it is sent to the target.
    pub is_propagated: bool,
    /// True if the times of phases, and steps, are recorded, because the trace may be exported.
    pub is_recorded: bool,
}

impl TraceStart {
    /// The trace of a check of `job` that is not exported: one if it sends its identity to the target.
    #[must_use]
    pub fn unrecorded(job: &Job) -> Option<Self> {
        job.propagate.then(|| Self {
            context: TraceContext::random(),
            is_propagated: true,
            is_recorded: false,
        })
    }
}

/// The trace of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The identity.
    pub context: TraceContext,
    /// True if it was sent to the target.
    pub is_propagated: bool,
    /// When the check started.
    pub started_at: SystemTime,
    /// The time from start to end.
    pub elapsed: Duration,
    /// The phases in the order in which they took place, if they were recorded; one may be there several times.
    pub phases: Option<Vec<PhaseTimes>>,
}

/// Start and end of one phase, since the start of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseTimes {
    /// The phase.
    pub phase: Phase,
    /// When it began.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
}

/// Number of phases of a check that are kept; redirects and several addresses repeat them.
const MAX_PHASES: usize = 64;

impl Trace {
    /// The trace of a check that starts now.
    pub(super) fn new(start: TraceStart) -> Self {
        Self {
            context: start.context,
            is_propagated: start.is_propagated,
            started_at: SystemTime::now(),
            elapsed: Duration::ZERO,
            phases: start.is_recorded.then(Vec::new),
        }
    }

    /// Adds a phase that has ended.
    pub(super) fn add(&mut self, phase: Phase, start: Duration, end: Duration) {
        let phases = self.phases.as_mut();
        if let Some(phases) = phases.filter(|phases| phases.len() < MAX_PHASES) {
            phases.push(PhaseTimes { phase, start, end });
        }
    }
}

/// Decides which checks are traced, and receives their reports. Every method must return without waiting.
pub trait Tracer: Send + Sync {
    /// Returns the trace of a check of `job` that is about to start, if it has one. A check is likely to fail if the
    /// one before it `last_failed`.
    fn start(&self, job: &Job, last_failed: bool) -> Option<TraceStart>;

    /// Decides whether the trace of `report`, a report of `job` that has one, is exported.
    fn end(&self, job: &Job, report: &mut Report);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_as_the_recommendation_has_it() {
        let mut context = TraceContext {
            trace_id: TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()),
            span_id: SpanId(0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()),
            is_sampled: true,
        };
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(context.traceparent(), example);
        context.is_sampled = false;
        assert_eq!(context.traceparent(), example.replace("-01", "-00"));
        assert_eq!(context.trace_id.randomness(), 0x00ce_929d_0e0e_4736);
    }

    #[test]
    fn the_number_of_phases_is_bounded() {
        let start = TraceStart {
            context: TraceContext::random(),
            is_propagated: false,
            is_recorded: true,
        };
        let mut trace = Trace::new(start);
        for _ in 0..1_000 {
            trace.add(Phase::Connect, Duration::ZERO, Duration::ZERO);
        }
        assert_eq!(trace.phases.map(|phases| phases.len()), Some(MAX_PHASES));
    }
}
