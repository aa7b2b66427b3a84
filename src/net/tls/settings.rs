//! The TLS settings of connections, bound to certificates and keys.

use std::sync::Arc;

use rustls::{pki_types::ServerName, sign::CertifiedKey};

use super::Authorities;
use crate::value::{Host, TlsVersions};

/// TLS settings, with the contents of all files parsed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Trusted instead of the system's authorities.
    pub authorities: Option<Arc<Authorities>>,
    /// The client's certificate chain and its key.
    pub identity: Option<Arc<CertifiedKey>>,
    /// Name to ask for and to verify, instead of the target's.
    pub server_name: Option<String>,
    /// True if any certificate is accepted.
    pub insecure_skip_verify: bool,
    /// The versions that are offered.
    pub versions: TlsVersions,
}

impl Settings {
    /// The name to ask for and to verify, of a peer that is `host`.
    #[must_use]
    pub(crate) fn server_name_for(&self, host: &Host) -> ServerName<'static> {
        self.configured_server_name()
            .unwrap_or_else(|| host.server_name())
    }

    /// The configured name for SNI and verification.
    #[must_use]
    pub(crate) fn configured_server_name(&self) -> Option<ServerName<'static>> {
        let name = self.server_name.clone()?;
        Some(ServerName::try_from(name).expect("it was read as the name of a host"))
    }

    /// Returns whether a connection with these settings is like one without any.
    #[must_use]
    pub(in crate::net) fn is_default(&self) -> bool {
        let Self {
            authorities: None,
            identity: None,
            server_name: _, // asked for by the name in the URL, not by the client
            insecure_skip_verify: false,
            versions,
        } = self
        else {
            return false;
        };
        *versions == TlsVersions::default()
    }
}
