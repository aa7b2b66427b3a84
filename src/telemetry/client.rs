//! One request to a collector, and its answer (OTLP specification, "OTLP/HTTP").

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message;

use super::{ExporterSettings, batch, queue::Item, stats::Signal};
use crate::{
    check::Reason,
    net::{
        FetchOptions, Fetcher, Net,
        http::{OfferedVersions, USER_AGENT},
    },
    offload,
};

/// Bytes of an answer; an ordinary one has none.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Bytes of a request beyond which it is compressed on a blocking thread.
const SHORT_BYTES: usize = 16 << 10;

/// The longest wait that a collector can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The result of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The collector took the batch, but for some items.
    Accepted {
        /// Number of items that it rejected.
        rejected: u64,
    },
    /// The collector will never take the batch.
    Rejected(String),
    /// The batch may be sent again, if the collector says so after this time.
    Failed(String, Option<Duration>),
}

/// Sends requests of one signal.
pub(super) struct Client {
    signal: Signal,
    fetcher: Fetcher,
    settings: ExporterSettings,
    resource: Arc<[u8]>,
    scope: Vec<u8>,
    headers: HeaderMap,
}

impl Client {
    pub(super) fn new(
        signal: Signal,
        settings: &ExporterSettings,
        resource: Arc<[u8]>,
        scope: Vec<u8>,
        net: &Net,
    ) -> Self {
        let mut headers = settings.headers.clone();
        let kind = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, kind);
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(USER_AGENT));
        if settings.compresses {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let fetcher = net.fetcher(FetchOptions {
            tls: &settings.tls,
            versions: OfferedVersions::Http2,
            proxies: settings.proxies.as_ref(),
            unix_socket: None,
        });
        Self {
            signal,
            fetcher,
            settings: settings.clone(),
            resource,
            scope,
            headers,
        }
    }

    /// Sends `batch` once.
    pub(super) async fn send(&self, batch: &[Item]) -> Outcome {
        let body = batch::request(&self.resource, &self.scope, batch);
        let body = if self.settings.compresses {
            offload::run(body.len() <= SHORT_BYTES, move |_| gzip(&body)).await
        } else {
            body
        };
        let mut request = http::Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        match self.settings.url.as_str().parse() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(_) => return Outcome::Rejected("the endpoint is not a URI".to_owned()),
        }
        *request.headers_mut() = self.headers.clone();
        let answer = self.fetcher.fetch(request, MAX_ANSWER_BYTES);
        match tokio::time::timeout(self.settings.timeout, answer).await {
            Ok(Ok(answer)) => self.judge(&answer),
            // It was understood: sending it again could export it twice.
            Ok(Err(failure)) if failure.reason == Reason::BodyTooLarge => {
                Outcome::Rejected(failure.error.into())
            }
            Ok(Err(failure)) => Outcome::Failed(failure.error.into(), None),
            Err(_) => {
                let limit = crate::value::format_duration(self.settings.timeout);
                Outcome::Failed(format!("no answer within {limit}"), None)
            }
        }
    }

    fn judge(&self, answer: &Response<Bytes>) -> Outcome {
        let status = answer.status();
        if status.is_success() {
            let rejected = self.rejected(answer.body().as_ref());
            return Outcome::Accepted { rejected };
        }
        // What the collector says with it may repeat what was sent.
        let error = format!("HTTP {}", status.as_u16());
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Outcome::Failed(error, retry_after(answer.headers())),
            _ => Outcome::Rejected(error),
        }
    }

    /// The number of items that the answer says were rejected.
    fn rejected(&self, answer: &[u8]) -> u64 {
        let rejected = match self.signal {
            Signal::Traces => ExportTraceServiceResponse::decode(answer)
                .ok()
                .and_then(|answer| Some(answer.partial_success?.rejected_spans)),
            Signal::Logs => ExportLogsServiceResponse::decode(answer)
                .ok()
                .and_then(|answer| Some(answer.partial_success?.rejected_log_records)),
            Signal::Metrics => ExportMetricsServiceResponse::decode(answer)
                .ok()
                .and_then(|answer| Some(answer.partial_success?.rejected_data_points)),
        };
        // Of an answer that cannot be read, the status counts.
        rejected
            .and_then(|rejected| u64::try_from(rejected).ok())
            .unwrap_or_default()
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let written = encoder.write_all(body);
    written
        .and_then(|()| encoder.finish())
        .expect("writing to a Vec cannot fail")
}

/// The wait that an answer asks for (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let until = || {
        let time = httpdate::parse_http_date(text).ok()?;
        Some(time.duration_since(SystemTime::now()).unwrap_or_default())
    };
    let wait = seconds.or_else(until)?;
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_can_ask_for_a_wait() {
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("soon"), None);
    }
}
