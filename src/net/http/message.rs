//! Builds the HTTP message of a request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header, uri::Authority};
use http_body_util::Full;
use url::Position;

use super::{Request, proxy::Proxy};
use crate::net::echo::SentWords;

/// Bytes of a request's body that are searched for in the peer's response.
const MAX_SEARCHED_BODY: usize = 16 << 10;

/// Headers that concern a connection, which later versions than HTTP/1.1 have no use for (RFC 9114, section 4.2).
const CONNECTION_HEADERS: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The message of `request` in `version`: to a proxy that forwards it, with its whole URL.
pub(super) fn build(
    request: Request,
    forwarded_by: Option<&Proxy>,
    version: Version,
) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let url = &request.url;
    let mut headers = request.headers;
    let is_framed = version > Version::HTTP_11;
    let absolute = forwarded_by.is_some() || is_framed;
    let start = if absolute {
        Position::BeforeScheme
    } else {
        Position::BeforePath
    };
    let mut uri = Uri::try_from(&url[start..Position::AfterQuery])?;
    if is_framed {
        for name in &CONNECTION_HEADERS {
            headers.remove(name);
        }
        // RFC 9113, section 8.3.1: the Host header is :authority there.
        let host = headers.remove(header::HOST);
        if let Some(Ok(authority)) = host.map(|host| Authority::try_from(host.as_bytes())) {
            let mut parts = uri.into_parts();
            parts.authority = Some(authority);
            uri = Uri::from_parts(parts)?;
        }
    } else if !headers.contains_key(header::HOST) {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        headers.insert(header::HOST, HeaderValue::try_from(host)?);
    }
    headers
        .entry(header::ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    if let Some(proxy) = forwarded_by
        && let Some(credentials) = proxy.headers.get(header::PROXY_AUTHORIZATION)
    {
        headers.insert(header::PROXY_AUTHORIZATION, credentials.clone());
    }
    if version == Version::HTTP_3 {
        // hyper does so for the others.
        set_content_length(&mut headers, &request.method, request.body.len());
    }
    let mut message = http::Request::new(Full::new(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = uri;
    *message.headers_mut() = headers;
    *message.version_mut() = version;
    Ok(message)
}

/// Says how long the body is, unless there is none and nobody would expect one.
fn set_content_length(headers: &mut HeaderMap, method: &Method, length: usize) {
    let has_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if length > 0 || has_body {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
}

/// Parts of a request that may be secret. They keep a peer's echo of them out of errors.
pub(super) struct Secrets {
    uri: Uri,
    headers: Vec<HeaderValue>,
    body: Bytes,
}

impl Secrets {
    pub(super) fn new(message: &http::Request<Full<Bytes>>, body: Bytes) -> Self {
        let values = message.headers().values();
        Self {
            uri: message.uri().clone(),
            headers: values
                .filter(|value| value.is_sensitive())
                .cloned()
                .collect(),
            body,
        }
    }

    pub(super) fn words(&self) -> SentWords {
        let mut words = SentWords::default();
        words.add(self.uri.query().unwrap_or_default().as_bytes());
        for value in &self.headers {
            words.add(value.as_bytes());
        }
        words.add(&self.body[..self.body.len().min(MAX_SEARCHED_BODY)]);
        words
    }
}
