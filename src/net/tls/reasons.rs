//! Reasons and descriptions of handshake errors.

use chrono::DateTime;
use rustls::{
    AlertDescription as Alert, CertificateError, Error,
    pki_types::{CertificateDer, UnixTime},
};
use x509_parser::{
    certificate::X509Certificate, extensions::ParsedExtension,
    oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS, prelude::FromDer, public_key::PublicKey,
};

use super::leaf::distinguished_name;
use crate::{
    check::{Cause, Reason},
    text::counted,
};

/// The error of a handshake for which no certificate authority is known.
pub(super) const NO_AUTHORITIES: &str = "this host has no CA certificates";

/// The parameters of a handshake that are offered, as far as peers differ in them.
const OFFERED: &str = "the client offers TLS 1.2 and 1.3 with ECDHE and AES-GCM or ChaCha20-Poly1305, unless configured otherwise";

/// Names of a certificate that are quoted.
const MAX_QUOTED_NAMES: usize = 5;

/// The shortest RSA key that is accepted.
const MIN_RSA_BITS: usize = 2048;

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

/// The description of a rejected certificate, with `sent` intermediate certificates
/// behind it.
pub(super) fn describe_rejection(error: &Error, leaf: &CertificateDer<'_>, sent: usize) -> String {
    let parsed = X509Certificate::from_der(leaf).ok();
    let parsed = parsed.as_ref().map(|(_, certificate)| certificate);
    if let (Some(bits), Error::InvalidCertificate(_)) = (parsed.and_then(rsa_bits), error)
        && bits < MIN_RSA_BITS
        && reason(error) == Reason::TlsUntrusted
    {
        return format!(
            "the certificate has an RSA key of {bits} bits, expected {MIN_RSA_BITS} or more"
        );
    }
    match (error, parsed) {
        (Error::InvalidCertificate(CertificateError::UnknownIssuer), Some(leaf)) => {
            let issuer = distinguished_name(leaf.issuer());
            let with = match sent {
                0 => "no intermediate certificate".to_owned(),
                sent => counted(sent, "intermediate certificate"),
            };
            if leaf.issuer() == leaf.subject() {
                format!("the certificate is self-signed by {issuer:?}, which is not trusted")
            } else {
                format!("the issuer {issuer:?} is not trusted; the server sent {with}")
            }
        }
        _ => describe(error),
    }
}

/// Returns true if `leaf` says where the certificate of its issuer can be fetched (RFC 5280, section 4.2.2.1), as
/// those of public authorities do, whose roots sign no certificates of servers.
fn names_its_issuer(leaf: &X509Certificate<'_>) -> bool {
    let mut extensions = leaf.extensions().iter();
    extensions.any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            let mut descriptions = access.accessdescs.iter();
            descriptions.any(|description| {
                description.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS
            })
        }
        _ => false,
    })
}

/// The well-known cause of a rejection, with `sent` intermediate certificates behind `leaf`.
pub(super) fn cause(error: &Error, leaf: &CertificateDer<'_>, sent: usize) -> Option<Cause> {
    let Error::InvalidCertificate(error) = error else {
        return None;
    };
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    match error {
        _ if leaf.issuer() == leaf.subject() => Some(Cause::SelfSigned),
        CertificateError::UnknownIssuer if sent == 0 && names_its_issuer(&leaf) => {
            Some(Cause::IncompleteChain)
        }
        _ => None,
    }
}

fn rsa_bits(certificate: &X509Certificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        _ => None,
    }
}

/// The description of an error: rustls names variants of its types.
pub(in crate::net) fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => describe_certificate(error),
        Error::General(message) if message == NO_AUTHORITIES => message.clone(),
        Error::AlertReceived(alert) => describe_alert(*alert),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "the peer does not speak TLS".to_owned()
        }
        Error::PeerIncompatible(_) => {
            format!("no TLS version or cipher suite in common with the server; {OFFERED}")
        }
        error => error.to_string(),
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", date(*not_before))
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
            let quoted = names[..names.len().min(MAX_QUOTED_NAMES)].join(", ");
            let more = match names.len().saturating_sub(MAX_QUOTED_NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let is_for = if names.is_empty() {
                "no host name".to_owned()
            } else {
                format!("{quoted}{more}")
            };
            let expected = expected.to_str();
            format!("the certificate is not for {expected}: it is for {is_for}")
        }
        CertificateError::UnknownIssuer => "the certificate's issuer is not trusted".to_owned(),
        CertificateError::BadEncoding => "the certificate cannot be parsed".to_owned(),
        CertificateError::BadSignature => {
            "the certificate's signature does not match its issuer's key".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not valid for servers (extended key usage)".to_owned()
        }
        CertificateError::Other(error) => match error.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "the server sent a CA certificate (CA:TRUE) as its own".to_owned()
            }
            Some(webpki::Error::UnsupportedCertVersion) => {
                "the certificate has an old X.509 version, expected 3".to_owned()
            }
            Some(webpki::Error::UnsupportedSignatureAlgorithmContext(_)) => {
                "a certificate is signed with a weak or unknown algorithm".to_owned()
            }
            _ => format!("the certificate is not trusted: {error}"),
        },
        error => error.to_string(),
    }
}

/// `DnsName("a.example")` without the Rust syntax.
fn bare_name(presented: &str) -> &str {
    let inner = presented.split_once('(').map(|(_, inner)| inner);
    let inner = inner.and_then(|inner| inner.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

fn date(time: UnixTime) -> String {
    let time = DateTime::from_timestamp(time.as_secs().cast_signed(), 0);
    time.map_or_else(
        || "an unknown date".to_owned(),
        |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// An alert of the peer (RFC 8446, section 6).
fn describe_alert(alert: Alert) -> String {
    let refused = |why: &str| format!("the server refused the client certificate: {why}");
    match alert {
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            format!("no cipher suite or group in common with the server; {OFFERED}")
        }
        Alert::ProtocolVersion => format!("no TLS version in common with the server; {OFFERED}"),
        Alert::CertificateRequired => "the server demands a client certificate".to_owned(),
        Alert::BadCertificate | Alert::CertificateUnknown => refused("it is invalid"),
        Alert::UnsupportedCertificate => refused("it is of an unsupported type"),
        Alert::CertificateRevoked => refused("it is revoked"),
        Alert::CertificateExpired => refused("it has expired"),
        Alert::UnknownCA => refused("the server does not trust its issuer"),
        Alert::AccessDenied => refused("access denied"),
        Alert::UnrecognisedName => "the server does not know the name in SNI".to_owned(),
        Alert::NoApplicationProtocol => "no protocol (ALPN) in common with the server".to_owned(),
        Alert::InternalError => "the server reports an internal error".to_owned(),
        alert => match alert.as_str() {
            Some(name) => format!("the peer sent the alert {name}"),
            None => format!("the peer sent the alert {}", u8::from(alert)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn dates_are_written_as_dates() {
        let error = Error::InvalidCertificate(CertificateError::ExpiredContext {
            time: UnixTime::now(),
            not_after: UnixTime::since_unix_epoch(Duration::from_secs(978_307_200)),
        });
        let expected = "the certificate expired on 2001-01-01 00:00:00 UTC";
        assert_eq!(describe(&error), expected);
    }

    #[test]
    fn at_most_five_names_are_quoted() {
        let presented = (0..1_200).map(|index| format!("DnsName(\"{index}.example\")"));
        let error = Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("a.example").expect("a name"),
            presented: presented.collect(),
        });
        assert_eq!(
            describe(&error),
            "the certificate is not for a.example: it is for 0.example, 1.example, 2.example, \
             3.example, 4.example and 1195 more"
        );
    }
}
