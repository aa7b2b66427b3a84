//! One request and its response over a QUIC connection, by h3.

use std::future::{Future, poll_fn};

use bytes::{Buf, Bytes};
use h3::{client::RequestStream, error::StreamError};
use http::{Method, Request, Response, StatusCode, header};

use super::{
    causes,
    connection::Connected,
    driver::Driver,
    streams::{Opener, QuicConnection, ReceiveHalf},
};
use crate::{
    check::{Failure, Reason},
    net::{
        ErrorClassifier,
        errors::RootCause,
        http::{
            Body,
            connection::{MAX_BYTES_BEFORE_BODY, MAX_BYTES_FOR_ONE},
            head::MAX_LINES,
        },
    },
};

/// Bytes of a response's headers as HTTP/3 counts them, with 32 for each (RFC 9114, section 4.2.2). Less than the
/// 1 MiB of HTTP/1.1 and HTTP/2, as h3 decodes them in one go, and panics if they are more than a `HeaderMap` holds.
const MAX_HEADERS_BYTES: u64 = 256 << 10;

type Sender = h3::client::SendRequest<Opener, Bytes>;

/// Sends `message` with `body`, and waits for the response's headers.
pub(in crate::net::http) async fn send(
    connected: Connected,
    message: Request<()>,
    body: Bytes,
) -> Result<Response<Http3Body>, Failure> {
    let Connected {
        connection,
        mut driver,
        errors,
    } = connected;
    errors.allow(MAX_BYTES_BEFORE_BODY);
    let opener = Opener::new(connection.clone());
    let mut exchange = Exchange { connection, errors };
    let mut builder = h3::client::builder();
    builder
        .max_field_section_size(MAX_HEADERS_BYTES)
        .send_grease(false);
    let built = builder.build(QuicConnection::new(opener));
    let built = driver.drive(built).await;
    let built = built.map_err(|error| exchange.errors.failure(&error))?;
    let (http3, mut sender) =
        built.map_err(|error| exchange.failure(|| causes::of_http3(&error)))?;
    driver.set_http3(http3);
    let method = message.method().clone();
    let stream = exchange.drive(&mut driver, sender.send_request(message));
    let (mut send, mut receive) = stream.await?.split();
    // Beside the response, which may come before the request has ended. Errors reach the response too.
    driver.run(Box::pin(async move {
        if body.is_empty() || send.send_data(body).await.is_ok() {
            let _ = send.finish().await;
        }
    }));
    let response = loop {
        let response = exchange.drive(&mut driver, receive.recv_response()).await?;
        if !response.status().is_informational() {
            break response;
        }
    };
    if response.headers().len() > MAX_LINES {
        let error = format!("the response has more than {MAX_LINES} headers");
        return Err(exchange.fail(Reason::ProtocolError, error));
    }
    exchange.errors.allow(MAX_BYTES_BEFORE_BODY);
    let expected = expected_length(&method, &response);
    Ok(response.map(|()| Http3Body {
        receive,
        received: 0,
        expected,
        exchange,
        driver,
        _sender: sender,
    }))
}

/// The number of bytes that `response` promises, if it has a body.
fn expected_length(method: &Method, response: &Response<()>) -> Option<u64> {
    let is_without_body = *method == Method::HEAD
        || matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let length = response.headers().get(header::CONTENT_LENGTH)?;
    let length = length.to_str().ok()?.parse().ok()?;
    Some(length).filter(|_| !is_without_body)
}

/// The connection of one request, which tells why the request failed.
struct Exchange {
    connection: quinn::Connection,
    errors: ErrorClassifier,
}

impl Exchange {
    /// The result of `step`, while `driver` drives the connection.
    async fn drive<T>(
        &mut self,
        driver: &mut Driver,
        step: impl Future<Output = Result<T, StreamError>>,
    ) -> Result<T, Failure> {
        match driver.drive(step).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(self.failure(|| causes::of_stream(&error))),
            Err(error) => Err(self.errors.failure(&error)),
        }
    }

    /// The failure of the request, which `cause` explains if QUIC does not: h3 passes on less than QUIC reported.
    fn failure(&self, cause: impl FnOnce() -> RootCause) -> Failure {
        let cause = match self.connection.close_reason() {
            None | Some(quinn::ConnectionError::LocallyClosed) => cause(),
            Some(error) => causes::of_connection(&error),
        };
        self.errors.failure_for(cause)
    }

    fn fail(&self, reason: Reason, error: String) -> Failure {
        self.errors.attempt().failure(reason, error)
    }
}

/// The body of a response.
pub struct Http3Body {
    receive: RequestStream<ReceiveHalf, Bytes>,
    received: u64,
    /// The number of bytes that the headers promise.
    expected: Option<u64>,
    exchange: Exchange,
    driver: Driver,
    /// Dropped, it would end the connection.
    _sender: Sender,
}

impl Http3Body {
    /// The failure of a body that ends after other than the bytes that its headers promise.
    fn check_length(&self) -> Result<(), Failure> {
        let received = self.received;
        match self.expected {
            Some(expected) if received < expected => {
                let error = format!("the body ended after {received} of {expected} bytes");
                Err(self.exchange.fail(Reason::TruncatedBody, error))
            }
            Some(expected) if received > expected => {
                let error = format!("the body is longer than its Content-Length, {expected}");
                Err(self.exchange.fail(Reason::ProtocolError, error))
            }
            _ => Ok(()),
        }
    }
}

impl Body for Http3Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let receive = &mut self.receive;
        let next = poll_fn(|context| {
            let data = receive.poll_recv_data(context);
            data.map_ok(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())))
        });
        let Some(data) = self.exchange.drive(&mut self.driver, next).await? else {
            self.check_length()?;
            return Ok(None);
        };
        let length = data.len() as u64;
        self.received += length;
        self.exchange.errors.allow_more(length * MAX_BYTES_FOR_ONE);
        if self
            .expected
            .is_some_and(|expected| self.received > expected)
        {
            self.check_length()?;
        }
        Ok(Some(data))
    }
}
