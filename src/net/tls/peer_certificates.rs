//! The certificates that a peer sent, with names as Go's crypto/x509/pkix writes them.

use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

use super::leaf::{dns_names, escaped, fingerprint, hexadecimal, serial};
use crate::{check::PeerCertificates, text};

/// The certificates `leaf`, which was parsed from `der`, and `intermediates`.
pub(super) fn peer_certificates(
    leaf: &X509Certificate<'_>,
    der: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> PeerCertificates {
    let not_after =
        |certificate: &X509Certificate<'_>| certificate.validity().not_after.timestamp();
    let sent = intermediates
        .iter()
        .filter_map(|der| Some(not_after(&X509Certificate::from_der(der).ok()?.1)));
    let bounded = |text: String| text::bounded(text, PeerCertificates::MAX_BYTES);
    PeerCertificates {
        earliest_not_after: sent.fold(not_after(leaf), i64::min),
        subject: bounded(go_name(leaf.subject())),
        issuer: bounded(go_name(leaf.issuer())),
        serial: bounded(serial(leaf)),
        dns_names: bounded(dns_names(leaf).join(",")),
        fingerprint_sha256: fingerprint(der),
    }
}

/// Attributes that Go knows, by the last arc of 2.5.4, in the order in which it writes them.
const KNOWN: [(&str, &str); 9] = [
    ("5", "SERIALNUMBER"),
    ("3", "CN"),
    ("17", "POSTALCODE"),
    ("9", "STREET"),
    ("8", "ST"),
    ("7", "L"),
    ("11", "OU"),
    ("10", "O"),
    ("6", "C"),
];

/// `name` as `pkix.Name.String` writes it: attributes that Go knows in a fixed order, all of one kind joined by
/// `+`; then the others, the last first.
fn go_name(name: &X509Name<'_>) -> String {
    let attributes: Vec<_> = name.iter_attributes().collect();
    let kinds: Vec<_> = attributes
        .iter()
        .map(|attribute| attribute.attr_type().to_id_string())
        .collect();
    let of_kind = |arc: &str| {
        let id = format!("2.5.4.{arc}");
        let found = attributes.iter().zip(&kinds);
        found
            .filter(move |(_, kind)| **kind == id)
            .map(|(attribute, _)| *attribute)
            .collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    for (arc, word) in KNOWN {
        let mut values = of_kind(arc);
        // Of these, Go keeps one.
        if matches!(word, "CN" | "SERIALNUMBER") && values.len() > 1 {
            values.drain(..values.len() - 1);
        }
        let values: Vec<_> = values
            .into_iter()
            .map(|attribute| format!("{word}={}", value(attribute)))
            .collect();
        if !values.is_empty() {
            parts.push(values.join("+"));
        }
    }
    let is_known = |kind: &str| KNOWN.iter().any(|(arc, _)| kind == format!("2.5.4.{arc}"));
    for (attribute, kind) in attributes.iter().zip(&kinds).rev() {
        if !is_known(kind) {
            let der = hexadecimal(&der(attribute));
            parts.push(format!("{kind}=#{der}"));
        }
    }
    parts.join(",")
}

fn value(attribute: &AttributeTypeAndValue<'_>) -> String {
    match attribute.as_str() {
        Ok(text) => escaped(text),
        Err(_) => escaped(&String::from_utf8_lossy(attribute.as_slice())),
    }
}

/// The value of `attribute` in DER; what is 64 KiB long or longer is cut off anyway.
fn der(attribute: &AttributeTypeAndValue<'_>) -> Vec<u8> {
    let content = attribute.as_slice();
    let tag = attribute.attr_value().header.tag().0;
    let mut der = vec![u8::try_from(tag).unwrap_or(0x0c)];
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(short @ ..=0x7f), _) => der.push(short),
        (Ok(short), _) => der.extend([0x81, short]),
        (_, Ok(long)) => {
            der.push(0x82);
            der.extend(long.to_be_bytes());
        }
        _ => der.extend([0x82, 0xff, 0xff]),
    }
    der.extend_from_slice(content);
    der
}
