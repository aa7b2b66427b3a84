//! Runs the entries of `query_response` on a connection.

use std::sync::Arc;

use super::{
    MeasuredStream, Net, TlsTarget, closing,
    text_session::{ReceivedLine, TextSession},
    tls,
};
use crate::{
    check::{Attempt, Expectation, Fact, Failure, Phase, Reason},
    offload::{self, CancelFlag},
    text::counted,
    value::{Bytes, CaptureLabel, Host, Pattern},
};

/// The use of a connection: TLS or not, and the entries of `query_response`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// True if TLS is spoken from the start.
    pub tls: bool,
    /// TLS settings.
    pub tls_config: tls::Settings,
    /// Minimum validity of the certificates.
    pub(crate) min_validity: tls::MinCertificateValidity,
    /// The entries of `query_response`, in order.
    pub entries: Arc<[Entry]>,
}

/// One entry of `query_response`; its parts take their turn in the order in which they stand here.
#[derive(Debug)]
pub struct Entry {
    /// The data that the peer must send.
    pub expect: Option<Expect>,
    /// Lines that end the check immediately.
    pub reject: Vec<Pattern>,
    /// Labels made of the line that was expected.
    pub labels: Vec<CaptureLabel>,
    /// The data that is sent.
    pub send: Option<Bytes>,
    /// True if TLS begins here.
    pub starttls: bool,
}

/// The data that the peer must send.
#[derive(Debug)]
pub enum Expect {
    /// A line that matches, after any number that do not.
    Matching(Pattern),
    /// These bytes, and no others before them.
    Bytes(Bytes),
}

impl Settings {
    /// Returns whether TLS is spoken, from the start or later.
    #[must_use]
    pub(crate) fn speaks_tls(&self) -> bool {
        self.tls || self.entries.iter().any(|entry| entry.starttls)
    }

    /// Returns whether anything is sent or awaited.
    fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The phases that a check reaches if all is well.
    pub fn phases(&self) -> impl Iterator<Item = Phase> {
        let tls = self.speaks_tls().then_some(Phase::Tls);
        let processing = self.has_entries().then_some(Phase::Processing);
        tls.into_iter().chain(processing)
    }

    /// Returns whether `tls_config` has a name to ask for.
    #[must_use]
    pub(crate) fn has_server_name(&self) -> bool {
        self.tls_config.server_name.is_some()
    }

    /// Binds the settings to `peer`, or to a peer that has the name in `tls_config`.
    #[must_use]
    pub fn bind(&self, net: &Net, peer: Option<&Host>) -> QueryResponse {
        let name = match peer {
            Some(host) => Some(self.tls_config.server_name_for(host)),
            None => self.tls_config.configured_server_name(),
        };
        let name = name.filter(|_| self.speaks_tls());
        QueryResponse {
            tls: name.map(|name| net.tls_client(&self.tls_config, name, &[])),
            settings: self.clone(),
        }
    }
}

const TOO_LONG: &str = "the text to send, expanded from what the peer sent, is too long";

/// A dialogue that can be held any number of times.
pub struct QueryResponse {
    settings: Settings,
    tls: Option<TlsTarget>,
}

impl QueryResponse {
    /// Speaks TLS on `stream` if the settings say so, and goes through the entries.
    ///
    /// # Errors
    /// A [`Failure`] if the peer does not answer as it should.
    pub async fn run(&self, mut stream: MeasuredStream, attempt: &Attempt) -> Result<(), Failure> {
        if self.settings.tls
            && let Some(tls) = &self.tls
        {
            stream = stream.handshake(tls).await?;
            self.settings.min_validity.judge(attempt)?;
        }
        let mut over_tls = self.settings.tls;
        let mut session;
        if self.settings.has_entries() {
            session = TextSession::new(stream, attempt);
        } else {
            stream.await_client_cert_verdict().await?;
            if over_tls {
                attempt.conclude(&Ok(()));
                closing::close(&mut stream).await;
            }
            return Ok(());
        }
        let entries = &self.settings.entries;
        // A piece of a line that is taken for the whole line leaves the rest of it to TLS.
        let before_tls = entries.iter().rposition(|entry| entry.starttls);
        let mut caught = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let whole_lines = before_tls.is_some_and(|last| index <= last);
            Entry::run(entries, index, &mut session, whole_lines, &mut caught).await?;
            if !caught.is_empty() {
                attempt.record(Fact::Captured(caught.clone()));
            }
            if entry.starttls
                && let Some(tls) = &self.tls
            {
                let stream = session.start_tls(tls).await?;
                self.settings.min_validity.judge(attempt)?;
                session = TextSession::new(stream, attempt);
                over_tls = true;
            }
        }
        session.finish(over_tls).await
    }
}

/// The consequence of one line.
enum Verdict {
    /// It does not match.
    Skip,
    /// It matches the pattern at this place in `reject`.
    Reject(usize),
    /// It matches `expect`. There is no reply if it would be too long.
    Match(Option<Reply>),
}

/// The consequences of a line that matches `expect`.
struct Reply {
    caught: Vec<(String, String)>,
    send: Option<Vec<u8>>,
}

impl Entry {
    /// Runs the entry at `index`, and adds its captures.
    async fn run(
        entries: &Arc<[Self]>,
        index: usize,
        session: &mut TextSession<'_>,
        whole_lines: bool,
        caught: &mut Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let entry = &entries[index];
        let send = match &entry.expect {
            None => entry.send.as_ref().map(|send| send.0.clone()),
            Some(Expect::Bytes(expected)) => {
                let count = expected.0.len();
                let bytes = counted(count, "byte");
                session.awaiting(format!("{bytes} (query_response[{index}])"));
                let found = session.bytes(count).await?;
                session.record_verdict(found == expected.0, || {
                    format!("query_response[{index}].expect_bytes: {bytes}")
                });
                if found != expected.0 {
                    session.record_detail(Expectation::Bytes);
                    let error = format!(
                        "the peer sent {}, not the expected bytes",
                        session.quote(&found)
                    );
                    return Err(session.failure(Reason::ResponseMismatch, error));
                }
                entry.send.as_ref().map(|send| send.0.clone())
            }
            Some(Expect::Matching(pattern)) => {
                let awaited =
                    format!("a line that matches \"{pattern}\" (query_response[{index}])");
                session.awaiting(awaited);
                let reply = Self::await_line(entries, index, session, pattern, whole_lines).await?;
                caught.extend(reply.caught);
                reply.send
            }
        };
        match send {
            Some(send) => session.send(&send).await,
            None => Ok(()),
        }
    }

    /// Reads lines until one matches `pattern`, of the entry at `index`.
    async fn await_line(
        entries: &Arc<[Self]>,
        index: usize,
        session: &mut TextSession<'_>,
        pattern: &Pattern,
        whole_lines: bool,
    ) -> Result<Reply, Failure> {
        let mut last = None;
        loop {
            let line = if whole_lines {
                session.whole_line().await?.map(ReceivedLine::Whole)
            } else {
                session.line().await?
            };
            let (line, is_whole) = match line {
                Some(ReceivedLine::Whole(line)) => (line, true),
                Some(ReceivedLine::Unfinished(line)) => (line, false),
                None => break,
            };
            // On a blocking thread if that can take long.
            let is_short = entries[index].cost(line.len()) <= Pattern::MAX_QUICK_STEPS;
            let judging = entries.clone();
            let judged = offload::run(is_short, move |cancel| {
                (judging[index].judge(&line, cancel), line)
            });
            let (verdict, line) = judged.await;
            match verdict {
                Verdict::Reject(rejected) => {
                    session.record_detail(Expectation::Match);
                    session.record_verdict(false, || {
                        let rejected = &entries[index].reject[rejected];
                        format!("query_response[{index}].reject \"{rejected}\": the line matches")
                    });
                    let (line, rejected) = (session.quote(&line), &entries[index].reject[rejected]);
                    let error =
                        format!("the peer sent {line}, which matches reject \"{rejected}\"");
                    return Err(session.failure(Reason::ResponseMismatch, error));
                }
                Verdict::Match(reply) => {
                    session.record_verdict(true, || {
                        format!("query_response[{index}].expect \"{pattern}\": the line matches")
                    });
                    if !is_whole {
                        session.take_unfinished();
                    }
                    return reply.ok_or_else(|| session.failure(Reason::ProtocolError, TOO_LONG));
                }
                Verdict::Skip if is_whole => last = Some(line),
                Verdict::Skip => {}
            }
        }
        session.record_detail(Expectation::Match);
        Err(match last {
            None => session.unexpected_eof(),
            Some(last) => {
                let last = session.quote(&last);
                let error = format!("no line matches \"{pattern}\", the last one was {last}");
                session.failure(Reason::ResponseMismatch, error)
            }
        })
    }

    /// An upper estimate of the steps that a line of so many bytes takes to be judged.
    fn cost(&self, length: usize) -> u64 {
        let expect = match &self.expect {
            Some(Expect::Matching(pattern)) => Some(pattern),
            _ => None,
        };
        let patterns = self.reject.iter().chain(expect);
        let steps: u64 = patterns.map(Pattern::steps_per_byte).sum();
        steps.saturating_mul(u64::try_from(length).unwrap_or(u64::MAX))
    }

    /// The consequence of `line`. The search ends early once `cancel` is set.
    fn judge(&self, line: &[u8], cancel: &CancelFlag) -> Verdict {
        // The result of a cancelled search is not used.
        let matches = |pattern: &Pattern| {
            let matches = pattern.matches_unless(line, || cancel.is_set());
            matches.unwrap_or_default()
        };
        if let Some(rejected) = self.reject.iter().position(matches) {
            return Verdict::Reject(rejected);
        }
        let Some(Expect::Matching(pattern)) = &self.expect else {
            return Verdict::Skip;
        };
        if !matches(pattern) {
            return Verdict::Skip;
        }
        let reply = || {
            let captures = pattern.captures(line)?;
            let caught = self.labels.iter().map(|label| label.render(&captures));
            let send = self.send.as_ref();
            Some(Reply {
                caught: caught.collect::<Option<_>>()?,
                send: match send {
                    Some(send) => Some(captures.expand(&send.0)?),
                    None => None,
                },
            })
        };
        Verdict::Match(reply())
    }
}
