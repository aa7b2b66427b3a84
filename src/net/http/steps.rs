//! Requests and responses as steps of a check: headers only if they are known to hold no secrets.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version};
use url::Url;

use crate::{
    check::{StepKind, Steps},
    text::counted,
    value::HttpUrl,
};

/// Headers of requests that are shown. Any other could be a credential.
const SHOWN_REQUEST_HEADERS: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "pragma",
    "range",
    "te",
    "traceparent",
    "upgrade",
    "user-agent",
    "sec-websocket-version",
    "sec-websocket-protocol",
];

/// Headers of responses that are shown. Any other could be a credential, such as `Set-Cookie`.
const SHOWN_RESPONSE_HEADERS: &[&str] = &[
    "accept-ranges",
    "access-control-allow-origin",
    "age",
    "allow",
    "alt-svc",
    "cache-control",
    "cache-status",
    "cf-cache-status",
    "cf-mitigated",
    "cf-ray",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "expires",
    "fly-request-id",
    "grpc-status",
    "keep-alive",
    "last-modified",
    "pragma",
    "referrer-policy",
    "request-id",
    "retry-after",
    "sec-websocket-protocol",
    "server",
    "server-timing",
    "strict-transport-security",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "www-authenticate",
    "x-amz-cf-id",
    "x-amz-cf-pop",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-azure-ref",
    "x-cache",
    "x-cache-hits",
    "x-content-type-options",
    "x-correlation-id",
    "x-frame-options",
    "x-ms-request-id",
    "x-powered-by",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
    "x-response-time",
    "x-runtime",
    "x-served-by",
    "x-trace-id",
    "x-varnish",
    "x-xss-protection",
];

/// Number of headers of a message that are told; the rest is counted.
const MAX_HEADERS: usize = 60;

/// Tells a request, and hides in all that follows what may be secret in it.
pub(super) fn record_request<B>(message: &http::Request<B>, body: &Bytes, steps: &Steps) {
    if !steps.are_recorded() {
        return;
    }
    let uri = message.uri();
    steps.hide(uri.query().unwrap_or_default().as_bytes());
    steps.hide(body);
    steps.add(StepKind::Request, || {
        let query = if uri.query().is_some() {
            " (query hidden)"
        } else {
            ""
        };
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{}", authority.host()),
            _ => String::new(),
        };
        let version = version(message.version());
        format!(
            "{} {authority}{}{query} {version}",
            message.method(),
            uri.path()
        )
    });
    record_request_headers(message.headers(), StepKind::RequestHeader, steps);
    if !body.is_empty() {
        steps.add(StepKind::RequestBody, || counted(body.len(), "byte"));
    }
}

/// Tells the headers of a request, and hides in all that follows those that may be secret.
pub(crate) fn record_request_headers(headers: &HeaderMap, kind: StepKind, steps: &Steps) {
    for (name, value) in headers {
        if *name == http::header::HOST {
            // A redirect may have chosen it.
            let value = value.as_bytes().escape_ascii();
            steps.add(kind, || format!("{name}: {value}"));
        } else if SHOWN_REQUEST_HEADERS.contains(&name.as_str()) {
            let value = value.as_bytes().escape_ascii();
            steps.add_own(kind, || format!("{name}: {value}"));
        } else {
            steps.hide(value.as_bytes());
            steps.add_own(kind, || format!("{name}: {}", hidden(value.len())));
        }
    }
}

/// Tells the head of a response.
pub(crate) fn record_response<B>(response: &Response<B>, steps: &Steps) {
    if !steps.are_recorded() {
        return;
    }
    steps.add(StepKind::Response, || {
        let status = response.status();
        let reason = status.canonical_reason().unwrap_or_default();
        format!(
            "{} {} {reason}",
            version(response.version()),
            status.as_u16()
        )
    });
    let headers = response.headers();
    for (name, value) in headers.iter().take(MAX_HEADERS) {
        steps.add(StepKind::ResponseHeader, || {
            format!("{name}: {}", shown_value(name, value))
        });
    }
    if let Some(more @ 1..) = headers.len().checked_sub(MAX_HEADERS) {
        steps.add(StepKind::ResponseHeader, || format!("and {more} more"));
    }
}

/// A location without what may be secret in it: of one that is not a path or a URL of HTTP, nothing.
fn location(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    let more = if shown.len() < text.len() { "…" } else { "" };
    if shown.starts_with('/') && !shown.starts_with("//") {
        return format!("{shown}{more}");
    }
    match Url::parse(shown) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            format!("{}{more}", HttpUrl::redacted(&url))
        }
        _ => hidden(value.len()),
    }
}

/// The value of a response's header, if it is known to be harmless.
pub(crate) fn shown_value(name: &HeaderName, value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    if *name == http::header::LOCATION {
        location(bytes)
    } else if SHOWN_RESPONSE_HEADERS.contains(&name.as_str()) {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        hidden(bytes.len())
    }
}

fn hidden(length: usize) -> String {
    format!("(hidden, {})", counted(length, "byte"))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_shows_no_password_and_no_query() {
        for (value, shown) in [
            (
                "https://user:pass@a.example/b?c=d#e",
                "https://a.example/b…",
            ),
            ("/login?next=/", "/login…"),
            ("//user:pass@a.example/", "(hidden, 22 bytes)"),
            ("ftp://a.example/b", "(hidden, 17 bytes)"),
            ("[/b", "(hidden, 3 bytes)"),
            ("https://a.example/", "https://a.example/"),
        ] {
            assert_eq!(location(value.as_bytes()), shown);
        }
    }
}
