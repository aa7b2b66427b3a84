//! The identity of the peer's own certificate: subject, issuer and fingerprint.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    objects::{oid_registry, oid2abbrev},
    x509::{AttributeTypeAndValue, X509Name},
};

use crate::check::LeafCertificate;

/// The identity of `certificate`, which was parsed from `der`.
pub(super) fn identity(
    certificate: &X509Certificate<'_>,
    der: &CertificateDer<'_>,
) -> LeafCertificate {
    LeafCertificate::new(
        &distinguished_name(certificate.subject()),
        &distinguished_name(certificate.issuer()),
        &serial(certificate),
        dns_names(certificate),
        &fingerprint(der),
    )
}

/// The DNS names of the subject alternative name of `certificate`.
pub(super) fn dns_names<'c>(certificate: &X509Certificate<'c>) -> Vec<&'c str> {
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .into_iter()
        .flat_map(|names| names.value.general_names.iter())
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
    names.collect()
}

/// The serial number of `certificate` in hexadecimal digits, without the leading byte of zeros that says that
/// it is positive.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> String {
    hexadecimal(match certificate.raw_serial() {
        [0, rest @ ..] if !rest.is_empty() => rest,
        serial => serial,
    })
}

/// SHA-256 of a certificate in hexadecimal digits.
pub(super) fn fingerprint(der: &CertificateDer<'_>) -> String {
    hexadecimal(digest(&SHA256, der).as_ref())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `name` as RFC 4514 writes it: the most specific part first.
pub(super) fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let parts = parts.into_iter().rev().map(|part| {
        let attributes: Vec<_> = part.iter().map(attribute).collect();
        attributes.join("+")
    });
    parts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    match (oid2abbrev(kind, oid_registry()), attribute.as_str()) {
        (Ok(kind), Ok(value)) => format!("{kind}={}", escaped(value)),
        (Err(_), Ok(value)) => format!("{kind}={}", escaped(value)),
        (_, Err(_)) => format!("{kind}=#{}", hexadecimal(attribute.as_slice())),
    }
}

pub(super) fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let is_special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || c == '#' && index == 0
            || c == ' ' && (index == 0 || index == last);
        if is_special {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_with_a_meaning_are_escaped() {
        for (value, expected) in [
            ("example.com", "example.com"),
            ("Example, Inc.", "Example\\, Inc."),
            (" #1 + \\ ", "\\ #1 \\+ \\\\\\ "),
            ("#1", "\\#1"),
        ] {
            assert_eq!(escaped(value), expected);
        }
    }
}
