//! A connection on which two sides take turns: what was read and not yet used is kept.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, timeout},
};

use super::{Stream, TlsClient};
use crate::check::{Attempt, Fact, Failure, Phase, Reason};

/// A conversation with a peer, in the phase `processing`.
pub(super) struct Conversation<'a> {
    stream: Stream,
    attempt: &'a Attempt,
    /// Read and not used.
    unread: Vec<u8>,
    received: u64,
    /// Whether anything was read here.
    heard: bool,
    /// All that was said: it may be a password, which a peer may repeat.
    said: Vec<u8>,
    ended: bool,
}

/// What a line may have, as blackbox_exporter has it.
const LONGEST_LINE: usize = 64 << 10;

/// What a peer may say in one conversation.
const MOST_RECEIVED: u64 = 1 << 20;

/// A line that stays unfinished for so long is taken as it is: some banners have no line break.
const UNFINISHED_FOR: Duration = Duration::from_millis(200);

impl<'a> Conversation<'a> {
    /// Begins one on `stream`, or goes on with it.
    pub fn new(stream: Stream, attempt: &'a Attempt) -> Self {
        attempt.enter(Phase::Processing);
        let received = attempt.known(|fact| match fact {
            Fact::ResponseBytes(received) => Some(*received),
            _ => None,
        });
        let received = received.unwrap_or_default();
        attempt.learn(Fact::ResponseBytes(received));
        Self {
            stream,
            attempt,
            unread: Vec::new(),
            received,
            heard: false,
            said: Vec::new(),
            ended: false,
        }
    }

    /// Says `bytes`.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.said.extend_from_slice(bytes);
        self.said.push(b'\n');
        let said = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        said.await.map_err(|error| self.stream.failure(&error))
    }

    /// What the peer said, for people; nothing of it where it repeats a word of what was said to it.
    pub fn quote(&self, heard: &[u8]) -> String {
        const SHORTEST: usize = 3;
        let mut words = self.said.split(|byte| !byte.is_ascii_graphic());
        let repeats = words.any(|word| {
            word.len() >= SHORTEST && heard.windows(word.len()).any(|part| part == word)
        });
        if repeats {
            "something that repeats what was sent".to_owned()
        } else {
            quoted(heard)
        }
    }

    /// Ends the conversation. A peer that was not heard after the handshake may yet refuse a client
    /// certificate that it demanded.
    pub async fn end(mut self) -> Result<(), Failure> {
        if self.heard {
            return Ok(());
        }
        self.stream.settle().await
    }

    /// The next line without its end; `None` where the peer has ended the conversation.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<_> = self.unread.drain(..=end).collect();
                line.pop();
                return Ok(Some(without_return(line)));
            }
            if self.unread.len() > LONGEST_LINE {
                let error = format!("a line is longer than {LONGEST_LINE} bytes");
                return Err(self.attempt.failure(Reason::ProtocolError, error));
            }
            if self.unread.is_empty() {
                self.read().await?;
            } else if let Ok(read) = timeout(UNFINISHED_FOR, self.read()).await {
                read?;
            } else {
                return Ok(Some(without_return(std::mem::take(&mut self.unread))));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.unread);
                return Ok(Some(without_return(rest)).filter(|line| !line.is_empty()));
            }
        }
    }

    /// The next `count` bytes.
    pub async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        while self.unread.len() < count && !self.ended {
            self.read().await?;
        }
        if self.unread.len() < count {
            return Err(self.ended_early());
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Why a peer that has ended the conversation fails the check.
    pub fn ended_early(&self) -> Failure {
        let error = "the peer ended the connection before its answer";
        self.attempt.failure(Reason::ConnectionReset, error)
    }

    /// A failure in the current phase.
    pub fn failure(&self, reason: Reason, error: impl Into<String>) -> Failure {
        self.attempt.failure(reason, error)
    }

    /// The connection under TLS.
    pub async fn start_tls(self, tls: &TlsClient) -> Result<Stream, Failure> {
        if !self.unread.is_empty() {
            // Whoever is in between could have put it there, to be taken for what came over TLS.
            let error = "the peer went on in plain text after it had agreed to TLS";
            return Err(self.failure(Reason::ProtocolError, error));
        }
        self.stream.handshake(tls).await
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let count = self.stream.read_buf(&mut self.unread).await;
        let count = count.map_err(|error| self.stream.failure(&error))?;
        self.ended = count == 0;
        self.heard |= count > 0;
        self.received += count as u64;
        self.attempt.learn(Fact::ResponseBytes(self.received));
        if self.received > MOST_RECEIVED {
            let error = format!("the peer said more than {MOST_RECEIVED} bytes");
            return Err(self.failure(Reason::ProtocolError, error));
        }
        Ok(())
    }
}

fn without_return(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

/// What a peer said, for people: its beginning, without what is not text.
pub(super) fn quoted(said: &[u8]) -> String {
    const SHOWN: usize = 100;
    let text = String::from_utf8_lossy(&said[..said.len().min(SHOWN)]).into_owned();
    let more = if said.len() > SHOWN { "…" } else { "" };
    format!("{text:?}{more}")
}
