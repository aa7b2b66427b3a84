//! What an error of a handshake means.

use rustls::{CertificateError, Error};

use crate::check::Reason;

/// The error of a handshake for which no certificate authority is known.
pub(super) const NO_AUTHORITIES: &str = "no certificate authorities are known here";

/// The reason that an error of the handshake stands for.
pub(in crate::net) fn reason(error: &Error) -> Reason {
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

/// The error in words: rustls names the variant of what the certificate lacks and no more.
pub(in crate::net) fn describe(error: &Error) -> String {
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
