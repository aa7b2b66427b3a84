//! The trait of all monitors, and the log line of a check.

use std::{future::Future, pin::Pin};

use super::{Attempt, Failure, Phase, Report};

/// Target of the log lines of monitors that write none of their own.
const LOG_TARGET: &str = "monitoringdaemon::check";

/// Settings bound to one target, ready to be checked any number of times.
///
/// Implement this to add a way of checking of your own; `examples/own_monitor.rs` is one in full.
pub trait Monitor: Send + Sync + 'static {
    /// The word for the `type` label and the `type:` key, such as `http`.
    fn kind(&self) -> &'static str;

    /// What is checked, as shown to users and in the `target` label; never with a secret in it.
    fn target(&self) -> String;

    /// The host that its connections go to, a name or an address, if it has one: checks of one
    /// host share its places (`dispatcher.max_concurrent_checks_per_host`).
    fn host(&self) -> Option<String> {
        None
    }

    /// The phases that a check reaches where all is well, as far as they are known beforehand: by
    /// them `plan` counts series, and a check that reaches `tls` is taken for a dear one.
    fn phases(&self) -> Vec<Phase> {
        Vec::new()
    }

    /// The most memory that the body of a response can take in one check, in bytes: kept, decoded and
    /// parsed. `plan` counts it.
    fn max_body_memory(&self) -> u64 {
        0
    }

    /// What on this machine, and not on the target's side, keeps every check from succeeding, such as a
    /// permission that is missing; asked when the daemon starts, and by `validate`.
    ///
    /// The text is shown to users, and must be the same for all affected monitors. Must return without
    /// waiting.
    fn obstacle(&self) -> Option<String> {
        None
    }

    /// Runs one check: enters phases and learns facts on `attempt`, and says why it failed if it did.
    ///
    /// The caller owns the deadline and enforces it by dropping the future, so nothing may go on
    /// running after a drop. The attempt outlives the drop and keeps what was written to it.
    ///
    /// # Errors
    /// A [`Failure`] is an answer, not a fault of the program: the target is not as it should be.
    fn check(&self, attempt: &Attempt) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Writes the line of one finished check; `monitor` is the name it was configured under.
    fn log(&self, monitor: &str, report: &Report) {
        log_check!(target: LOG_TARGET, monitor, report, target = self.target());
    }
}

/// Logs a finished check with the fields that its type has, from the module that calls it or from
/// `target`.
///
/// The address is shown where the target is a name: it is what was checked in truth.
macro_rules! log_check {
    (target: $log_target:expr, $monitor:expr, $report:expr, $($field:ident = $value:expr),+ $(,)?) => {{
        let report: &$crate::check::Report = $report;
        match &report.failure {
            None => ::tracing::info!(
                target: $log_target,
                monitor = $monitor,
                $($field = $value,)+
                status = report.status(),
                bytes = report.response_bytes(),
                seconds = report.duration.as_secs_f64(),
                address = report.resolved_address().map(::tracing::field::display),
                "Check succeeded"
            ),
            Some(failure) => ::tracing::warn!(
                target: $log_target,
                monitor = $monitor,
                $($field = $value,)+
                reason = failure.reason.as_str(),
                phase = failure.phase.as_str(),
                status = report.status(),
                bytes = report.response_bytes(),
                seconds = report.duration.as_secs_f64(),
                address = report.resolved_address().map(::tracing::field::display),
                error = &*failure.error,
                "Check failed"
            ),
        }
    }};
    ($monitor:expr, $($rest:tt)+) => {
        $crate::check::log_check!(target: ::std::module_path!(), $monitor, $($rest)+)
    };
}
pub(crate) use log_check;

/// [`Monitor`] as a trait object; every monitor is one.
pub(crate) trait AnyMonitor: Send + Sync + 'static {
    fn kind(&self) -> &'static str;
    fn target(&self) -> String;
    fn host(&self) -> Option<String>;
    fn phases(&self) -> Vec<Phase>;
    fn max_body_memory(&self) -> u64;
    fn obstacle(&self) -> Option<String>;
    /// Boxed, so that a monitor that sleeps between its checks costs what a sleep costs.
    fn check<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;
    fn log(&self, monitor: &str, report: &Report);
}

impl<M: Monitor> AnyMonitor for M {
    fn kind(&self) -> &'static str {
        Monitor::kind(self)
    }

    fn target(&self) -> String {
        Monitor::target(self)
    }

    fn host(&self) -> Option<String> {
        Monitor::host(self)
    }

    fn phases(&self) -> Vec<Phase> {
        Monitor::phases(self)
    }

    fn max_body_memory(&self) -> u64 {
        Monitor::max_body_memory(self)
    }

    fn obstacle(&self) -> Option<String> {
        Monitor::obstacle(self)
    }

    fn check<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>> {
        Box::pin(Monitor::check(self, attempt))
    }

    fn log(&self, monitor: &str, report: &Report) {
        Monitor::log(self, monitor, report);
    }
}
