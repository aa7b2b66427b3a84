//! Records the steps of one check with their times, if somebody wants to see them.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Cause, Phase, sent_secrets::SentSecrets, string_enum::string_enum};
use crate::text;

string_enum! {
    /// The kind of a step.
    StepKind {
        /// A token is fetched for the request.
        Token => "token",
        /// A name is looked up.
        Lookup => "lookup",
        /// The hosts file has addresses for the name.
        HostsFile => "hosts_file",
        /// A query to a name server.
        DnsQuery => "dns_query",
        /// The answer of a name server.
        DnsResponse => "dns_response",
        /// The address that is checked, and why this one.
        Address => "address",
        /// The proxy on the way to the target, and why.
        Proxy => "proxy",
        /// A request to the proxy.
        ProxyRequest => "proxy_request",
        /// The answer of the proxy.
        ProxyResponse => "proxy_response",
        /// A connection is begun.
        Connect => "connect",
        /// The connection is established.
        Connected => "connected",
        /// The offer of a TLS handshake.
        TlsOffer => "tls_offer",
        /// The peer demands a client certificate.
        ClientCertificate => "client_certificate",
        /// A certificate that the peer sent.
        CertificateSent => "certificate_sent",
        /// A certificate of the verified chain.
        CertificateVerified => "certificate_verified",
        /// The reason why the peer's certificate was rejected.
        CertificateRejected => "certificate_rejected",
        /// The parameters that a TLS handshake agreed on.
        TlsAgreed => "tls_agreed",
        /// The first line of a request.
        Request => "request",
        /// A header of a request.
        RequestHeader => "request_header",
        /// The body of a request.
        RequestBody => "request_body",
        /// The first line of a response.
        Response => "response",
        /// A header of a response.
        ResponseHeader => "response_header",
        /// The body of a response.
        ResponseBody => "response_body",
        /// A redirect, followed or not.
        Redirect => "redirect",
        /// A piece of a dialogue that was sent.
        Sent => "sent",
        /// A piece of a dialogue that was received.
        Received => "received",
        /// A record of a DNS response.
        Record => "record",
        /// An echo request that was sent.
        EchoRequest => "echo_request",
        /// The reply to an echo request.
        EchoReply => "echo_reply",
        /// An echo request without a reply.
        EchoLost => "echo_lost",
        /// Something that is as demanded.
        Passed => "passed",
        /// Something that is not as demanded.
        NotPassed => "not_passed",
        /// The well-known cause of the failure.
        Cause => "cause",
        /// The check succeeded.
        Success => "success",
        /// The check failed.
        Failure => "failure",
        /// Steps that are left out.
        Omitted => "omitted",
    }
}

impl StepKind {
    /// The sign in front of a step's text: `>` was sent, `<` was received, `+` is as demanded, `!` is not, and
    /// `*` is everything else.
    #[must_use]
    pub const fn mark(self) -> char {
        match self {
            Self::DnsQuery
            | Self::ProxyRequest
            | Self::Request
            | Self::RequestHeader
            | Self::RequestBody
            | Self::Sent
            | Self::EchoRequest => '>',
            Self::DnsResponse
            | Self::ProxyResponse
            | Self::CertificateSent
            | Self::Response
            | Self::ResponseHeader
            | Self::ResponseBody
            | Self::Received
            | Self::Record
            | Self::EchoReply => '<',
            Self::Passed | Self::Success | Self::CertificateVerified => '+',
            Self::NotPassed | Self::Failure | Self::CertificateRejected | Self::EchoLost => '!',
            _ => '*',
        }
    }

    /// The kind of a verdict.
    #[must_use]
    pub const fn verdict(is_good: bool) -> Self {
        if is_good {
            Self::Passed
        } else {
            Self::NotPassed
        }
    }
}

/// One event in a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Time since the check began.
    pub at: Duration,
    /// The phase that the check was in.
    pub phase: Option<Phase>,
    /// The kind.
    pub kind: StepKind,
    /// The step in words, without secrets: one line of bounded length, with control characters escaped.
    pub text: Box<str>,
}

/// The number and size of steps that are kept of one check: of more, some in the middle are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// Number of steps kept from the beginning.
    pub first: usize,
    /// Number of steps kept from the end.
    pub last: usize,
    /// Bytes of a step's text.
    pub text_bytes: usize,
}

impl StepLimits {
    /// For a check that somebody looks at: at most 360 KB.
    pub const EXPLAIN: Self = Self {
        first: 400,
        last: 200,
        text_bytes: 600,
    };

    /// For what is kept of a failure: at most 12 KB, and rarely a third of it.
    pub const EVIDENCE: Self = Self {
        first: 40,
        last: 24,
        text_bytes: 160,
    };
}

/// Bytes of a quote of what a peer sent.
const MAX_QUOTE: usize = 200;

/// Bytes of a text that are searched for secrets; more is not shown in any case.
const MAX_SEARCHED: usize = 2_000;

/// Number of steps of a check of which a text is made; of more, only those are that a peer cannot multiply.
const MAX_TEXTS: u32 = 2_000;

/// Takes the steps of a check, and costs nothing if nobody listens. A clone writes to the same list.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Recorder>>);

struct Recorder {
    started: Instant,
    limits: StepLimits,
    /// Number of steps so far.
    count: AtomicU32,
    recorded: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    secrets: SentSecrets,
    /// The beginning of a body.
    kept: Vec<u8>,
    phase: Option<Phase>,
    cause: Option<Cause>,
    first: Vec<Step>,
    last: VecDeque<Step>,
    omitted: u64,
}

/// Whose words a text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Own,
    Peer,
}

impl Steps {
    /// Records steps from this moment on.
    #[must_use]
    pub fn record(limits: StepLimits) -> Self {
        Self(Some(Arc::new(Recorder {
            started: Instant::now(),
            limits,
            count: AtomicU32::new(0),
            recorded: Mutex::default(),
        })))
    }

    /// Records nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Returns true if somebody listens.
    #[must_use]
    #[inline]
    pub fn are_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a step. Its text, which must not hold a secret, is made only if somebody listens.
    #[inline]
    pub fn add<T: Into<String>>(&self, kind: StepKind, text: impl FnOnce() -> T) {
        if let Some(recorder) = &self.0 {
            recorder.add(kind, Origin::Peer, || text().into());
        }
    }

    /// Names the well-known cause of the failure that the check ends with.
    #[inline]
    pub fn diagnose(&self, cause: Cause) {
        if let Some(recorder) = &self.0 {
            recorder.recorded.lock().cause = Some(cause);
            self.add_own(StepKind::Cause, || {
                format!("{cause}: {}", cause.description())
            });
        }
    }

    /// The well-known cause that was named.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.0.as_ref()?.recorded.lock().cause
    }

    /// Keeps what is secret in `sent` out of all steps that follow, as the peer may repeat it.
    #[inline]
    pub fn hide(&self, sent: &[u8]) {
        if let Some(recorder) = &self.0 {
            recorder.recorded.lock().secrets.add(sent);
        }
    }

    /// The beginning of what a peer sent, in quotes, without what was hidden.
    #[must_use]
    pub fn quote(&self, received: &[u8]) -> String {
        let Some(recorder) = &self.0 else {
            return String::new();
        };
        let searched = &received[..received.len().min(MAX_SEARCHED)];
        // The rest of a secret at the end may be what the peer sends next.
        let masked = recorder.recorded.lock().secrets.mask(searched, true);
        let is_cut = received.len() > MAX_SEARCHED || masked.len() > MAX_QUOTE;
        let more = if is_cut { "…" } else { "" };
        let shown = String::from_utf8_lossy(&masked[..masked.len().min(MAX_QUOTE)]);
        format!("{shown:?}{more}")
    }

    /// Keeps the beginning of a body, which comes piece by piece, for [`quote_kept`](Self::quote_kept).
    #[inline]
    pub fn keep(&self, piece: &[u8]) {
        if let Some(recorder) = &self.0 {
            let kept = &mut recorder.recorded.lock().kept;
            let room = MAX_SEARCHED.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// The beginning of the body that was kept, as [`quote`](Self::quote) shows it; empty for none.
    #[must_use]
    pub fn quote_kept(&self) -> String {
        let Some(recorder) = &self.0 else {
            return String::new();
        };
        let kept = std::mem::take(&mut recorder.recorded.lock().kept);
        if kept.is_empty() {
            String::new()
        } else {
            self.quote(&kept)
        }
    }

    /// The same for a text in which no peer has a part: nothing in it is masked.
    #[inline]
    pub fn add_own<T: Into<String>>(&self, kind: StepKind, text: impl FnOnce() -> T) {
        if let Some(recorder) = &self.0 {
            recorder.add(kind, Origin::Own, || text().into());
        }
    }

    /// The phase of the steps that follow.
    #[inline]
    pub(super) fn enter(&self, phase: Option<Phase>) {
        if let Some(recorder) = &self.0 {
            recorder.recorded.lock().phase = phase;
        }
    }

    /// Takes the steps that were recorded, in their order.
    pub(super) fn take(&self) -> Vec<Step> {
        let Some(recorder) = &self.0 else {
            return Vec::new();
        };
        let mut taken = recorder.recorded.lock();
        let first = std::mem::take(&mut taken.first);
        let last = std::mem::take(&mut taken.last);
        let omitted = std::mem::take(&mut taken.omitted);
        drop(taken);
        let mut steps = first;
        if omitted > 0 {
            let phase = last.front().and_then(|step| step.phase);
            let at = steps.last().map_or(Duration::ZERO, |step| step.at);
            steps.push(Step {
                at,
                phase,
                kind: StepKind::Omitted,
                text: text::counted(omitted, "step").into(),
            });
        }
        steps.extend(last);
        steps
    }
}

impl Recorder {
    #[cold]
    fn add(&self, kind: StepKind, origin: Origin, text: impl FnOnce() -> String) {
        let limits = self.limits;
        let is_once = matches!(kind, StepKind::Success | StepKind::Failure);
        if self.count.fetch_add(1, Ordering::Relaxed) >= MAX_TEXTS && !is_once {
            self.recorded.lock().omitted += 1;
            return;
        }
        let text = text();
        let at = self.started.elapsed();
        let mut recorded = self.recorded.lock();
        let text = match origin {
            Origin::Own => text,
            Origin::Peer => {
                let is_cut = text.len() > MAX_SEARCHED;
                let masked = recorded.secrets.mask(beginning(&text), is_cut);
                String::from_utf8_lossy(&masked).into_owned()
            }
        };
        let text = text::bounded(text::without_os_codes(text), limits.text_bytes).into_boxed_str();
        let step = Step {
            at,
            phase: recorded.phase,
            kind,
            text,
        };
        if recorded.first.len() < limits.first {
            recorded.first.push(step);
            return;
        }
        if recorded.last.len() == limits.last {
            recorded.last.pop_front();
            recorded.omitted += 1;
        }
        recorded.last.push_back(step);
    }
}

/// The part of `text` that may be shown.
fn beginning(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(MAX_SEARCHED)]
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Steps").field(&self.are_recorded()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StepLimits = StepLimits {
        first: 3,
        last: 2,
        text_bytes: 16,
    };

    fn texts(steps: &Steps) -> Vec<String> {
        let steps = steps.take().into_iter();
        steps
            .map(|step| format!("{} {}", step.kind, step.text))
            .collect()
    }

    #[test]
    fn of_many_steps_the_first_and_the_last_are_kept() {
        let steps = Steps::record(LIMITS);
        for number in 0..5 {
            steps.add(StepKind::Received, || number.to_string());
        }
        let all = [
            "received 0",
            "received 1",
            "received 2",
            "received 3",
            "received 4",
        ];
        assert_eq!(texts(&steps), all);
        for number in 0..1_000 {
            steps.add(StepKind::Received, || number.to_string());
        }
        let expected = [
            "received 0",
            "received 1",
            "received 2",
            "omitted 995 steps",
            "received 998",
            "received 999",
        ];
        assert_eq!(texts(&steps), expected);
    }

    #[test]
    fn a_flood_costs_no_texts() {
        let steps = Steps::record(LIMITS);
        let mut texts_made = 0;
        for _ in 0..1_000_000 {
            steps.add(StepKind::Received, || {
                texts_made += 1;
                "x"
            });
        }
        assert_eq!(texts_made, MAX_TEXTS);
        steps.add(StepKind::Failure, || "too much");
        let texts = texts(&steps);
        assert_eq!(texts.len(), 6);
        assert_eq!(texts[3], "omitted 999996 steps");
        assert_eq!(texts[5], "failure too much");
    }

    #[test]
    fn a_text_is_short_and_on_one_line() {
        let steps = Steps::record(LIMITS);
        steps.add(StepKind::Received, || "a\r\n\u{1b}[2J");
        steps.add(StepKind::Received, || "x".repeat(100_000));
        let texts = texts(&steps);
        assert_eq!(texts[0], "received a\\r\\n\\u001b[2J");
        assert_eq!(texts[1], format!("received {}…", "x".repeat(13)));
    }

    #[test]
    fn what_was_sent_is_hidden_in_what_follows() {
        let steps = Steps::record(StepLimits::EXPLAIN);
        steps.hide(b"hunter2\n");
        steps.add(StepKind::Received, || steps.quote(b"hello hunter2\n"));
        steps.add(StepKind::Failure, || "the peer said hunter2");
        let expected = ["received \"hello ***\\n\"", "failure the peer said ***"];
        assert_eq!(texts(&steps), expected);
        // Cut off in the middle of it.
        let long = [&[b'x'; MAX_QUOTE - 3][..], b"hunter2"].concat();
        assert_eq!(steps.quote(&long).replace('x', ""), "\"***\"");
        let long = [&[b'x'; MAX_SEARCHED - 3][..], b"hunter2"].concat();
        assert!(!steps.quote(&long).contains("hun"));
        steps.add(StepKind::Received, || {
            String::from_utf8_lossy(&long).into_owned()
        });
        assert!(!texts(&steps).concat().contains("hun"));
    }

    #[test]
    fn no_text_is_made_if_nobody_listens() {
        let steps = Steps::none();
        steps.add(StepKind::Received, || -> String {
            panic!("somebody listens")
        });
        assert!(!steps.are_recorded());
        assert_eq!(steps.take(), []);
    }
}
