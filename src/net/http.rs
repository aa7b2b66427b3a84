//! One HTTP request over one fresh connection, on reqwest, with each step of it in its phase.
//!
//! reqwest has no hooks for timing. What it does have is enough: a resolver, a layer around its
//! connector, and rustls' own hooks (see [`tls`](super::tls)). All of them run while the request's
//! future is polled, and so work for its exchange.

use std::{
    error::Error,
    future::Future,
    io,
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
use url::{Position, Url};

use super::{Resolver, Route, exchange::Exchange};
use crate::{
    check::{Attempt, Fact, Failure, Phase},
    value::Host,
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
    pub route: Route,
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
            Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        match address {
            Some(address) => {
                request.route.check(address)?;
                attempt.learn(Fact::Address(address));
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
                target = Some(address.map_or(Host::Name(real), Host::Address));
                if let (Entry::Vacant(host), Ok(authority)) =
                    (headers.entry(HOST), authority.parse())
                {
                    host.insert(authority);
                }
            }
        }
        let exchange = Exchange::new(attempt, target, request.route);

        let mut message = reqwest::Request::new(request.method, url);
        *message.headers_mut() = headers;
        if !request.body.is_empty() {
            *message.body_mut() = Some(request.body.into());
        }
        match exchange.scope(self.0.execute(message)).await {
            Ok(response) => {
                let response = Response::<reqwest::Body>::from(response);
                Ok(response.map(|body| ResponseBody { body, exchange }))
            }
            Err(error) => Err(failure(&exchange, &error)),
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
                Some(Err(error)) => return Err(failure(&self.exchange, &error)),
            }
        }
    }
}

/// What `error` means. Its own text has the URL in it; that of its source tells what happened.
fn failure(exchange: &Exchange, error: &reqwest::Error) -> Failure {
    match error.source() {
        Some(source) => exchange.failure(source),
        None => exchange.failure(&io::Error::other("the request failed")),
    }
}

/// Tells the exchange how long it takes to resolve its name, and gives reqwest one address.
struct MeasuredResolver(Arc<Resolver>);

impl Resolve for MeasuredResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let exchange = Exchange::shared().ok_or("a lookup for no request")?;
            match exchange.resolve(&resolver, name.as_str()).await {
                // reqwest puts the URL's port in place of 0.
                Ok(address) => Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))) as Addrs),
                Err(failure) => {
                    let error = failure.error.clone();
                    exchange.note(failure);
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
