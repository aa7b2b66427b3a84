//! `query_response`: what is said and awaited on a connection, entry by entry, as blackbox_exporter has it.

use std::sync::Arc;

use super::{Net, Stream, TlsClient, conversation::Conversation, tls};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason},
    value::{Bytes, CaughtLabel, Fields, Host, Line, Pattern},
};

/// What happens on a connection that stands: TLS or not, and a dialogue.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether TLS is spoken from the start.
    pub tls: bool,
    tls_config: tls::Settings,
    freshness: tls::Freshness,
    entries: Arc<[Entry]>,
}

/// One entry of `query_response`; its parts take their turn in the order in which they stand here.
#[derive(Debug)]
struct Entry {
    expect: Option<Expect>,
    labels: Vec<CaughtLabel>,
    send: Option<Bytes>,
    starttls: bool,
}

#[derive(Debug)]
enum Expect {
    /// A line that matches, after any number that do not.
    Line(Pattern),
    /// These bytes, and no others before them.
    Exactly(Bytes),
}

impl Settings {
    /// Reads `tls`, `tls_config`, `fail_if_certificate_expires_within` and `query_response`.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let tls = fields.optional("tls").unwrap_or(false);
        let tls_config = fields.section("tls_config").map(tls::Settings::read);
        let entries = fields.list_of("query_response", |entry| Some(Entry::read(entry)));
        let upgrades = entries.iter().filter(|entry| entry.starttls).count();
        if upgrades + usize::from(tls) > 1 {
            let wrong = "begins TLS more than once, with tls and starttls";
            fields.wrong_value("query_response", wrong, "once");
        }
        let settings = Self {
            tls,
            freshness: tls::Freshness::read(fields),
            entries: entries.into(),
            tls_config: tls_config.unwrap_or_default(),
        };
        if !settings.speaks_tls() {
            let wrong = "has no effect, as no TLS is spoken";
            tls::refuse_keys(fields, wrong, "together with tls or starttls");
        }
        let labels = settings.entries.iter().flat_map(|entry| &entry.labels);
        CaughtLabel::check_distinct(labels, fields);
        settings
    }

    /// Whether TLS is spoken, from the start or later.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.tls || self.entries.iter().any(|entry| entry.starttls)
    }

    /// Whether anything is said or awaited.
    fn talks(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The phases that it reaches where all is well.
    pub fn phases(&self) -> impl Iterator<Item = Phase> {
        let tls = self.speaks_tls().then_some(Phase::Tls);
        let processing = self.talks().then_some(Phase::Processing);
        tls.into_iter().chain(processing)
    }

    /// Whether `tls_config` has a name to ask for.
    #[must_use]
    pub fn has_server_name(&self) -> bool {
        self.tls_config.server_name.is_some()
    }

    /// The dialogue, ready to be held with `peer`, or with one that has the name in `tls_config`.
    #[must_use]
    pub fn bind(&self, net: &Net, peer: Option<&Host>) -> Dialogue {
        let name = match peer {
            Some(host) => Some(self.tls_config.name_of(host)),
            None => self.tls_config.own_name(),
        };
        let name = name.filter(|_| self.speaks_tls());
        Dialogue {
            tls: name.map(|name| net.tls_client(&self.tls_config, name, &[])),
            settings: self.clone(),
        }
    }
}

impl Entry {
    fn read(mut fields: Fields<'_>) -> Self {
        let problems = fields.problems().count();
        fields.at_most_one(&["expect", "expect_bytes"]);
        fields.at_most_one(&["send", "send_bytes"]);
        let line = fields.optional_pattern("expect").map(Expect::Line);
        let bytes = fields.optional("expect_bytes").map(Expect::Exactly);
        let expect = line.or(bytes);
        let labels: Vec<_> = fields.list_of("labels", CaughtLabel::read);
        if !labels.is_empty() && fields.node("expect").is_none() {
            let wrong = "have nothing to be made of";
            fields.wrong_value("labels", wrong, "together with expect");
        }
        // As blackbox_exporter has it, a text is a line; its end is the user's own where it is another.
        let line = fields
            .optional::<Line>("send")
            .map(|Line(bytes)| Bytes(bytes));
        let bytes = fields.optional("send_bytes");
        let send = line.or(bytes);
        let starttls = fields.optional("starttls").unwrap_or(false);
        let is_sound = fields.problems().count() == problems;
        if is_sound && expect.is_none() && send.is_none() && !starttls {
            fields.wrong(
                "does nothing",
                "expect, expect_bytes, send, send_bytes or starttls",
            );
        }
        fields.finish();
        Self {
            expect,
            labels,
            send,
            starttls,
        }
    }
}

const TOO_LONG: &str = "what the peer said makes too long what is made of it";

/// A dialogue that can be held any number of times.
pub struct Dialogue {
    settings: Settings,
    tls: Option<TlsClient>,
}

impl Dialogue {
    /// Speaks TLS on `stream` where that is wanted, and holds the dialogue.
    ///
    /// # Errors
    /// A [`Failure`] where the peer does not answer as it should.
    pub async fn hold(&self, mut stream: Stream, attempt: &Attempt) -> Result<(), Failure> {
        if self.settings.tls
            && let Some(tls) = &self.tls
        {
            stream = stream.handshake(tls).await?;
            self.settings.freshness.judge(attempt)?;
        }
        if !self.settings.talks() {
            return stream.settle().await;
        }
        let mut conversation = Conversation::new(stream, attempt);
        let mut caught = Vec::new();
        for entry in &*self.settings.entries {
            entry.run(&mut conversation, &mut caught).await?;
            if !caught.is_empty() {
                attempt.learn(Fact::Captured(caught.clone()));
            }
            if entry.starttls
                && let Some(tls) = &self.tls
            {
                let stream = conversation.start_tls(tls).await?;
                self.settings.freshness.judge(attempt)?;
                conversation = Conversation::new(stream, attempt);
            }
        }
        conversation.end().await
    }
}

impl Entry {
    /// Awaits and says what this entry has to, and adds what it catches.
    async fn run(
        &self,
        conversation: &mut Conversation<'_>,
        caught: &mut Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let mut send = self.send.as_ref().map(|send| send.0.clone());
        match &self.expect {
            None => {}
            Some(Expect::Exactly(expected)) => {
                let found = conversation.bytes(expected.0.len()).await?;
                if found != expected.0 {
                    let error = format!("the peer said {}", conversation.quote(&found));
                    return Err(conversation.failure(Reason::ResponseMismatch, error));
                }
            }
            Some(Expect::Line(pattern)) => {
                let line = matching_line(conversation, pattern).await?;
                if let Some(captures) = pattern.captures(&line) {
                    let too_long = || conversation.failure(Reason::ProtocolError, TOO_LONG);
                    for label in &self.labels {
                        caught.push(label.of(&captures).ok_or_else(too_long)?);
                    }
                    let expand = |send: Vec<u8>| captures.expand(&send).ok_or_else(too_long);
                    send = send.map(expand).transpose()?;
                }
            }
        }
        match send {
            Some(send) => conversation.say(&send).await,
            None => Ok(()),
        }
    }
}

/// The first line that matches.
async fn matching_line(
    conversation: &mut Conversation<'_>,
    pattern: &Pattern,
) -> Result<Vec<u8>, Failure> {
    let mut last = None;
    while let Some(line) = conversation.line().await? {
        if pattern.matches(&line) {
            return Ok(line);
        }
        last = Some(line);
    }
    Err(match last {
        None => conversation.ended_early(),
        Some(last) => {
            let last = conversation.quote(&last);
            let error = format!("no line matches \"{pattern}\", the last one was {last}");
            conversation.failure(Reason::ResponseMismatch, error)
        }
    })
}
