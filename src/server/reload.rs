//! `POST /-/reload`: requests a reload and returns its result.

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{ALLOW, ORIGIN},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    host::HostHeader,
    response::{HttpResponse, error_response, text_response},
};

/// Sends reload requests.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

/// A request to reload the configuration.
pub struct ReloadRequest {
    /// True to report only what would change.
    pub dry_run: bool,
    /// Receives the result: a summary of the changes, or the problems.
    pub answer: Option<oneshot::Sender<Result<String, String>>>,
}

/// Maximum number of waiting requests. One reload answers all that wait.
const QUEUE_CAPACITY: usize = 64;

impl ReloadHandle {
    /// A handle, and the receiver of its requests.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (requests, receiver) = mpsc::channel(QUEUE_CAPACITY);
        (Self(requests), receiver)
    }

    /// Sends a request without waiting. If the queue is full, a reload is due anyway.
    pub fn request(&self) {
        let _ = self.0.try_send(ReloadRequest {
            dry_run: false,
            answer: None,
        });
    }

    /// Sends a request and waits for the result; `None` if reloads have ended, or too many
    /// wait already.
    pub(crate) async fn ask(&self, dry_run: bool) -> Option<Result<String, String>> {
        let (answer, answered) = oneshot::channel();
        let request = ReloadRequest {
            dry_run,
            answer: Some(answer),
        };
        self.0.try_send(request).ok()?;
        answered.await.ok()
    }
}

/// `/-/reload`.
pub(super) struct ReloadRoute {
    handle: ReloadHandle,
    /// `server.enable_lifecycle`
    is_enabled: bool,
}

impl ReloadRoute {
    pub(super) fn new(handle: ReloadHandle, is_enabled: bool) -> Self {
        Self { handle, is_enabled }
    }

    pub(super) async fn answer<B>(&self, request: &Request<B>) -> HttpResponse {
        if request.method() != Method::POST {
            let mut response = error_response(StatusCode::METHOD_NOT_ALLOWED, "use POST");
            let allowed = HeaderValue::from_static("POST");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        if !self.is_enabled {
            return error_response(
                StatusCode::FORBIDDEN,
                "reloading over HTTP is disabled (server.enable_lifecycle)",
            );
        }
        if is_cross_site(request) {
            let status = StatusCode::FORBIDDEN;
            return error_response(status, "cross-site requests are not accepted");
        }
        let dry_run = match request.uri().query().unwrap_or_default() {
            "" => false,
            "dry_run=true" => true,
            _ => {
                let status = StatusCode::BAD_REQUEST;
                return error_response(status, "unknown query; only dry_run=true is supported");
            }
        };
        match self.handle.ask(dry_run).await {
            Some(Ok(summary)) => text_response(StatusCode::OK, summary),
            Some(Err(problems)) => text_response(StatusCode::INTERNAL_SERVER_ERROR, problems),
            None => error_response(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many reloads wait, the last one failed internally, or the daemon is shutting \
                 down",
            ),
        }
    }
}

/// Returns whether a browser sent `request` for a page that is not ours. Other clients send neither header.
fn is_cross_site<B>(request: &Request<B>) -> bool {
    let headers: &HeaderMap = request.headers();
    let mut sites = headers.get_all("sec-fetch-site").iter();
    if sites.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return true;
    }
    let Ok(host) = HostHeader::from_request(request) else {
        return true;
    };
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.any(|origin| !host.is_origin(origin.as_bytes()))
}
