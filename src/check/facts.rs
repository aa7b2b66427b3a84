//! What a check learns besides success and timing.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::words::words;
use crate::text;

words! {
    /// Which certificate of a handshake.
    CertificateRank {
        /// The peer's own.
        Leaf => "leaf",
        /// Of those that the peer sent, the one that expires first.
        Earliest => "earliest",
        /// Of the chain that was verified, from the peer's own to a trusted authority, the one that expires first.
        Verified => "verified",
    }
}

/// The validity of one certificate, in Unix seconds (RFC 5280, section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// First moment of validity.
    pub not_before: i64,
    /// Last moment of validity.
    pub not_after: i64,
}

/// The identity of the peer's own certificate. The peer chooses most of it, so every part is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafCertificate {
    /// The subject (RFC 4514), such as `CN=example.com`.
    pub subject: String,
    /// The issuer, in the same form.
    pub issuer: String,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// The first DNS names of the subject alternative name, at most [`MAX_NAMES`](Self::MAX_NAMES).
    pub dns_names: Vec<String>,
    /// The number of further DNS names.
    pub more_dns_names: usize,
    /// SHA-256 of the certificate in hexadecimal digits.
    pub fingerprint_sha256: String,
}

impl LeafCertificate {
    /// DNS names that are kept; a certificate may have thousands.
    pub const MAX_NAMES: usize = 16;
    /// Bytes of each part that are kept.
    const MAX_BYTES: usize = 256;

    /// Keeps the beginning of each part, with `…` in place of the rest.
    #[must_use]
    pub fn new<N: AsRef<str>>(
        subject: &str,
        issuer: &str,
        serial: &str,
        dns_names: impl IntoIterator<Item = N>,
        fingerprint_sha256: &str,
    ) -> Self {
        let mut names = dns_names.into_iter();
        let kept = names.by_ref().take(Self::MAX_NAMES);
        Self {
            dns_names: kept.map(|name| Self::shorten(name.as_ref())).collect(),
            more_dns_names: names.count(),
            subject: Self::shorten(subject),
            issuer: Self::shorten(issuer),
            serial: Self::shorten(serial),
            fingerprint_sha256: Self::shorten(fingerprint_sha256),
        }
    }

    fn shorten(text: &str) -> String {
        text::bounded(text.to_owned(), Self::MAX_BYTES)
    }
}

/// A value that a check learns besides success and timing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The address that is checked.
    Address(IpAddr),
    /// The status code of the final HTTP response.
    HttpStatus(u16),
    /// Bytes of the response received, as they came over the wire: of HTTP its body, of DNS the
    /// message, of a dialogue all that the peer said.
    ResponseBytes(u64),
    /// One certificate of the handshake.
    Certificate(CertificateRank, Certificate),
    /// The peer's own certificate.
    LeafCertificate(Arc<LeafCertificate>),
    /// The protocol version and cipher suite that the handshake agreed on.
    Tls {
        /// Such as `TLS 1.3`.
        version: &'static str,
        /// The IANA name, such as `TLS_AES_128_GCM_SHA256`.
        cipher: &'static str,
    },
    /// What the DNS response said.
    Dns(DnsResponse),
    /// What became of the ICMP echo requests.
    Icmp(Box<Echoes>),
    /// The status code of a gRPC call: 0 is OK (<https://grpc.io/docs/guides/status-codes/>).
    GrpcStatus(u32),
    /// What the gRPC health service says.
    Serving(ServingStatus),
    /// What a dialogue caught of the peer's words, under the labels that the user gave it.
    Captured(Vec<(String, String)>),
}

impl Fact {
    /// Bytes of a captured value that are kept.
    const MAX_CAPTURED_BYTES: usize = 256;

    /// The fact with text of the peer bounded and on one line.
    pub(super) fn bounded(self) -> Self {
        match self {
            Self::Captured(captured) => {
                let captured = captured.into_iter();
                let bounded = captured
                    .map(|(name, value)| (name, text::bounded(value, Self::MAX_CAPTURED_BYTES)));
                Self::Captured(bounded.collect())
            }
            fact => fact,
        }
    }

    /// Whether `other` answers the same question, so that the later one replaces the earlier.
    pub(super) fn same_question(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(a, _), Self::Certificate(b, _)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// What a DNS response said (RFC 1035, section 4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsResponse {
    /// The response code.
    pub rcode: Rcode,
    /// Records in the answer section.
    pub answers: u16,
    /// Records in the authority section.
    pub authorities: u16,
    /// Records in the additional section.
    pub additionals: u16,
    /// Serial number of the first SOA record in the answer.
    pub serial: Option<u32>,
    /// Whether the server vouches for the data by DNSSEC (RFC 4035, section 3.2.3).
    pub authenticated_data: bool,
    /// Whether the first response did not fit into its datagram.
    pub truncated: bool,
}

/// A DNS response code, as IANA has them under "DNS RCODEs".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// The codes that have a name.
    pub const NAMED: &[(u16, &str)] = &[
        (0, "NOERROR"),
        (1, "FORMERR"),
        (2, "SERVFAIL"),
        (3, "NXDOMAIN"),
        (4, "NOTIMP"),
        (5, "REFUSED"),
        (6, "YXDOMAIN"),
        (7, "YXRRSET"),
        (8, "NXRRSET"),
        (9, "NOTAUTH"),
        (10, "NOTZONE"),
        (11, "DSOTYPENI"),
        (16, "BADVERS"),
        (17, "BADKEY"),
        (18, "BADTIME"),
        (19, "BADMODE"),
        (20, "BADNAME"),
        (21, "BADALG"),
        (22, "BADTRUNC"),
        (23, "BADCOOKIE"),
    ];
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(code, _)| *code == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

/// What became of the echo requests of one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echoes {
    /// Requests sent.
    pub sent: u32,
    /// Requests that were answered in time.
    pub received: u32,
    /// Round trips of those that were answered.
    pub round_trips: Option<RoundTrips>,
    /// Hops that the last reply could still have made: TTL, or hop limit of IPv6.
    pub reply_hop_limit: Option<u8>,
}

impl Echoes {
    /// The part of the requests that was not answered, from 0 to 1.
    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        f64::from(self.sent.saturating_sub(self.received)) / f64::from(self.sent)
    }
}

/// Round trips of one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// The shortest.
    pub min: Duration,
    /// Their mean.
    pub avg: Duration,
    /// The longest.
    pub max: Duration,
    /// Mean of the differences between one and the next, where there were two.
    pub jitter: Option<Duration>,
}

words! {
    /// What the gRPC health service says of a service
    /// (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
    ServingStatus {
        /// It does not say.
        Unknown => "UNKNOWN",
        /// It serves.
        Serving => "SERVING",
        /// It does not serve.
        NotServing => "NOT_SERVING",
        /// There is no such service.
        ServiceUnknown => "SERVICE_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_with_many_names_is_kept_in_part() {
        let names = (0..1_200).map(|n| format!("host-{n}.{}.example", "x".repeat(1_000)));
        let long = "CN=".to_owned() + &"日".repeat(100_000);
        let leaf = LeafCertificate::new(&long, &long, &long, names, &long);
        assert_eq!(leaf.dns_names.len(), LeafCertificate::MAX_NAMES);
        assert_eq!(leaf.more_dns_names, 1_200 - LeafCertificate::MAX_NAMES);
        let parts = [
            &leaf.subject,
            &leaf.issuer,
            &leaf.serial,
            &leaf.fingerprint_sha256,
        ];
        for part in parts.into_iter().chain(&leaf.dns_names) {
            assert!(part.chars().count() <= 257 && part.ends_with('…'), "{part}");
        }
        let short = LeafCertificate::new("CN=a", "CN=b", "01", ["a.example"], "ab");
        assert_eq!((&*short.subject, short.more_dns_names), ("CN=a", 0));
        assert_eq!(short.dns_names, ["a.example"]);
    }

    #[test]
    fn captured_values_are_short_and_on_one_line() {
        let captured = |value: &str| {
            let fact = Fact::Captured(vec![("name".to_owned(), value.to_owned())]).bounded();
            let Fact::Captured(captured) = fact else {
                panic!("another fact: {fact:?}");
            };
            captured[0].1.clone()
        };
        assert_eq!(captured("a\u{1b}[31m\nb"), "a\\u001b[31m\\nb");
        assert!(captured(&"x".repeat(9000)).len() <= 256);
    }

    #[test]
    fn response_codes_have_the_names_of_the_registry() {
        assert_eq!(Rcode(3).to_string(), "NXDOMAIN");
        assert_eq!(Rcode(4000).to_string(), "RCODE4000");
    }

    #[test]
    fn loss_is_the_part_that_was_not_answered() {
        let loss = |sent, received| {
            let echoes = Echoes {
                sent,
                received,
                ..Echoes::default()
            };
            echoes.loss_ratio()
        };
        let cases = [loss(0, 0), loss(4, 4), loss(4, 3), loss(4, 0)];
        assert!(
            cases
                .iter()
                .zip([0.0, 0.0, 0.25, 1.0])
                .all(|(a, b)| (a - b).abs() < 1e-9)
        );
    }
}
