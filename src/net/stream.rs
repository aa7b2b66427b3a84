//! A measured connection, plain or under TLS.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BufMut;
use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Duration, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::io::poll_read_buf;

use super::{
    ErrorClassifier,
    tls::{HandshakeLog, TlsConfig, cipher_suite_name, version_name},
};
use crate::{
    check::{Attempt, Fact, Failure, Phase, StepKind},
    offload::Turns,
};

/// A TLS configuration and the name of the server.
#[derive(Clone)]
pub struct TlsTarget {
    pub(super) config: Arc<TlsConfig>,
    /// The name for SNI and verification.
    pub(super) server_name: ServerName<'static>,
}

impl TlsTarget {
    /// A description of the offer of a handshake.
    pub(super) fn offer(&self) -> String {
        let name = match &self.server_name {
            ServerName::DnsName(name) => format!("SNI {}", name.as_ref()),
            name => format!("no SNI, as {} is an address", name.to_str()),
        };
        match &*self.config.offered_protocols() {
            "" => format!("{name}, no ALPN"),
            protocols => format!("{name}, ALPN {protocols}"),
        }
    }
}

/// A description of the result of a handshake.
fn agreed(session: &ClientConnection) -> String {
    let version = session.protocol_version().map_or("", version_name);
    let suite = session
        .negotiated_cipher_suite()
        .map_or("", |suite| cipher_suite_name(suite.suite()));
    let group = session
        .negotiated_key_exchange_group()
        .and_then(|group| group.name().as_str())
        .unwrap_or("unknown");
    match session.alpn_protocol() {
        Some(protocol) => {
            let protocol = protocol.escape_ascii();
            format!("{version}, {suite}, group {group}, ALPN {protocol}")
        }
        None => format!("{version}, {suite}, group {group}, no ALPN"),
    }
}

/// Time that a peer may take to refuse a client certificate. One that says nothing has accepted it.
const CLIENT_CERT_VERDICT_TIMEOUT: Duration = Duration::from_millis(500);

/// Maximum bytes per read: no more than can be parsed within a fraction of a millisecond, in frames of nine bytes.
const MAX_READ_BYTES: usize = 8 << 10;

/// The transport of the bytes.
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Transport>>),
}

/// A connection that records its errors for one check.
pub struct MeasuredStream {
    transport: Transport,
    errors: ErrorClassifier,
    turns: Turns,
}

impl MeasuredStream {
    pub(super) fn new(transport: Transport, errors: ErrorClassifier) -> Self {
        Self {
            transport,
            errors,
            turns: Turns::default(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Sends each write immediately (TCP_NODELAY).
    pub(super) fn send_at_once(&self) -> Result<(), Failure> {
        let Transport::Tcp(stream) = &self.transport else {
            return Ok(());
        };
        let set = stream.set_nodelay(true);
        set.map_err(|error| self.failure(&error))
    }

    /// The same connection under TLS, after a full handshake in the phase `tls`.
    ///
    /// # Errors
    /// A [`Failure`] if the handshake fails.
    pub async fn handshake(self, tls: &TlsTarget) -> Result<Self, Failure> {
        let attempt = self.errors.attempt().clone();
        attempt.enter(Phase::Tls);
        let stream = self.handshake_for(tls, &attempt).await?;
        if let Transport::Tls(stream) = &stream.transport {
            let (_, session) = stream.get_ref();
            if let (Some(version), Some(suite)) = (
                session.protocol_version(),
                session.negotiated_cipher_suite(),
            ) {
                attempt.record(Fact::Tls {
                    version: version_name(version),
                    cipher: cipher_suite_name(suite.suite()),
                });
            }
        }
        Ok(stream)
    }

    /// The same connection under TLS. The handshake is recorded in `attempt`.
    async fn handshake_for(self, tls: &TlsTarget, attempt: &Attempt) -> Result<Self, Failure> {
        self.send_at_once()?;
        let log = HandshakeLog::new(attempt, tls.config.records_identity());
        attempt.step(StepKind::TlsOffer, || tls.offer());
        let connector = TlsConnector::from(tls.config.for_handshake(&log));
        let errors = self.errors.after_handshake(log);
        let connect = connector.connect(tls.server_name.clone(), self.transport);
        match connect.await {
            Ok(stream) => {
                attempt.step(StepKind::TlsAgreed, || agreed(stream.get_ref().1));
                Ok(Self::new(Transport::Tls(Box::new(stream)), errors))
            }
            Err(error) => Err(errors.failure(&error)),
        }
    }

    /// Waits for the peer's verdict on our certificate, if it demanded one: with TLS 1.3 the
    /// handshake is over for the client before the server has seen it.
    ///
    /// Ends the connection, as servers that are content have nothing else to say.
    ///
    /// # Errors
    /// A [`Failure`] if the peer refuses it.
    pub(crate) async fn await_client_cert_verdict(&mut self) -> Result<(), Failure> {
        if !self.errors.is_certificate_demanded() {
            return Ok(());
        }
        let verdict = async {
            self.shutdown().await?;
            self.read_u8().await
        };
        match timeout(CLIENT_CERT_VERDICT_TIMEOUT, verdict).await {
            Ok(Err(error)) if error.kind() != ErrorKind::UnexpectedEof => Err(self.failure(&error)),
            _ => Ok(()),
        }
    }

    /// The same connection under TLS with a peer that is not the target, such as a proxy: in the
    /// current phase, and without a trace in the check's facts.
    ///
    /// # Errors
    /// A [`Failure`] if the handshake fails.
    pub(super) async fn handshake_with_proxy(self, tls: &TlsTarget) -> Result<Self, Failure> {
        let errors = self.errors.clone();
        let aside = Attempt::start_with(errors.attempt().steps().clone());
        aside.enter(Phase::Tls);
        let stream = Self::new(self.transport, ErrorClassifier::new(&aside));
        match stream.handshake_for(tls, &aside).await {
            Ok(stream) => Ok(Self { errors, ..stream }),
            Err(failure) => Err(errors.attempt().failure(failure.reason, failure.error)),
        }
    }

    /// The protocol that the handshake agreed on, if it did (ALPN, RFC 7301).
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        match &self.transport {
            Transport::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            _ => None,
        }
    }

    /// The failure that an `error` of this connection means, in the current phase.
    #[must_use]
    pub fn failure(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        self.errors.failure(error)
    }

    /// The classifier for errors of this connection, for use after the stream was moved.
    #[must_use]
    pub fn errors(&self) -> ErrorClassifier {
        self.errors.clone()
    }

    /// Reads at most [`MAX_READ_BYTES`] bytes, so that no parser has more than that to work through before
    /// other tasks get their turn.
    fn poll_read_some(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let some = &mut buffer.limit(MAX_READ_BYTES);
        poll_read_buf(Pin::new(&mut self.transport), context, some).map_ok(drop)
    }

    /// Looks for the alert behind a write that failed: a peer that refuses says so and closes, and the
    /// next write sees the latter alone.
    fn look_for_alert(&mut self, context: &mut Context<'_>) {
        if !matches!(self.transport, Transport::Tls(_)) {
            return;
        }
        let mut bytes = [0; 1024];
        let mut buffer = ReadBuf::new(&mut bytes);
        if let Poll::Ready(Err(error)) =
            Pin::new(&mut self.transport).poll_read(context, &mut buffer)
        {
            self.errors.record_io_error(&error);
        }
    }
}

impl AsyncRead for MeasuredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A peer that always has more to say takes no more than its share of the worker's time,
        // even if parsing it is expensive.
        ready!(self.turns.poll_turn(context));
        let before = buffer.filled().len();
        let read = self.poll_read_some(context, buffer);
        if read.is_pending() {
            self.turns.end();
        }
        match ready!(read) {
            Ok(()) => {}
            // Closed without close_notify: whoever knows how much was to come, knows whether it is
            // all, and of the others too many servers do it.
            Err(error)
                if error.kind() == ErrorKind::UnexpectedEof
                    && matches!(self.transport, Transport::Tls(_)) => {}
            Err(error) => {
                self.errors.record_io_error(&error);
                return Poll::Ready(Err(error));
            }
        }
        let received = buffer.filled().len() - before;
        Poll::Ready(self.errors.count_received(received))
    }
}

impl AsyncWrite for MeasuredStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write(context, bytes));
        if let Err(error) = &written {
            self.look_for_alert(context);
            self.errors.record_io_error(error);
        }
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write_vectored(context, slices));
        if let Err(error) = &written {
            self.look_for_alert(context);
            self.errors.record_io_error(error);
        }
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.transport).poll_flush(context));
        if let Err(error) = &flushed {
            self.look_for_alert(context);
            self.errors.record_io_error(error);
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}

/// Calls a method of the transport.
macro_rules! each {
    ($transport:expr, $method:ident($($argument:expr),*)) => {
        match $transport {
            Transport::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Unix(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(&mut *self, poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, poll_shutdown(context))
    }
}
