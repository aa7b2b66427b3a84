//! One HTTP request over one fresh connection, on reqwest, with each step of it in its phase.
//!
//! reqwest has no hooks for timing. What it does have is enough: a resolver, a layer around its
//! connector, and rustls' own hooks (see [`tls`]). All of them run while the request's
//! future is polled, so a task-local tells them which check they work for.

use std::{
    error::Error,
    future::Future,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Response,
    header::{Entry, HOST},
};
use http_body_util::BodyExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use tower_layer::Layer;
use tower_service::Service;
use url::{Host, Position, Url};

use super::{Resolver, io_reason, resolve::check_family, tls};
use crate::{
    check::{Attempt, Failure, Phase, Reason},
    value::IpFamily,
};

/// What a monitor that speaks HTTP needs of a client; a test gives it a stand-in.
pub trait Transport: Send + Sync + 'static {
    /// How the response's body comes.
    type Body: Body;

    /// Sends `request` over a fresh connection and waits for the response's headers.
    ///
    /// Enters the phases from `resolve` to `processing`; `transfer` begins with the body.
    ///
    /// # Errors
    /// A [`Failure`] where there is no response.
    fn send(
        &self,
        request: Request,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<Response<Self::Body>, Failure>> + Send;
}

/// The body of a response, read piece by piece.
pub trait Body: Send {
    /// The next bytes, or `None` after the last ones.
    ///
    /// # Errors
    /// A [`Failure`] where the body ends before it is complete.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;
}

/// A request of one hop. It holds secrets, and so has no `Debug`.
#[derive(Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// An `http` or `https` URL with a host.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, empty for none.
    pub body: Bytes,
    /// Which addresses may be used.
    pub family: IpFamily,
    /// Whether those of another family may be used where there are none of that.
    pub fallback: bool,
    /// The name to ask for in TLS and to verify, where it is not the URL's.
    pub server_name: Option<String>,
}

/// Which versions of HTTP a client offers in a TLS handshake (RFC 7301). Without TLS it is 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 2 and 1.1.
    Http2,
    /// 1.1 alone.
    Http1,
}

/// reqwest, with a fresh connection and nothing hidden for each request.
#[derive(Clone)]
pub struct Client(reqwest::Client);

impl Client {
    pub(super) fn new(
        resolver: Arc<Resolver>,
        mut config: ClientConfig,
        versions: Versions,
    ) -> Self {
        config.alpn_protocols = match versions {
            Versions::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Versions::Http1 => vec![b"http/1.1".to_vec()],
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .dns_resolver(MeasuredResolver(resolver))
            .connector_layer(MeasuredConnect)
            .pool_max_idle_per_host(0) // no pool at all: each request connects
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            // A connection lasts for one request, and the check's deadline ends it.
            .tcp_keepalive(None)
            .tcp_keepalive_interval(None)
            .tcp_keepalive_retries(None)
            .tcp_user_timeout(None)
            .build()
            .expect("the TLS configuration is of the rustls that reqwest has");
        Self(client)
    }
}

impl Transport for Client {
    type Body = ResponseBody;

    async fn send(
        &self,
        request: Request,
        attempt: &Attempt,
    ) -> Result<Response<ResponseBody>, Failure> {
        let address = match request.url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        match address {
            Some(address) => {
                check_family(address, request.family, request.fallback)?;
                attempt.enter(Phase::Connect);
            }
            None => attempt.enter(Phase::Resolve),
        }

        let (mut url, mut headers) = (request.url, request.headers);
        let mut target = None;
        // reqwest asks TLS for the URL's host. So where another name is wanted it becomes the
        // URL's host, the resolver is told of the real one, and the Host header names it.
        if let Some(server_name) = request.server_name.filter(|_| url.scheme() == "https") {
            let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
            let real = url.host_str().unwrap_or_default().to_owned();
            if url.set_host(Some(&server_name)).is_ok() {
                target = Some(address.map_or(Target::Name(real), Target::Address));
                if let (Entry::Vacant(host), Ok(authority)) =
                    (headers.entry(HOST), authority.parse())
                {
                    host.insert(authority);
                }
            }
        }
        let exchange = Arc::new(Exchange {
            attempt: attempt.clone(),
            target,
            family: request.family,
            fallback: request.fallback,
            noted: Mutex::default(),
        });

        let mut message = reqwest::Request::new(request.method, url);
        *message.headers_mut() = headers;
        if !request.body.is_empty() {
            *message.body_mut() = Some(request.body.into());
        }
        match EXCHANGE
            .scope(exchange.clone(), self.0.execute(message))
            .await
        {
            Ok(response) => {
                let response = Response::<reqwest::Body>::from(response);
                Ok(response.map(|body| ResponseBody { body, exchange }))
            }
            Err(error) => Err(exchange.failure(&error)),
        }
    }
}

/// The body of a response over reqwest.
pub struct ResponseBody {
    body: reqwest::Body,
    exchange: Arc<Exchange>,
}

impl Body for ResponseBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(self.exchange.failure(&error)),
            }
        }
    }
}

tokio::task_local! {
    static EXCHANGE: Arc<Exchange>;
}

/// The request that the hooks of the client work for.
pub(super) struct Exchange {
    pub(super) attempt: Attempt,
    target: Option<Target>,
    family: IpFamily,
    fallback: bool,
    noted: Mutex<Noted>,
}

/// Where to connect to, where it is not what the URL says.
enum Target {
    Name(String),
    Address(IpAddr),
}

/// What the hooks know and the client's error does not tell.
#[derive(Default)]
struct Noted {
    failure: Option<Failure>,
    certificate_demanded: bool,
}

impl Exchange {
    /// Calls `act` with the exchange whose future is being polled, if there is one.
    pub(super) fn current(act: impl FnOnce(&Self)) {
        // Outside of one there is nothing to record; hooks that decide fail closed by themselves.
        let _ = EXCHANGE.try_with(|exchange| act(exchange));
    }

    /// Notes why the request is about to fail, in the current phase.
    pub(super) fn fail(&self, reason: Reason, error: String) {
        let failure = self.attempt.failure(reason, error);
        self.noted().failure = Some(failure);
    }

    /// Notes that the peer demanded a client certificate.
    pub(super) fn certificate_demanded(&self) {
        self.noted().certificate_demanded = true;
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn resolve(&self, resolver: &Resolver, name: &str) -> Result<IpAddr, Failure> {
        let name = match &self.target {
            Some(Target::Address(address)) => return Ok(*address),
            Some(Target::Name(name)) => name,
            None => name,
        };
        let address = resolver.resolve(name, self.family, self.fallback).await?;
        self.attempt.enter(Phase::Connect);
        Ok(address)
    }

    /// What `error` of the client means.
    fn failure(&self, error: &reqwest::Error) -> Failure {
        let noted = std::mem::take(&mut *self.noted());
        if let Some(failure) = noted.failure {
            return failure;
        }
        let phase = self.attempt.phase().unwrap_or(Phase::Connect);
        let cause = Cause::of(error);
        let reason = cause.reason(phase);
        // The handshake of TLS 1.3 is over for the client before the server has seen its
        // certificate, or its lack of one: the refusal comes in place of the response.
        let refused =
            noted.certificate_demanded && (cause.is_tls || reason == Reason::ConnectionReset);
        if phase == Phase::Processing && refused {
            return Failure::new(Phase::Tls, Reason::TlsHandshake, cause.text);
        }
        Failure::new(phase, reason, cause.text)
    }
}

/// What is at the bottom of an error of reqwest.
struct Cause {
    reason: Option<Reason>,
    is_tls: bool,
    incomplete: bool,
    text: String,
}

impl Cause {
    fn of(error: &reqwest::Error) -> Self {
        let mut cause = Self {
            reason: None,
            is_tls: false,
            incomplete: false,
            text: String::new(),
        };
        let mut next: Option<&(dyn Error + 'static)> = error.source();
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
            (Phase::Processing | Phase::Transfer, _) if self.is_tls => Reason::ProtocolError,
            (Phase::Processing | Phase::Transfer, None | Some(Reason::ConnectionFailed)) => {
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

/// Tells the exchange how long it takes to resolve its name, and gives reqwest one address.
struct MeasuredResolver(Arc<Resolver>);

impl Resolve for MeasuredResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let exchange = EXCHANGE.try_with(Arc::clone)?;
            match exchange.resolve(&resolver, name.as_str()).await {
                // reqwest puts the URL's port in place of 0.
                Ok(address) => Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))) as Addrs),
                Err(failure) => {
                    let error = failure.error.clone();
                    exchange.noted().failure = Some(failure);
                    Err(error.into())
                }
            }
        })
    }
}

/// Tells the exchange when its connection stands, TLS included.
#[derive(Clone)]
struct MeasuredConnect;

/// reqwest clones its connector, box by box, some six times for a request: so what is in there is shared.
/// It is ready at any time, and only makes the future while it is locked.
#[derive(Clone)]
struct MeasuredConnectService<S>(Arc<Mutex<S>>);

impl<S> MeasuredConnectService<S> {
    fn connector(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for MeasuredConnect {
    type Service = MeasuredConnectService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MeasuredConnectService(Arc::new(Mutex::new(inner)))
    }
}

impl<S, R> Service<R> for MeasuredConnectService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector().poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connect = self.connector().call(request);
        Box::pin(async move {
            let connection = connect.await;
            if connection.is_ok() {
                Exchange::current(|exchange| exchange.attempt.enter(Phase::Processing));
            }
            connection
        })
    }
}
