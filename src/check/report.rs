//! What one check found out: plain data, and the closed sets of words for how it went.

use std::{
    fmt,
    net::IpAddr,
    ops::Deref,
    time::{Duration, SystemTime},
};

use super::{
    facts::{DnsResponse, Echoes, Fact, LeafCertificate, ServingStatus},
    words::words,
};
use crate::text;

/// Declares what reads one fact of a report.
macro_rules! answers {
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

words! {
    /// A part of a check. Phases do not overlap, so their sum is at most the duration.
    Phase {
        /// From a name to an address.
        Resolve => "resolve",
        /// ICMP: until there is a socket to send from.
        Setup => "setup",
        /// Until the transport is connected.
        Connect => "connect",
        /// The TLS handshake.
        Tls => "tls",
        /// DNS: from the query until its answer.
        Request => "request",
        /// ICMP: from the first echo request until the last reply.
        Rtt => "rtt",
        /// gRPC: the call, from the preface of HTTP/2 until its status.
        Check => "check",
        /// From the request until the response's headers; a dialogue as a whole.
        Processing => "processing",
        /// The response's body; the messages of a WebSocket.
        Transfer => "transfer",
    }
}

impl Phase {
    /// Whether the connection stands in it, and the protocol is spoken that it is for.
    pub(crate) fn is_of_protocol(self) -> bool {
        matches!(
            self,
            Self::Request | Self::Check | Self::Processing | Self::Transfer
        )
    }
}

words! {
    /// How a check ended.
    Outcome {
        /// The target is as it should be.
        Success => "success",
        /// It is not, or could not be asked.
        Failure => "failure",
    }
}

words! {
    /// Why a check failed.
    Reason {
        /// The name does not exist, or has no address of the wanted family.
        DnsNotFound => "dns_not_found",
        /// The name servers failed, refused or cannot be reached.
        DnsFailure => "dns_failure",
        /// Nothing listens on the port.
        ConnectionRefused => "connection_refused",
        /// The peer closed or reset the connection without an answer, or in the middle of one.
        ConnectionReset => "connection_reset",
        /// The address is one that `forbid_targets` forbids.
        TargetForbidden => "target_forbidden",
        /// There is no route to the address.
        HostUnreachable => "host_unreachable",
        /// The connection failed in another way.
        ConnectionFailed => "connection_failed",
        /// The certificate is past its last day.
        TlsExpired => "tls_expired",
        /// The certificate's first day is still to come.
        TlsNotYetValid => "tls_not_yet_valid",
        /// The certificate is for other names.
        TlsWrongHost => "tls_wrong_host",
        /// No trusted authority vouches for the certificate.
        TlsUntrusted => "tls_untrusted",
        /// The certificate is good, and for less time than `fail_if_certificate_expires_within`.
        TlsExpiresSoon => "tls_expires_soon",
        /// The handshake failed in another way, a refused or missing client certificate included.
        TlsHandshake => "tls_handshake",
        /// The deadline passed; the phase says where.
        Timeout => "timeout",
        /// All is as it should be, and took longer than `fail_if_slower_than`.
        TooSlow => "too_slow",
        /// The answer is not in the protocol that was spoken.
        ProtocolError => "protocol_error",
        /// One more redirect than are followed.
        TooManyRedirects => "too_many_redirects",
        /// The body ended before it was complete.
        TruncatedBody => "truncated_body",
        /// The body is larger than `body_size_limit`.
        BodyTooLarge => "body_too_large",
        /// The status is not among `valid_status_codes`.
        StatusCode => "status_code",
        /// The version is not among `valid_http_versions`.
        HttpVersion => "http_version",
        /// A header is not as demanded.
        HeaderMismatch => "header_mismatch",
        /// The body is not as demanded.
        BodyMismatch => "body_mismatch",
        /// The JSON body is not as demanded.
        JsonMismatch => "json_mismatch",
        /// The final response came without TLS.
        SslRequired => "ssl_required",
        /// The final response came over TLS.
        SslForbidden => "ssl_forbidden",
        /// The answer of another protocol is not as demanded.
        ResponseMismatch => "response_mismatch",
        /// The service says of itself that it does not serve.
        NotServing => "not_serving",
        /// Replies are missing.
        PacketLoss => "packet_loss",
        /// Our side failed: no file descriptor, no permission. Never the target's fault.
        AgentError => "agent_error",
    }
}

/// Why a check did not succeed; data, not an error of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The phase that failed, or whose result was not as demanded.
    pub phase: Phase,
    /// The word for why.
    pub reason: Reason,
    /// The same in words, without secrets.
    pub error: ErrorText,
}

impl Failure {
    /// A failure of `phase` for `reason`, with `error` in words.
    pub fn new(phase: Phase, reason: Reason, error: impl Into<ErrorText>) -> Self {
        Self {
            phase,
            reason,
            error: error.into(),
        }
    }
}

/// The text of a failure, for logs and pages and never for a label: one line of at most 512 bytes.
///
/// Whatever it is made from, control characters are escaped, and the end of a long text is cut off.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorText(Box<str>);

impl ErrorText {
    const MAX_BYTES: usize = 512;
}

impl From<String> for ErrorText {
    fn from(text: String) -> Self {
        Self(text::bounded(text, Self::MAX_BYTES).into())
    }
}

impl From<&str> for ErrorText {
    fn from(text: &str) -> Self {
        // As much as shows that there is more than is kept.
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

/// What one check found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// When the check ended.
    pub ended_at: SystemTime,
    /// From the start of the check to its end.
    pub duration: Duration,
    /// Time spent in each phase that was reached, in the order of [`Phase::ALL`].
    pub phases: Vec<(Phase, Duration)>,
    /// What was learned, at most one answer to each question.
    pub facts: Vec<Fact>,
    /// Why the check failed; `None` where it succeeded.
    pub failure: Option<Failure>,
}

impl Report {
    /// Whether the check succeeded.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.failure {
            None => Outcome::Success,
            Some(_) => Outcome::Failure,
        }
    }

    /// The address that was checked, where it had to be looked up.
    #[must_use]
    pub fn resolved_address(&self) -> Option<IpAddr> {
        let looked_up = self
            .phases
            .iter()
            .any(|(phase, _)| *phase == Phase::Resolve);
        self.address().filter(|_| looked_up)
    }

    answers! {
        /// The address that was checked last, if it came to that.
        address -> IpAddr: Fact::Address(address) => *address;
        /// Status code of the final HTTP response, if there was one.
        status -> u16: Fact::HttpStatus(status) => *status;
        /// Bytes of the response received, if there was a response.
        response_bytes -> u64: Fact::ResponseBytes(bytes) => *bytes;
        /// Version and cipher suite of the handshake, if there was one.
        tls -> (&'static str, &'static str): Fact::Tls { version, cipher } => (*version, *cipher);
        /// The peer's own certificate, if it was recorded.
        leaf_certificate -> &LeafCertificate: Fact::LeafCertificate(leaf) => &**leaf;
        /// What the DNS response said, if there was one.
        dns -> DnsResponse: Fact::Dns(response) => *response;
        /// What became of the echo requests, if any were sent.
        echoes -> Echoes: Fact::Icmp(echoes) => **echoes;
        /// Status code of the gRPC call, if it had one.
        grpc_status -> u32: Fact::GrpcStatus(status) => *status;
        /// What the gRPC health service said, if it did.
        serving -> ServingStatus: Fact::Serving(status) => *status;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[track_caller]
    fn check(words: Vec<&str>) {
        let distinct: HashSet<_> = words.iter().collect();
        assert_eq!(
            distinct.len(),
            words.len(),
            "a word stands for two things: {words:?}"
        );
        for word in words {
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{word:?} is no label value that people like to type"
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
    fn each_word_means_one_thing() {
        check(Phase::ALL.iter().map(|p| p.as_str()).collect());
        check(Reason::ALL.iter().map(|r| r.as_str()).collect());
        check(Outcome::ALL.iter().map(|o| o.as_str()).collect());
    }
}
