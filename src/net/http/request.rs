//! An HTTP request, and the trait of its response.

use std::{future::Future, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use url::Url;

use super::Proxy;
use crate::{
    check::{Attempt, Failure},
    net::Route,
};

/// The User-Agent of requests that have no other.
pub(crate) const USER_AGENT: &str = concat!("monitoringdaemon/", env!("CARGO_PKG_VERSION"));

/// Sends requests; tests have a stand-in.
pub trait Transport: Send + Sync + 'static {
    /// The body of a response.
    type Body: Body;

    /// Sends `request` over a fresh connection and waits for the response's headers.
    ///
    /// Enters the phases from `resolve` to `processing`; `transfer` begins with the body.
    ///
    /// # Errors
    /// A [`Failure`] if there is no response.
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
    /// A [`Failure`] if the body ends before it is complete.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;
}

/// A request of one hop. It holds secrets, and so has no `Debug`.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// An `http` or `https` URL with a host.
    pub url: Arc<Url>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, empty for none.
    pub body: Bytes,
    /// The IP family and source address to use.
    pub route: Route,
    /// The address of the URL's host, if it is not to be looked up.
    pub address: Option<IpAddr>,
    /// The interface behind which the URL's IPv6 address is, if it has a zone.
    pub zone: Option<Arc<str>>,
    /// The proxy that it goes through.
    pub proxy: Option<Arc<Proxy>>,
    /// The name for SNI and verification; `None` for the host of the URL.
    pub server_name: Option<String>,
}

/// The versions of HTTP that a client offers in a TLS handshake (RFC 7301). Without TLS it is 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfferedVersions {
    /// 2 and 1.1.
    Http2,
    /// 1.1 alone.
    Http1,
    /// 3 alone, over QUIC.
    Http3,
}

impl OfferedVersions {
    /// The names of the protocols, in the order of preference.
    pub(in crate::net) fn protocols(self) -> &'static [&'static str] {
        match self {
            Self::Http2 => &["h2", "http/1.1"],
            Self::Http1 => &["http/1.1"],
            Self::Http3 => &["h3"],
        }
    }
}
