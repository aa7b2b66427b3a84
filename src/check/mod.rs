//! What a check is: a [`Monitor`] runs, writes what it sees to an [`Attempt`], and a [`Report`] comes out.
//!
//! A leaf of the crate: it does no I/O and knows nothing of YAML, Prometheus or schedules.

mod attempt;
mod both;
mod facts;
mod job;
mod monitor;
mod prerequisites;
mod report;
mod words;

pub use attempt::Attempt;
pub use both::Both;
pub use facts::{
    Certificate, CertificateRank, DnsResponse, Echoes, Fact, LeafCertificate, Rcode, RoundTrips,
    ServingStatus,
};
pub(crate) use job::LONGEST;
pub use job::{CheckLog, Job, Observer, Overseer, Replica, Skip, Version};
pub use monitor::Monitor;
pub(crate) use monitor::{AnyMonitor, log_check};
pub(crate) use prerequisites::missing_prerequisites;
pub use report::{ErrorText, Failure, Outcome, Phase, Reason, Report};
