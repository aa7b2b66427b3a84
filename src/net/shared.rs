//! The network resources that all monitors share: resolver, trusted authorities, ICMP sockets.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::pki_types::ServerName;

use super::{Connector, FetchOptions, Fetcher, Resolver, TlsTarget, http, icmp, oauth2, tls};
use crate::value::{AllowedTargets, ForbiddenTargets};

/// Everything that monitors share: the resolver, the trusted CA certificates, the tokens and the sockets
/// for ICMP.
#[derive(Clone)]
pub struct Net {
    resolver: Arc<Resolver>,
    trust: Arc<tls::TrustStore>,
    icmp: Arc<icmp::Sockets>,
    forbidden: Arc<RwLock<ForbiddenTargets>>,
    allowed: Option<AllowedTargets>,
    tokens: Arc<oauth2::TokenSourceCache>,
}

impl Net {
    /// The system's resolver and its certificate authorities.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Resolver::system(), tls::TrustStore::system())
    }

    /// A given resolver and given certificate authorities.
    #[must_use]
    pub fn new(resolver: Resolver, trust: tls::TrustStore) -> Self {
        Self {
            resolver: Arc::new(resolver),
            trust: Arc::new(trust),
            icmp: Arc::default(),
            forbidden: Arc::default(),
            allowed: None,
            tokens: Arc::default(),
        }
    }

    /// A connector to hosts.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector {
            resolver: self.resolver.clone(),
            forbidden: Some(self.forbidden.clone()),
            allowed: self.allowed.clone(),
        }
    }

    /// The same parts for checks that connect to these targets alone.
    #[must_use]
    pub(crate) fn limited_to(&self, allowed: AllowedTargets) -> Self {
        Self {
            allowed: Some(allowed),
            ..self.clone()
        }
    }

    /// Forbids checks to connect to these addresses, those of monitors that are bound already
    /// included.
    pub fn forbid_targets(&self, targets: ForbiddenTargets) {
        *self.forbidden.write() = targets;
    }

    /// Records the identity of the certificates that peers have, or leaves it: that takes time in each handshake.
    pub fn record_leaf_certificates(&self, records: bool) {
        self.trust.record_identity(records);
    }

    /// The resolver.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        self.resolver.clone()
    }

    /// The sockets for echo requests, which are opened at their first use.
    #[must_use]
    pub fn icmp(&self) -> Arc<icmp::Sockets> {
        self.icmp.clone()
    }

    /// TLS with these settings and a peer of this name, that offers `protocols` (ALPN, RFC 7301).
    #[must_use]
    pub(crate) fn tls_client(
        &self,
        settings: &tls::Settings,
        server_name: ServerName<'static>,
        protocols: &[&str],
    ) -> TlsTarget {
        TlsTarget {
            config: self.trust.config(settings, protocols),
            server_name,
        }
    }

    /// A client for measured requests.
    #[must_use]
    pub(crate) fn http_client(&self, options: http::ClientOptions<'_>) -> http::Client {
        http::Client::new(self.connector(), &self.trust, options)
    }

    /// A client for requests that are not checks.
    #[must_use]
    pub(crate) fn fetcher(&self, options: FetchOptions<'_>) -> Fetcher {
        Fetcher::new(&self.resolver, &self.trust, options)
    }

    /// The token source for these settings. Monitors with equal settings share it.
    #[must_use]
    pub fn tokens(&self, settings: &oauth2::Settings) -> Arc<oauth2::TokenSource> {
        self.tokens.get(settings, || {
            let options = oauth2::TokenSource::fetch_options(settings);
            oauth2::TokenSource::new(settings, self.fetcher(options))
        })
    }
}
