//! The gRPC monitor: one call over one connection.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

use super::{
    health::{self, Code, PATH, status_message},
    settings::Settings,
};
use crate::{
    check::{
        Attempt, Fact, Failure, Monitor, Phase, Reason, Report, ServingStatus, StepKind, log_check,
    },
    net::{
        Connector, ErrorClassifier, LimitedBuffer, MeasuredStream, Net, TlsTarget,
        http::{TRACEPARENT, USER_AGENT, record_request_headers, record_response, traceparent},
    },
    text::counted,
};

/// Target of log lines: the type.
const LOG_TARGET: &str = "monitoringdaemon::monitors::grpc";

/// Maximum bytes of a response, which normally has seven.
const MAX_RESPONSE_BYTES: usize = 4 << 10;

/// Maximum bytes of response headers, as HTTP/2 counts them.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;

/// Bytes that the connection may receive in all: more is a flood of frames that are no part of an
/// answer.
const MAX_RECEIVED_BYTES: u64 = 128 << 10;

/// A monitor that requests the health of a service.
pub struct Grpc {
    connector: Connector,
    tls: Option<TlsTarget>,
    settings: Arc<Settings>,
    request: Request<()>,
    request_body: Bytes,
}

impl Settings {
    /// The monitor that checks as these settings say.
    #[must_use]
    pub fn bind(self: &Arc<Self>, net: &Net) -> Grpc {
        let tls = self
            .tls
            .as_ref()
            .map(|tls| net.tls_client(tls, tls.server_name_for(&self.endpoint.host), &["h2"]));
        Grpc::new(net.connector(), tls, self.clone())
    }
}

impl Grpc {
    fn new(connector: Connector, tls: Option<TlsTarget>, settings: Arc<Settings>) -> Self {
        let mut request = Request::post(settings.uri(PATH))
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, "application/grpc")
            .body(())
            .expect("names and values are right");
        let headers = request.headers_mut();
        for (name, value) in settings.headers() {
            headers.append(name, value);
        }
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(USER_AGENT));
        Self {
            connector,
            tls,
            request_body: health::encode_request(&settings.service),
            request,
            settings,
        }
    }

    /// Connects to the server, with HTTP/2 negotiated if there is TLS.
    async fn connect(&self, attempt: &Attempt) -> Result<MeasuredStream, Failure> {
        let Settings {
            endpoint, route, ..
        } = &*self.settings;
        let tls = self.tls.as_ref();
        let connect = self
            .connector
            .connect_with_tls(tls, endpoint, *route, attempt);
        let stream = connect.await?;
        if tls.is_some() && stream.protocol() != Some(b"h2") {
            let error = "the server did not negotiate HTTP/2 (ALPN), which gRPC requires";
            return Err(attempt.failure(Reason::ProtocolError, error));
        }
        Ok(stream)
    }

    /// Makes the call over `stream`.
    async fn call(&self, stream: MeasuredStream, attempt: &Attempt) -> Result<CallResult, Failure> {
        attempt.enter(Phase::Check);
        let errors = stream.errors();
        errors.allow(MAX_RECEIVED_BYTES);
        let client = h2::client::Builder::new()
            .enable_push(false)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .handshake(stream);
        let (client, connection) = client.await.map_err(|error| failure(&errors, &error))?;
        let mut connection = pin!(connection);
        let mut call = pin!(self.exchange(client, &errors, attempt));
        // The connection makes progress only while it is polled. It may end with the whole answer
        // received; else its error says more than the call's, which is not always told of it.
        tokio::select! {
            biased;
            result = &mut call => {
                // Closes the connection, as far as that does not wait.
                let _ = connection.now_or_never();
                result
            }
            end = &mut connection => match (call.now_or_never(), end) {
                (Some(Ok(result)), _) => Ok(result),
                (_, Err(error)) => Err(failure(&errors, &error)),
                (Some(Err(failure)), Ok(())) => Err(failure),
                (None, Ok(())) => {
                    let error = "the server closed the connection";
                    Err(attempt.failure(Reason::ConnectionReset, error))
                }
            },
        }
    }

    async fn exchange(
        &self,
        client: SendRequest<Bytes>,
        errors: &ErrorClassifier,
        attempt: &Attempt,
    ) -> Result<CallResult, Failure> {
        let failure = |error: h2::Error| {
            let code = error.reason().and_then(Code::from_reset);
            if let Some(code) = code.filter(|_| error.is_reset() && error.is_remote()) {
                attempt.record(Fact::GrpcStatus(code.0));
            }
            failure(errors, &error)
        };
        let mut client = client.ready().await.map_err(failure)?;
        attempt.step(StepKind::Request, || {
            let service = &self.settings.service;
            format!("gRPC call {PATH} for the service {service:?}")
        });
        let mut request = self.request.clone();
        if let Some(value) = traceparent(attempt) {
            request.headers_mut().entry(TRACEPARENT).or_insert(value);
        }
        let steps = attempt.steps();
        if steps.are_recorded() {
            record_request_headers(request.headers(), StepKind::RequestHeader, steps);
        }
        let (response, mut request_body) = client.send_request(request, false).map_err(failure)?;
        request_body
            .send_data(self.request_body.clone(), true)
            .map_err(failure)?;
        let response = response.await.map_err(failure)?;
        record_response(&response, steps);
        check_head(&response, attempt)?;
        let (head, mut body) = response.into_parts();
        let mut response_body = LimitedBuffer::new(MAX_RESPONSE_BYTES);
        while let Some(data) = body.data().await {
            let added = response_body.add(&data.map_err(failure)?);
            added.map_err(|error| {
                let error = format!("the response is larger than {error}");
                attempt.failure(Reason::ProtocolError, error)
            })?;
        }
        // Without a body, what would stand in the trailers stands in the headers.
        let trailers = body.trailers().await.map_err(failure)?;
        Ok(CallResult {
            response_body: response_body.into_bytes(),
            trailers: trailers.unwrap_or(head.headers),
        })
    }

    /// Checks the result of the call.
    fn check_result(&self, result: &CallResult, attempt: &Attempt) -> Result<(), Failure> {
        let wrong = |reason, error: String| Err(attempt.failure(reason, error));
        let trailers = &result.trailers;
        let code = match Code::from_trailers(trailers) {
            Ok(Some(code)) => code,
            Ok(None) => {
                attempt.record(Fact::GrpcStatus(Code::from_http_status(StatusCode::OK).0));
                let error = "the call ended without grpc-status".to_owned();
                return wrong(Reason::ProtocolError, error);
            }
            Err(error) => return wrong(Reason::ProtocolError, error.to_owned()),
        };
        attempt.record(Fact::GrpcStatus(code.0));
        attempt.step(StepKind::Response, || {
            let bytes = counted(result.response_body.len(), "byte");
            format!("gRPC status {code}, an answer of {bytes}")
        });
        if code == Code::OK {
            return match health::decode_response(&result.response_body) {
                Ok(status) => {
                    attempt.record(Fact::Serving(status));
                    attempt.step(StepKind::Response, || format!("the service is {status}"));
                    self.check_serving_status(status, attempt)
                }
                Err(error) => wrong(Reason::ProtocolError, error),
            };
        }
        let secrets = self.settings.metadata.iter();
        let message = status_message(trailers, secrets.map(|(_, value)| value.reveal()));
        let service = &self.settings.service;
        match code {
            Code::NOT_FOUND => {
                let error = format!("the server does not know the service {service:?}{message}");
                wrong(Reason::NotServing, error)
            }
            Code::UNIMPLEMENTED => {
                let error = format!("the server has no health service{message}");
                wrong(Reason::ProtocolError, error)
            }
            Code::UNAVAILABLE => wrong(Reason::NotServing, format!("{code}{message}")),
            code => wrong(Reason::ResponseMismatch, format!("{code}{message}")),
        }
    }

    fn check_serving_status(
        &self,
        status: ServingStatus,
        attempt: &Attempt,
    ) -> Result<(), Failure> {
        let service = &self.settings.service;
        let is_serving = status == ServingStatus::Serving;
        attempt.step(StepKind::verdict(is_serving), || {
            let expected = ServingStatus::Serving;
            format!("health of the service {service:?}: {status}, expected {expected}")
        });
        if is_serving {
            return Ok(());
        }
        let error = format!("the service {service:?} is {status}");
        Err(attempt.failure(Reason::NotServing, error))
    }
}

/// The result of a call.
struct CallResult {
    response_body: Vec<u8>,
    trailers: HeaderMap,
}

/// Fails if a response is not one of gRPC. Its HTTP status maps to a gRPC status.
fn check_head(response: &Response<RecvStream>, attempt: &Attempt) -> Result<(), Failure> {
    let (status, headers) = (response.status(), response.headers());
    if headers.contains_key("grpc-status") {
        return Ok(());
    }
    let kind = headers.get(header::CONTENT_TYPE);
    let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if status == StatusCode::OK && is_grpc {
        return Ok(());
    }
    attempt.record(Fact::GrpcStatus(Code::from_http_status(status).0));
    let status = status.as_u16();
    let error = format!("HTTP {status}, expected a gRPC response");
    Err(attempt.failure(Reason::ProtocolError, error))
}

/// The failure for an error of HTTP/2, without the text that the server may have sent with it.
fn failure(errors: &ErrorClassifier, error: &h2::Error) -> Failure {
    let mut failure = errors.failure(error);
    if let Some(reason) = error.reason().filter(|_| failure.phase == Phase::Check) {
        failure.error = if error.is_remote() {
            format!("the server reset the call: {reason:?}")
        } else {
            format!("invalid HTTP/2 from the server: {reason:?}")
        }
        .into();
    }
    failure
}

impl Monitor for Grpc {
    fn kind(&self) -> &'static str {
        "grpc"
    }

    fn target(&self) -> String {
        self.settings.endpoint.to_string()
    }

    fn host(&self) -> Option<String> {
        Some(self.settings.endpoint.host.to_string())
    }

    fn phases(&self) -> Vec<Phase> {
        let named = self.settings.endpoint.host.is_name();
        let resolve = named.then_some(Phase::Resolve);
        let tls = self.tls.as_ref().map(|_| Phase::Tls);
        let phases = [resolve, Some(Phase::Connect), tls, Some(Phase::Check)];
        phases.into_iter().flatten().collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let stream = self.connect(attempt).await?;
        let result = self.call(stream, attempt).await?;
        self.check_result(&result, attempt)?;
        self.settings.min_validity.judge(attempt)
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(
            target: LOG_TARGET,
            monitor,
            report,
            target = self.target(),
            service = self.settings.service,
            grpc_status = report.grpc_status(),
            serving_status = report.serving().map(ServingStatus::as_str),
        );
    }
}
