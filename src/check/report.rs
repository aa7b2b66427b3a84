//! The result of one check as plain data, with the fixed lists of phases, outcomes and reasons.

use std::{
    fmt,
    net::IpAddr,
    ops::Deref,
    time::{Duration, SystemTime},
};

use super::{
    cause::Cause,
    facts::{
        CertificateRole, CertificateValidity, DnsResponse, EchoStats, Expectation, Fact, HttpHead,
        LeafCertificate, PeerCertificates, ServingStatus,
    },
    steps::Step,
    string_enum::string_enum,
    trace::{Trace, TraceId},
};
use crate::text;

/// Declares methods that each return one fact of a report.
macro_rules! fact_accessors {
    ($($(#[$doc:meta])* $name:ident -> $of:ty: $fact:pat => $value:expr;)+) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> Option<$of> {
            self.facts.iter().find_map(|fact| match fact {
                $fact => Some($value),
                _ => None,
            })
        }
    )+};
}

string_enum! {
    /// A part of a check. Phases do not overlap, so their sum is at most the duration.
    Phase {
        /// From a name to an address.
        Resolve => "resolve",
        /// ICMP: until the socket is ready.
        Setup => "setup",
        /// Until the transport is connected.
        Connect => "connect",
        /// The TLS handshake.
        Tls => "tls",
        /// DNS: from the query until its answer.
        Request => "request",
        /// ICMP: from the first echo request to the last reply.
        Rtt => "rtt",
        /// gRPC: the call, from the HTTP/2 preface to its status.
        Check => "check",
        /// From the request to the response's headers; all of `query_response`.
        Processing => "processing",
        /// The response's body; the messages of a WebSocket.
        Transfer => "transfer",
    }
}

impl Phase {
    /// Returns true if the application's protocol is spoken in this phase, over an established connection.
    pub(crate) fn is_application_protocol(self) -> bool {
        matches!(
            self,
            Self::Request | Self::Check | Self::Processing | Self::Transfer
        )
    }
}

string_enum! {
    /// The outcome of a check.
    Outcome {
        /// The check succeeded.
        Success => "success",
        /// The check failed.
        Failure => "failure",
    }
}

string_enum! {
    /// Why a check failed.
    Reason {
        /// The name does not exist, or has no address of the wanted family.
        DnsNotFound => "dns_not_found",
        /// The name servers failed, refused the query or are unreachable.
        DnsFailure => "dns_failure",
        /// Nothing listens on the port.
        ConnectionRefused => "connection_refused",
        /// The peer closed or reset the connection before the end of its response.
        ConnectionReset => "connection_reset",
        /// `forbid_targets` forbids the address.
        TargetForbidden => "target_forbidden",
        /// There is no route to the address.
        HostUnreachable => "host_unreachable",
        /// The connection failed in another way.
        ConnectionFailed => "connection_failed",
        /// The certificate has expired.
        TlsExpired => "tls_expired",
        /// The certificate is not valid yet.
        TlsNotYetValid => "tls_not_yet_valid",
        /// The certificate is for other names.
        TlsWrongHost => "tls_wrong_host",
        /// The certificate is not signed by a trusted authority.
        TlsUntrusted => "tls_untrusted",
        /// The certificate expires within `fail_if_certificate_expires_within`.
        TlsExpiresSoon => "tls_expires_soon",
        /// The handshake failed in another way, such as a rejected client certificate.
        TlsHandshake => "tls_handshake",
        /// The deadline passed; the phase says where.
        Timeout => "timeout",
        /// The check took longer than `fail_if_slower_than`.
        TooSlow => "too_slow",
        /// The response violates the protocol.
        ProtocolError => "protocol_error",
        /// There are more redirects than are followed.
        TooManyRedirects => "too_many_redirects",
        /// The body ended before it was complete.
        TruncatedBody => "truncated_body",
        /// The body is larger than `body_size_limit`.
        BodyTooLarge => "body_too_large",
        /// The status is not among `valid_status_codes`.
        StatusCode => "status_code",
        /// The version is not among `valid_http_versions`.
        HttpVersion => "http_version",
        /// A header is not as expected.
        HeaderMismatch => "header_mismatch",
        /// The body is not as expected.
        BodyMismatch => "body_mismatch",
        /// The JSON body is not as expected.
        JsonMismatch => "json_mismatch",
        /// The final response came without TLS.
        SslRequired => "ssl_required",
        /// The final response came over TLS.
        SslForbidden => "ssl_forbidden",
        /// The response of another protocol is not as expected.
        ResponseMismatch => "response_mismatch",
        /// The service reports that it is not serving.
        NotServing => "not_serving",
        /// Replies are missing.
        PacketLoss => "packet_loss",
        /// The daemon failed, not the target: no file descriptor, no permission.
        AgentError => "agent_error",
    }
}

/// The failure of a check: data, not an error of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The phase that failed, or whose result was not as expected.
    pub phase: Phase,
    /// The reason, from a fixed list.
    pub reason: Reason,
    /// The description of the failure, without secrets.
    pub error: ErrorText,
}

impl Failure {
    /// Creates a failure of `phase` for `reason`, described by `error`.
    pub fn new(phase: Phase, reason: Reason, error: impl Into<ErrorText>) -> Self {
        Self {
            phase,
            reason,
            error: error.into(),
        }
    }
}

/// The text of a failure, for logs and pages but not for labels: one line of at most 512 bytes.
///
/// Control characters are escaped, and a longer text is cut off.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorText(Box<str>);

impl ErrorText {
    const MAX_BYTES: usize = 512;
}

impl From<String> for ErrorText {
    fn from(text: String) -> Self {
        let text = text::without_os_codes(text);
        Self(text::bounded(text, Self::MAX_BYTES).into())
    }
}

impl From<&str> for ErrorText {
    fn from(text: &str) -> Self {
        // A few bytes more than are kept, so that the cut is visible.
        let start = &text[..text.floor_char_boundary(Self::MAX_BYTES + 4)];
        start.to_owned().into()
    }
}

impl From<ErrorText> for String {
    fn from(error: ErrorText) -> Self {
        error.0.into()
    }
}

impl Deref for ErrorText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq<str> for ErrorText {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for ErrorText {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialEq<String> for ErrorText {
    fn eq(&self, other: &String) -> bool {
        **self == **other
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// When the check ended.
    pub ended_at: SystemTime,
    /// The time from start to end, without excluded time.
    pub duration: Duration,
    /// Time spent in each phase that was reached, in the order of [`Phase::ALL`].
    pub phases: Vec<(Phase, Duration)>,
    /// The facts found, at most one of each kind.
    pub facts: Vec<Fact>,
    /// The failure; `None` if the check succeeded.
    pub failure: Option<Failure>,
    /// The steps of the check, if somebody listened.
    pub steps: Vec<Step>,
    /// The well-known cause of the failure, if somebody listened and it is one.
    pub cause: Option<Cause>,
    /// The trace of the check, if its identity was sent to the target or the trace is exported.
    pub trace: Option<Box<Trace>>,
}

impl Report {
    /// The outcome of the check.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.failure {
            None => Outcome::Success,
            Some(_) => Outcome::Failure,
        }
    }

    /// The time spent in `phase`, if it was reached.
    #[must_use]
    pub(crate) fn time_in(&self, phase: Phase) -> Option<Duration> {
        let found = self.phases.iter().find(|(reached, _)| *reached == phase);
        found.map(|(_, spent)| *spent)
    }

    /// The id of the check's trace, if it has one.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace.as_ref().map(|trace| trace.context.trace_id)
    }

    /// The id of the check's trace, if the trace is exported.
    #[must_use]
    pub fn exported_trace_id(&self) -> Option<TraceId> {
        let context = self.trace.as_ref().map(|trace| trace.context)?;
        context.is_sampled.then_some(context.trace_id)
    }

    /// The address that was checked, if it was looked up.
    #[must_use]
    pub fn resolved_address(&self) -> Option<IpAddr> {
        let looked_up = self.time_in(Phase::Resolve).is_some();
        self.address().filter(|_| looked_up)
    }

    /// The end of the validity of the certificate that expires first in the verified chain, if one was verified.
    #[must_use]
    pub fn verified_until(&self) -> Option<i64> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::Certificate(CertificateRole::Verified, validity) => Some(validity.not_after),
            _ => None,
        })
    }

    /// The certificate that decides until when clients accept the target: the one of the verified chain
    /// that expires first, or else, if nothing was verified, of those that the peer sent.
    #[must_use]
    pub fn expiring_certificate(&self) -> Option<CertificateValidity> {
        let find = |wanted| {
            self.facts.iter().find_map(|fact| match fact {
                Fact::Certificate(role, certificate) if *role == wanted => Some(*certificate),
                _ => None,
            })
        };
        let roles = [
            CertificateRole::Verified,
            CertificateRole::EarliestExpiry,
            CertificateRole::Leaf,
        ];
        roles.into_iter().find_map(find)
    }

    fact_accessors! {
        /// The last address that was checked, if there was one.
        address -> IpAddr: Fact::Address(address) => *address;
        /// Status code of the final HTTP response, if there was one.
        status -> u16: Fact::HttpStatus(status) => *status;
        /// Number of bytes of the response, if there was one.
        response_bytes -> u64: Fact::ResponseBytes(bytes) => *bytes;
        /// Version and cipher suite of the handshake, if there was one.
        tls -> (&'static str, &'static str): Fact::Tls { version, cipher } => (*version, *cipher);
        /// The peer's own certificate, if it was recorded.
        leaf_certificate -> &LeafCertificate: Fact::LeafCertificate(leaf) => &**leaf;
        /// Header fields of the DNS response, if there was one.
        dns -> DnsResponse: Fact::Dns(response) => *response;
        /// Statistics of the echo requests, if any were sent.
        echoes -> EchoStats: Fact::Icmp(echoes) => **echoes;
        /// Status code of the gRPC call, if it had one.
        grpc_status -> u32: Fact::GrpcStatus(status) => *status;
        /// Status from the gRPC health service, if it sent one.
        serving -> ServingStatus: Fact::Serving(status) => *status;
        /// The address that was checked first, if details were recorded.
        first_address -> IpAddr: Fact::FirstAddress(address) => *address;
        /// Number of HTTP redirects that were answered, if details were recorded.
        redirects -> u32: Fact::Redirects(redirects) => *redirects;
        /// The head of the final HTTP response, if details were recorded.
        http_head -> HttpHead: Fact::HttpHead(head) => *head;
        /// Bytes of the decoded body, if details were recorded.
        decoded_bytes -> u64: Fact::DecodedBytes(bytes) => *bytes;
        /// The part of a dialogue that was not as expected, if details were recorded.
        unexpected -> Expectation: Fact::Unexpected(expectation) => *expectation;
        /// The labels caught by a dialogue, if there were any.
        captured -> &[(String, String)]: Fact::Captured(captured) => &**captured;
        /// The certificates of the handshake, if details were recorded.
        peer_certificates -> &PeerCertificates: Fact::PeerCertificates(sent) => &**sent;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[track_caller]
    fn check(words: Vec<&str>) {
        let distinct: HashSet<_> = words.iter().collect();
        assert_eq!(distinct.len(), words.len(), "a duplicate word: {words:?}");
        for word in words {
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{word:?} is not in lower snake case"
            );
        }
    }

    #[test]
    fn an_error_is_one_short_line() {
        let error = |text: &str| {
            let failure = Failure::new(Phase::Tls, Reason::TlsWrongHost, text);
            let same = Failure::new(Phase::Tls, Reason::TlsWrongHost, text.to_owned());
            assert_eq!(failure, same, "{text:?}");
            failure.error
        };
        assert_eq!(error("two\nlines"), "two\\nlines");
        assert_eq!(error("\u{1b}[2J"), "\\u001b[2J");
        let names = "name.example, ".repeat(1200);
        assert!(error(&names).len() <= 512);
        assert!(error(&names).ends_with('…'));
        assert_eq!(error(&"ä".repeat(256)), "ä".repeat(256));
        assert_eq!(error(&"ä".repeat(257)), format!("{}…", "ä".repeat(254)));
    }

    #[test]
    fn words_are_distinct_and_in_lower_snake_case() {
        check(Phase::ALL.iter().map(|p| p.as_str()).collect());
        check(Reason::ALL.iter().map(|r| r.as_str()).collect());
        check(Outcome::ALL.iter().map(|o| o.as_str()).collect());
    }
}
