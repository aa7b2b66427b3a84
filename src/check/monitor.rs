//! The trait that every type of monitor implements, and the log line of a check.

use std::{future::Future, pin::Pin};

use super::{Attempt, Failure, Phase, Report};

/// Target of the log lines of monitors without their own.
const LOG_TARGET: &str = "monitoringdaemon::check";

/// Settings bound to one target, ready to be checked any number of times.
///
/// Implement it to add a type of monitor; `examples/own_monitor.rs` is a complete example.
pub trait Monitor: Send + Sync + 'static {
    /// The value of the `type` label and the `type` key, such as `http`.
    fn kind(&self) -> &'static str;

    /// The target as shown to users and in the `target` label; it must not contain a secret.
    fn target(&self) -> String;

    /// The name or address of the host that it connects to, if it has one. Checks of the same host
    /// share the limit `dispatcher.max_concurrent_checks_per_host`.
    fn host(&self) -> Option<String> {
        None
    }

    /// The method of its requests, if it speaks HTTP.
    fn request_method(&self) -> Option<&str> {
        None
    }

    /// The phases of a successful check, as far as they are known beforehand. `plan` counts series by
    /// them, and considers checks with the phase `tls` more expensive.
    fn phases(&self) -> Vec<Phase> {
        Vec::new()
    }

    /// The most memory that the body of a response can take in one check, in bytes: kept, decoded and
    /// parsed. `plan` counts it.
    fn max_body_memory(&self) -> u64 {
        0
    }

    /// The local problem that makes every check fail, such as a missing permission. Called when the
    /// daemon starts, and by `validate`.
    ///
    /// The text is shown to users, and must be the same for all affected monitors. Must return without
    /// waiting.
    fn missing_prerequisite(&self) -> Option<String> {
        None
    }

    /// Runs one check: enters phases and records facts on `attempt`.
    ///
    /// The caller enforces the deadline by dropping the future, so nothing may keep running after a
    /// drop. The attempt outlives the drop and keeps what was recorded.
    ///
    /// # Errors
    /// Returns the [`Failure`] of the check. It describes the target, and is not an error of the program.
    fn check(&self, attempt: &Attempt) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Logs one finished check; `monitor` is the configured name.
    fn log(&self, monitor: &str, report: &Report) {
        log_check!(target: LOG_TARGET, monitor, report, target = self.target());
    }
}

/// Logs a finished check with the fields of its type. The log target is `target`, or the calling module.
///
/// The address is logged if the target is a name.
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
                trace_id = report.trace_id().map(::tracing::field::display),
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
                trace_id = report.trace_id().map(::tracing::field::display),
                "Check failed"
            ),
        }
    }};
    ($monitor:expr, $($rest:tt)+) => {
        $crate::check::log_check!(target: ::std::module_path!(), $monitor, $($rest)+)
    };
}
pub(crate) use log_check;

/// [`Monitor`] as a trait object.
pub(crate) trait AnyMonitor: Send + Sync + 'static {
    fn kind(&self) -> &'static str;
    fn target(&self) -> String;
    fn host(&self) -> Option<String>;
    fn request_method(&self) -> Option<&str>;
    fn phases(&self) -> Vec<Phase>;
    fn max_body_memory(&self) -> u64;
    fn missing_prerequisite(&self) -> Option<String>;
    /// Boxed, so that a sleeping monitor does not hold the memory of a check.
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

    fn request_method(&self) -> Option<&str> {
        Monitor::request_method(self)
    }

    fn phases(&self) -> Vec<Phase> {
        Monitor::phases(self)
    }

    fn max_body_memory(&self) -> u64 {
        Monitor::max_body_memory(self)
    }

    fn missing_prerequisite(&self) -> Option<String> {
        Monitor::missing_prerequisite(self)
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
