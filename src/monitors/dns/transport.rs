//! Sends a query to the server and receives the response: over UDP, TCP, TLS and HTTPS.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response as HttpResponse, StatusCode,
    header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use super::{
    Settings,
    message::{EncodedQuery, Response, ResponseError},
    settings::Server,
};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason, StepKind, Steps},
    net::{
        Connector, Limited, LimitedBuffer, MAX_PIECES, MeasuredStream, Net, TlsTarget,
        http::{self as net_http, Body, ClientOptions, OfferedVersions, Request, Transport},
    },
    text::counted,
    value::{Endpoint, Host},
};

/// The client for the transport of a monitor.
pub(super) enum Client {
    Sockets(Connector, Option<TlsTarget>),
    Https(net_http::Client),
}

/// Maximum number of datagrams that answer another query: more of them are not from a name server.
const MAX_MISMATCHED: usize = 64;

/// Records of each section that are told.
const MAX_TOLD_RECORDS: usize = 50;

/// Bytes of a message: over TCP its length has two bytes.
const MAX_MESSAGE_BYTES: usize = u16::MAX as usize;

const MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");

const AGENT: HeaderValue = HeaderValue::from_static(net_http::USER_AGENT);

impl Client {
    /// For the server of these settings.
    pub(super) fn new(settings: &Settings, net: &Net) -> Self {
        let tls = &settings.tls;
        match &settings.server {
            Server::Udp(_) | Server::Tcp(_) => Self::Sockets(net.connector(), None),
            Server::Tls(endpoint) => {
                let tls = net.tls_client(tls, tls.server_name_for(&endpoint.host), &[]);
                Self::Sockets(net.connector(), Some(tls))
            }
            Server::Https(_) => Self::Https(net.http_client(ClientOptions {
                tls,
                versions: OfferedVersions::Http2,
            })),
        }
    }

    /// Asks once.
    pub(super) async fn ask(
        &self,
        settings: &Settings,
        edns: bool,
        attempt: &Attempt,
    ) -> Result<Response, Failure> {
        let encoded = settings.question.encode(settings.recursion_desired, edns);
        match (self, &settings.server) {
            (Self::Sockets(connector, _), Server::Udp(endpoint)) => {
                over_udp(connector, endpoint, settings, &encoded, attempt).await
            }
            (Self::Sockets(connector, tls), Server::Tcp(endpoint) | Server::Tls(endpoint)) => {
                let tls = tls.as_ref();
                let connect = connector.connect_with_tls(tls, endpoint, settings.route, attempt);
                over_stream(connect.await?, &encoded, attempt).await
            }
            (Self::Https(client), Server::Https(url)) => {
                over_https(client, url, settings, encoded.with_zero_id(), attempt).await
            }
            _ => unreachable!("the client was made for the server"),
        }
    }
}

/// Over UDP, and then over TCP if the response was truncated (RFC 7766, section 5).
async fn over_udp(
    connector: &Connector,
    endpoint: &Endpoint,
    settings: &Settings,
    encoded: &EncodedQuery<'_>,
    attempt: &Attempt,
) -> Result<Response, Failure> {
    let socket = connector
        .connect_udp(endpoint, settings.route, attempt)
        .await?;
    attempt.enter(Phase::Request);
    socket.send(&encoded.bytes).await?;
    let mut mismatched = 0;
    let response = loop {
        match encoded.decode_response(socket.receive().await?) {
            Ok(response) => break response,
            Err(ResponseError::Mismatched(why)) if mismatched < MAX_MISMATCHED => {
                attempt.step(StepKind::DnsResponse, || format!("ignored: {why}"));
                mismatched += 1;
            }
            Err(error) => return Err(malformed_failure(error, attempt)),
        }
    };
    if !response.summary.truncated {
        return Ok(response);
    }
    attempt.step(StepKind::DnsResponse, || "truncated; the same over TCP");
    // Whatever becomes of the rest, that much is known.
    response.report(attempt);
    let same = Endpoint {
        host: match &endpoint.host {
            Host::Name(_) => Host::Address(socket.address()),
            host => host.clone(),
        },
        port: endpoint.port,
    };
    let connector = connector.for_known_address();
    let stream = connector.connect(&same, settings.route, attempt).await?;
    let mut whole = over_stream(stream, encoded, attempt).await?;
    whole.summary.truncated = true;
    Ok(whole)
}

/// Each message behind its length (RFC 1035, section 4.2.2).
async fn over_stream(
    mut stream: MeasuredStream,
    encoded: &EncodedQuery<'_>,
    attempt: &Attempt,
) -> Result<Response, Failure> {
    attempt.enter(Phase::Request);
    let talk = async {
        let length = u16::try_from(encoded.bytes.len()).expect("a query is short");
        // In one piece, as some servers want it (RFC 7766, section 8).
        let framed = [&length.to_be_bytes(), &encoded.bytes[..]].concat();
        stream.write_all(&framed).await?;
        stream.flush().await?;
        let length = stream.read_u16().await?;
        // Grows with what comes: a length is quickly said.
        let mut message = Vec::new();
        let mut rest = Limited::new(&mut stream, length.into());
        let read = rest.read_to_end(&mut message).await?;
        if read < length.into() && !rest.is_exhausted() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        std::io::Result::Ok((message, read < length.into()))
    };
    let (message, is_cut) = talk.await.map_err(|error| stream.failure(&error))?;
    if is_cut {
        let error = format!("the response came in more than {MAX_PIECES} pieces");
        return Err(attempt.failure(Reason::ProtocolError, error));
    }
    let response = encoded.decode_response(message);
    response.map_err(|error| malformed_failure(error, attempt))
}

/// RFC 8484, by POST.
async fn over_https(
    client: &net_http::Client,
    url: &Arc<Url>,
    settings: &Settings,
    encoded: EncodedQuery<'_>,
    attempt: &Attempt,
) -> Result<Response, Failure> {
    let headers = [
        (CONTENT_TYPE, MESSAGE),
        (ACCEPT, MESSAGE),
        (USER_AGENT, AGENT),
        // The server closes the connection, so that TIME_WAIT does not use up local ports.
        (CONNECTION, HeaderValue::from_static("close")),
    ];
    let mut headers = HeaderMap::from_iter(headers);
    // A server that is asked for another name in TLS expects that name in the request too.
    if let Some(host) = settings.tls.server_name.as_deref() {
        headers.insert(HOST, authority(host, url));
    }
    let request = Request {
        method: Method::POST,
        url: url.clone(),
        headers,
        body: Bytes::from(encoded.bytes.clone()),
        route: settings.route,
        address: None,
        zone: None,
        proxy: None,
        server_name: settings.tls.server_name.clone(),
    };
    let mut response = client.send(request, attempt).await?;
    if response.status() != StatusCode::OK {
        let error = format!("HTTP {}, expected 200", response.status().as_u16());
        return Err(attempt.failure(Reason::StatusCode, error));
    }
    if !is_message(&response) {
        let error = "the content type is not application/dns-message";
        return Err(attempt.failure(Reason::ProtocolError, error));
    }
    attempt.enter(Phase::Transfer);
    let mut message = LimitedBuffer::new(MAX_MESSAGE_BYTES);
    while let Some(chunk) = response.body_mut().chunk().await? {
        message.add(&chunk).map_err(|error| {
            let error = format!("the response is larger than {error}");
            attempt.failure(Reason::ProtocolError, error)
        })?;
    }
    let response = encoded.decode_response(message.into_bytes());
    response.map_err(|error| malformed_failure(error, attempt))
}

/// `host` with the port of `url`, if it has one.
fn authority(host: &str, url: &Url) -> HeaderValue {
    let port = url.port().map(|port| format!(":{port}"));
    let authority = format!("{host}{}", port.unwrap_or_default());
    HeaderValue::try_from(authority).expect("a host name")
}

fn is_message<B>(response: &HttpResponse<B>) -> bool {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    // Without its parameters.
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| {
        essence
            .trim()
            .as_bytes()
            .eq_ignore_ascii_case(MESSAGE.as_bytes())
    })
}

fn malformed_failure(error: ResponseError, attempt: &Attempt) -> Failure {
    attempt.failure(Reason::ProtocolError, error.into_error())
}

impl Response {
    /// Records the response in `attempt`.
    pub(super) fn report(&self, attempt: &Attempt) {
        attempt.record(Fact::ResponseBytes(self.len() as u64));
        attempt.record(Fact::Dns(self.summary));
    }

    /// Tells what it says, record by record.
    pub(super) fn tell(&self, steps: &Steps) {
        if !steps.are_recorded() {
            return;
        }
        steps.add(StepKind::DnsResponse, || {
            let summary = &self.summary;
            let authenticated = if summary.authenticated_data {
                ", authenticated"
            } else {
                ""
            };
            format!(
                "{}, {}, records: {} answer, {} authority, {} additional{authenticated}",
                summary.rcode,
                counted(self.len(), "byte"),
                summary.answers,
                summary.authorities,
                summary.additionals
            )
        });
        for (section, word) in ["answer", "authority", "additional"]
            .into_iter()
            .enumerate()
        {
            let mut told = 0;
            self.find_record(section, |record| {
                steps.add(StepKind::Record, || {
                    format!("{word}: {}", record.replace('\t', " "))
                });
                told += 1;
                (told == MAX_TOLD_RECORDS).then_some(())
            });
        }
    }
}
