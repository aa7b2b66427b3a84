//! One HTTP request through a proxy, on hyper.
//!
//! reqwest has proxies too. They do not tell why a proxy refused, take the proxy's TLS for the
//! target's, and cannot ask TLS for another name than the URL's.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use http::{HeaderValue, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::task::JoinSet;
use url::Position;

use super::{
    Request,
    proxy::{Proxy, ProxyScheme},
    refusal::{Refusal, connect, socks5},
};
use crate::{
    check::{Attempt, Failure, Phase, Reason},
    net::{Connector, Judge, Stream, TlsClient},
    value::{Endpoint, Host},
};

/// What speaks with proxies, and through them with targets.
pub(super) struct Tunnel {
    pub connector: Connector,
    /// For the target.
    pub tls: Arc<ClientConfig>,
    /// For the proxy itself, which gets no client certificate.
    pub proxy_tls: Arc<ClientConfig>,
}

/// A response, and the tasks that bring its body: dropped with it, they are gone.
pub(super) struct Delivery {
    pub body: Incoming,
    pub judge: Judge,
    _connection: Connection,
}

/// The tasks of one connection.
type Connection = Arc<Mutex<JoinSet<()>>>;

/// Spawns what hyper wants to run beside a request, for as long as somebody holds the connection.
#[derive(Clone)]
struct Companion(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Companion {
    fn execute(&self, future: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(future);
        }
    }
}

impl Tunnel {
    pub async fn send(
        &self,
        request: Request,
        proxy: &Proxy,
        attempt: &Attempt,
    ) -> Result<Response<Delivery>, Failure> {
        let target = Endpoint::of(&request.url).ok_or_else(|| {
            let error = "the URL's host is no name of a host";
            Failure::new(Phase::Resolve, Reason::DnsFailure, error)
        })?;
        let secure = request.url.scheme() == "https";
        let forwarded = !secure && matches!(proxy.scheme, ProxyScheme::Http | ProxyScheme::Https);
        let host = match (proxy.scheme, request.address) {
            (ProxyScheme::Socks5, Some(address)) => Host::Address(address),
            (ProxyScheme::Socks5, None) => {
                let address = self.connector.resolve(&target.host, request.route, attempt);
                Host::Address(address.await?)
            }
            _ => target.host.clone(),
        };
        let mut stream = self.reach(proxy, &request, attempt).await?;
        if !forwarded {
            let port = target.port;
            let tunnel = async {
                match proxy.scheme {
                    ProxyScheme::Http | ProxyScheme::Https => {
                        connect(&mut stream, &Endpoint { host, port }, &proxy.headers).await
                    }
                    ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                        let userinfo = proxy.userinfo.as_ref();
                        socks5(&mut stream, &Endpoint { host, port }, userinfo).await
                    }
                }
            };
            match tunnel.await {
                Ok(()) => {}
                Err(Refusal::Io(error)) => return Err(of_proxy(stream.failure(&error))),
                Err(Refusal::Said(reason, error)) => {
                    return Err(of_proxy(attempt.failure(reason, error)));
                }
            }
        }
        if secure {
            let server_name = match &request.server_name {
                Some(name) => ServerName::try_from(name.clone()).map_err(|_| {
                    let error = "the name to ask for in TLS is no host name";
                    attempt.failure(Reason::AgentError, error)
                })?,
                None => target.host.server_name(),
            };
            let config = self.tls.clone();
            let tls = TlsClient {
                config,
                server_name,
            };
            stream = stream.handshake(&tls).await?;
        }
        attempt.enter(Phase::Processing);
        let over_http2 = stream.protocol() == Some(b"h2");
        let message = message(request, forwarded.then_some(proxy), over_http2);
        let message =
            message.map_err(|error| attempt.failure(Reason::AgentError, error.to_string()))?;
        exchange(stream, message, over_http2).await
    }

    /// A connection to `proxy`, over TLS where it wants that.
    async fn reach(
        &self,
        proxy: &Proxy,
        request: &Request,
        attempt: &Attempt,
    ) -> Result<Stream, Failure> {
        let connect = self
            .connector
            .connect(&proxy.endpoint, request.route, attempt);
        let stream = connect.await.map_err(of_proxy)?;
        if proxy.scheme != ProxyScheme::Https {
            return Ok(stream);
        }
        let tls = TlsClient {
            config: self.proxy_tls.clone(),
            server_name: proxy.endpoint.host.server_name(),
        };
        stream.handshake_on_the_way(&tls).await.map_err(of_proxy)
    }
}

/// The failure, said to be the proxy's.
fn of_proxy(mut failure: Failure) -> Failure {
    failure.error.insert_str(0, "the proxy: ");
    failure
}

/// The request as it is sent: to a proxy that forwards it, with all of its URL.
fn message(
    request: Request,
    forwarded_by: Option<&Proxy>,
    over_http2: bool,
) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let url = &request.url;
    let whole = forwarded_by.is_some() || over_http2;
    let start = if whole {
        Position::BeforeScheme
    } else {
        Position::BeforePath
    };
    let uri = Uri::try_from(&url[start..Position::AfterQuery])?;
    let mut message = http::Request::new(Full::new(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = uri;
    let mut headers = request.headers;
    if over_http2 {
        *message.version_mut() = http::Version::HTTP_2;
        // RFC 9113, section 8.2.2.
        headers.remove(header::CONNECTION);
    } else if !headers.contains_key(header::HOST) {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        headers.insert(header::HOST, HeaderValue::try_from(host)?);
    }
    headers
        .entry(header::ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    if let Some(proxy) = forwarded_by
        && let Some(credentials) = proxy.headers.get(header::PROXY_AUTHORIZATION)
    {
        headers.insert(header::PROXY_AUTHORIZATION, credentials.clone());
    }
    *message.headers_mut() = headers;
    Ok(message)
}

/// Sends `message` and waits for the response's headers.
async fn exchange(
    stream: Stream,
    message: http::Request<Full<Bytes>>,
    over_http2: bool,
) -> Result<Response<Delivery>, Failure> {
    use hyper::{client::conn, rt::Executor};
    let judge = stream.judge();
    let connection = Connection::default();
    let companion = Companion(Arc::downgrade(&connection));
    let io = TokioIo::new(stream);
    let response = async {
        // The error of a connection reaches the request that it was for.
        if over_http2 {
            let (mut sender, task) = conn::http2::handshake(companion.clone(), io).await?;
            companion.execute(async move { drop(task.await) });
            sender.send_request(message).await
        } else {
            let (mut sender, task) = conn::http1::handshake(io).await?;
            companion.execute(async move { drop(task.await) });
            sender.send_request(message).await
        }
    };
    let response = response.await.map_err(|error| judge.failure(&error))?;
    Ok(response.map(|body| Delivery {
        body,
        judge,
        _connection: connection,
    }))
}
