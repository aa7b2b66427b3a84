//! Upgrades HTTP/1.1 to a WebSocket: sends the request and checks the response (RFC 6455, section 4).
//!
//! Request and parser are tungstenite's. Its own handshake refuses `Connection: keep-alive, Upgrade`
//! and headers that drip in, and takes extensions that were not offered.

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::handshake::{
    client::{Response, generate_key, generate_request},
    derive_accept_key,
    machine::TryParse,
};

use super::settings::Settings;
use crate::{
    check::{Attempt, Fact, Failure, Reason, StepKind},
    net::{
        MeasuredStream,
        http::{
            HeadError, HeadReader, MAX_HEAD_BYTES, MAX_HEAD_PIECES, TRACEPARENT,
            record_request_headers, record_response, traceparent,
        },
    },
};

/// Interim responses before it.
const MAX_INTERIM: usize = 16;

/// Asks for the upgrade; the same each time but for its key.
pub(super) struct Upgrade {
    request: Request<()>,
    subprotocols: Vec<String>,
}

impl Upgrade {
    pub(super) fn new(settings: &Settings) -> Self {
        let uri = Uri::try_from(settings.url.as_str()).expect("it was read as one");
        let mut request = Request::get(uri).body(()).expect("there is a URI");
        let headers = request.headers_mut();
        headers.extend(settings.headers.iter().cloned());
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
        if !settings.subprotocols.is_empty() {
            let names = HeaderValue::try_from(settings.subprotocols.join(", "));
            headers.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                names.expect("tokens of HTTP"),
            );
        }
        Self {
            request,
            subprotocols: settings.subprotocols.clone(),
        }
    }

    /// Upgrades the connection of `stream`, and returns what came behind the response.
    pub(super) async fn run(
        &self,
        stream: &mut MeasuredStream,
        attempt: &Attempt,
    ) -> Result<Vec<u8>, Failure> {
        let mut request = self.request.clone();
        let key = HeaderValue::try_from(generate_key()).expect("base64");
        request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
        if let Some(value) = traceparent(attempt) {
            request.headers_mut().entry(TRACEPARENT).or_insert(value);
        }
        let steps = attempt.steps();
        if steps.are_recorded() {
            let uri = request.uri();
            steps.hide(uri.query().unwrap_or_default().as_bytes());
            steps.add(StepKind::Request, || {
                let query = if uri.query().is_some() {
                    " (query hidden)"
                } else {
                    ""
                };
                format!("GET {}{query} HTTP/1.1", uri.path())
            });
            record_request_headers(request.headers(), StepKind::RequestHeader, steps);
        }
        let (request, key) =
            generate_request(request).expect("it has all headers, and those of the user are right");
        let (response, rest) = exchange(stream, &request, attempt).await?;
        record_response(&response, steps);
        attempt.record(Fact::HttpStatus(response.status().as_u16()));
        let judged = self.judge(&response, &key);
        steps.add(StepKind::verdict(judged.is_ok()), || match &judged {
            Ok(()) => {
                let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
                let chosen = chosen.map_or_else(String::new, |name| {
                    format!(", subprotocol {}", steps.quote(name.as_bytes()))
                });
                format!("upgrade: HTTP 101{chosen}")
            }
            Err((_, error)) => format!("upgrade: {error}"),
        });
        judged.map_err(|(reason, error)| attempt.failure(reason, error))?;
        Ok(rest)
    }

    fn judge(&self, response: &Response, key: &str) -> Result<(), (Reason, String)> {
        let (status, headers) = (response.status(), response.headers());
        let wrong = |reason, error: &str| Err((reason, error.to_owned()));
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let error = format!("HTTP {}, expected 101", status.as_u16());
            return Err((Reason::StatusCode, error));
        }
        let (connection, upgrade) = (header::CONNECTION, header::UPGRADE);
        if !has_token(headers, &upgrade, "websocket") || !has_token(headers, &connection, "upgrade")
        {
            let error = "the response does not upgrade to a WebSocket";
            return wrong(Reason::ProtocolError, error);
        }
        let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| *accept != derive_accept_key(key.as_bytes())) {
            let error = "Sec-WebSocket-Accept does not match the request's key";
            return wrong(Reason::ProtocolError, error);
        }
        let extensions = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
        if extensions.iter().any(|value| !value.is_empty()) {
            let error = "the server uses an extension that was not offered";
            return wrong(Reason::ProtocolError, error);
        }
        let chosen = headers.get(header::SEC_WEBSOCKET_PROTOCOL);
        match (chosen, &self.subprotocols[..]) {
            (None, []) => Ok(()),
            (None, _) => wrong(
                Reason::ResponseMismatch,
                "the server chose none of the subprotocols",
            ),
            (Some(chosen), offered) if offered.iter().any(|name| chosen == name) => Ok(()),
            (Some(_), []) => wrong(
                Reason::ProtocolError,
                "the server chose a subprotocol, but none was offered",
            ),
            (Some(_), _) => wrong(
                Reason::ResponseMismatch,
                "the server chose a subprotocol that was not offered",
            ),
        }
    }
}

/// Returns whether `token` is in the list that the headers `name` have.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().eq_ignore_ascii_case(token))
}

/// Sends `request`, and returns the response and what came behind it.
async fn exchange(
    stream: &mut MeasuredStream,
    request: &[u8],
    attempt: &Attempt,
) -> Result<(Response, Vec<u8>), Failure> {
    let sent = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    if let Err(error) = sent.await {
        return Err(stream.failure(&error));
    }
    let protocol_error = |error: String| attempt.failure(Reason::ProtocolError, error);
    let mut reader = HeadReader::default();
    for _ in 0..=MAX_INTERIM {
        let head = reader.next(stream).await.map_err(|error| match error {
            HeadError::Io(error) => stream.failure(&error),
            HeadError::Closed => {
                let error = "the server closed the connection before the response was complete";
                attempt.failure(Reason::ConnectionReset, error)
            }
            HeadError::NotHttp => not_http(attempt),
            HeadError::TooLarge => protocol_error(format!(
                "the response's head is larger than {MAX_HEAD_BYTES} bytes"
            )),
            HeadError::TooManyPieces => protocol_error(format!(
                "the response's head came in more than {MAX_HEAD_PIECES} pieces"
            )),
        })?;
        let Ok(Some((_, response))) = Response::try_parse(&head) else {
            return Err(not_http(attempt));
        };
        // An interim response is not the one to judge (RFC 9110, section 15.2).
        let status = response.status();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, reader.into_rest()));
        }
    }
    let error = format!("the server sent more than {MAX_INTERIM} interim responses");
    Err(protocol_error(error))
}

fn not_http(attempt: &Attempt) -> Failure {
    let error = "the server does not speak HTTP/1.1";
    attempt.failure(Reason::ProtocolError, error)
}
