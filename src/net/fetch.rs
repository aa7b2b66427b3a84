//! HTTP requests that are not checks, such as for tokens and for lists of targets.
//!
//! They are not measured, so an ordinary HTTP client sends them: reqwest, with the resolver, the trust
//! and the proxies of checks.

use std::{net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, Limited};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::{
    Resolver, Route,
    errors::{LookupError, client_failure},
    http::{OfferedVersions, Proxies, Proxy},
    tls,
};
use crate::check::{Failure, Phase, Reason};

/// Options of a [`Fetcher`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchOptions<'s> {
    /// TLS settings. A `server_name` is verified, but not sent: SNI has the host of the URL.
    pub tls: &'s tls::Settings,
    /// The versions of HTTP that are offered.
    pub versions: OfferedVersions,
    /// The proxies that requests go through.
    pub(crate) proxies: Option<&'s Proxies>,
    /// The socket that connections go to, whatever the URL's host is.
    pub(crate) unix_socket: Option<&'s Path>,
}

/// Sends requests that are not measured, and follows no redirect.
#[derive(Clone)]
pub(crate) struct Fetcher(reqwest::Client);

impl Fetcher {
    pub(super) fn new(
        resolver: &Arc<Resolver>,
        trust: &tls::TrustStore,
        options: FetchOptions<'_>,
    ) -> Self {
        let config = trust.config(options.tls, options.versions.protocols());
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(config.unrecorded(options.tls.configured_server_name()))
            .dns_resolver(OneAddress(resolver.clone()))
            // Some minutes lie between two requests.
            .pool_max_idle_per_host(0)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Not those of the environment, unless they were asked for.
            .no_proxy();
        if let Some(proxies) = options.proxies {
            client = client.proxy(chosen_by(proxies.clone()));
        }
        if let Some(path) = options.unix_socket {
            client = client.unix_socket(path);
        }
        let client = client.build();
        Self(client.expect("the TLS configuration is of the rustls that reqwest has"))
    }

    /// Sends `request` and reads the whole response.
    ///
    /// # Errors
    /// A [`Failure`] if there is no complete response of at most `max_bytes`.
    pub(crate) async fn fetch(
        &self,
        request: http::Request<Bytes>,
        max_bytes: usize,
    ) -> Result<http::Response<Bytes>, Failure> {
        let request = reqwest::Request::try_from(request)
            .map_err(|error| failure(Phase::Processing, &error))?;
        let response = self
            .0
            .execute(request)
            .await
            .map_err(|error| failure(Phase::Processing, &error))?;
        let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let body = Limited::new(body, max_bytes).collect().await;
        let body = body.map_err(|error| {
            if let Ok(error) = error.downcast::<reqwest::Error>() {
                return failure(Phase::Transfer, &error);
            }
            let error = format!("answered more than {max_bytes} bytes");
            Failure::new(Phase::Transfer, Reason::BodyTooLarge, error)
        })?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

/// The failure that `error` means. Its own text has the URL in it; that of its source does not.
fn failure(phase: Phase, error: &reqwest::Error) -> Failure {
    use std::error::Error;
    match error.source() {
        Some(source) => client_failure(phase, source),
        None => Failure::new(phase, Reason::ConnectionFailed, "the request failed"),
    }
}

/// The proxy that each request goes through.
fn chosen_by(proxies: Proxies) -> reqwest::Proxy {
    let mut headers = proxies.connect_headers();
    // It comes of the user in the proxy's URL.
    headers.remove(header::PROXY_AUTHORIZATION);
    reqwest::Proxy::custom(move |url| proxies.for_url(url).map(|proxy| url_of(proxy)))
        .headers(headers)
}

fn url_of(proxy: &Proxy) -> Url {
    let url = Url::parse(&proxy.to_string());
    let mut url = url.expect("an endpoint is the authority of a URL");
    if let Some((user, password)) = &proxy.userinfo {
        // Both fail for URLs without a host only.
        let _ = url.set_username(user);
        let _ = url.set_password(Some(password));
    }
    url
}

/// The resolver of checks, as reqwest asks for it.
struct OneAddress(Arc<Resolver>);

impl Resolve for OneAddress {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            match resolver.resolve(name.as_str(), Route::default()).await {
                // reqwest puts the URL's port in place of 0.
                Ok(address) => {
                    let address = SocketAddr::new(address, 0);
                    Ok(Box::new(std::iter::once(address)) as Addrs)
                }
                Err(failure) => Err(LookupError(failure).into()),
            }
        })
    }
}
