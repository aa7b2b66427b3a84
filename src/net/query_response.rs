//! Sends and awaits what is configured on a connection, entry by entry.

use std::sync::Arc;

use super::{
    Net, Stream, TlsClient, closing,
    text_session::{ReceivedLine, TextSession},
    tls,
};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason},
    value::{Bytes, CaughtLabel, Host, Pattern},
};

/// The use of a connection: TLS or not, and the entries of `query_response`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether TLS is spoken from the start.
    pub tls: bool,
    /// How to speak it.
    pub tls_config: tls::Settings,
    /// How long the certificates must still be good for.
    pub freshness: tls::Freshness,
    /// What is sent and awaited, in its order.
    pub entries: Arc<[Entry]>,
}

/// One entry of `query_response`; its parts take their turn in the order in which they stand here.
#[derive(Debug)]
pub struct Entry {
    /// What the peer must send.
    pub expect: Option<Expect>,
    /// Lines that end the check at once.
    pub reject: Vec<Pattern>,
    /// Labels made of the line that was expected.
    pub labels: Vec<CaughtLabel>,
    /// What is sent.
    pub send: Option<Bytes>,
    /// Whether TLS begins here.
    pub starttls: bool,
}

/// What the peer must send.
#[derive(Debug)]
pub enum Expect {
    /// A line that matches, after any number that do not.
    Line(Pattern),
    /// These bytes, and no others before them.
    Exactly(Bytes),
}

impl Settings {
    /// Whether TLS is spoken, from the start or later.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.tls || self.entries.iter().any(|entry| entry.starttls)
    }

    /// Whether anything is sent or awaited.
    fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The phases that a check reaches if all is well.
    pub fn phases(&self) -> impl Iterator<Item = Phase> {
        let tls = self.speaks_tls().then_some(Phase::Tls);
        let processing = self.has_entries().then_some(Phase::Processing);
        tls.into_iter().chain(processing)
    }

    /// Whether `tls_config` has a name to ask for.
    #[must_use]
    pub fn has_server_name(&self) -> bool {
        self.tls_config.server_name.is_some()
    }

    /// Binds the settings to `peer`, or to a peer that has the name in `tls_config`.
    #[must_use]
    pub fn bind(&self, net: &Net, peer: Option<&Host>) -> QueryResponse {
        let name = match peer {
            Some(host) => Some(self.tls_config.name_of(host)),
            None => self.tls_config.own_name(),
        };
        let name = name.filter(|_| self.speaks_tls());
        QueryResponse {
            tls: name.map(|name| net.tls_client(&self.tls_config, name, &[])),
            settings: self.clone(),
        }
    }
}

const TOO_LONG: &str = "the text made of what the peer sent is too long";

/// A dialogue that can be held any number of times.
pub struct QueryResponse {
    settings: Settings,
    tls: Option<TlsClient>,
}

impl QueryResponse {
    /// Speaks TLS on `stream` if the settings say so, and goes through the entries.
    ///
    /// # Errors
    /// A [`Failure`] if the peer does not answer as it should.
    pub async fn run(&self, mut stream: Stream, attempt: &Attempt) -> Result<(), Failure> {
        if self.settings.tls
            && let Some(tls) = &self.tls
        {
            stream = stream.handshake(tls).await?;
            self.settings.freshness.judge(attempt)?;
        }
        let mut over_tls = self.settings.tls;
        let mut session;
        if self.settings.has_entries() {
            session = TextSession::new(stream, attempt);
        } else {
            stream.settle().await?;
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
            entry
                .run(&mut session, index, whole_lines, &mut caught)
                .await?;
            if !caught.is_empty() {
                attempt.learn(Fact::Captured(caught.clone()));
            }
            if entry.starttls
                && let Some(tls) = &self.tls
            {
                let stream = session.start_tls(tls).await?;
                self.settings.freshness.judge(attempt)?;
                session = TextSession::new(stream, attempt);
                over_tls = true;
            }
        }
        session.end(over_tls).await
    }
}

impl Entry {
    /// Awaits and sends what this entry, the one at `index`, has to, and adds what it catches.
    async fn run(
        &self,
        session: &mut TextSession<'_>,
        index: usize,
        whole_lines: bool,
        caught: &mut Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let mut send = self.send.as_ref().map(|send| send.0.clone());
        match &self.expect {
            None => {}
            Some(Expect::Exactly(expected)) => {
                let count = expected.0.len();
                session.awaiting(format!("{count} bytes (query_response[{index}])"));
                let found = session.bytes(count).await?;
                if found != expected.0 {
                    let error = format!("the peer sent {}", session.quote(&found));
                    return Err(session.failure(Reason::ResponseMismatch, error));
                }
            }
            Some(Expect::Line(pattern)) => {
                let awaited =
                    format!("a line that matches \"{pattern}\" (query_response[{index}])");
                session.awaiting(awaited);
                let line = self.matching_line(session, pattern, whole_lines).await?;
                if let Some(captures) = pattern.captures(&line) {
                    let too_long = || session.failure(Reason::ProtocolError, TOO_LONG);
                    for label in &self.labels {
                        caught.push(label.of(&captures).ok_or_else(too_long)?);
                    }
                    let expand = |send: Vec<u8>| captures.expand(&send).ok_or_else(too_long);
                    send = send.map(expand).transpose()?;
                }
            }
        }
        match send {
            Some(send) => session.send(&send).await,
            None => Ok(()),
        }
    }

    /// The first line that matches `pattern`.
    async fn matching_line(
        &self,
        session: &mut TextSession<'_>,
        pattern: &Pattern,
        whole_lines: bool,
    ) -> Result<Vec<u8>, Failure> {
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
            if let Some(rejected) = self.reject.iter().find(|pattern| pattern.matches(&line)) {
                let line = session.quote(&line);
                let error = format!("the peer sent {line}, which matches reject \"{rejected}\"");
                return Err(session.failure(Reason::ResponseMismatch, error));
            }
            if pattern.matches(&line) {
                if !is_whole {
                    session.take_unfinished();
                }
                return Ok(line);
            }
            if is_whole {
                last = Some(line);
            }
        }
        Err(match last {
            None => session.ended_early(),
            Some(last) => {
                let last = session.quote(&last);
                let error = format!("no line matches \"{pattern}\", the last one was {last}");
                session.failure(Reason::ResponseMismatch, error)
            }
        })
    }
}
