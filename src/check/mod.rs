//! The types of a check: a [`Monitor`] records what it finds on an [`Attempt`], which ends as a [`Report`].
//!
//! No I/O, and nothing about YAML, Prometheus or schedules.

mod attempt;
mod cause;
mod facts;
mod job;
mod monitor;
mod prerequisites;
mod report;
mod sent_secrets;
mod state;
mod steps;
mod string_enum;
mod tee;
mod trace;

pub use attempt::Attempt;
pub use cause::Cause;
pub(crate) use facts::grpc_code_name;
pub use facts::{
    CertificateRole, CertificateValidity, DnsResponse, EchoStats, Expectation, Fact, HttpHead,
    LeafCertificate, PeerCertificates, Rcode, RoundTripStats, ServingStatus,
};
pub(crate) use job::MAX_INTERVAL;
pub use job::{DispatcherObserver, Fingerprint, Job, LoggedChecks, MonitorObserver, Replica, Skip};
pub use monitor::Monitor;
pub(crate) use monitor::{AnyMonitor, log_check};
pub(crate) use prerequisites::missing_prerequisites;
pub use report::{ErrorText, Failure, Outcome, Phase, Reason, Report};
pub use state::{
    Confirm, DegradedIf, FailedCheck, Incident, IncidentEnd, MaintenanceWindow, MonitorStatus,
    PastState, State, StateRules,
};
pub use steps::{Step, StepKind, StepLimits, Steps};
pub use tee::Tee;
pub use trace::{PhaseTimes, SpanId, Trace, TraceContext, TraceId, TraceStart, Tracer};
