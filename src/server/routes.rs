//! Routing: all paths, on one screen.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{
        ALLOW, CONTENT_ENCODING, CONTENT_TYPE, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    LOG_TARGET, Readiness, Services, Settings,
    basic_auth::{Access, Users},
    compression::accepts_gzip,
    exposition_format::{ExpositionFormat, Offer},
    host::{AllowedHosts, HostHeader},
    metrics::MetricsRenderer,
    mount::Mount,
    probe::{ProbePath, ProbeRoutes},
    rate_limit::RateLimiter,
    reload::ReloadRoute,
    response::{HttpResponse, error_response, error_to_json, text_response, try_later},
    status::{StatusPath, StatusRoutes},
};

/// The handlers of all paths.
pub(super) struct Routes {
    metrics: MetricsRenderer,
    readiness: Readiness,
    /// The status page, if there is one.
    status: Option<StatusRoutes>,
    probe: Option<ProbeRoutes>,
    reload: Option<ReloadRoute>,
    allowed_hosts: Option<AllowedHosts>,
    users: Option<Users>,
    open_probes: bool,
    rate_limit: Option<RateLimiter>,
    response_headers: Vec<(HeaderName, HeaderValue)>,
    mount: Option<Mount>,
}

impl Routes {
    /// Routes to `services`, with streams that end with `closing`.
    pub(super) fn new(
        services: Services,
        settings: &Settings,
        closing: &CancellationToken,
    ) -> Self {
        let status = |status| StatusRoutes::new(status, closing.clone());
        let reload = |handle| ReloadRoute::new(handle, settings.enable_lifecycle);
        Self {
            metrics: MetricsRenderer::new(services.metrics),
            readiness: services.readiness,
            status: services.status.map(status),
            probe: services.probe.map(ProbeRoutes::new),
            reload: services.reload.map(reload),
            allowed_hosts: settings.allowed_hosts.clone(),
            users: settings.users.clone(),
            open_probes: settings.open_probes,
            rate_limit: RateLimiter::from_settings(settings),
            response_headers: settings.response_headers.clone(),
            mount: settings.mount.clone(),
        }
    }

    /// Answers `request` of the client at `peer`. Its body is not read. hyper leaves the body of an
    /// answer to HEAD out.
    pub(super) async fn answer<B>(
        &self,
        request: &Request<B>,
        peer: Option<IpAddr>,
    ) -> HttpResponse {
        let mut response = match self.reject(request, peer).await {
            Some(rejection) => rejection,
            None => self.route(request).await,
        };
        if request.uri().path().starts_with("/api/") {
            error_to_json(&mut response);
        }
        let nosniff = HeaderValue::from_static("nosniff");
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        for (name, value) in &self.response_headers {
            headers.insert(name, value.clone());
        }
        response
    }

    /// The path of `request` without the prefix.
    fn stripped_path<'r, B>(&self, request: &'r Request<B>) -> Result<&'r str, Box<HttpResponse>> {
        let path = request.uri().path();
        match &self.mount {
            Some(mount) => mount.strip(path),
            None => Ok(path),
        }
    }

    async fn route<B>(&self, request: &Request<B>) -> HttpResponse {
        let path = match self.stripped_path(request) {
            Ok(path) => path,
            Err(response) => return *response,
        };
        let query = request.uri().query().unwrap_or_default();
        if let Some(reload) = self.reload.as_ref().filter(|_| path == "/-/reload") {
            return reload.answer(request).await;
        }
        let page = self
            .status
            .as_ref()
            .and_then(|pages| Some((pages, StatusPath::parse(path)?)));
        let probe = self
            .probe
            .as_ref()
            .filter(|probe| probe.is_enabled())
            .and_then(|probe| Some((probe, ProbePath::of(path)?)));
        if let Some((probe, path @ ProbePath::Probe)) = probe {
            // By any method, as blackbox_exporter has it.
            return probe.answer(path, query, request.headers()).await;
        }
        if page.is_none()
            && probe.is_none()
            && !matches!(path, "/metrics" | "/-/healthy" | "/-/ready")
        {
            return error_response(StatusCode::NOT_FOUND, "not found; see / and /metrics");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = error_response(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD");
            let headers = response.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if let Some((probe, path)) = probe {
            return probe.answer(path, query, request.headers()).await;
        }
        if let Some((pages, path)) = page {
            return pages.answer(path, query, request.headers()).await;
        }
        match path {
            "/metrics" => self.metrics(request.headers()).await,
            "/-/healthy" => text_response(StatusCode::OK, "healthy\n"),
            _ if self.readiness.get() => text_response(StatusCode::OK, "ready\n"),
            _ => error_response(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        }
    }

    /// The response to a request that is rejected.
    async fn reject<B>(&self, request: &Request<B>, peer: Option<IpAddr>) -> Option<HttpResponse> {
        let Ok(host) = HostHeader::from_request(request) else {
            return Some(error_response(
                StatusCode::BAD_REQUEST,
                "expected one valid Host header",
            ));
        };
        let path = self.stripped_path(request).unwrap_or_default();
        let is_probe = matches!(path, "/-/healthy" | "/-/ready");
        // Probes are exempt, because a daemon that does not answer them would be restarted.
        if let Some(rate_limit) = self.rate_limit.as_ref().filter(|_| !is_probe)
            && !rate_limit.try_acquire(Instant::now())
        {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Some(try_later(error_response(status, "too many requests")));
        }
        // Probes are sent to addresses, and reveal nothing.
        if let Some(allowed) = self.allowed_hosts.as_ref().filter(|_| !is_probe)
            && !allowed.contains(&host)
        {
            return Some(error_response(
                StatusCode::MISDIRECTED_REQUEST,
                "this host is not in server.allowed_hosts",
            ));
        }
        let users = self
            .users
            .as_ref()
            .filter(|_| !(is_probe && self.open_probes))?;
        match users.authenticate(request.headers(), peer).await {
            Access::Granted => None,
            Access::Busy => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Some(try_later(error_response(
                    status,
                    "too many passwords to check",
                )))
            }
            Access::Denied => {
                let mut response = error_response(StatusCode::UNAUTHORIZED, "Unauthorized");
                let challenge = r#"Basic realm="monitoringdaemon", charset="UTF-8""#;
                let headers = response.headers_mut();
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                Some(response)
            }
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> HttpResponse {
        let gzip = accepts_gzip(headers);
        let format = ExpositionFormat::negotiate(headers, Offer::All);
        let page = if gzip {
            self.metrics.gzip(format.page()).await
        } else {
            self.metrics.plain(format.page()).await
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(target: LOG_TARGET, %error, "Failed to render /metrics");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return error_response(status, "failed to render the metrics");
            }
        };
        let mut response = HttpResponse::new(page);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, format.content_type());
        headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}
