//! Records what one handshake shows, even if it fails.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{
    CipherSuite, ProtocolVersion, SignatureScheme, client::ResolvesClientCert,
    pki_types::CertificateDer, sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    chain::{self, MAX_CERTIFICATES},
    leaf::identity,
    peer_certificates::peer_certificates,
};
use crate::check::{
    Attempt, CertificateRole, CertificateValidity, Fact, Failure, Phase, Reason, StepKind, Steps,
};

/// The record of one handshake.
#[derive(Debug)]
pub(in crate::net) struct HandshakeLog {
    attempt: Attempt,
    /// True if the identity of the peer's certificate is recorded.
    records_identity: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The reason why the peer's certificate was rejected.
    rejection: Option<Failure>,
    /// True if the peer demanded a client certificate.
    certificate_demanded: bool,
}

impl HandshakeLog {
    pub(crate) fn new(attempt: &Attempt, records_identity: bool) -> Arc<Self> {
        Arc::new(Self {
            attempt: attempt.clone(),
            records_identity,
            seen: Mutex::default(),
        })
    }

    /// The failure of a rejected peer certificate.
    pub(crate) fn rejection(&self) -> Option<Failure> {
        self.seen.lock().rejection.clone()
    }

    /// Returns whether the peer demanded a client certificate.
    pub(crate) fn is_certificate_demanded(&self) -> bool {
        self.seen.lock().certificate_demanded
    }

    pub(super) fn steps(&self) -> &Steps {
        self.attempt.steps()
    }

    pub(super) fn reject(&self, reason: Reason, error: String) {
        self.attempt.step(StepKind::CertificateRejected, || {
            format!("{reason}: {error}")
        });
        self.seen.lock().rejection = Some(Failure::new(Phase::Tls, reason, error));
    }

    /// Records the certificates as the peer sent them.
    pub(super) fn record_certificates(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) {
        let der = leaf;
        if self.steps().are_recorded() {
            self.record_certificate_steps(leaf, intermediates);
        }
        let Ok((_, leaf)) = X509Certificate::from_der(der) else {
            return;
        };
        let attempt = &self.attempt;
        // Another certificate may have been verified before, of the server that redirected here.
        attempt.clear_certificates();
        if self.records_identity {
            let identity = identity(&leaf, der);
            attempt.record(Fact::LeafCertificate(Arc::new(identity)));
        }
        attempt.record_detail(|| {
            let sent = peer_certificates(&leaf, der, intermediates);
            Fact::PeerCertificates(Arc::new(sent))
        });
        let validity = validity_of(&leaf);
        attempt.record(Fact::Certificate(CertificateRole::Leaf, validity));
        let earliest = earliest_expiry(&leaf, intermediates);
        attempt.record(Fact::Certificate(CertificateRole::EarliestExpiry, earliest));
    }

    fn record_certificate_steps(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) {
        let sent = std::iter::once(leaf).chain(intermediates).enumerate();
        for (index, certificate) in sent.take(MAX_CERTIFICATES) {
            let text = || format!("{index}: {}", chain::describe(certificate));
            self.attempt.step(StepKind::CertificateSent, text);
        }
        if let Some(more @ 1..) = (1 + intermediates.len()).checked_sub(MAX_CERTIFICATES) {
            let text = || format!("and {more} more");
            self.attempt.step(StepKind::CertificateSent, text);
        }
    }

    /// Records which certificate of the verified chain expires first.
    pub(super) fn record_verified(&self, earliest: CertificateValidity) {
        let fact = Fact::Certificate(CertificateRole::Verified, earliest);
        self.attempt.record(fact);
    }
}

/// Of the certificates that the peer sent, the one that expires first: of those that lead from `leaf`
/// to its root, by the names of their issuers. What is sent beside them, and a root, nobody needs.
fn earliest_expiry(
    leaf: &X509Certificate<'_>,
    intermediates: &[CertificateDer<'_>],
) -> CertificateValidity {
    let parsed = intermediates.iter();
    let mut unused: Vec<_> = parsed
        .filter_map(|certificate| X509Certificate::from_der(certificate).ok())
        .map(|(_, certificate)| certificate)
        .filter(|certificate| certificate.issuer() != certificate.subject())
        .collect();
    let mut earliest = validity_of(leaf);
    let mut issuer = leaf.issuer().as_raw().to_vec();
    loop {
        // Of several with that name, the one that lasts longest will do.
        let above = unused
            .iter()
            .enumerate()
            .filter(|(_, certificate)| certificate.subject().as_raw() == issuer)
            .max_by_key(|(_, certificate)| validity_of(certificate).not_after);
        let Some((index, _)) = above else {
            return earliest;
        };
        let above = unused.swap_remove(index);
        let validity = validity_of(&above);
        if validity.not_after < earliest.not_after {
            earliest = validity;
        }
        issuer = above.issuer().as_raw().to_vec();
    }
}

pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<CertificateValidity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(validity_of(&certificate))
}

fn validity_of(certificate: &X509Certificate<'_>) -> CertificateValidity {
    let validity = certificate.validity();
    CertificateValidity {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    }
}

/// Sends the client certificate of the settings, and records that one was demanded.
#[derive(Debug)]
pub(super) struct ClientCertificate {
    pub identity: Option<Arc<CertifiedKey>>,
    pub log: Option<Arc<HandshakeLog>>,
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let identity = self
            .identity
            .clone()
            .filter(|own| own.key.choose_scheme(schemes).is_some());
        if let Some(log) = &self.log {
            log.seen.lock().certificate_demanded = true;
            log.attempt.step(StepKind::ClientCertificate, || {
                match (&identity, &self.identity) {
                    (Some(own), _) => {
                        let own = own.cert.first().map(|own| chain::describe(own));
                        format!("the peer demands one; sent: {}", own.unwrap_or_default())
                    }
                    (None, Some(_)) => "the peer demands one of another type of key".to_owned(),
                    (None, None) => "the peer demands one, and none is configured".to_owned(),
                }
            });
        }
        identity
    }

    fn has_certs(&self) -> bool {
        // Otherwise rustls would not ask, and the demand would go unnoticed.
        true
    }
}

/// The suite's name in IANA's TLS registry, such as `TLS_AES_128_GCM_SHA256`.
pub(in crate::net) fn cipher_suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str().unwrap_or("unknown"),
    }
}

/// The version as people write it, such as `TLS 1.3`.
pub(in crate::net) fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        version => version.as_str().unwrap_or("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    #[test]
    fn cipher_suites_have_their_iana_names() {
        let suites = aws_lc_rs::default_provider().cipher_suites;
        let names: Vec<_> = suites
            .into_iter()
            .map(|suite| cipher_suite_name(suite.suite()))
            .collect();
        assert!(names.contains(&"TLS_AES_128_GCM_SHA256"), "{names:?}");
        assert!(
            names.contains(&"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            "{names:?}"
        );
        assert!(
            !names
                .iter()
                .any(|name| name.starts_with("TLS13_") || *name == "unknown")
        );
    }
}
