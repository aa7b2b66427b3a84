//! Records the certificates of a handshake and verifies them.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    handshake::HandshakeLog,
    reasons::{NO_AUTHORITIES, describe, reason},
};

/// Which certificates are accepted.
#[derive(Clone, Debug)]
pub(super) enum Policy {
    WebPki(Arc<WebPkiServerVerifier>),
    AnyCertificate,
    NoAuthorities,
}

/// The verifier of one handshake, or of the many of a client that is not measured.
#[derive(Debug)]
pub(super) struct Verifier {
    pub provider: Arc<CryptoProvider>,
    pub policy: Policy,
    pub log: Option<Arc<HandshakeLog>>,
    /// The name to verify in place of the one that was asked for.
    pub server_name: Option<ServerName<'static>>,
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
        if let Some(log) = &self.log {
            log.record_certificates(leaf, intermediates);
        }
        let server_name = self.server_name.as_ref().unwrap_or(server_name);
        let verdict = match &self.policy {
            Policy::AnyCertificate => return Ok(ServerCertVerified::assertion()),
            Policy::NoAuthorities => Err(Error::General(NO_AUTHORITIES.to_owned())),
            Policy::WebPki(verifier) => {
                verifier.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now)
            }
        };
        if let (Err(error), Some(log)) = (&verdict, &self.log) {
            log.reject(reason(error), describe(error));
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
