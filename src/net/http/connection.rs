//! One request and its response over a connection, by hyper.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{http1, http2},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{
    Body,
    head::{LenientStream, MAX_HEAD_BYTES},
    message::Secrets,
};
use crate::{
    check::Failure,
    net::{ErrorClassifier, MeasuredStream},
};

/// Bytes of a response's headers over HTTP/2, as over HTTP/1: more than any browser takes.
#[expect(clippy::cast_possible_truncation, reason = "it is a mebibyte")]
const MAX_HEADER_LIST_BYTES: u32 = MAX_HEAD_BYTES as u32;

/// Bytes that a peer may send before the headers of its response are complete, interim responses and
/// frames that concern the connection among them.
pub(super) const MAX_BYTES_BEFORE_BODY: u64 = 2 << 20;

/// Bytes that may be received for one byte of body, beyond [`MAX_BYTES_BEFORE_BODY`]: a peer that sends
/// its whole body in chunks of a byte, each of which takes six, comes to some 500,000 of them.
pub(super) const MAX_BYTES_FOR_ONE: u64 = 2;

/// Bytes of a body that may come over HTTP/2 before they are asked for: less than what may come in all.
const WINDOW_BYTES: u32 = 1 << 20;

type Message = http::Request<Full<Bytes>>;

type Http1Connection = http1::Connection<TokioIo<LenientStream>, Full<Bytes>>;

/// Sends `message` and waits for the response's headers. `secrets` are not quoted in errors.
#[expect(
    clippy::manual_async_fn,
    reason = "the future of an async function has room for its arguments twice"
)]
pub(super) fn send_over_http1(
    stream: MeasuredStream,
    message: Message,
    secrets: Secrets,
) -> impl Future<Output = Result<Response<ResponseBody>, Failure>> + Send {
    async move {
        let errors = stream.errors();
        errors.allow(MAX_BYTES_BEFORE_BODY);
        let (stream, head) = LenientStream::new(stream);
        let response = async {
            let (mut sender, connection) = http1::Builder::new()
                .max_buf_size(2 * MAX_HEAD_BYTES)
                .allow_obsolete_multiline_headers_in_responses(true)
                .allow_spaces_after_header_name_in_responses(true)
                .ignore_invalid_headers_in_responses(true)
                .handshake(TokioIo::new(stream))
                .await?;
            let mut driver = Driver::Http1(Box::new(connection));
            let mut response = pin!(sender.send_request(message));
            let response = poll_fn(|context| {
                driver.poll(context);
                response.as_mut().poll(context)
            });
            Ok((response.await?, driver))
        };
        let result = response.await;
        let refused = result.as_ref().err().is_some_and(hyper::Error::is_parse);
        let mut response =
            received(result, errors).map_err(|failure| match head.complaint(&secrets.words()) {
                Some(error) if refused => Failure {
                    error: error.into(),
                    ..failure
                },
                _ => failure,
            })?;
        head.restore(&mut response);
        Ok(response)
    }
}

/// As [`send_over_http1`], over HTTP/2.
pub(super) async fn send_over_http2(
    stream: MeasuredStream,
    message: Message,
) -> Result<Response<ResponseBody>, Failure> {
    let errors = stream.errors();
    errors.allow(MAX_BYTES_BEFORE_BODY);
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let executor = TaskExecutor(Arc::downgrade(&tasks));
    let response = async {
        let (mut sender, connection) = http2::Builder::new(executor.clone())
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        // The error of a connection reaches the request that it was for.
        executor.execute(async move { drop(connection.await) });
        Ok((sender.send_request(message).await?, Driver::Http2(tasks)))
    };
    received(response.await, errors)
}

fn received(
    result: hyper::Result<(Response<Incoming>, Driver)>,
    errors: ErrorClassifier,
) -> Result<Response<ResponseBody>, Failure> {
    let (response, driver) = result.map_err(|error| errors.failure(&error))?;
    errors.allow(MAX_BYTES_BEFORE_BODY);
    Ok(response.map(|incoming| {
        ResponseBody::Tcp(TcpBody {
            incoming,
            driver,
            errors,
        })
    }))
}

/// Drives a connection. Dropped with the check, it closes the connection.
enum Driver {
    /// The check's own task.
    Http1(Box<Http1Connection>),
    /// Tasks beside it.
    Http2(#[expect(dead_code, reason = "held for its drop")] Tasks),
    /// The connection has ended.
    Ended,
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Self::Http1(connection) = self
            // The error of a connection reaches the request that it was for.
            && Pin::new(connection).poll(context).is_ready()
        {
            *self = Self::Ended;
        }
    }
}

/// The body of a response.
pub enum ResponseBody {
    /// Over HTTP/1 or HTTP/2.
    Tcp(TcpBody),
    /// Over HTTP/3.
    #[cfg(feature = "http3")]
    Quic(Box<super::http3::Http3Body>),
}

impl Body for ResponseBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Tcp(body) => body.chunk().await,
            // In a box, so that the checks of others have smaller futures.
            #[cfg(feature = "http3")]
            Self::Quic(body) => Box::pin(body.chunk()).await,
        }
    }
}

/// The body of a response over TCP.
pub struct TcpBody {
    incoming: Incoming,
    driver: Driver,
    errors: ErrorClassifier,
}

impl TcpBody {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<hyper::body::Frame<Bytes>>>> {
        // What is there already; and the connection reads no more than it is asked for.
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            return Poll::Ready(frame);
        }
        self.driver.poll(context);
        Pin::new(&mut self.incoming).poll_frame(context)
    }
}

impl Body for TcpBody {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = poll_fn(|context| self.poll_frame(context))
                .await
                .transpose()
                .map_err(|error| self.errors.failure(&error))?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame.into_data() {
                let length = data.len() as u64;
                self.errors.allow_more(length * MAX_BYTES_FOR_ONE);
                return Ok(Some(data));
            }
        }
    }
}

/// The tasks of one connection.
type Tasks = Arc<Mutex<JoinSet<()>>>;

/// Spawns the tasks that hyper runs beside a request, as long as the connection is in use.
#[derive(Clone)]
struct TaskExecutor(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for TaskExecutor {
    fn execute(&self, future: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.lock().spawn(future);
        }
    }
}
