//! A session on a connection, with a buffer of the data that was read and not yet used.

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, timeout},
};

use super::{MeasuredStream, TlsTarget, closing, echo::SentWords, limited::MAX_PIECES};
use crate::{
    check::{Attempt, ErrorText, Expectation, Fact, Failure, Phase, Reason, StepKind},
    offload::yield_turn,
    text::counted,
};

/// A session with a peer, in the phase `processing`.
pub(super) struct TextSession<'a> {
    stream: MeasuredStream,
    attempt: &'a Attempt,
    /// Data that was read and not yet used.
    unread: BytesMut,
    /// Bytes at the start of `unread` that have no line break among them.
    searched: usize,
    /// Bytes of the unfinished line that was handed out; it is handed out again when there are more.
    stalled_at: usize,
    /// Bytes of lines handed out since other tasks had a turn.
    used: usize,
    received: u64,
    reads: u32,
    sent: SentWords,
    /// The thing that the session waits for, as failures name it.
    awaited: String,
    last_line: Option<Vec<u8>>,
    is_eof: bool,
}

/// A line without its end.
pub(super) enum ReceivedLine {
    /// One with a line break, or the last one before the peer ended the session.
    Whole(Vec<u8>),
    /// The beginning of one, to which nothing was added for some time.
    Unfinished(Vec<u8>),
}

/// Maximum bytes of a line, as in blackbox_exporter.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Maximum bytes that a peer may send in one session.
const MAX_RECEIVED_BYTES: u64 = 1 << 20;

/// Bytes per read.
const READ_BYTES: usize = 8 << 10;

/// Bytes of lines that are matched before other tasks can run.
const MATCHED_PER_TURN: usize = 16 << 10;

/// Time after which an unfinished line is matched: some banners have no line break.
const PARTIAL_LINE_TIMEOUT: Duration = Duration::from_millis(200);

impl<'a> TextSession<'a> {
    /// Begins a session on `stream`, or goes on with it.
    pub(super) fn new(stream: MeasuredStream, attempt: &'a Attempt) -> Self {
        attempt.enter(Phase::Processing);
        let received = attempt
            .find_fact(|fact| match fact {
                Fact::ResponseBytes(received) => Some(*received),
                _ => None,
            })
            .unwrap_or_default();
        attempt.record(Fact::ResponseBytes(received));
        Self {
            stream,
            attempt,
            unread: BytesMut::new(),
            searched: 0,
            stalled_at: 0,
            used: 0,
            received,
            reads: 0,
            sent: SentWords::default(),
            awaited: String::new(),
            last_line: None,
            is_eof: false,
        }
    }

    /// Sends `bytes`, which may be secret.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sent.add(bytes);
        self.attempt.steps().hide(bytes);
        self.attempt
            .step(StepKind::Sent, || counted(bytes.len(), "byte") + ", hidden");
        self.write(bytes).await
    }

    /// Sends `bytes`, which the peer may be quoted with.
    pub(super) async fn send_public(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.attempt
            .step(StepKind::Sent, || format!("\"{}\"", bytes.escape_ascii()));
        self.write(bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| self.stream.failure(&error))
    }

    /// Names the thing that the session waits for from now on, such as `the reply to STARTTLS`.
    pub(super) fn awaiting(&mut self, awaited: impl Into<String>) {
        self.awaited = awaited.into();
    }

    /// The beginning of received data, escaped; hidden if it repeats sent data.
    pub(super) fn quote(&self, received: &[u8]) -> String {
        self.sent.quote(received)
    }

    /// Ends the session. A peer that has sent nothing since the handshake may yet refuse a client
    /// certificate that it demanded.
    pub(super) async fn finish(mut self, over_tls: bool) -> Result<(), Failure> {
        if self.reads == 0 {
            self.stream.await_client_cert_verdict().await?;
        }
        if over_tls {
            self.attempt.conclude(&Ok(()));
            closing::close(&mut self.stream).await;
        }
        Ok(())
    }

    /// The next line, whole or unfinished; `None` if the peer has ended the session.
    ///
    /// An unfinished line remains to be read, unless [`take_unfinished`](Self::take_unfinished)
    /// takes it.
    pub(super) async fn line(&mut self) -> Result<Option<ReceivedLine>, Failure> {
        loop {
            if let Some(line) = self.buffered_line().await? {
                return Ok(Some(ReceivedLine::Whole(line)));
            }
            if self.is_eof {
                let rest = self.take_unfinished();
                return Ok((!rest.is_empty()).then_some(ReceivedLine::Whole(rest)));
            }
            if self.unread.len() <= self.stalled_at {
                self.read().await?;
            } else if let Ok(read) = timeout(PARTIAL_LINE_TIMEOUT, self.read()).await {
                read?;
            } else {
                self.stalled_at = self.unread.len();
                let line = self.unread.to_vec();
                self.record_received(&line, ", without a line break so far");
                self.last_line = Some(line.clone());
                return Ok(Some(ReceivedLine::Unfinished(without_return(line))));
            }
        }
    }

    /// The next line that has a line break; `None` if the peer has ended the session before that.
    pub(super) async fn whole_line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some(line) = self.buffered_line().await? {
                return Ok(Some(line));
            }
            if self.is_eof {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// Takes the unfinished line.
    pub(super) fn take_unfinished(&mut self) -> Vec<u8> {
        self.searched = 0;
        self.stalled_at = 0;
        let rest = self.unread.split().to_vec();
        if !rest.is_empty() {
            if self.is_eof {
                self.record_received(&rest, ", and the end");
            }
            self.last_line = Some(rest.clone());
        }
        without_return(rest)
    }

    /// The next `count` bytes.
    pub(super) async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        while self.unread.len() < count && !self.is_eof {
            self.read().await?;
        }
        if self.unread.len() < count {
            return Err(self.unexpected_eof());
        }
        self.searched = 0;
        self.stalled_at = 0;
        let bytes = self.unread.split_to(count).to_vec();
        self.record_received(&bytes, "");
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(super) async fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let bytes = self.bytes(N).await?;
        Ok(bytes.try_into().expect("as many were asked for"))
    }

    /// The failure of a check whose peer has ended the session.
    pub(super) fn unexpected_eof(&self) -> Failure {
        let mut error = "the peer closed the connection".to_owned();
        if !self.awaited.is_empty() {
            error = format!("{error} instead of {}{}", self.awaited, self.last_words());
        }
        self.failure(Reason::ConnectionReset, error)
    }

    /// Records that the peer did not send what a step expects.
    pub(super) fn record_detail(&self, unexpected: Expectation) {
        self.attempt.record_detail(|| Fact::Unexpected(unexpected));
    }

    /// Tells the verdict on what the peer sent.
    pub(super) fn record_verdict(&self, is_good: bool, text: impl FnOnce() -> String) {
        self.attempt.step(StepKind::verdict(is_good), text);
    }

    /// A failure in the current phase.
    pub(super) fn failure(&self, reason: Reason, error: impl Into<ErrorText>) -> Failure {
        self.attempt.failure(reason, error)
    }

    /// The connection under TLS.
    pub(super) async fn start_tls(self, tls: &TlsTarget) -> Result<MeasuredStream, Failure> {
        if !self.unread.is_empty() {
            // An attacker could have inserted it, to be taken for data that came over TLS.
            let error = "the peer sent plain text after it had agreed to TLS";
            return Err(self.failure(Reason::ProtocolError, error));
        }
        self.stream.handshake(tls).await
    }

    /// The connection itself.
    pub(super) fn stream(&mut self) -> &mut MeasuredStream {
        &mut self.stream
    }

    /// A line that has come already.
    async fn buffered_line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let unsearched = &self.unread[self.searched..];
        let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.unread.len();
            if self.unread.len() > MAX_LINE_BYTES {
                let error = format!("a line is longer than {MAX_LINE_BYTES} bytes");
                return Err(self.failure(Reason::ProtocolError, error));
            }
            return Ok(None);
        };
        let mut line = self.unread.split_to(self.searched + end + 1).to_vec();
        self.searched = 0;
        self.stalled_at = 0;
        self.used += line.len();
        if self.used > MATCHED_PER_TURN {
            self.used = 0;
            yield_turn().await;
        }
        line.pop();
        let line = without_return(line);
        self.record_received(&line, "");
        self.last_line = Some(line.clone());
        Ok(Some(line))
    }

    fn record_received(&self, bytes: &[u8], remark: &str) {
        let steps = self.attempt.steps();
        steps.add(StepKind::Received, || {
            format!("{}{remark}", steps.quote(bytes))
        });
    }

    async fn read(&mut self) -> Result<(), Failure> {
        if !self.awaited.is_empty() {
            let awaited = format!("still waiting for {}{}", self.awaited, self.last_words());
            self.attempt.explain_timeout(awaited);
        }
        self.unread.reserve(READ_BYTES);
        let count = self
            .stream
            .read_buf(&mut self.unread)
            .await
            .map_err(|error| self.stream.failure(&error))?;
        self.is_eof = count == 0;
        if self.is_eof {
            self.attempt
                .step(StepKind::Received, || "the end of the connection");
        }
        self.reads += u32::from(count > 0);
        self.received += count as u64;
        self.attempt.record(Fact::ResponseBytes(self.received));
        let error = if self.received > MAX_RECEIVED_BYTES {
            format!("the peer sent more than {MAX_RECEIVED_BYTES} bytes")
        } else if self.reads > MAX_PIECES {
            format!("the peer sent more than {MAX_PIECES} pieces of data")
        } else {
            return Ok(());
        };
        Err(self.failure(Reason::ProtocolError, error))
    }

    /// The last line that the peer sent, to be appended to the awaited thing.
    fn last_words(&self) -> String {
        match &self.last_line {
            None => String::new(),
            Some(line) => format!("; the last line was {}", self.quote(line)),
        }
    }
}

fn without_return(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use tokio::{net::UnixStream, time::sleep};

    use super::{
        super::{ErrorClassifier, stream::Transport},
        *,
    };

    /// A session, and what its peer speaks over.
    fn session(attempt: &Attempt) -> (TextSession<'_>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let stream = MeasuredStream::new(Transport::Unix(ours), ErrorClassifier::new(attempt));
        (TextSession::new(stream, attempt), theirs)
    }

    #[tokio::test]
    async fn the_pieces_that_a_peer_sends_are_bounded() {
        let attempt = Attempt::start();
        let (mut session, mut peer) = session(&attempt);
        for _ in 0..MAX_PIECES {
            peer.write_all(b"x").await.expect("room");
            session.read().await.expect("not too many pieces");
        }
        peer.write_all(b"x").await.expect("room");
        let failure = session.read().await.expect_err("too many pieces");
        assert_eq!(failure.reason, Reason::ProtocolError);
        let error = format!("the peer sent more than {MAX_PIECES} pieces of data");
        assert_eq!(failure.error, error);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unfinished_line_is_returned_once_until_it_grows() {
        const PAUSE: Duration = Duration::from_secs(1);
        let attempt = Attempt::start();
        let (mut session, mut peer) = session(&attempt);
        let drip = async {
            for piece in ["2", "20 sl", "ow\r\nnext\nrest"] {
                peer.write_all(piece.as_bytes()).await.expect("room");
                sleep(PAUSE).await;
            }
            std::future::pending::<()>().await;
        };
        let read = async {
            let mut lines = Vec::new();
            for _ in 0..5 {
                match session.line().await.expect("lines").expect("a line") {
                    ReceivedLine::Whole(line) => lines.push((line, true)),
                    ReceivedLine::Unfinished(line) => lines.push((line, false)),
                }
            }
            lines
        };
        let lines = tokio::select! {
            lines = read => lines,
            () = drip => unreachable!("it is pending"),
        };
        let expected = [
            ("2", false),
            ("220 sl", false),
            ("220 slow", true),
            ("next", true),
            ("rest", false),
        ];
        assert_eq!(
            lines,
            expected.map(|(line, is_whole)| (line.into(), is_whole))
        );
        assert_eq!(session.take_unfinished(), b"rest");
    }
}
