//! The status page, its JSON and its badges: rendered one at a time, away from the threads that run checks.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
        IF_NONE_MATCH, REFERRER_POLICY, VARY,
    },
};
use percent_encoding::percent_decode_str;
use tokio::{
    sync::Mutex,
    task::{JoinError, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use super::{
    LOG_TARGET,
    compression::{accepts_gzip, compress},
    events::Events,
    response::{HttpResponse, error_response, full_body},
};
use crate::status::{Query, SCRIPT, STYLE, Status};

/// Only resources of the daemon itself, and no inline scripts or styles.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";

/// Routes of the status page.
pub(super) struct StatusRoutes {
    status: Arc<Status>,
    events: Events,
    /// Locked while a page is rendered.
    render_lock: Mutex<()>,
}

/// A path of the status page.
pub(super) enum StatusPath {
    Overview,
    OverviewJson,
    Monitor(String),
    MonitorJson(String),
    Badge(String),
    Events,
    Style,
    Script,
}

impl StatusPath {
    /// Parses `path`. The name of a monitor may contain slashes.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let name = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
        Some(match path {
            "/" => Self::Overview,
            "/style.css" => Self::Style,
            "/script.js" => Self::Script,
            "/api/v1/monitors" => Self::OverviewJson,
            "/api/v1/events" => Self::Events,
            _ => {
                if let Some(text) = path.strip_prefix("/monitors/") {
                    Self::Monitor(name(text)?)
                } else if let Some(text) = path.strip_prefix("/api/v1/monitors/") {
                    Self::MonitorJson(name(text)?)
                } else {
                    let text = path.strip_prefix("/badge/")?.strip_suffix(".svg")?;
                    Self::Badge(name(text)?)
                }
            }
        })
    }
}

impl StatusRoutes {
    /// Routes to `status`, whose streams of events end with `closing`.
    pub(super) fn new(status: Status, closing: CancellationToken) -> Self {
        Self {
            status: Arc::new(status),
            events: Events::new(closing),
            render_lock: Mutex::new(()),
        }
    }

    pub(super) async fn answer(
        &self,
        path: StatusPath,
        query: &str,
        headers: &HeaderMap,
    ) -> HttpResponse {
        let gzip = accepts_gzip(headers);
        let query = Query::parse(query);
        let mut answer = match path {
            StatusPath::Style => file("text/css; charset=utf-8", STYLE, headers),
            StatusPath::Script => file("text/javascript; charset=utf-8", SCRIPT, headers),
            StatusPath::Events => self.events.answer(self.status.history()),
            StatusPath::Overview => {
                let page = move |status: &Status| Some(status.overview(&query));
                self.rendered(HTML, gzip, page).await
            }
            StatusPath::OverviewJson => {
                let page = move |status: &Status| Some(status.overview_json(&query));
                self.rendered(JSON, gzip, page).await
            }
            StatusPath::Monitor(name) => {
                let page = move |status: &Status| status.monitor(&name);
                self.rendered(HTML, gzip, page).await
            }
            StatusPath::MonitorJson(name) => {
                let page = move |status: &Status| status.monitor_json(&name);
                self.rendered(JSON, gzip, page).await
            }
            StatusPath::Badge(name) => {
                let page = move |status: &Status| status.badge(&name);
                self.rendered(SVG, gzip, page).await
            }
        };
        protect(&mut answer);
        let headers = answer.headers_mut();
        // Data about monitors is outdated as soon as it is sent.
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        answer
    }

    async fn rendered(
        &self,
        kind: &'static str,
        gzip: bool,
        page: impl FnOnce(&Status) -> Option<String> + Send + 'static,
    ) -> HttpResponse {
        let render_lock = self.render_lock.lock().await;
        let status = self.status.clone();
        let rendering = spawn_blocking(move || {
            let page = page(&status)?.into_bytes();
            Some(if gzip { compress([page]) } else { page })
        });
        let page = rendering.await;
        drop(render_lock);
        match page {
            Ok(Some(page)) => {
                let mut answer = Response::new(full_body(page.into()));
                let headers = answer.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
                if gzip {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                answer
            }
            Ok(None) => error_response(StatusCode::NOT_FOUND, "no such monitor"),
            Err(error) => page_failed(&error),
        }
    }
}

/// A page that stands alone.
pub(super) fn html(page: Vec<u8>, gzip: bool) -> HttpResponse {
    let mut answer = Response::new(full_body(page.into()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    protect(&mut answer);
    answer
}

/// The answer in place of a page that cannot be rendered.
pub(super) fn page_failed(error: &JoinError) -> HttpResponse {
    tracing::error!(target: LOG_TARGET, %error, "Failed to render page");
    error_response(
        StatusCode::INTERNAL_SERVER_ERROR,
        "failed to render the page",
    )
}

/// Tells browsers to run and load nothing but what the daemon serves.
fn protect(answer: &mut HttpResponse) {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A file that changes only with the program. Clients revalidate it.
fn file(kind: &'static str, content: &'static str, headers: &HeaderMap) -> HttpResponse {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let tag = HeaderValue::try_from(format!("\"{:x}\"", hasher.finish())).expect("digits");
    let mut answer = Response::new(full_body(Bytes::new()));
    if headers.get(IF_NONE_MATCH) == Some(&tag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *answer.body_mut() = full_body(Bytes::from_static(content.as_bytes()));
    }
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}
