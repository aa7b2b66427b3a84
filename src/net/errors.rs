//! Turns errors of connections into the [`Failure`] of a check, with its reason.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::tls::{self, HandshakeLog};
use crate::check::{Attempt, Failure, Phase, Reason};

/// Maps the errors of one connection to failures.
///
/// The stream records its own errors, because an HTTP client often passes on less than the transport reported.
#[derive(Clone)]
pub struct ErrorClassifier(Arc<Connection>);

struct Connection {
    attempt: Attempt,
    handshake: Option<Arc<HandshakeLog>>,
    /// The first error that the transport itself had.
    transport_error: Mutex<Option<RootCause>>,
    /// True if the peer has closed the connection.
    is_closed: AtomicBool,
    /// Bytes received.
    received: AtomicU64,
    /// Bytes that may be received.
    receive_limit: AtomicU64,
}

impl ErrorClassifier {
    pub(super) fn new(attempt: &Attempt) -> Self {
        Self::with(attempt.clone(), None)
    }

    /// For the same connection once it is under TLS.
    pub(super) fn after_handshake(&self, handshake: Arc<HandshakeLog>) -> Self {
        Self::with(self.0.attempt.clone(), Some(handshake))
    }

    fn with(attempt: Attempt, handshake: Option<Arc<HandshakeLog>>) -> Self {
        Self(Arc::new(Connection {
            attempt,
            handshake,
            transport_error: Mutex::default(),
            is_closed: AtomicBool::new(false),
            received: AtomicU64::new(0),
            receive_limit: AtomicU64::new(u64::MAX),
        }))
    }

    pub(super) fn attempt(&self) -> &Attempt {
        &self.0.attempt
    }

    pub(super) fn is_certificate_demanded(&self) -> bool {
        let handshake = self.0.handshake.as_ref();
        handshake.is_some_and(|handshake| handshake.is_certificate_demanded())
    }

    /// Limits the bytes that the connection may receive from now on.
    pub(crate) fn allow(&self, bytes: u64) {
        let received = self.0.received.load(Ordering::Relaxed);
        let limit = received.saturating_add(bytes);
        self.0.receive_limit.store(limit, Ordering::Relaxed);
    }

    /// Raises the limit by `bytes`.
    pub(super) fn allow_more(&self, bytes: u64) {
        self.0.receive_limit.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` that were received; 0 is the end.
    ///
    /// # Errors
    /// If the connection has received more than it may.
    pub(super) fn count_received(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            self.0.is_closed.store(true, Ordering::Relaxed);
        }
        let received = self.0.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if received > self.0.receive_limit.load(Ordering::Relaxed) {
            return Err(io::Error::new(ErrorKind::InvalidData, Flood));
        }
        Ok(())
    }

    /// Notes an error of the transport itself.
    pub(super) fn record_io_error(&self, error: &io::Error) {
        let mut noted = self.0.transport_error.lock();
        if noted.as_ref().is_none_or(|noted| !noted.is_tls) {
            let cause = RootCause::new(error);
            if noted.is_none() || cause.is_tls {
                *noted = Some(cause);
            }
        }
    }

    /// The failure that `error` of the connection means, in the current phase.
    #[must_use]
    pub fn failure(&self, error: &(dyn Error + 'static)) -> Failure {
        self.failure_for(RootCause::new(error))
    }

    /// The failure that `cause` means, in the current phase.
    pub(super) fn failure_for(&self, mut cause: RootCause) -> Failure {
        let Connection {
            attempt,
            handshake,
            transport_error,
            is_closed,
            ..
        } = &*self.0;
        if let Some(failure) = handshake.as_ref().and_then(|log| log.rejection()) {
            return failure;
        }
        let phase = attempt.phase().unwrap_or(Phase::Connect);
        let noted = transport_error.lock().clone();
        let broken = noted.is_some() || is_closed.load(Ordering::Relaxed);
        if let Some(noted) = noted.filter(|noted| noted.is_tls || cause.reason.is_none()) {
            cause = noted;
        }
        let reason = cause.reason(phase);
        // With TLS 1.3 the client's handshake ends before the server has seen the client's
        // certificate, or that there is none: the refusal comes in place of the response.
        let refused = self.is_certificate_demanded()
            && (broken || cause.is_tls || reason == Reason::ConnectionReset);
        if phase.is_application_protocol() && phase != Phase::Transfer && refused {
            return Failure::new(Phase::Tls, Reason::TlsHandshake, cause.text);
        }
        Failure::new(phase, reason, cause.text)
    }
}

/// The failure that an error of a client means that hides its connection, in `phase`.
pub(super) fn client_failure(phase: Phase, error: &(dyn Error + 'static)) -> Failure {
    let cause = RootCause::new(error);
    let reason = match cause.reason {
        Some(reason) if cause.is_tls => reason,
        _ => cause.reason(phase),
    };
    Failure::new(phase, reason, cause.text)
}

/// The peer sent too much data that is not part of a response.
#[derive(Debug)]
struct Flood;

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer sent too much data that is not part of a response")
    }
}

impl Error for Flood {}

/// A lookup that failed, on its way through a client that takes any error.
#[derive(Debug)]
pub(super) struct LookupError(pub Failure);

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.error)
    }
}

impl Error for LookupError {}

/// The root cause of an error.
#[derive(Clone)]
pub(super) struct RootCause {
    pub reason: Option<Reason>,
    /// True if TLS failed.
    pub(crate) is_tls: bool,
    /// True if the peer ended the connection before the end of what it was sending.
    pub(crate) is_incomplete: bool,
    pub text: String,
}

impl RootCause {
    /// A cause that is known without an error.
    #[cfg(feature = "http3")]
    pub(super) fn new_for(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason: Some(reason),
            is_tls: false,
            is_incomplete: false,
            text: text.into(),
        }
    }

    pub(super) fn new(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Self {
            reason: None,
            is_tls: false,
            is_incomplete: false,
            text: String::new(),
        };
        let mut next = Some(error);
        while let Some(error) = next {
            cause.text = error.to_string();
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                cause.is_tls = true;
                cause.reason = Some(tls::reason(error));
                cause.text = tls::describe(error);
            } else if let Some(error) = error.downcast_ref::<hyper::Error>() {
                cause.is_incomplete = error.is_incomplete_message() || error.is_closed();
                if error.is_parse() {
                    cause.reason = Some(Reason::ProtocolError);
                }
            } else if let Some(error) = error.downcast_ref::<h2::Error>() {
                cause.reason = Some(h2_reason(error));
                if error.get_io().is_none() {
                    cause.text = describe_h2(error);
                }
                // h2 calls it a broken pipe when the connection ends before its streams do.
                cause.is_incomplete = error.get_io().is_some_and(|error| {
                    matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                    )
                });
            } else if let Some(LookupError(failure)) = error.downcast_ref() {
                cause.reason = Some(failure.reason);
            } else if error.is::<Flood>() {
                cause.reason = Some(Reason::ProtocolError);
            } else if let Some(error) = error.downcast_ref::<io::Error>() {
                cause.is_incomplete |= error.kind() == ErrorKind::UnexpectedEof;
                cause.reason = Some(io_reason(error));
                // The inner error of an io::Error is not its source.
                next = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
                continue;
            }
            next = error.source();
        }
        cause
    }

    fn reason(&self, phase: Phase) -> Reason {
        match (phase, self.reason) {
            (_, Some(reason @ (Reason::AgentError | Reason::Timeout))) => reason,
            (Phase::Tls, _) => Reason::TlsHandshake,
            (Phase::Transfer, _) if self.is_incomplete => Reason::TruncatedBody,
            (_, _) if self.is_incomplete => Reason::ConnectionReset,
            (phase, _) if phase.is_application_protocol() && self.is_tls => Reason::ProtocolError,
            (phase, None | Some(Reason::ConnectionFailed)) if phase.is_application_protocol() => {
                Reason::ProtocolError
            }
            (_, Some(reason)) => reason,
            (_, None) => Reason::ConnectionFailed,
        }
    }
}

fn h2_reason(error: &h2::Error) -> Reason {
    match error.get_io() {
        Some(error) => io_reason(error),
        None if error.is_remote() => Reason::ConnectionReset,
        None => Reason::ProtocolError,
    }
}

/// A description of an HTTP/2 error, without the peer's debug data, which may repeat the request.
fn describe_h2(error: &h2::Error) -> String {
    let Some(reason) = error.reason() else {
        return "the HTTP/2 connection failed".to_owned();
    };
    // The name that RFC 9113 has for it, or its number.
    let code = format!("{reason:?}");
    match (error.is_remote(), error.is_go_away(), error.is_reset()) {
        (true, true, _) => format!("the peer closed the HTTP/2 connection: {code}"),
        (true, _, _) => format!("the peer reset the HTTP/2 stream: {code}"),
        (false, _, true) => format!("HTTP/2 stream error: {code}"),
        (false, _, false) => format!("HTTP/2 connection error: {code}"),
    }
}

/// The reason that an I/O error of a connection stands for.
pub(super) fn io_reason(error: &io::Error) -> Reason {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Reason::ConnectionRefused,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::NotConnected
        | Kind::UnexpectedEof
        | Kind::WriteZero => Reason::ConnectionReset,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            Reason::HostUnreachable
        }
        Kind::TimedOut => Reason::Timeout,
        Kind::AddrNotAvailable | Kind::PermissionDenied | Kind::OutOfMemory => Reason::AgentError,
        _ => match error.raw_os_error() {
            Some(ENFILE | EMFILE | ENOBUFS | EAFNOSUPPORT) => Reason::AgentError,
            _ => Reason::ConnectionFailed,
        },
    }
}

// Linux's numbers (errno(3)) of errors for which std has no stable kind.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EAFNOSUPPORT: i32 = 97;
const ENOBUFS: i32 = 105;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: i32, expected: Reason) {
        assert_eq!(
            io_reason(&io::Error::from_raw_os_error(errno)),
            expected,
            "errno {errno}"
        );
    }

    #[test]
    fn local_errors_are_agent_errors() {
        const EPERM: i32 = 1;
        const ENOMEM: i32 = 12;
        const EACCES: i32 = 13;
        const EADDRNOTAVAIL: i32 = 99;
        for errno in [
            EPERM,
            ENOMEM,
            EACCES,
            EADDRNOTAVAIL,
            ENFILE,
            EMFILE,
            ENOBUFS,
            EAFNOSUPPORT,
        ] {
            check(errno, Reason::AgentError);
        }
    }

    #[test]
    fn network_errors_have_their_reasons() {
        const EIO: i32 = 5;
        const ENETUNREACH: i32 = 101;
        const ECONNRESET: i32 = 104;
        const ETIMEDOUT: i32 = 110;
        const ECONNREFUSED: i32 = 111;
        const EHOSTUNREACH: i32 = 113;
        check(ECONNREFUSED, Reason::ConnectionRefused);
        check(ECONNRESET, Reason::ConnectionReset);
        check(EHOSTUNREACH, Reason::HostUnreachable);
        check(ENETUNREACH, Reason::HostUnreachable);
        check(ETIMEDOUT, Reason::Timeout);
        check(EIO, Reason::ConnectionFailed);
    }
}
