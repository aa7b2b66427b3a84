//! Records the certificates of a handshake and verifies them.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{
    authorities::Authorities,
    handshake::HandshakeLog,
    reasons::{NO_AUTHORITIES, cause, describe_rejection, reason},
};
use crate::check::{StepKind, Steps};

/// The certificates that are accepted.
#[derive(Clone, Debug)]
pub(super) enum Policy {
    Verify(Arc<Authorities>),
    /// Accept any certificate, of any version, with any key and signatures.
    AcceptAny,
}

/// The verifier of one handshake, or of the many of a client that is not measured.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
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
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(log) = &self.log {
            log.record_certificates(leaf, intermediates);
        }
        let unheard = Steps::none();
        let steps = self.log.as_ref().map_or(&unheard, |log| log.steps());
        let Policy::Verify(authorities) = &self.policy else {
            steps.add(
                StepKind::CertificateVerified,
                || "nothing is verified, as insecure_skip_verify is set",
            );
            return Ok(ServerCertVerified::assertion());
        };
        let server_name = self.server_name.as_ref().unwrap_or(server_name);
        let verified = if authorities.is_empty() {
            Err(Error::General(NO_AUTHORITIES.to_owned()))
        } else {
            authorities.verify(
                leaf,
                intermediates,
                server_name,
                now,
                self.algorithms,
                steps,
            )
        };
        match (verified, &self.log) {
            (Ok(earliest), log) => {
                if let (Some(earliest), Some(log)) = (earliest, log) {
                    log.record_verified(earliest);
                }
                Ok(ServerCertVerified::assertion())
            }
            (Err(error), log) => {
                if let Some(log) = log {
                    let text = describe_rejection(&error, leaf, intermediates.len());
                    log.reject(reason(&error), text);
                    if let Some(cause) = cause(&error, leaf, intermediates.len()) {
                        steps.diagnose(cause);
                    }
                }
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.policy {
            Policy::AcceptAny => Ok(HandshakeSignatureValid::assertion()),
            Policy::Verify(_) => {
                verify_tls12_signature(message, certificate, signature, &self.algorithms)
            }
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.policy {
            Policy::AcceptAny => Ok(HandshakeSignatureValid::assertion()),
            Policy::Verify(_) => {
                verify_tls13_signature(message, certificate, signature, &self.algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        if matches!(self.policy, Policy::AcceptAny) {
            schemes.extend([
                SignatureScheme::RSA_PKCS1_SHA1,
                SignatureScheme::ECDSA_SHA1_Legacy,
            ]);
        }
        schemes
    }
}
