//! quinn's streams as h3 takes them.
//!
//! The crate h3-quinn does the same. It panics if h3 stops a stream while a read of it is pending, which a peer can
//! bring about.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h3::{
    error::Code,
    quic::{
        self, ConnectionErrorIncoming as ConnectionError, StreamErrorIncoming as StreamError,
        StreamId, WriteBuf,
    },
};
use quinn::{ReadError, VarInt, WriteError};

use super::frames::FrameFilter;
use crate::offload::Turns;

/// Bytes per read.
const READ_BYTES: usize = 4 << 10;

type Opening<T> = Pin<Box<dyn Future<Output = Result<T, quinn::ConnectionError>> + Send>>;

/// A connection whose peer opens streams in one direction only.
pub(super) struct QuicConnection {
    opener: Opener,
    accepting: Opening<quinn::RecvStream>,
}

impl QuicConnection {
    pub(super) fn new(opener: Opener) -> Self {
        Self {
            accepting: accept(opener.connection.clone()),
            opener,
        }
    }
}

fn accept(connection: quinn::Connection) -> Opening<quinn::RecvStream> {
    Box::pin(async move { connection.accept_uni().await })
}

impl quic::Connection<Bytes> for QuicConnection {
    type RecvStream = ReceiveHalf;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ReceiveHalf, ConnectionError>> {
        let accepted = ready!(self.accepting.as_mut().poll(context));
        self.accepting = accept(self.opener.connection.clone());
        Poll::Ready(match accepted {
            Ok(stream) => Ok(ReceiveHalf::new(stream)),
            Err(error) => Err(connection_error(error)),
        })
    }

    /// The transport allows the peer no such stream.
    fn poll_accept_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<RequestHalves, ConnectionError>> {
        Poll::Pending
    }

    fn opener(&self) -> Opener {
        self.opener.share()
    }
}

impl quic::OpenStreams<Bytes> for QuicConnection {
    type BidiStream = RequestHalves;
    type SendStream = SendHalf;

    fn poll_open_bidi(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<RequestHalves, StreamError>> {
        self.opener.poll_open_bidi(context)
    }

    fn poll_open_send(&mut self, context: &mut Context<'_>) -> Poll<Result<SendHalf, StreamError>> {
        self.opener.poll_open_send(context)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens streams of a connection.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening_both: Option<Opening<(quinn::SendStream, quinn::RecvStream)>>,
    opening_send: Option<Opening<quinn::SendStream>>,
}

impl Opener {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        Self {
            connection,
            opening_both: None,
            opening_send: None,
        }
    }

    fn share(&self) -> Self {
        Self::new(self.connection.clone())
    }
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = RequestHalves;
    type SendStream = SendHalf;

    fn poll_open_bidi(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<RequestHalves, StreamError>> {
        let opening = self.opening_both.get_or_insert_with(|| {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_bi().await })
        });
        let opened = ready!(opening.as_mut().poll(context));
        self.opening_both = None;
        Poll::Ready(match opened {
            Ok((send, receive)) => Ok(RequestHalves {
                send: SendHalf::new(send),
                receive: ReceiveHalf::of_response(receive),
            }),
            Err(error) => Err(lost(error)),
        })
    }

    fn poll_open_send(&mut self, context: &mut Context<'_>) -> Poll<Result<SendHalf, StreamError>> {
        let opening = self.opening_send.get_or_insert_with(|| {
            let connection = self.connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = ready!(opening.as_mut().poll(context));
        self.opening_send = None;
        Poll::Ready(opened.map(SendHalf::new).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(var_int(code.value()), reason);
    }
}

/// The stream of a request, in both directions.
pub(super) struct RequestHalves {
    send: SendHalf,
    receive: ReceiveHalf,
}

impl quic::BidiStream<Bytes> for RequestHalves {
    type SendStream = SendHalf;
    type RecvStream = ReceiveHalf;

    fn split(self) -> (SendHalf, ReceiveHalf) {
        (self.send, self.receive)
    }
}

impl quic::RecvStream for RequestHalves {
    type Buf = Bytes;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.receive.poll_data(context)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receive.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receive.recv_id()
    }
}

impl quic::SendStream<Bytes> for RequestHalves {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.send.poll_ready(context)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamError> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.send.poll_finish(context)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// A stream that is read.
pub(super) struct ReceiveHalf {
    stream: quinn::RecvStream,
    buffer: BytesMut,
    /// h3 parses everything that can be read in one go, however small its frames.
    turns: Turns,
    /// The frames of a response, which no other stream has.
    frames: Option<FrameFilter>,
}

impl ReceiveHalf {
    fn new(stream: quinn::RecvStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            turns: Turns::default(),
            frames: None,
        }
    }

    fn of_response(stream: quinn::RecvStream) -> Self {
        Self {
            frames: Some(FrameFilter::default()),
            ..Self::new(stream)
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        ready!(self.turns.poll_turn(context));
        self.buffer.resize(READ_BYTES, 0);
        let Poll::Ready(read) = self.stream.poll_read(context, &mut self.buffer) else {
            self.turns.end();
            return Poll::Pending;
        };
        Poll::Ready(match read {
            Ok(0) => Ok(None),
            Ok(length) => Ok(Some(self.buffer.split_to(length).freeze())),
            Err(ReadError::Reset(code)) => Err(terminated(code)),
            Err(ReadError::ConnectionLost(error)) => Err(lost(error)),
            Err(error) => Err(StreamError::Unknown(Box::new(error))),
        })
    }
}

impl quic::RecvStream for ReceiveHalf {
    type Buf = Bytes;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        loop {
            let read = ready!(self.poll_read(context))?;
            let Some(frames) = &mut self.frames else {
                return Poll::Ready(Ok(read));
            };
            let Some(chunk) = read else {
                return Poll::Ready(if frames.is_within_frame() {
                    Err(cut())
                } else {
                    Ok(None)
                });
            };
            let passed = frames.filter(chunk);
            if !passed.is_empty() {
                return Poll::Ready(Ok(Some(passed)));
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        // A stream that has ended cannot be stopped.
        let _ = self.stream.stop(var_int(code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

/// A stream that is written.
pub(super) struct SendHalf {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
}

impl SendHalf {
    fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            writing: None,
        }
    }
}

impl quic::SendStream<Bytes> for SendHalf {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if let Some(data) = &mut self.writing {
            while data.has_remaining() {
                let write = Pin::new(&mut self.stream).poll_write(context, data.chunk());
                match ready!(write) {
                    Ok(written) => data.advance(written),
                    Err(WriteError::Stopped(code)) => return Poll::Ready(Err(terminated(code))),
                    Err(WriteError::ConnectionLost(error)) => return Poll::Ready(Err(lost(error))),
                    Err(error) => return Poll::Ready(Err(StreamError::Unknown(Box::new(error)))),
                }
            }
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamError> {
        debug_assert!(self.writing.is_none(), "h3 waits until it is ready");
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let finished = self.stream.finish();
        Poll::Ready(finished.map_err(|error| StreamError::Unknown(Box::new(error))))
    }

    fn reset(&mut self, code: u64) {
        // A stream that has ended cannot be reset.
        let _ = self.stream.reset(var_int(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

fn connection_error(error: quinn::ConnectionError) -> ConnectionError {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => ConnectionError::ApplicationClose {
            error_code: close.error_code.into(),
        },
        quinn::ConnectionError::TimedOut => ConnectionError::Timeout,
        error => ConnectionError::Undefined(Arc::new(error)),
    }
}

fn lost(error: quinn::ConnectionError) -> StreamError {
    StreamError::ConnectionErrorIncoming {
        connection_error: connection_error(error),
    }
}

/// The error of a response that ends within a frame.
fn cut() -> StreamError {
    let error = io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the HTTP/3 stream ended within a frame",
    );
    StreamError::Unknown(Box::new(error))
}

fn terminated(code: VarInt) -> StreamError {
    StreamError::StreamTerminated {
        error_code: code.into(),
    }
}

fn var_int(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn id(id: quinn::StreamId) -> StreamId {
    u64::from(id).try_into().expect("both have 62 bits")
}
