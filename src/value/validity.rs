//! Checks the dates of a certificate that is trusted without verifying a chain.

use std::time::Duration;

use rustls::{
    CertificateError,
    pki_types::{CertificateDer, UnixTime},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// Checks that `certificate` is valid at `now` (RFC 5280, section 4.1.2.5).
///
/// # Errors
/// If it has expired, is not valid yet, or cannot be parsed.
pub(crate) fn check_validity(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    let [not_before, not_after] =
        [validity.not_before, validity.not_after].map(|date| date.timestamp());
    let seconds = now.as_secs().cast_signed();
    let unix_time = |seconds: i64| {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds.max(0).unsigned_abs()))
    };
    if seconds > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: unix_time(not_after),
        });
    }
    if seconds < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: unix_time(not_before),
        });
    }
    Ok(())
}
