//! Every path that is answered, on one screen.

use super::{
    Readiness, Reloads, Settings, Site,
    rate::Rate,
    scrape::{Body, Scrapes, whole},
    status::{Pages, Path},
    users::Users,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is served, by its paths.
pub(super) struct Routes {
    scrapes: Scrapes,
    readiness: Readiness,
    /// The status page, where there is one.
    pages: Option<Pages>,
    reloads: Option<Reloads>,
    users: Option<Users>,
    open_probes: bool,
    rate: Option<Rate>,
}

pub(super) type Answer = Response<Body>;

impl Routes {
    /// Of `site`, as `settings` say, with streams that end with `closing`.
    pub fn new(site: Site, settings: &Settings, closing: &CancellationToken) -> Self {
        let pages = |status| Pages::new(status, closing.clone());
        Self {
            scrapes: Scrapes::new(site.metrics),
            readiness: site.readiness,
            pages: site.status.map(pages),
            reloads: site.reloads,
            users: settings.users.clone(),
            open_probes: settings.open_probes,
            rate: settings.max_requests_per_second.map(Rate::new),
        }
    }

    /// Answers `request`, whose body nobody reads. hyper leaves the body of an answer to HEAD out.
    pub async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        if let Some(refusal) = self.refusal(path, request.headers()).await {
            return refusal;
        }
        let query = request.uri().query().unwrap_or_default();
        if let Some(reloads) = self.reloads.as_ref().filter(|_| path == "/-/reload") {
            return reloads.answer(request.method(), query).await;
        }
        let page = self.pages.as_ref();
        let page = page.and_then(|pages| Some((pages, Path::of(path)?)));
        if page.is_none() && !matches!(path, "/metrics" | "/-/healthy" | "/-/ready") {
            return text(
                StatusCode::NOT_FOUND,
                "there is nothing here; try /metrics\n",
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n");
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        if let Some((pages, path)) = page {
            return pages.answer(path, query, request.headers()).await;
        }
        match path {
            "/metrics" => self.metrics(request.headers()).await,
            "/-/healthy" => text(StatusCode::OK, "healthy\n"),
            _ if self.readiness.get() => text(StatusCode::OK, "ready\n"),
            _ => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        }
    }

    /// Why a request is not answered, if it is not.
    async fn refusal(&self, path: &str, headers: &HeaderMap) -> Option<Answer> {
        let is_probe = matches!(path, "/-/healthy" | "/-/ready");
        // Whoever sees to it that the daemon lives must not take it for dead because others ask.
        if let Some(rate) = self.rate.as_ref().filter(|_| !is_probe)
            && !rate.permits(Instant::now())
        {
            let mut answer = text(StatusCode::TOO_MANY_REQUESTS, "too many requests\n");
            let second = HeaderValue::from_static("1");
            answer.headers_mut().insert(RETRY_AFTER, second);
            return Some(answer);
        }
        let users = self.users.as_ref();
        let users = users.filter(|_| !(is_probe && self.open_probes))?;
        if users.permit(headers).await {
            return None;
        }
        let mut answer = text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
        let challenge = HeaderValue::from_static("Basic");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        Some(answer)
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let gzip = accepts_gzip(headers);
        let page = if gzip {
            self.scrapes.gzip().await
        } else {
            self.scrapes.plain().await
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "The metrics cannot be rendered");
                return text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics cannot be rendered\n",
                );
            }
        };
        let mut answer = Response::new(page);
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(CONTENT_TYPE_OF_METRICS),
        );
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }
}

const CONTENT_TYPE_OF_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn text(status: StatusCode, text: &'static str) -> Answer {
    said(status, Bytes::from_static(text.as_bytes()))
}

/// An answer for people.
pub(super) fn said(status: StatusCode, text: Bytes) -> Answer {
    let mut answer = Response::new(whole(text));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

/// Whether the client takes gzip (RFC 9110, section 12.5.3): named, or by `*`, with a weight above 0.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut by_star = false;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameters
                .trim()
                .strip_prefix("q=")
                .map_or(Ok(1.0), str::parse::<f32>);
            let wanted = weight.is_ok_and(|weight| weight > 0.0);
            match coding.trim() {
                coding if coding.eq_ignore_ascii_case("gzip") => return wanted,
                "*" => by_star = wanted,
                _ => {}
            }
        }
    }
    by_star
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &'static str, expected: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
        assert_eq!(accepts_gzip(&headers), expected, "{accept:?}");
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for accept in [
            "gzip",
            "deflate, GZIP;q=0.5",
            "*",
            "br;q=0, *;q=0.1",
            "gzip; q=1.0",
        ] {
            check(accept, true);
        }
        for accept in [
            "",
            "identity",
            "gzip;q=0",
            "*, gzip;q=0",
            "*;q=0",
            "gzip;q=x",
            "xgzip",
        ] {
            check(accept, false);
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_content_type_is_that_of_the_text_format() {
        assert!(CONTENT_TYPE_OF_METRICS.starts_with(prometheus::TEXT_FORMAT));
    }
}
