//! `type: http`: asks for a URL, reads the response to its end, and judges it.

pub(in crate::monitors) mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, Method, Response, StatusCode, Uri,
    header::{self, HeaderName},
};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;
use url::{Host, Url};

use crate::{
    check::{Attempt, Fact, Failure, Monitor, Phase, Reason, Report, log_check},
    net::http::{Body, Client, Request, Transport},
    value::HttpUrl,
};

pub use settings::{BodyMatchers, HeaderMatcher, Settings};

/// Redirects followed in one check, as many as blackbox_exporter follows.
const MAX_REDIRECTS: usize = 10;

/// Headers that go along with a redirect to another host; any other could be a credential.
const HARMLESS_HEADERS: [HeaderName; 7] = [
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::USER_AGENT,
];

/// Bytes that are matched right away: what the slowest expressions take some milliseconds for.
const MATCHED_AT_ONCE: usize = 64 << 10;

/// Checks one URL over `T`.
pub struct Http<T = Client> {
    client: T,
    /// For other hosts that a redirect leads to, where they must not see the client's certificate.
    anonymous: Option<T>,
    settings: Arc<Settings>,
    /// The URL as it may be seen.
    shown_url: String,
}

impl<T: Transport> Http<T> {
    /// The settings, bound to a client that sends their requests.
    pub fn new(client: T, settings: impl Into<Arc<Settings>>) -> Self {
        let settings = settings.into();
        let shown_url = HttpUrl::redacted(&settings.url);
        Self {
            client,
            anonymous: None,
            settings,
            shown_url,
        }
    }

    /// The same, with another client for hosts that a redirect leads to.
    fn with_anonymous(self, anonymous: Option<T>) -> Self {
        Self { anonymous, ..self }
    }

    /// Follows redirects until there is a response to judge.
    async fn response(&self, attempt: &Attempt) -> Result<(Url, Response<T::Body>), Failure> {
        let mut hop = Hop {
            url: self.settings.url.clone(),
            method: self.settings.method.clone(),
            body: self.settings.body.clone(),
        };
        let mut redirects = 0;
        loop {
            let at_home = same_service(&self.settings.url, &hop.url);
            let client = match &self.anonymous {
                Some(client) if !at_home => client,
                _ => &self.client,
            };
            let response = client.send(self.request(&hop, at_home), attempt).await?;
            let next = self.redirection(&hop, &response).map_err(|error| {
                attempt.learn(Fact::HttpStatus(response.status().as_u16()));
                attempt.failure(Reason::ProtocolError, error)
            })?;
            let Some(next) = next else {
                return Ok((hop.url, response));
            };
            if redirects == MAX_REDIRECTS {
                attempt.learn(Fact::HttpStatus(response.status().as_u16()));
                let error = format!("more than {MAX_REDIRECTS} redirects");
                return Err(attempt.failure(Reason::TooManyRedirects, error));
            }
            redirects += 1;
            hop = next;
        }
    }

    /// The request of `hop`; `at_home`, it may hold secrets.
    fn request(&self, hop: &Hop, at_home: bool) -> Request {
        let settings = &self.settings;
        // With room for those that the client adds: Accept and Host.
        let mut headers = HeaderMap::with_capacity(settings.headers.len() + 2);
        // What described a body goes with it, as where a redirect turns POST into GET.
        let lost_body = hop.body.is_empty() && !settings.body.is_empty();
        for (name, value) in &settings.headers {
            let describes_body = name.as_str().starts_with("content-");
            if (at_home || HARMLESS_HEADERS.contains(name)) && !(lost_body && describes_body) {
                headers.append(name, value.clone());
            }
        }
        Request {
            method: hop.method.clone(),
            url: hop.url.clone(),
            headers,
            body: hop.body.clone(),
            route: settings.route,
            server_name: settings.server_name.clone().filter(|_| at_home),
        }
    }

    /// The hop that `response` redirects to, if it does and may (RFC 9110, section 15.4).
    fn redirection(
        &self,
        hop: &Hop,
        response: &Response<T::Body>,
    ) -> Result<Option<Hop>, &'static str> {
        let keeps_method = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        let Some(location) = response.headers().get(header::LOCATION) else {
            return Ok(None);
        };
        if !self.settings.follow_redirects {
            return Ok(None);
        }
        let mut url = std::str::from_utf8(location.as_bytes())
            .ok()
            .and_then(|location| hop.url.join(location).ok())
            .filter(|url| Uri::try_from(url.as_str()).is_ok())
            .ok_or("the redirect's location is no URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the redirect leads away from HTTP");
        }
        // Both fail for URLs without a host only.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let (method, body) = if keeps_method {
            if !hop.body.is_empty() && !same_service(&self.settings.url, &url) {
                return Err("the redirect leads to another host, which does not get the body");
            }
            (hop.method.clone(), hop.body.clone())
        } else if hop.method == Method::HEAD {
            (Method::HEAD, Bytes::new())
        } else {
            (Method::GET, Bytes::new())
        };
        Ok(Some(Hop { url, method, body }))
    }

    /// What is wrong with everything but the body.
    fn judge_head(&self, url: &Url, response: &Response<T::Body>) -> Result<(), Failure> {
        let settings = &self.settings;
        let wrong = |reason, error| Err(Failure::new(Phase::Processing, reason, error));
        let status = response.status();
        if !settings
            .valid_status_codes
            .iter()
            .any(|codes| codes.contains(status))
        {
            let valid: Vec<_> = settings
                .valid_status_codes
                .iter()
                .map(ToString::to_string)
                .collect();
            let error = format!(
                "status {} is not among {}",
                status.as_u16(),
                valid.join(", ")
            );
            return wrong(Reason::StatusCode, error);
        }
        let version = response.version();
        let versions = &settings.valid_http_versions;
        if !versions.is_empty() && !versions.iter().any(|valid| valid.0 == version) {
            return wrong(
                Reason::HttpVersion,
                format!("the response came in {version:?}"),
            );
        }
        for matcher in &settings.header_matchers {
            if let Some(error) = matcher.complaint(response.headers()) {
                return wrong(Reason::HeaderMismatch, error);
            }
        }
        let secure = url.scheme() == "https";
        if settings.fail_if_ssl && secure {
            let error = "the final response came over TLS";
            return Err(Failure::new(Phase::Tls, Reason::SslForbidden, error));
        }
        if settings.fail_if_not_ssl && !secure {
            let error = "the final response came without TLS";
            return Err(Failure::new(Phase::Tls, Reason::SslRequired, error));
        }
        Ok(())
    }

    /// Reads the body to its end, and returns as much of it as matchers need.
    async fn read_body(&self, body: &mut T::Body, attempt: &Attempt) -> Result<Vec<u8>, Failure> {
        let limit = self.settings.body_size_limit;
        let keep = !self.settings.body_matchers.is_empty();
        let (mut received, mut kept) = (0, Vec::new());
        attempt.learn(Fact::ResponseBytes(received));
        while let Some(chunk) = body.chunk().await? {
            received += chunk.len() as u64;
            attempt.learn(Fact::ResponseBytes(received));
            if limit.is_some_and(|limit| received > limit) {
                let error = format!(
                    "the body is larger than {} bytes",
                    limit.unwrap_or_default()
                );
                return Err(attempt.failure(Reason::BodyTooLarge, error));
            }
            if keep {
                kept.extend_from_slice(&chunk);
            }
        }
        Ok(kept)
    }

    /// Judges the body: a large one on a thread where it keeps no other check waiting.
    async fn judge_body(&self, body: Vec<u8>) -> Result<(), Failure> {
        let matchers = self.settings.body_matchers.clone();
        let complaint = if body.len() <= MATCHED_AT_ONCE {
            matchers.complaint(&body)
        } else {
            // Dropped with the check, it does not begin; what has begun ends in linear time.
            let matched = AbortOnDropHandle::new(spawn_blocking(move || matchers.complaint(&body)));
            matched.await.map_err(|error| {
                let error = format!("the body could not be matched: {error}");
                Failure::new(Phase::Transfer, Reason::AgentError, error)
            })?
        };
        match complaint {
            None => Ok(()),
            Some(error) => Err(Failure::new(Phase::Transfer, Reason::BodyMismatch, error)),
        }
    }
}

impl<T: Transport> Monitor for Http<T> {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn target(&self) -> String {
        self.shown_url.clone()
    }

    fn host(&self) -> Option<String> {
        self.settings.url.host_str().map(str::to_owned)
    }

    fn phases(&self) -> Vec<Phase> {
        let named = matches!(self.settings.url.host(), Some(Host::Domain(_)));
        let resolve = named.then_some(Phase::Resolve);
        let tls = (self.settings.url.scheme() == "https").then_some(Phase::Tls);
        let always = [Phase::Connect, Phase::Processing, Phase::Transfer];
        resolve.into_iter().chain(tls).chain(always).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        let (url, mut response) = self.response(attempt).await?;
        attempt.learn(Fact::HttpStatus(response.status().as_u16()));
        let head = self.judge_head(&url, &response);
        if let Err(failure) = &head {
            // A wrong status says more than what then happens to its body.
            attempt.presume(failure.clone());
        }
        attempt.enter(Phase::Transfer);
        let body = self.read_body(response.body_mut(), attempt).await;
        head?;
        self.judge_body(body?).await
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(
            monitor,
            report,
            method = self.settings.method.as_str(),
            url = self.shown_url,
        );
    }
}

/// One request of a check, after as many redirects as it took.
struct Hop {
    url: Url,
    method: Method,
    body: Bytes,
}

/// Whether what may be told to `home` may be told to `other`: the same host and port, by the same
/// scheme, or by https where it was http before, each on its own port.
fn same_service(home: &Url, other: &Url) -> bool {
    let upgraded = home.scheme() == "http"
        && other.scheme() == "https"
        && home.port().is_none()
        && other.port().is_none();
    home.host() == other.host()
        && (upgraded
            || home.scheme() == other.scheme()
                && home.port_or_known_default() == other.port_or_known_default())
}
