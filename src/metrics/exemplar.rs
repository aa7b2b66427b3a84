//! Exemplars: the trace of one check among those that a sample counts.

use std::time::SystemTime;

use crate::check::{Report, TraceId};

/// The label that has the id of the trace.
pub(super) const TRACE_ID: &str = "trace_id";

/// The trace of one check among those that a sample counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub trace_id: TraceId,
    /// The observation of that check.
    pub value: f64,
    pub at: SystemTime,
}

impl Exemplar {
    /// The exemplar of the check of `report`, of which `value` was observed; `None` if no trace of it is exported.
    pub(super) fn new(report: &Report, value: f64) -> Option<Self> {
        Some(Self {
            trace_id: report.exported_trace_id()?,
            value,
            at: report.ended_at,
        })
    }
}
