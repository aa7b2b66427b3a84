//! From a host to a connection that is measured, plain or over TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpSocket, UnixStream},
    time::{Duration, timeout},
};
use tokio_rustls::TlsConnector;

use super::{Resolver, Route, StartTls, conversation::Conversation, exchange::Exchange};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason},
    value::{Endpoint, Host},
};

/// Finds and connects to hosts.
#[derive(Clone)]
pub struct Connector(pub(super) Arc<Resolver>);

impl Connector {
    /// A connection to `endpoint`, as [`Connector::connect`] has it, under TLS where `tls` is given.
    ///
    /// # Errors
    /// A [`Failure`] where there is none.
    pub async fn connect_over(
        &self,
        tls: Option<&TlsClient>,
        endpoint: &Endpoint,
        route: Route,
        attempt: &Attempt,
    ) -> Result<Stream, Failure> {
        let stream = self.connect(endpoint, route, attempt).await?;
        match tls {
            Some(tls) => stream.handshake(tls).await,
            None => Ok(stream),
        }
    }

    /// The address of `host` to check: one, whatever others it has.
    ///
    /// Enters the phase `resolve` where it has to be looked up.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such address.
    pub async fn resolve(
        &self,
        host: &Host,
        route: Route,
        attempt: &Attempt,
    ) -> Result<IpAddr, Failure> {
        let address = match host {
            Host::Address(address) => {
                route.check(*address)?;
                *address
            }
            Host::Name(name) => {
                attempt.enter(Phase::Resolve);
                self.0.resolve(name, route).await?
            }
        };
        attempt.learn(Fact::Address(address));
        Ok(address)
    }

    /// Every address of `name` that may be checked, at most `limit`, by the phase `resolve`.
    ///
    /// # Errors
    /// A [`Failure`] where there is none.
    pub async fn resolve_all(
        &self,
        name: &str,
        route: Route,
        limit: usize,
        attempt: &Attempt,
    ) -> Result<Vec<IpAddr>, Failure> {
        attempt.enter(Phase::Resolve);
        let mut addresses = self.0.resolve_all(name, route).await?;
        addresses.truncate(limit);
        Ok(addresses)
    }

    /// A TCP connection to `endpoint`, by the phases `resolve` and `connect`.
    ///
    /// # Errors
    /// A [`Failure`] where there is none.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        route: Route,
        attempt: &Attempt,
    ) -> Result<Stream, Failure> {
        let address = self.resolve(&endpoint.host, route, attempt).await?;
        attempt.enter(Phase::Connect);
        let exchange = Exchange::of(attempt);
        let connect = async {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(source) = route.source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect((address, endpoint.port).into()).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        match connect.await {
            Ok(stream) => Ok(Stream::new(stream, exchange)),
            Err(error) => Err(exchange.failure(&error)),
        }
    }
}

/// A connection to the socket of a program on this machine, by the phase `connect`.
///
/// # Errors
/// A [`Failure`] where there is none.
pub async fn connect_unix(path: &Path, attempt: &Attempt) -> Result<Stream, Failure> {
    attempt.enter(Phase::Connect);
    let exchange = Exchange::of(attempt);
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Stream::new(stream, exchange)),
        // As where nobody listens on a port.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(attempt.failure(Reason::ConnectionRefused, "there is no such socket"))
        }
        Err(error) => Err(exchange.failure(&error)),
    }
}

/// How to speak TLS over a connection that stands, and whom with.
#[derive(Clone)]
pub struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    /// The name to ask for and to verify.
    pub(super) server_name: ServerName<'static>,
}

/// How long a peer may take to refuse a certificate; one that says nothing is content.
const VERDICT_WITHIN: Duration = Duration::from_millis(500);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that stands, and knows what check it is for.
pub struct Stream {
    io: Box<dyn Io>,
    exchange: Arc<Exchange>,
    protocol: Option<Vec<u8>>,
}

impl Stream {
    fn new(io: impl Io + 'static, exchange: Arc<Exchange>) -> Self {
        Self {
            io: Box::new(io),
            exchange,
            protocol: None,
        }
    }

    /// The same connection under TLS, after a full handshake in the phase `tls`.
    ///
    /// # Errors
    /// A [`Failure`] where there is none.
    pub async fn handshake(self, tls: &TlsClient) -> Result<Self, Failure> {
        let Self { io, exchange, .. } = self;
        exchange.attempt.enter(Phase::Tls);
        let connector = TlsConnector::from(tls.config.clone());
        let connect = connector.connect(tls.server_name.clone(), io);
        match exchange.scope(connect).await {
            Ok(stream) => {
                let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                Ok(Self {
                    protocol,
                    ..Self::new(stream, exchange)
                })
            }
            Err(error) => Err(exchange.failure(&error)),
        }
    }

    /// The same connection under TLS, after the peer was asked for it by `protocol`.
    ///
    /// # Errors
    /// A [`Failure`] where the peer refuses, or the handshake fails.
    pub async fn start_tls(self, protocol: StartTls, tls: &TlsClient) -> Result<Self, Failure> {
        let attempt = self.exchange.attempt.clone();
        let mut conversation = Conversation::new(self, &attempt);
        protocol.ask(&mut conversation).await?;
        conversation.start_tls(tls).await
    }

    /// Waits for what the peer makes of our certificate, where it demanded one: the handshake of
    /// TLS 1.3 is over for the client before the server has seen it.
    ///
    /// Ends the connection, as servers that are content have nothing else to say.
    ///
    /// # Errors
    /// A [`Failure`] where the peer refuses.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        if !self.exchange.is_certificate_demanded() {
            return Ok(());
        }
        let verdict = async {
            self.io.shutdown().await?;
            self.io.read_u8().await
        };
        match timeout(VERDICT_WITHIN, verdict).await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(self.exchange.failure(&error))
            }
            _ => Ok(()),
        }
    }

    /// The same connection under TLS with a peer that is not the target, such as a proxy: in the
    /// current phase, and without a word of it in the check's facts.
    ///
    /// # Errors
    /// A [`Failure`] where there is none.
    pub(super) async fn handshake_on_the_way(self, tls: &TlsClient) -> Result<Self, Failure> {
        let exchange = self.exchange.clone();
        let aside = Self {
            exchange: Exchange::of(&Attempt::start()),
            ..self
        };
        match aside.handshake(tls).await {
            Ok(stream) => Ok(Self { exchange, ..stream }),
            Err(failure) => Err(exchange.attempt.failure(failure.reason, failure.error)),
        }
    }

    /// The protocol that the handshake agreed on, where it did (ALPN, RFC 7301).
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        self.protocol.as_deref()
    }

    /// What an `error` of this connection means, in the current phase.
    #[must_use]
    pub fn failure(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        self.exchange.failure(error)
    }

    /// Tells what errors of this connection mean, after it was handed to somebody else.
    #[must_use]
    pub fn judge(&self) -> Judge {
        Judge(self.exchange.clone())
    }
}

/// Tells what errors of a connection mean.
#[derive(Clone)]
pub struct Judge(Arc<Exchange>);

impl Judge {
    /// What `error` of the connection means, in the current phase.
    #[must_use]
    pub fn failure(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        self.0.failure(error)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
