//! TLS as a monitor needs it: a full handshake every time, and the certificates recorded whatever the verdict.

mod settings;
mod suites;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore,
    SignatureScheme,
    client::{
        ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::exchange::Exchange;
use crate::{
    check::{Attempt, Certificate, CertificateRank, Fact, Failure, Phase, Reason},
    value::{Fields, TlsVersion, format_duration},
};

pub use settings::{Settings, refuse_keys};

/// The certificate authorities that are trusted where a monitor names none.
pub struct Trust {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
}

impl Trust {
    /// The system's authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`; read once.
    #[must_use]
    pub fn system() -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "A certificate authority cannot be read");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(
                "No certificate authorities were found, so checks of https URLs will fail; \
                 install ca-certificates or set SSL_CERT_FILE"
            );
        }
        Self::new(roots)
    }

    /// Given authorities.
    #[must_use]
    pub fn new(roots: RootCertStore) -> Self {
        Self {
            provider: Arc::new(suites::witnessed_provider()),
            roots: Arc::new(roots),
        }
    }

    /// What a connection with these settings needs, without any session to resume.
    pub(super) fn client_config(&self, settings: &Settings) -> ClientConfig {
        let versions: &[_] = match (settings.min_version, settings.max_version) {
            (_, TlsVersion::Tls12) => &[&rustls::version::TLS12],
            (TlsVersion::Tls12, TlsVersion::Tls13) => rustls::ALL_VERSIONS,
            (TlsVersion::Tls13, TlsVersion::Tls13) => &[&rustls::version::TLS13],
        };
        let roots = settings.authorities.as_ref().unwrap_or(&self.roots);
        let verdict = if settings.insecure_skip_verify {
            Verdict::AnyCertificate
        } else if roots.is_empty() {
            Verdict::NoAuthorities
        } else {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots.clone(), self.provider.clone());
            Verdict::WebPki(
                verifier
                    .build()
                    .expect("there are authorities and no revocation lists"),
            )
        };
        let verifier = Verifier {
            provider: self.provider.clone(),
            verdict,
        };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .expect("the provider has suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(ClientCertificate(settings.identity.clone())));
        config.resumption = Resumption::store(Arc::new(NoSessions));
        config
    }
}

/// A store that never has a session, so that every handshake is a full one.
///
/// rustls asks it for one while it builds the ClientHello of each handshake: the moment at which the
/// transport is connected and TLS begins.
#[derive(Debug)]
struct NoSessions;

impl ClientSessionStore for NoSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        Exchange::current(|exchange| exchange.attempt.enter(Phase::Tls));
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        Exchange::current(|exchange| exchange.attempt.enter(Phase::Tls));
        None
    }
}

/// Records the certificates of a handshake and judges them.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    WebPki(Arc<WebPkiServerVerifier>),
    AnyCertificate,
    NoAuthorities,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Exchange::current(|exchange| learn_certificates(&exchange.attempt, leaf, intermediates));
        let verdict = match &self.verdict {
            Verdict::AnyCertificate => return Ok(ServerCertVerified::assertion()),
            Verdict::NoAuthorities => Err(Error::General(NO_AUTHORITIES.to_owned())),
            Verdict::WebPki(verifier) => {
                verifier.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now)
            }
        };
        if let Err(error) = &verdict {
            let reason = reason(error);
            Exchange::current(|exchange| exchange.fail(reason, describe(error)));
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const NO_AUTHORITIES: &str = "no certificate authorities are known here";

/// The reason that an error of the handshake stands for.
pub(super) fn reason(error: &Error) -> Reason {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Reason::TlsExpired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Reason::TlsNotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Reason::TlsWrongHost
            }
            _ => Reason::TlsUntrusted,
        },
        Error::General(message) if message == NO_AUTHORITIES => Reason::AgentError,
        _ => Reason::TlsHandshake,
    }
}

/// The error for people: rustls names the variant of what the certificate lacks and no more.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate's issuer is not trusted".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Other(error)) => {
            format!("the certificate is not trusted: {error}")
        }
        Error::InvalidCertificate(error) => error.to_string(),
        Error::General(message) if message == NO_AUTHORITIES => message.clone(),
        error => error.to_string(),
    }
}

fn learn_certificates(
    attempt: &Attempt,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) {
    let Some(leaf) = validity(leaf) else { return };
    let earliest = intermediates
        .iter()
        .filter_map(validity)
        .chain([leaf])
        .min_by_key(|certificate| certificate.not_after)
        .unwrap_or(leaf);
    attempt.learn(Fact::Certificate(CertificateRank::Leaf, leaf));
    attempt.learn(Fact::Certificate(CertificateRank::Earliest, earliest));
}

/// How long the certificates of a peer must still be good for: the key
/// `fail_if_certificate_expires_within`, of every type that speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness(Option<Duration>);

impl Freshness {
    /// The key.
    pub const KEY: &'static str = "fail_if_certificate_expires_within";

    /// Reads its key.
    #[must_use]
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self(fields.optional(Self::KEY))
    }

    /// Judges the certificates that `attempt` has seen: all of the chain as it was sent.
    ///
    /// # Errors
    /// A [`Failure`] in the phase `tls`.
    pub fn judge(self, attempt: &Attempt) -> Result<(), Failure> {
        let earliest = attempt.known(|fact| match fact {
            Fact::Certificate(CertificateRank::Earliest, certificate) => Some(*certificate),
            _ => None,
        });
        let (Some(within), Some(earliest)) = (self.0, earliest) else {
            return Ok(());
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs().cast_signed());
        let left = earliest.not_after.saturating_sub(now);
        if left >= within.as_secs().cast_signed() {
            return Ok(());
        }
        let left = Duration::from_secs(left.max(0).unsigned_abs());
        let error = format!(
            "a certificate of the chain expires in {}",
            format_duration(left)
        );
        Err(Failure::new(Phase::Tls, Reason::TlsExpiresSoon, error))
    }
}

fn validity(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    Some(Certificate {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// Sends the client certificate of the settings, and notes that one was demanded.
#[derive(Debug)]
struct ClientCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Exchange::current(Exchange::certificate_demanded);
        self.0
            .clone()
            .filter(|identity| identity.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        // Otherwise rustls would not ask, and the demand would go unnoticed.
        true
    }
}
