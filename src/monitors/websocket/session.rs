//! A WebSocket from its first message until it is closed: messages, a ping, and the close handshake.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{self, Join, ReadHalf, WriteHalf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        handshake::client::generate_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::query_response::{Entry, ExpansionTooLong, Reply, Verdict};
use crate::{
    check::{Attempt, Fact, Failure, Reason, StepKind},
    net::{ErrorClassifier, Limited, MeasuredStream, SentWords},
    offload,
    text::counted,
    value::{Captures, Pattern},
};

/// Bytes of all messages of one check.
const MAX_BYTES: usize = 1 << 20;

/// Bytes of all frames of one check: pieces of messages may be empty.
const MAX_WIRE_BYTES: u64 = (MAX_BYTES + (256 << 10)) as u64;

/// Messages of one check, pings and pongs among them.
const MAX_MESSAGES: usize = 1000;

/// A connection of which only so much is read.
type Bounded = Join<Limited<ReadHalf<MeasuredStream>>, WriteHalf<MeasuredStream>>;

/// A connection that was upgraded to a WebSocket.
pub(super) struct WebSocketSession<'a> {
    socket: WebSocketStream<Bounded>,
    errors: ErrorClassifier,
    attempt: &'a Attempt,
    sent: SentWords,
    messages: usize,
    bytes: usize,
    captured: Vec<(String, String)>,
}

impl<'a> WebSocketSession<'a> {
    /// Over `stream`, of which `rest` has been read already, to a server that was sent `sent`.
    pub(super) async fn begin(
        stream: MeasuredStream,
        rest: Vec<u8>,
        sent: SentWords,
        attempt: &'a Attempt,
    ) -> Self {
        let errors = stream.errors();
        let config = WebSocketConfig::default()
            .read_buffer_size(1 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_BYTES))
            .max_frame_size(Some(MAX_BYTES));
        let (reader, writer) = io::split(stream);
        let stream = io::join(Limited::new(reader, MAX_WIRE_BYTES), writer);
        let role = Role::Client;
        let socket = WebSocketStream::from_partially_read(stream, rest, role, Some(config)).await;
        attempt.record(Fact::ResponseBytes(0));
        Self {
            socket,
            errors,
            attempt,
            sent,
            messages: 0,
            bytes: 0,
            captured: Vec::new(),
        }
    }

    /// Goes through the entries, one after the other.
    pub(super) async fn run(&mut self, entries: &Arc<[Entry]>) -> Result<(), Failure> {
        for (index, entry) in entries.iter().enumerate() {
            let reply = match &entry.expect {
                None => entry.opening(),
                Some(expect) => self.expect(entries, index, expect).await?,
            };
            if !reply.captured.is_empty() {
                self.captured.extend(reply.captured);
                self.attempt.record(Fact::Captured(self.captured.clone()));
            }
            if let Some(message) = reply.send {
                if let Message::Text(_) | Message::Binary(_) = &message {
                    let data = message.clone().into_data();
                    self.sent.add(&data);
                    self.attempt.steps().hide(&data);
                }
                self.send(message).await?;
            }
        }
        Ok(())
    }

    /// Reads messages until one is as `expect`, of the entry at `index`, has it.
    async fn expect(
        &mut self,
        entries: &Arc<[Entry]>,
        index: usize,
        expect: &Pattern,
    ) -> Result<Reply, Failure> {
        let awaited = format!("a message that matches \"{expect}\"");
        let mut last = String::new();
        loop {
            let waiting = format!("still waiting for {awaited} (query_response[{index}]){last}");
            self.attempt.explain_timeout(waiting);
            let message = match self.next().await {
                Ok(Message::Text(text)) => Bytes::from(text),
                Ok(Message::Binary(bytes)) => bytes,
                Ok(_) => continue,
                Err(mut failure) => {
                    if failure.phase.is_application_protocol() {
                        failure.error = format!("{} before {awaited}", failure.error).into();
                    }
                    return Err(failure);
                }
            };
            match self.judge(entries, index, message.clone()).await {
                Verdict::Skip => {
                    last = format!("; the last message was {}", self.sent.quote(&message));
                }
                Verdict::Reject(pattern) => {
                    self.attempt.step(StepKind::NotPassed, || {
                        format!("query_response[{index}].reject \"{pattern}\": the message matches")
                    });
                    let message = self.sent.quote(&message);
                    let error =
                        format!("the server sent {message}, which matches reject \"{pattern}\"");
                    return Err(self.attempt.failure(Reason::ResponseMismatch, error));
                }
                Verdict::Match(Ok(reply)) => {
                    self.attempt.step(StepKind::Passed, || {
                        format!("query_response[{index}].expect \"{expect}\": the message matches")
                    });
                    return Ok(reply);
                }
                Verdict::Match(Err(ExpansionTooLong)) => {
                    let longest = Captures::MAX_EXPANDED_BYTES;
                    let error = format!("the message to send is longer than {longest} bytes");
                    return Err(self.attempt.failure(Reason::ResponseMismatch, error));
                }
            }
        }
    }

    /// The consequence of `message`: found on a thread where it keeps no other check waiting, if that can
    /// take long.
    async fn judge(&self, entries: &Arc<[Entry]>, index: usize, message: Bytes) -> Verdict {
        let is_short = entries[index].cost(message.len()) <= Pattern::MAX_QUICK_STEPS;
        let entries = entries.clone();
        offload::run(is_short, move |cancel| {
            entries[index].judge(&message, cancel)
        })
        .await
    }

    /// Sends a ping with an unpredictable payload, and waits for its pong.
    pub(super) async fn ping(&mut self) -> Result<(), Failure> {
        let payload = Bytes::from(generate_key());
        self.send(Message::Ping(payload.clone())).await?;
        self.attempt
            .explain_timeout("still waiting for the answer to the ping".to_owned());
        loop {
            match self.next().await {
                Ok(Message::Pong(echo)) if echo == payload => return Ok(()),
                Ok(_) => {}
                Err(mut failure) => {
                    if failure.phase.is_application_protocol() {
                        failure.error =
                            format!("{} before it answered the ping", failure.error).into();
                    }
                    return Err(failure);
                }
            }
        }
    }

    /// Closes in good order: a peer must answer that, or be gone (RFC 6455, section 7.1).
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        let close_frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.attempt.step(StepKind::Sent, || "close");
        if self.socket.close(Some(close_frame)).await.is_err() {
            // All that was asked for has been seen, and the peer has left.
            return Ok(());
        }
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(_))) => {
                    self.attempt.step(StepKind::Received, || "close");
                    return Ok(());
                }
                Some(Ok(message)) if self.count(&message).is_err() => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) if is_closed(&error) || is_gone(&error) => return Ok(()),
                Some(Err(error)) => return Err(self.failure(&error)),
                None => return Ok(()),
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Failure> {
        self.attempt.step(StepKind::Sent, || {
            format!(
                "{}, {}, hidden",
                kind(&message),
                counted(message.len(), "byte")
            )
        });
        let sent = self.socket.send(message).await;
        sent.map_err(|error| self.failure(&error))
    }

    /// The next message of any kind but the one that closes.
    async fn next(&mut self) -> Result<Message, Failure> {
        match self.socket.next().await {
            Some(Ok(Message::Close(close_frame))) => {
                self.attempt.step(StepKind::Received, || "close");
                let code = close_frame.map_or_else(String::new, |close_frame| {
                    format!(" with code {}", u16::from(close_frame.code))
                });
                let error = format!("the server closed the WebSocket{code}");
                Err(self.attempt.failure(Reason::ResponseMismatch, error))
            }
            Some(Ok(message)) => {
                let steps = self.attempt.steps();
                steps.add(StepKind::Received, || {
                    let data = message.clone().into_data();
                    format!("{} {}", kind(&message), steps.quote(&data))
                });
                self.count(&message).map(|()| message)
            }
            Some(Err(error)) => Err(self.failure(&error)),
            None => Err(self.failure(&Error::ConnectionClosed)),
        }
    }

    fn count(&mut self, message: &Message) -> Result<(), Failure> {
        self.messages += 1;
        if message.is_text() || message.is_binary() {
            self.bytes += message.len();
            self.attempt.record(Fact::ResponseBytes(self.bytes as u64));
        }
        let error = if self.messages > MAX_MESSAGES {
            format!("the server sent more than {MAX_MESSAGES} messages")
        } else if self.bytes > MAX_BYTES {
            format!("the server sent more than {MAX_BYTES} bytes")
        } else {
            return Ok(());
        };
        Err(self.attempt.failure(Reason::ProtocolError, error))
    }

    /// Returns whether the connection ended because no more of it is read.
    fn is_exhausted(&self) -> bool {
        self.socket.get_ref().reader().is_exhausted()
    }

    /// The failure for an error of the WebSocket.
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
                self.attempt.failure(Reason::ProtocolError, error)
            }
            error if is_closed(error) => {
                let error = "the server closed the connection without a close frame";
                self.attempt.failure(Reason::ConnectionReset, error)
            }
            Error::Utf8(_) => {
                let error = "the server sent a text that is not UTF-8";
                self.attempt.failure(Reason::ProtocolError, error)
            }
            error => {
                let error = format!("invalid WebSocket from the server: {error}");
                self.attempt.failure(Reason::ProtocolError, error)
            }
        }
    }
}

/// Returns whether the connection is broken, or no more of it is read.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::Capacity(_))
}

/// The kind of a message.
fn kind(message: &Message) -> &'static str {
    match message {
        Message::Text(_) => "text",
        Message::Binary(_) => "binary",
        Message::Ping(_) => "ping",
        Message::Pong(_) => "pong",
        Message::Close(_) => "close",
        Message::Frame(_) => "frame",
    }
}

/// Returns whether the connection has ended.
fn is_closed(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing
            )
    )
}
