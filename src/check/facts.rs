//! Facts: values that a check finds out besides success and timing.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::string_enum::string_enum;
use crate::text;

string_enum! {
    /// The role of a certificate in a handshake.
    CertificateRole {
        /// The peer's own.
        Leaf => "leaf",
        /// The one that expires first of those that the peer sent.
        EarliestExpiry => "earliest",
        /// The one that expires first of the verified chain, from the peer's own to a trusted authority.
        Verified => "verified",
    }
}

/// The validity of one certificate, in Unix seconds (RFC 5280, section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateValidity {
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
    /// Number of further DNS names.
    pub more_dns_names: usize,
    /// SHA-256 of the certificate in hexadecimal digits.
    pub fingerprint_sha256: String,
}

impl LeafCertificate {
    /// Number of DNS names that are kept; a certificate may have thousands.
    pub const MAX_NAMES: usize = 16;
    /// Number of bytes of each part that are kept.
    const MAX_BYTES: usize = 256;

    /// Creates an identity with the beginning of each part, and `…` in place of the rest.
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

/// A value that a check finds out besides success and timing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The address that is checked.
    Address(IpAddr),
    /// The status code of the final HTTP response.
    HttpStatus(u16),
    /// Number of bytes of the response, as sent over the wire: the body of HTTP, the message of DNS,
    /// everything that the peer of `query_response` sent.
    ResponseBytes(u64),
    /// One certificate of the handshake.
    Certificate(CertificateRole, CertificateValidity),
    /// The peer's own certificate.
    LeafCertificate(Arc<LeafCertificate>),
    /// The protocol version and cipher suite that the handshake agreed on.
    Tls {
        /// Such as `TLS 1.3`.
        version: &'static str,
        /// The IANA name, such as `TLS_AES_128_GCM_SHA256`.
        cipher: &'static str,
    },
    /// Header fields of the DNS response.
    Dns(DnsResponse),
    /// Statistics of the ICMP echo requests.
    Icmp(Box<EchoStats>),
    /// The status code of a gRPC call: 0 is OK (<https://grpc.io/docs/guides/status-codes/>).
    GrpcStatus(u32),
    /// Status from the gRPC health service.
    Serving(ServingStatus),
    /// Label names of `query_response` with the text captured from the peer.
    Captured(Vec<(String, String)>),
    /// A detail: the address that was checked first, before any redirect.
    FirstAddress(IpAddr),
    /// A detail: the number of HTTP redirects that were answered, one that was not followed included.
    Redirects(u32),
    /// A detail: the head of the final HTTP response.
    HttpHead(HttpHead),
    /// A detail: bytes of the body of the final HTTP response, decoded if `compression` says so.
    DecodedBytes(u64),
    /// A detail: the part of a dialogue that was not as expected.
    Unexpected(Expectation),
    /// A detail: the certificates of the handshake.
    PeerCertificates(Arc<PeerCertificates>),
}

/// The pattern that a step of a dialogue expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// A line, or a message, that matches a pattern.
    Match,
    /// Certain bytes.
    Bytes,
}

/// The head of an HTTP response, apart from its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpHead {
    /// The version, such as 1.1, in tenths.
    pub version_tenths: u8,
    /// True if it came over TLS.
    pub is_over_tls: bool,
    /// The length of the body according to the head.
    pub content_length: Option<u64>,
    /// The date in Last-Modified, in Unix seconds.
    pub last_modified: Option<i64>,
}

/// The certificates that a peer sent, in the words of blackbox_exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificates {
    /// The end of the validity of the certificate that expires first, of all that were sent.
    pub earliest_not_after: i64,
    /// The subject of the peer's own certificate, as Go writes it.
    pub subject: String,
    /// Its issuer, in the same form.
    pub issuer: String,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// The DNS names of its subject alternative name, with commas between them.
    pub dns_names: String,
    /// SHA-256 of it in hexadecimal digits.
    pub fingerprint_sha256: String,
}

impl PeerCertificates {
    /// Bytes of each text that are kept.
    pub const MAX_BYTES: usize = 8 << 10;
}

impl Fact {
    /// Number of bytes of a captured value that are kept.
    const MAX_CAPTURED_BYTES: usize = 256;

    /// Returns the fact with the peer's text bounded and on one line.
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

    /// Returns true if `other` is of the same kind, so that the later one replaces the earlier.
    pub(super) fn is_same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(a, _), Self::Certificate(b, _)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// Header fields of a DNS response (RFC 1035, section 4.1.1), and the serial number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsResponse {
    /// The response code.
    pub rcode: Rcode,
    /// Number of records in the answer section.
    pub answers: u16,
    /// Number of records in the authority section.
    pub authorities: u16,
    /// Number of records in the additional section.
    pub additionals: u16,
    /// Serial number of the first SOA record in the answer.
    pub serial: Option<u32>,
    /// The AD flag: the server has verified the data with DNSSEC (RFC 4035, section 3.2.3).
    pub authenticated_data: bool,
    /// True if the first response did not fit into a datagram.
    pub truncated: bool,
}

/// A DNS response code from IANA's registry "DNS RCODEs".
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

/// The name of a status code of gRPC, if it has one (<https://grpc.io/docs/guides/status-codes/>).
pub(crate) fn grpc_code_name(code: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let code = usize::try_from(code).ok()?;
    NAMES.get(code).copied()
}

/// Statistics of the echo requests of one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EchoStats {
    /// Number of requests sent.
    pub sent: u32,
    /// Number of requests answered in time.
    pub received: u32,
    /// Round-trip times of the answered requests.
    pub round_trips: Option<RoundTripStats>,
    /// TTL (IPv4) or hop limit (IPv6) of the last reply.
    pub reply_hop_limit: Option<u8>,
}

impl EchoStats {
    /// Returns the ratio of requests that were not answered, from 0 to 1.
    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        f64::from(self.sent.saturating_sub(self.received)) / f64::from(self.sent)
    }
}

/// Round-trip times of one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTripStats {
    /// The shortest time.
    pub min: Duration,
    /// The mean.
    pub avg: Duration,
    /// The longest time.
    pub max: Duration,
    /// The mean difference between consecutive times, if there were two.
    pub jitter: Option<Duration>,
}

string_enum! {
    /// The status of a service, as the gRPC health service reports it
    /// (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
    ServingStatus {
        /// The status is not known.
        Unknown => "UNKNOWN",
        /// The service is ready.
        Serving => "SERVING",
        /// The service is not ready.
        NotServing => "NOT_SERVING",
        /// The server does not know the service.
        ServiceUnknown => "SERVICE_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_identities_are_shortened() {
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
    fn response_codes_have_the_names_of_ianas_registry() {
        assert_eq!(Rcode(3).to_string(), "NXDOMAIN");
        assert_eq!(Rcode(4000).to_string(), "RCODE4000");
    }

    #[test]
    fn loss_is_the_ratio_of_unanswered_requests() {
        let loss = |sent, received| {
            let echoes = EchoStats {
                sent,
                received,
                ..EchoStats::default()
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
