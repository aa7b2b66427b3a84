//! What one check found out: plain data, and the closed sets of words that describe it.

use std::time::{Duration, SystemTime};

/// Declares a closed set of words: the enum, all of its members, and the word of each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every member, in the order in which they are declared.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word that stands for it in metrics, logs and answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use words;

words! {
    /// A part of a check. Phases do not overlap, so their sum is at most the duration.
    Phase {
        /// From a name to an address.
        Resolve => "resolve",
        /// Until the transport is connected.
        Connect => "connect",
        /// The TLS handshake.
        Tls => "tls",
        /// From the request until the response's headers.
        Processing => "processing",
        /// The response's body.
        Transfer => "transfer",
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
        /// The handshake failed in another way, a refused or missing client certificate included.
        TlsHandshake => "tls_handshake",
        /// The deadline passed; the phase says where.
        Timeout => "timeout",
        /// The answer is not in the protocol that was spoken.
        ProtocolError => "protocol_error",
        /// One more redirect than are followed.
        TooManyRedirects => "too_many_redirects",
        /// The connection ended before the body did.
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

words! {
    /// Which certificate of the chain that the peer sent.
    CertificateRank {
        /// The peer's own.
        Leaf => "leaf",
        /// The one that expires first.
        Earliest => "earliest",
    }
}

/// Why a check did not succeed; data, not an error of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The phase that failed, or whose result was not as demanded.
    pub phase: Phase,
    /// The word for why.
    pub reason: Reason,
    /// The same for people, without secrets; free text that belongs in logs and never in a label.
    pub error: String,
}

impl Failure {
    /// A failure of `phase` for `reason`, with `error` for people.
    pub fn new(phase: Phase, reason: Reason, error: impl Into<String>) -> Self {
        Self {
            phase,
            reason,
            error: error.into(),
        }
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

/// A value that a check learns besides success and timing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The status code of the final HTTP response.
    HttpStatus(u16),
    /// Bytes of the response's body received, as they came over the wire.
    ResponseBytes(u64),
    /// One certificate of the chain that the peer sent.
    Certificate(CertificateRank, Certificate),
    /// The protocol version and cipher suite that the handshake agreed on.
    Tls {
        /// Such as `TLS 1.3`.
        version: &'static str,
        /// The IANA name, such as `TLS_AES_128_GCM_SHA256`.
        cipher: &'static str,
    },
}

impl Fact {
    /// Whether `other` answers the same question, so that the later one replaces the earlier.
    pub(super) fn same_question(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(a, _), Self::Certificate(b, _)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
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

    /// Status code of the final HTTP response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::HttpStatus(status) => Some(*status),
            _ => None,
        })
    }

    /// Bytes of the response's body received, if there was a response.
    #[must_use]
    pub fn response_bytes(&self) -> Option<u64> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::ResponseBytes(bytes) => Some(*bytes),
            _ => None,
        })
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
    fn each_word_means_one_thing() {
        check(Phase::ALL.iter().map(|p| p.as_str()).collect());
        check(Reason::ALL.iter().map(|r| r.as_str()).collect());
        check(Outcome::ALL.iter().map(|o| o.as_str()).collect());
        check(CertificateRank::ALL.iter().map(|c| c.as_str()).collect());
    }
}
