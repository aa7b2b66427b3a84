//! Sends a request and receives its response: connects (through a proxy if needed), speaks TLS, and exchanges messages.

use std::{net::IpAddr, sync::Arc};

use http::{Response, Version};
use rustls::pki_types::ServerName;

#[cfg(feature = "http3")]
use super::http3::{self, Quic};
use super::{
    OfferedVersions, ProxyScheme, Request, ResponseBody, Transport, connection, message,
    proxy::Proxy,
    steps::{record_request, record_request_headers, record_response},
    tunnel::{ProxyError, request_connect_tunnel, request_socks5_tunnel},
};
#[cfg(feature = "http3")]
use crate::net::with_zone;
use crate::{
    check::{Attempt, Failure, Phase, Reason, StepKind},
    net::{Connector, MeasuredStream, TlsTarget, tls},
    value::{Endpoint, Host, ZonedAddress},
};

/// Options of a [`Client`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientOptions<'s> {
    /// TLS settings.
    pub tls: &'s tls::Settings,
    /// The versions of HTTP that it offers.
    pub versions: OfferedVersions,
}

/// Sends each request over a fresh connection, with nothing cached and nothing hidden.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    /// For targets.
    tls: Arc<tls::TlsConfig>,
    /// For proxies, which get no client certificate.
    proxy_tls: Arc<tls::TlsConfig>,
    /// For HTTP/3, if that is what it speaks.
    #[cfg(feature = "http3")]
    quic: Option<Arc<Quic>>,
}

impl Client {
    pub(in crate::net) fn new(
        connector: Connector,
        trust: &tls::TrustStore,
        options: ClientOptions<'_>,
    ) -> Self {
        let without_identity = tls::Settings {
            identity: None,
            ..options.tls.clone()
        };
        Self {
            connector,
            tls: trust.config(options.tls, options.versions.protocols()),
            proxy_tls: trust.config(&without_identity, &[]),
            #[cfg(feature = "http3")]
            quic: (options.versions == OfferedVersions::Http3).then(|| Arc::new(Quic::new())),
        }
    }

    /// A connection over which the target is spoken to: its own, or one that a proxy forwards.
    async fn connect(
        &self,
        request: &Request,
        attempt: &Attempt,
    ) -> Result<MeasuredStream, Failure> {
        let target = target_of(request)?;
        let secure = request.url.scheme() == "https";
        // Asked for before the target is known by its address.
        let server_name = secure.then(|| server_name(request, &target.host, attempt));
        let stream = if let Some(proxy) = &request.proxy {
            // In a box, so that checks without a proxy have smaller futures.
            Box::pin(self.connect_through(proxy, target, request, attempt)).await?
        } else {
            let endpoint = Endpoint {
                host: host_to_connect(request, target.host),
                port: target.port,
            };
            self.connector
                .connect_for_one_write(&endpoint, request.route, attempt)
                .await?
        };
        match server_name {
            None => Ok(stream),
            Some(server_name) => {
                let tls = TlsTarget {
                    config: self.tls.clone(),
                    server_name: server_name?,
                };
                // In a box, so that checks without TLS have smaller futures.
                Box::pin(stream.handshake(&tls)).await
            }
        }
    }

    /// Sends `request` over QUIC.
    #[cfg(feature = "http3")]
    async fn send_over_http3(
        &self,
        quic: &Quic,
        request: Request,
        attempt: &Attempt,
    ) -> Result<Response<ResponseBody>, Failure> {
        let target = target_of(&request)?;
        let tls = TlsTarget {
            config: self.tls.clone(),
            server_name: server_name(&request, &target.host, attempt)?,
        };
        let host = host_to_connect(&request, target.host);
        let address = self
            .connector
            .resolve(&host, request.route, attempt)
            .await?;
        attempt.enter(Phase::Connect);
        let address = with_zone(&host, address, target.port, attempt)?;
        let connected = quic.connect(address, request.route, &tls, attempt).await?;
        attempt.enter(Phase::Processing);
        let body = request.body.clone();
        let message = message::build(request, None, Version::HTTP_3);
        let message =
            message.map_err(|error| attempt.failure(Reason::AgentError, error.to_string()))?;
        record_request(&message, &body, attempt.steps());
        let response = http3::send(connected, message.map(drop), body).await?;
        record_response(&response, attempt.steps());
        Ok(response.map(|body| ResponseBody::Quic(Box::new(body))))
    }

    /// A connection to `proxy`, and through it to `target` unless the proxy forwards requests.
    async fn connect_through(
        &self,
        proxy: &Proxy,
        target: Endpoint,
        request: &Request,
        attempt: &Attempt,
    ) -> Result<MeasuredStream, Failure> {
        let Endpoint { host, port } = target;
        let host = match (proxy.scheme, request.address) {
            (ProxyScheme::Socks5, Some(address)) => Host::Address(address),
            (ProxyScheme::Socks5, None) => {
                let address = self.connector.resolve(&host, request.route, attempt);
                Host::Address(address.await?)
            }
            _ => {
                self.connector.require_allowed_name(&host)?;
                host
            }
        };
        if let Host::Address(address) = host {
            self.connector.ensure_target_allowed(address)?;
        }
        attempt.step(StepKind::Proxy, || {
            let forwards = if forwards(proxy, request) {
                "which forwards the request"
            } else {
                "which is asked for a tunnel"
            };
            format!("{proxy}, {forwards}")
        });
        attempt.explain_timeout_in_any_phase(Some("waiting for the proxy"));
        let mut stream = self.connect_to_proxy(proxy, request, attempt).await?;
        if forwards(proxy, request) {
            attempt.explain_timeout_in_any_phase(None);
            return Ok(stream);
        }
        let target = Endpoint { host, port };
        let steps = attempt.steps();
        let tunnel = match proxy.scheme {
            ProxyScheme::Http | ProxyScheme::Https => {
                let first = || format!("CONNECT {target} HTTP/1.1");
                steps.add(StepKind::ProxyRequest, first);
                record_request_headers(&proxy.headers, StepKind::ProxyRequest, steps);
                request_connect_tunnel(&mut stream, &target, &proxy.headers).await
            }
            ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                if let Some((user, password)) = &proxy.userinfo {
                    steps.hide(user.as_bytes());
                    steps.hide(password.as_bytes());
                }
                steps.add(StepKind::ProxyRequest, || {
                    let with = match &proxy.userinfo {
                        Some(_) => "with a user and a password if it asks for them",
                        None => "without credentials",
                    };
                    format!("CONNECT {target} (SOCKS 5), {with}")
                });
                request_socks5_tunnel(&mut stream, &target, proxy.userinfo.as_ref()).await
            }
        };
        match tunnel {
            Ok(()) => {
                steps.add(StepKind::ProxyResponse, || "the tunnel is open");
                attempt.explain_timeout_in_any_phase(None);
                Ok(stream)
            }
            Err(ProxyError::Io(error)) => Err(attribute_to_proxy(stream.failure(&error))),
            Err(ProxyError::Rejected(reason, error)) => {
                steps.add(StepKind::ProxyResponse, || &*error);
                Err(attribute_to_proxy(attempt.failure(reason, error)))
            }
        }
    }

    /// A connection to `proxy`, over TLS if it wants that.
    async fn connect_to_proxy(
        &self,
        proxy: &Proxy,
        request: &Request,
        attempt: &Attempt,
    ) -> Result<MeasuredStream, Failure> {
        let connector = self.connector.unrestricted();
        let connect = connector.connect(&proxy.endpoint, request.route, attempt);
        let stream = connect.await.map_err(attribute_to_proxy)?;
        if proxy.scheme != ProxyScheme::Https {
            return Ok(stream);
        }
        let tls = TlsTarget {
            config: self.proxy_tls.clone(),
            server_name: proxy.endpoint.host.server_name(),
        };
        stream
            .handshake_with_proxy(&tls)
            .await
            .map_err(attribute_to_proxy)
    }
}

impl Transport for Client {
    type Body = ResponseBody;

    async fn send(
        &self,
        request: Request,
        attempt: &Attempt,
    ) -> Result<Response<ResponseBody>, Failure> {
        #[cfg(feature = "http3")]
        if let Some(quic) = &self.quic {
            return Box::pin(self.send_over_http3(quic, request, attempt)).await;
        }
        let stream = self.connect(&request, attempt).await?;
        attempt.enter(Phase::Processing);
        let over_http2 = stream.protocol() == Some(b"h2");
        let version = if over_http2 {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        };
        let forwarding_proxy = request
            .proxy
            .clone()
            .filter(|proxy| forwards(proxy, &request));
        let body = request.body.clone();
        let message = message::build(request, forwarding_proxy.as_deref(), version)
            .map_err(|error| attempt.failure(Reason::AgentError, error.to_string()))?;
        record_request(&message, &body, attempt.steps());
        let response = if over_http2 {
            // In a box: the future is larger than that of HTTP/1.1.
            Box::pin(connection::send_over_http2(stream, message)).await?
        } else {
            let secrets = message::Secrets::new(&message, body);
            connection::send_over_http1(stream, message, secrets).await?
        };
        record_response(&response, attempt.steps());
        Ok(response)
    }
}

/// The host and the port of the URL.
fn target_of(request: &Request) -> Result<Endpoint, Failure> {
    Endpoint::from_url(&request.url).ok_or_else(|| {
        let error = "the URL's host is not a host name";
        Failure::new(Phase::Resolve, Reason::DnsFailure, error)
    })
}

/// The name for SNI and verification of a server that is `host`.
fn server_name(
    request: &Request,
    host: &Host,
    attempt: &Attempt,
) -> Result<ServerName<'static>, Failure> {
    match &request.server_name {
        Some(name) => ServerName::try_from(name.clone()).map_err(|_| {
            let error = "the name to ask for in TLS is not a host name";
            attempt.failure(Reason::AgentError, error)
        }),
        None => Ok(host.server_name()),
    }
}

/// The host to connect to, which is `host` unless the request says otherwise.
fn host_to_connect(request: &Request, host: Host) -> Host {
    match (request.address, &request.zone, host) {
        (Some(address), ..) => Host::Address(address),
        (None, Some(zone), Host::Address(IpAddr::V6(address))) => {
            let zone = zone.clone();
            Host::Zoned(ZonedAddress { address, zone })
        }
        (None, _, host) => host,
    }
}

/// Returns whether `proxy` gets the request itself, and not a tunnel to its target.
fn forwards(proxy: &Proxy, request: &Request) -> bool {
    let http = matches!(proxy.scheme, ProxyScheme::Http | ProxyScheme::Https);
    http && request.url.scheme() == "http"
}

/// The failure, said to be the proxy's.
fn attribute_to_proxy(mut failure: Failure) -> Failure {
    failure.error = format!("the proxy: {}", failure.error).into();
    failure
}
