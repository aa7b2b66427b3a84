//! One HTTP request over one fresh connection, on reqwest, with each step of it in its phase.
//!
//! reqwest has no hooks for timing. What it does have is enough: a resolver, a layer around its
//! connector, and rustls' own hooks (see [`tls`]). All of them run while the request's future is
//! polled, and so work for its exchange.

mod hooks;
mod proxy;
mod refusal;
mod tunnel;

use std::{error::Error, future::Future, io, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Response,
    header::{Entry, HOST},
};
use http_body_util::BodyExt;
use rustls::ClientConfig;
use url::{Position, Url};

use self::{
    hooks::{MeasuredConnect, MeasuredResolver},
    tunnel::{Delivery, Tunnel},
};
use super::{Connector, Resolver, Route, exchange::Exchange, tls};
use crate::{
    check::{Attempt, Fact, Failure, Phase},
    value::{Host, address_in},
};

pub use proxy::{Proxies, Proxy, ProxyScheme};

/// The User-Agent of requests that have no other.
pub const USER_AGENT: &str = concat!("monitoringdaemon/", env!("CARGO_PKG_VERSION"));

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
    /// The address of the URL's host, where it is not to be looked up.
    pub address: Option<IpAddr>,
    /// The proxy that it goes through.
    pub proxy: Option<Arc<Proxy>>,
    /// The name to ask for in TLS and to verify, where it is not the URL's.
    pub server_name: Option<String>,
}

/// Which versions of HTTP a client offers in a TLS handshake (RFC 7301). Without TLS it is 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Versions {
    /// 2 and 1.1.
    Http2,
    /// 1.1 alone.
    Http1,
}

impl Versions {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

/// What a client is made for; monitors with equal ones, and no TLS of their own, share a client.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'s> {
    /// How to speak TLS.
    pub tls: &'s tls::Settings,
    /// Which versions of HTTP it offers.
    pub versions: Versions,
    /// The address that connections come from, where it is not the system's choice.
    pub source: Option<IpAddr>,
    /// Whether requests may go through a proxy.
    pub proxied: bool,
}

/// A client with a fresh connection and nothing hidden for each request: reqwest, or hyper where a
/// request goes through a proxy.
#[derive(Clone)]
pub struct Client {
    direct: reqwest::Client,
    tunnel: Option<Arc<Tunnel>>,
}

impl Client {
    pub(super) fn new(resolver: &Arc<Resolver>, trust: &tls::Trust, profile: Profile<'_>) -> Self {
        let mut config = trust.client_config(profile.tls);
        config.alpn_protocols = profile.versions.protocols();
        let tunnel = profile.proxied.then(|| {
            let without_identity = tls::Settings {
                identity: None,
                ..profile.tls.clone()
            };
            Arc::new(Tunnel {
                connector: Connector(resolver.clone()),
                tls: Arc::new(config.clone()),
                proxy_tls: Arc::new(trust.client_config(&without_identity)),
            })
        });
        Self {
            direct: direct(resolver.clone(), config, profile.source),
            tunnel,
        }
    }
}

fn direct(
    resolver: Arc<Resolver>,
    config: ClientConfig,
    source: Option<IpAddr>,
) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .dns_resolver(MeasuredResolver(resolver))
        .connector_layer(MeasuredConnect)
        .local_address(source)
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
        .expect("the TLS configuration is of the rustls that reqwest has")
}

impl Transport for Client {
    type Body = ResponseBody;

    async fn send(
        &self,
        request: Request,
        attempt: &Attempt,
    ) -> Result<Response<ResponseBody>, Failure> {
        if let (Some(proxy), Some(tunnel)) = (request.proxy.clone(), &self.tunnel) {
            let response = tunnel.send(request, &proxy, attempt).await?;
            return Ok(response.map(|body| ResponseBody(Source::Tunnelled(body))));
        }
        let address = request.address.or_else(|| address_in(&request.url));
        match address {
            Some(address) => {
                request.route.check(address)?;
                attempt.learn(Fact::Address(address));
                attempt.enter(Phase::Connect);
            }
            None => attempt.enter(Phase::Resolve),
        }

        let (mut url, mut headers) = (request.url, request.headers);
        let mut target = request.address.map(Host::Address);
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
        let exchange = Exchange::by_client(attempt, target, request.route);

        let mut message = reqwest::Request::new(request.method, url);
        *message.headers_mut() = headers;
        if !request.body.is_empty() {
            *message.body_mut() = Some(request.body.into());
        }
        match exchange.scope(self.direct.execute(message)).await {
            Ok(response) => {
                let response = Response::<reqwest::Body>::from(response);
                Ok(response.map(|body| ResponseBody(Source::Direct(body, exchange))))
            }
            Err(error) => Err(failure(&exchange, &error)),
        }
    }
}

/// The body of a response.
pub struct ResponseBody(Source);

enum Source {
    Direct(reqwest::Body, Arc<Exchange>),
    Tunnelled(Delivery),
}

impl Body for ResponseBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = match &mut self.0 {
                Source::Direct(body, exchange) => {
                    let frame = body.frame().await.transpose();
                    frame.map_err(|error| failure(exchange, &error))?
                }
                Source::Tunnelled(delivery) => {
                    let frame = delivery.body.frame().await.transpose();
                    frame.map_err(|error| delivery.judge.failure(&error))?
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
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
