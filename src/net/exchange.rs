//! What a connection is for: the check that the hooks of TLS and of the HTTP client work for, and why
//! it failed.
//!
//! The hooks run while the connection's future is polled, so a task-local tells them of it.

use std::{
    error::Error,
    future::Future,
    io::ErrorKind,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Resolver, Route, io_reason, tls};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason},
    value::Host,
};

tokio::task_local! {
    static EXCHANGE: Arc<Exchange>;
}

/// The connection that the hooks work for.
pub(super) struct Exchange {
    pub attempt: Attempt,
    /// Where to connect to, where it is not what the client believes.
    target: Option<Host>,
    route: Route,
    noted: Mutex<Noted>,
}

/// What the hooks know and the client's error does not tell.
#[derive(Default)]
struct Noted {
    failure: Option<Failure>,
    certificate_demanded: bool,
}

impl Exchange {
    /// A connection of `attempt` to an address that is known.
    pub fn of(attempt: &Attempt) -> Arc<Self> {
        Self::by_client(attempt, None, Route::default())
    }

    /// A connection that a client makes for `attempt` by `route`: it asks this exchange for the
    /// address, and gets that of `target` where it believes in another.
    pub fn by_client(attempt: &Attempt, target: Option<Host>, route: Route) -> Arc<Self> {
        Arc::new(Self {
            attempt: attempt.clone(),
            target,
            route,
            noted: Mutex::default(),
        })
    }

    /// `future`, whose hooks work for this exchange.
    pub fn scope<F: Future>(self: &Arc<Self>, future: F) -> impl Future<Output = F::Output> {
        EXCHANGE.scope(self.clone(), future)
    }

    /// Calls `act` with the exchange whose future is being polled, if there is one.
    pub fn current(act: impl FnOnce(&Self)) {
        // Outside of one there is nothing to record; hooks that decide fail closed by themselves.
        let _ = EXCHANGE.try_with(|exchange| act(exchange));
    }

    /// The exchange whose future is being polled, if there is one.
    pub fn shared() -> Option<Arc<Self>> {
        EXCHANGE.try_with(Arc::clone).ok()
    }

    /// Notes why the connection is about to fail, in the current phase.
    pub fn fail(&self, reason: Reason, error: String) {
        self.note(self.attempt.failure(reason, error));
    }

    /// Notes why the connection is about to fail.
    pub fn note(&self, failure: Failure) {
        self.noted().failure = Some(failure);
    }

    /// Notes that the peer demanded a client certificate.
    pub fn certificate_demanded(&self) {
        self.noted().certificate_demanded = true;
    }

    /// Whether it did.
    pub fn is_certificate_demanded(&self) -> bool {
        self.noted().certificate_demanded
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address to connect to for `name`.
    pub async fn resolve(&self, resolver: &Resolver, name: &str) -> Result<IpAddr, Failure> {
        let name = match &self.target {
            Some(Host::Address(address)) => return Ok(*address),
            Some(Host::Name(name)) => name,
            None => name,
        };
        let address = resolver.resolve(name, self.route).await?;
        self.attempt.learn(Fact::Address(address));
        self.attempt.enter(Phase::Connect);
        Ok(address)
    }

    /// What `error`, which the connection ended with, means.
    pub fn failure(&self, error: &(dyn Error + 'static)) -> Failure {
        let (noted, certificate_demanded) = {
            let mut noted = self.noted();
            (noted.failure.take(), noted.certificate_demanded)
        };
        if let Some(failure) = noted {
            return failure;
        }
        let phase = self.attempt.phase().unwrap_or(Phase::Connect);
        let cause = Cause::of(error);
        let reason = cause.reason(phase);
        // The handshake of TLS 1.3 is over for the client before the server has seen its
        // certificate, or its lack of one: the refusal comes in place of the response.
        let refused = certificate_demanded && (cause.is_tls || reason == Reason::ConnectionReset);
        if phase.is_of_protocol() && phase != Phase::Transfer && refused {
            return Failure::new(Phase::Tls, Reason::TlsHandshake, cause.text);
        }
        Failure::new(phase, reason, cause.text)
    }
}

/// What is at the bottom of an error of a client.
struct Cause {
    reason: Option<Reason>,
    is_tls: bool,
    incomplete: bool,
    text: String,
}

impl Cause {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Self {
            reason: None,
            is_tls: false,
            incomplete: false,
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
                cause.incomplete = error.is_incomplete_message() || error.is_closed();
                if error.is_parse() {
                    cause.reason = Some(Reason::ProtocolError);
                }
            } else if let Some(error) = error.downcast_ref::<h2::Error>() {
                cause.reason = Some(h2_reason(error));
                // h2 calls it a broken pipe when the connection ends before its streams do.
                cause.incomplete = error.get_io().is_some_and(|error| {
                    matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                    )
                });
            } else if let Some(error) = error.downcast_ref::<std::io::Error>() {
                cause.incomplete |= error.kind() == ErrorKind::UnexpectedEof;
                cause.reason = Some(io_reason(error));
                // The inner error of an io::Error is no source of it.
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
            (Phase::Transfer, _) if self.incomplete => Reason::TruncatedBody,
            (_, _) if self.incomplete => Reason::ConnectionReset,
            (phase, _) if phase.is_of_protocol() && self.is_tls => Reason::ProtocolError,
            (phase, None | Some(Reason::ConnectionFailed)) if phase.is_of_protocol() => {
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
