//! Describes the certificates of a chain in words, for the steps of a check.

use std::fmt::Write;

use chrono::DateTime;
use rustls::{
    DistinguishedName,
    pki_types::{CertificateDer, TrustAnchor},
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, x509::X509Name,
};

use super::leaf::distinguished_name;
use crate::text::counted;

/// Names of a certificate that are shown.
const MAX_NAMES: usize = 5;

/// Number of certificates that are shown; a peer may send very many.
pub(super) const MAX_CERTIFICATES: usize = 10;

/// Whose `certificate` is, who issued it, its dates, and the names that it is for.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return counted(certificate.len(), "byte") + " that cannot be parsed";
    };
    let (subject, issuer) = (certificate.subject(), certificate.issuer());
    let mut text = distinguished_name(subject);
    if subject == issuer {
        text.push_str(", self-signed");
    } else {
        let _ = write!(text, ", issued by {}", distinguished_name(issuer));
    }
    let validity = certificate.validity();
    let _ = write!(
        text,
        ", valid from {} to {}",
        date(validity.not_before.timestamp()),
        date(validity.not_after.timestamp())
    );
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names: Vec<_> = names.filter_map(name).collect();
    if !names.is_empty() {
        let _ = write!(
            text,
            ", for {}",
            names[..names.len().min(MAX_NAMES)].join(", ")
        );
        if names.len() > MAX_NAMES {
            let _ = write!(
                text,
                " and {}",
                counted(names.len() - MAX_NAMES, "more name")
            );
        }
    }
    text
}

/// The name of a trusted authority.
pub(super) fn authority(anchor: &TrustAnchor<'_>) -> String {
    let name = DistinguishedName::in_sequence(&anchor.subject);
    match X509Name::from_der(name.as_ref()) {
        Ok((_, name)) => distinguished_name(&name),
        Err(_) => "an authority without a name".to_owned(),
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => {
                let octets: [u8; 16] = bytes.try_into().ok()?;
                Some(std::net::Ipv6Addr::from(octets).to_string())
            }
        },
        _ => None,
    }
}

fn date(seconds: i64) -> String {
    let time = DateTime::from_timestamp(seconds, 0);
    time.map_or_else(
        || "an unknown date".to_owned(),
        |time| time.format("%Y-%m-%d %H:%M UTC").to_string(),
    )
}
