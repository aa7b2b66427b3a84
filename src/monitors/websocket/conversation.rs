//! What is said over a WebSocket, until it is closed: messages, a ping, and the close handshake.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{self, AsyncReadExt, Join, ReadHalf, Take, WriteHalf},
    task::spawn_blocking,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        handshake::client::generate_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::dialogue::{Reply, TooLong, Turn};
use crate::{
    check::{Attempt, Fact, Failure, Reason},
    net::{ErrorClassifier, Stream},
    value::Captures,
    value::Pattern,
};

/// Bytes of all messages of one check.
const MAX_BYTES: usize = 1 << 20;

/// Bytes of all frames of one check: pieces of messages may be empty.
const MAX_WIRE_BYTES: u64 = (MAX_BYTES + (256 << 10)) as u64;

/// Messages of one check, pings and pongs among them.
const MAX_MESSAGES: usize = 1000;

/// Bytes that are matched right away: what the slowest expressions take some milliseconds for.
const MATCHED_AT_ONCE: usize = 64 << 10;

/// A connection of which only so much is read.
type Bounded = Join<Take<ReadHalf<Stream>>, WriteHalf<Stream>>;

/// A WebSocket that stands.
pub(super) struct Conversation<'a> {
    socket: WebSocketStream<Bounded>,
    errors: ErrorClassifier,
    attempt: &'a Attempt,
    messages: usize,
    bytes: usize,
    captured: Vec<(String, String)>,
}

impl<'a> Conversation<'a> {
    /// Over `stream`, of which `rest` has been read already.
    pub async fn begin(stream: Stream, rest: Vec<u8>, attempt: &'a Attempt) -> Self {
        let errors = stream.errors();
        let config = WebSocketConfig::default()
            .read_buffer_size(1 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_BYTES))
            .max_frame_size(Some(MAX_BYTES));
        let (reader, writer) = io::split(stream);
        let stream = io::join(reader.take(MAX_WIRE_BYTES), writer);
        let role = Role::Client;
        let socket = WebSocketStream::from_partially_read(stream, rest, role, Some(config)).await;
        attempt.learn(Fact::ResponseBytes(0));
        Self {
            socket,
            errors,
            attempt,
            messages: 0,
            bytes: 0,
            captured: Vec::new(),
        }
    }

    /// Takes one turn after the other.
    pub async fn hold(&mut self, dialogue: &Arc<[Turn]>) -> Result<(), Failure> {
        for (at, turn) in dialogue.iter().enumerate() {
            let reply = match &turn.expect {
                None => turn.opening(),
                Some(expect) => self.expect(dialogue, at, expect).await?,
            };
            if !reply.captured.is_empty() {
                self.captured.extend(reply.captured);
                self.attempt.learn(Fact::Captured(self.captured.clone()));
            }
            if let Some(message) = reply.send {
                self.send(message).await?;
            }
        }
        Ok(())
    }

    /// Reads messages until one is as `expect`, of the turn `at`, has it.
    async fn expect(
        &mut self,
        dialogue: &Arc<[Turn]>,
        at: usize,
        expect: &Pattern,
    ) -> Result<Reply, Failure> {
        loop {
            let message = match self.next().await {
                Ok(Message::Text(text)) => Bytes::from(text),
                Ok(Message::Binary(bytes)) => bytes,
                Ok(_) => continue,
                Err(mut failure) => {
                    if failure.reason == Reason::ResponseMismatch {
                        let said = failure.error;
                        failure.error =
                            format!("{said} before a message that matches \"{expect}\"");
                    }
                    return Err(failure);
                }
            };
            match self.respond(dialogue, at, message).await? {
                None => {}
                Some(Ok(reply)) => return Ok(reply),
                Some(Err(TooLong)) => {
                    let longest = Captures::LONGEST;
                    let error = format!("what is to be sent is longer than {longest} bytes");
                    return Err(self.attempt.failure(Reason::ResponseMismatch, error));
                }
            }
        }
    }

    /// What `message` leads to: a long one is matched on a thread where it keeps no other check waiting.
    async fn respond(
        &mut self,
        dialogue: &Arc<[Turn]>,
        at: usize,
        message: Bytes,
    ) -> Result<Option<Result<Reply, TooLong>>, Failure> {
        if message.len() <= MATCHED_AT_ONCE {
            return Ok(dialogue[at].respond(&message));
        }
        let dialogue = dialogue.clone();
        // Dropped with the check, it does not begin; what has begun ends in linear time.
        let matched =
            AbortOnDropHandle::new(spawn_blocking(move || dialogue[at].respond(&message)));
        matched.await.map_err(|error| {
            let error = format!("a message could not be matched: {error}");
            self.attempt.failure(Reason::AgentError, error)
        })
    }

    /// Sends a ping that nobody could have foreseen, and waits for its pong.
    pub async fn ping(&mut self) -> Result<(), Failure> {
        let payload = Bytes::from(generate_key());
        self.send(Message::Ping(payload.clone())).await?;
        loop {
            match self.next().await {
                Ok(Message::Pong(echo)) if echo == payload => return Ok(()),
                Ok(_) => {}
                Err(mut failure) => {
                    if failure.reason == Reason::ResponseMismatch {
                        failure.error += " before it answered the ping";
                    }
                    return Err(failure);
                }
            }
        }
    }

    /// Closes in good order: a peer must answer that, or be gone (RFC 6455, section 7.1).
    pub async fn close(mut self) -> Result<(), Failure> {
        let farewell = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        if self.socket.close(Some(farewell)).await.is_err() {
            // All that was asked for has been seen, and the peer has left.
            return Ok(());
        }
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(_)) | Err(Error::Io(_) | Error::Capacity(_))) => {
                    return Ok(());
                }
                Some(Ok(message)) if self.count(&message).is_err() => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) if is_end(&error) => return Ok(()),
                Some(Err(error)) => return Err(self.failure(&error)),
                None => return Ok(()),
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Failure> {
        let sent = self.socket.send(message).await;
        sent.map_err(|error| self.failure(&error))
    }

    /// The next message of any kind but the one that closes.
    async fn next(&mut self) -> Result<Message, Failure> {
        match self.socket.next().await {
            Some(Ok(Message::Close(farewell))) => {
                let code = farewell.map_or_else(String::new, |farewell| {
                    format!(" with code {}", u16::from(farewell.code))
                });
                let error = format!("the server closed{code}");
                Err(self.attempt.failure(Reason::ResponseMismatch, error))
            }
            Some(Ok(message)) => self.count(&message).map(|()| message),
            Some(Err(error)) => Err(self.failure(&error)),
            None => Err(self.failure(&Error::ConnectionClosed)),
        }
    }

    fn count(&mut self, message: &Message) -> Result<(), Failure> {
        self.messages += 1;
        if message.is_text() || message.is_binary() {
            self.bytes += message.len();
            self.attempt.learn(Fact::ResponseBytes(self.bytes as u64));
        }
        let error = if self.messages > MAX_MESSAGES {
            format!("the server sent more than {MAX_MESSAGES} messages")
        } else if self.bytes > MAX_BYTES {
            format!("the server sent more than {MAX_BYTES} bytes")
        } else {
            return Ok(());
        };
        Err(self.attempt.failure(Reason::ResponseMismatch, error))
    }

    /// Whether the connection ended because no more of it is read.
    fn is_exhausted(&self) -> bool {
        self.socket.get_ref().reader().limit() == 0
    }

    /// What an `error` of the conversation means.
    fn failure(&self, error: &Error) -> Failure {
        match error {
            Error::Io(error) => {
                let mut failure = self.errors.failure(error);
                // There is no body that could be cut short.
                if failure.reason == Reason::TruncatedBody {
                    failure.reason = Reason::ConnectionReset;
                }
                failure
            }
            error if matches!(error, Error::Capacity(_)) || self.is_exhausted() => {
                let error = format!("the server sent more than {MAX_BYTES} bytes");
                self.attempt.failure(Reason::ResponseMismatch, error)
            }
            error if is_end(error) => {
                let error = "the server closed the connection without closing the WebSocket";
                self.attempt.failure(Reason::ConnectionReset, error)
            }
            Error::Utf8(_) => {
                let error = "the server sent a text that is not UTF-8";
                self.attempt.failure(Reason::ProtocolError, error)
            }
            error => {
                let error = format!("what the server says is no WebSocket: {error}");
                self.attempt.failure(Reason::ProtocolError, error)
            }
        }
    }
}

/// Whether the connection has ended.
fn is_end(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing
            )
    )
}
