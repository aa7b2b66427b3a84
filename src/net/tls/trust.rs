//! The trusted CA certificates, and TLS configurations that use them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::ServerName,
    sign::CertifiedKey,
};

use super::{
    Authorities, Settings,
    handshake::{ClientCertificate, HandshakeLog},
    verifier::{Policy, Verifier},
};

/// The CA certificates that are trusted if a monitor has no `ca_file`.
pub struct TrustStore {
    provider: Arc<CryptoProvider>,
    authorities: Arc<Authorities>,
    /// Configurations with default settings, by the protocols that they offer.
    defaults: Mutex<HashMap<Vec<Vec<u8>>, Arc<TlsConfig>>>,
    /// True if handshakes record the identity of the peer's certificate.
    records_identity: Arc<AtomicBool>,
}

impl TrustStore {
    /// The system's authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`; read once.
    #[must_use]
    pub fn system() -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "Failed to load a system CA certificate");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(
                "No CA certificates found: checks over TLS will fail; \
                 install ca-certificates or set SSL_CERT_FILE"
            );
        }
        Self::new(roots)
    }

    /// A store with these CA certificates.
    #[must_use]
    pub fn new(roots: RootCertStore) -> Self {
        Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            authorities: Arc::new(roots.into()),
            defaults: Mutex::default(),
            records_identity: Arc::default(),
        }
    }

    /// Says whether handshakes record the identity of the peer's certificate, those of monitors that are bound already
    /// included.
    pub(in crate::net) fn record_identity(&self, records: bool) {
        self.records_identity.store(records, Ordering::Relaxed);
    }

    /// TLS with these settings that offers `protocols` (ALPN, RFC 7301).
    ///
    /// Equal default settings share a configuration.
    pub(in crate::net) fn config(&self, settings: &Settings, protocols: &[&str]) -> Arc<TlsConfig> {
        let protocols: Vec<_> = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        if !settings.is_default() {
            return Arc::new(TlsConfig::new(self, settings, protocols));
        }
        let mut defaults = self.defaults.lock();
        let shared = defaults.entry(protocols).or_insert_with_key(|protocols| {
            Arc::new(TlsConfig::new(self, settings, protocols.clone()))
        });
        shared.clone()
    }
}

/// A TLS configuration for any peer.
pub(in crate::net) struct TlsConfig {
    algorithms: WebPkiSupportedAlgorithms,
    policy: Policy,
    identity: Option<Arc<CertifiedKey>>,
    /// Everything but the verifier and the client certificate, which each handshake has separately.
    client: ClientConfig,
    records_identity: Arc<AtomicBool>,
}

impl TlsConfig {
    fn new(trust: &TrustStore, settings: &Settings, protocols: Vec<Vec<u8>>) -> Self {
        let provider = trust.provider.clone();
        seed_random_numbers(&provider);
        let authorities = settings.authorities.as_ref().unwrap_or(&trust.authorities);
        let policy = if settings.insecure_skip_verify {
            Policy::AcceptAny
        } else {
            Policy::Verify(authorities.clone())
        };
        let algorithms = provider.signature_verification_algorithms;
        let identity = settings.identity.clone();
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(settings.versions.supported())
            .expect("the provider has suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                algorithms,
                policy: policy.clone(),
                log: None,
                server_name: None,
            }))
            .with_client_cert_resolver(Arc::new(ClientCertificate {
                identity: identity.clone(),
                log: None,
            }));
        client.alpn_protocols = protocols;
        client.resumption = Resumption::disabled();
        Self {
            algorithms,
            policy,
            identity,
            client,
            records_identity: trust.records_identity.clone(),
        }
    }

    /// Returns whether handshakes record the identity of the peer's certificate.
    pub(crate) fn records_identity(&self) -> bool {
        self.records_identity.load(Ordering::Relaxed)
    }

    /// The protocols that are offered (ALPN), with commas.
    pub(crate) fn offered_protocols(&self) -> String {
        let protocols: Vec<_> = self
            .client
            .alpn_protocols
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        protocols.join(", ")
    }

    /// The configuration of one handshake, which `log` records.
    pub(crate) fn for_handshake(&self, log: &Arc<HandshakeLog>) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(self.verifier(Some(log.clone()), None)));
        config.client_auth_cert_resolver = Arc::new(ClientCertificate {
            identity: self.identity.clone(),
            log: Some(log.clone()),
        });
        Arc::new(config)
    }

    /// A configuration for handshakes that are not recorded. `server_name` is verified in place
    /// of the name that is asked for.
    pub(crate) fn unrecorded(&self, server_name: Option<ServerName<'static>>) -> ClientConfig {
        let mut config = self.client.clone();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(self.verifier(None, server_name)));
        config
    }

    fn verifier(
        &self,
        log: Option<Arc<HandshakeLog>>,
        server_name: Option<ServerName<'static>>,
    ) -> Verifier {
        Verifier {
            algorithms: self.algorithms,
            policy: self.policy.clone(),
            log,
            server_name,
        }
    }
}

/// Has the random number generator seeded, which takes some 40 ms once in a process, so that it is not
/// the first check that waits for it.
fn seed_random_numbers(provider: &CryptoProvider) {
    static SEEDED: Once = Once::new();
    SEEDED.call_once(|| {
        // If there is no randomness, the handshakes say so.
        let _ = provider.secure_random.fill(&mut [0; 32]);
    });
}
