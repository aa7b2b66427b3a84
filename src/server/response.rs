//! Responses whose body is in memory, and errors.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::task::JoinError;

/// The body of a response.
pub(super) type Body = UnsyncBoxBody<Bytes, JoinError>;

pub(super) type HttpResponse = Response<Body>;

/// A body that is in memory.
pub(super) fn full_body(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A response of plain text.
pub(super) fn text_response(status: StatusCode, text: impl Into<Bytes>) -> HttpResponse {
    let mut response = Response::new(full_body(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The message of an error response.
#[derive(Clone, Copy)]
struct ErrorMessage(&'static str);

/// A response that says in plain text what is wrong.
pub(super) fn error_response(status: StatusCode, message: &'static str) -> HttpResponse {
    let mut response = text_response(status, format!("{message}\n"));
    response.extensions_mut().insert(ErrorMessage(message));
    response
}

/// Changes an error response from plain text to JSON.
pub(super) fn error_to_json(response: &mut HttpResponse) {
    let Some(ErrorMessage(message)) = response.extensions().get().copied() else {
        return;
    };
    let body = serde_json::json!({ "error": message });
    *response.body_mut() = full_body(format!("{body}\n").into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
}

/// The response with the advice to ask again in a second.
pub(super) fn try_later(mut response: HttpResponse) -> HttpResponse {
    let second = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, second);
    response
}
