//! Responses that are there as a whole.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::task::JoinError;

/// A body on its way to a client.
pub(super) type Body = UnsyncBoxBody<Bytes, JoinError>;

pub(super) type HttpResponse = Response<Body>;

/// A body that is there as a whole.
pub(super) fn full_body(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A line of plain text.
pub(super) fn text(status: StatusCode, text: &'static str) -> HttpResponse {
    text_response(status, Bytes::from_static(text.as_bytes()))
}

/// Plain text.
pub(super) fn text_response(status: StatusCode, text: Bytes) -> HttpResponse {
    let mut response = Response::new(full_body(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
