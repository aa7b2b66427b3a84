//! The certificates among which a chain to an authority is searched.

use std::{borrow::Cow, cmp::Reverse};

use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// Number of certificates whose order and names do not matter: all chains of so many are tried quickly.
const FEW: usize = 4;

/// Number of certificates with the same subject that are tried.
const MAX_OF_ONE_SUBJECT: usize = 2;

/// Number of certificates that are tried. A chain has at most six between the peer's and the authority's.
const MAX_CANDIDATES: usize = 12;

/// Returns those of `intermediates` that can be in a chain from `leaf`, by the names of their issuers.
///
/// They are few, because the number of chains that a search tries grows exponentially with them, and a
/// peer may send hundreds whose names all fit together. Of several with the same subject, those are kept
/// that are not self-issued and last longest.
pub(super) fn candidates<'c>(
    leaf: &CertificateDer<'_>,
    intermediates: &'c [CertificateDer<'c>],
) -> Cow<'c, [CertificateDer<'c>]> {
    if intermediates.len() <= FEW {
        return intermediates.into();
    }
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return intermediates[..FEW].into();
    };
    let parsed = intermediates.iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some((der, certificate))
    });
    let mut parsed: Vec<_> = parsed.collect();
    parsed.sort_by_key(|(_, certificate)| {
        let is_self_issued = certificate.subject() == certificate.issuer();
        (
            is_self_issued,
            Reverse(certificate.validity().not_after.timestamp()),
        )
    });
    let mut found = Vec::new();
    let mut issuers = vec![leaf.issuer().as_raw()];
    let mut next = 0;
    while let Some(issuer) = issuers.get(next).copied() {
        next += 1;
        let of_issuer = parsed
            .iter()
            .filter(|(_, certificate)| certificate.subject().as_raw() == issuer);
        for (der, certificate) in of_issuer.take(MAX_OF_ONE_SUBJECT) {
            if found.len() == MAX_CANDIDATES {
                return found.into();
            }
            found.push(CertificateDer::from(&der[..]));
            let above = certificate.issuer().as_raw();
            if !issuers.contains(&above) {
                issuers.push(above);
            }
        }
    }
    found.into()
}
