//! Certificate authorities, and the verification of a chain of certificates against them.

use std::sync::Arc;

use rustls::{
    CertificateError, Error, OtherError, RootCertStore,
    client::verify_server_name,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use webpki::{EndEntityCert, KeyUsage};

use super::{candidates::candidates, chain, handshake::validity};
use crate::{
    check::{CertificateValidity, StepKind, Steps},
    value::check_validity,
};

/// The authorities that certificates are verified against.
#[derive(Debug)]
pub struct Authorities {
    roots: RootCertStore,
    /// Those that were configured by their certificates: a peer may have one of them as its own.
    certificates: Vec<CertificateDer<'static>>,
}

impl From<RootCertStore> for Authorities {
    fn from(roots: RootCertStore) -> Self {
        Self {
            roots,
            certificates: Vec::new(),
        }
    }
}

impl Authorities {
    /// The authorities of these certificates.
    ///
    /// # Errors
    /// If one of them cannot be an authority.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone())?;
        }
        Ok(Self {
            roots,
            certificates,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Verifies `leaf` for `server_name`. Of the chain from it to an authority, returns the certificate
    /// that expires first; the authority's own is not looked at. Tells `steps` the chain.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
        steps: &Steps,
    ) -> Result<Option<CertificateValidity>, Error> {
        let earliest = if self.certificates.contains(leaf) {
            // A trusted certificate itself: only its dates are checked.
            check_validity(leaf, now)?;
            steps.add(
                StepKind::CertificateVerified,
                || "the peer's own certificate is one of the configured authorities",
            );
            validity(leaf)
        } else {
            let end_entity = EndEntityCert::try_from(leaf).map_err(certificate_error)?;
            let intermediates = candidates(leaf, intermediates);
            let path = end_entity
                .verify_for_usage(
                    algorithms.all,
                    &self.roots.roots,
                    &intermediates,
                    now,
                    KeyUsage::server_auth(),
                    None,
                    None,
                )
                .map_err(certificate_error)?;
            if steps.are_recorded() {
                steps.add(StepKind::CertificateVerified, || chain::describe(leaf));
                for certificate in path.intermediate_certificates() {
                    let text = || chain::describe(&certificate.der());
                    steps.add(StepKind::CertificateVerified, text);
                }
                steps.add(StepKind::CertificateVerified, || {
                    format!("{}, a trusted authority", chain::authority(path.anchor()))
                });
            }
            let above = path
                .intermediate_certificates()
                .filter_map(|certificate| validity(&certificate.der()));
            above
                .chain(validity(leaf))
                .min_by_key(|certificate| certificate.not_after)
        };
        verify_server_name(&ParsedCertificate::try_from(leaf)?, server_name)?;
        steps.add(StepKind::CertificateVerified, || {
            format!("the certificate is for {}", server_name.to_str())
        });
        Ok(earliest)
    }
}

/// The error as rustls has it: its own translation is private.
fn certificate_error(error: webpki::Error) -> Error {
    use webpki::Error as Pki;
    let error = match error {
        Pki::BadDer | Pki::BadDerTime | Pki::TrailingData(_) => CertificateError::BadEncoding,
        Pki::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        Pki::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Pki::InvalidCertValidity => CertificateError::Expired,
        Pki::UnknownIssuer => CertificateError::UnknownIssuer,
        Pki::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Pki::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    };
    Error::InvalidCertificate(error)
}
