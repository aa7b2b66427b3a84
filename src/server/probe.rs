//! `/probe`, the logs of the last probes, and the modules.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY},
};
use tokio::task::spawn_blocking;
use url::form_urlencoded;

use super::{
    compression::{accepts_gzip, compress},
    exposition_format::{ExpositionFormat, Offer},
    response::{HttpResponse, full_body, text_response, try_later},
    status::{html, page_failed},
};
use crate::{
    metrics::Syntax,
    probe::{BadRequest, ProbeRequest, Prober, RecentProbe},
    status::probes_page,
};

/// The header in which Prometheus says how long a scrape may take.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// The probes and their pages, as the server needs them.
pub(super) struct ProbeRoutes {
    prober: Arc<Prober>,
}

/// A path of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbePath {
    Probe,
    Logs,
    Config,
    Recent,
}

impl ProbePath {
    /// The one that `path` is, if it is any.
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/probe" => Self::Probe,
            "/logs" => Self::Logs,
            "/config" => Self::Config,
            "/probes" => Self::Recent,
            _ => return None,
        })
    }
}

impl ProbeRoutes {
    pub(super) fn new(prober: Arc<Prober>) -> Self {
        Self { prober }
    }

    /// True if there are modules.
    pub(super) fn is_enabled(&self) -> bool {
        self.prober.is_enabled()
    }

    pub(super) async fn answer(
        &self,
        path: ProbePath,
        query: &str,
        headers: &HeaderMap,
    ) -> HttpResponse {
        let mut response = match path {
            ProbePath::Probe => self.probe(query, headers).await,
            ProbePath::Logs => self.log(query),
            ProbePath::Config => text_response(StatusCode::OK, self.prober.modules()),
            ProbePath::Recent => self.recent(accepts_gzip(headers)).await,
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn probe(&self, query: &str, headers: &HeaderMap) -> HttpResponse {
        let timeout = headers
            .get(SCRAPE_TIMEOUT)
            .map(|value| value.to_str().unwrap_or("not ASCII"));
        let request = ProbeRequest::parse(query, timeout);
        let answer = match self.prober.probe(&request).await {
            Ok(answer) => answer,
            Err(refused) => return refusal(&refused),
        };
        if let Some(log) = answer.log {
            return text_response(StatusCode::OK, log);
        }
        let format = ExpositionFormat::negotiate(headers, Offer::Text);
        let mut page = answer.metrics.as_bytes().to_vec();
        // All are gauges: in OpenMetrics they are the same but for its end.
        if format.page().syntax == Syntax::OpenMetrics {
            page.extend_from_slice(b"# EOF\n");
        }
        let gzip = accepts_gzip(headers);
        if gzip {
            page = compress([page]);
        }
        let mut response = Response::new(full_body(page.into()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, format.content_type());
        headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// The log of a probe that is kept, by its number, or by its target and module.
    fn log(&self, query: &str) -> HttpResponse {
        let parameter = |wanted: &str| {
            let mut parameters = form_urlencoded::parse(query.as_bytes());
            let (_, value) = parameters.find(|(name, _)| name == wanted)?;
            Some(value.into_owned()).filter(|value| !value.is_empty())
        };
        let id = parameter("id").and_then(|id| id.parse().ok());
        let bad = |message| text_response(StatusCode::BAD_REQUEST, message);
        let recent = self.prober.recent();
        let shown = |probe: Option<Arc<RecentProbe>>, missing| match probe {
            Some(probe) => text_response(StatusCode::OK, probe.log()),
            None => text_response(StatusCode::NOT_FOUND, missing),
        };
        match (id, parameter("target"), parameter("module")) {
            (Some(_), Some(_), _) => bad("Probe id and target can't be defined at the same time\n"),
            (None, None, _) => bad("Probe id or target must be defined as http query parameters\n"),
            (_, None, Some(_)) => {
                bad("Probe module filter only works in conjunction with target parameter\n")
            }
            (Some(id), None, None) => shown(recent.by_id(id), "Probe id not found\n"),
            (None, Some(target), module) => {
                let probe = recent.by_target(&target, module.as_deref());
                shown(probe, "Probe target not found\n")
            }
        }
    }

    /// The page of the recent probes.
    async fn recent(&self, gzip: bool) -> HttpResponse {
        let prober = self.prober.clone();
        let page = spawn_blocking(move || {
            let page = probes_page(&prober).into_bytes();
            if gzip { compress([page]) } else { page }
        });
        match page.await {
            Ok(page) => html(page, gzip),
            Err(error) => page_failed(&error),
        }
    }
}

fn refusal(refused: &BadRequest) -> HttpResponse {
    let status = match refused {
        BadRequest::InvalidTimeout(_) => StatusCode::INTERNAL_SERVER_ERROR,
        BadRequest::Saturated => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let response = text_response(status, format!("{refused}\n"));
    if *refused == BadRequest::Saturated {
        try_later(response)
    } else {
        response
    }
}
