//! `http_sd_configs`: target lists from HTTP servers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use url::Url;

use super::{
    payload::{self, Format, Target},
    refresh_interval,
    source::{Found, PollResult, Source},
};
use crate::{
    check::Attempt,
    net::{
        FetchOptions, Fetcher, Net,
        http::{OfferedVersions, Proxies, USER_AGENT},
        oauth2::{self, TokenSource},
        tls,
    },
    settings::{check_own_header, read_own_request},
    value::{Fields, HttpUrl, MAX_REDIRECTS, format_duration, is_same_service},
};

/// The key of this kind of source.
pub(super) const KEY: &str = "http_sd_configs";

/// Timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings of one `http_sd_configs` entry, which contain secrets.
#[derive(Clone)]
pub(super) struct Settings {
    url: Url,
    refresh_interval: Duration,
    headers: HeaderMap,
    oauth2: Option<Box<oauth2::Settings>>,
    tls: tls::Settings,
    proxies: Option<Proxies>,
    follow_redirects: bool,
    versions: OfferedVersions,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("url", &HttpUrl::redacted(&self.url))
            .finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let url = fields.required::<HttpUrl>("url");
        let refresh_interval = refresh_interval::read(&mut fields, Duration::from_secs(60));
        let userinfo = url.as_ref().and_then(|url| url.userinfo.clone());
        let own_headers = fields.http_headers(check_own_header);
        let request = read_own_request(&mut fields, userinfo, own_headers);
        let follow_redirects = fields.optional("follow_redirects").unwrap_or(true);
        let enable_http2 = fields.optional("enable_http2").unwrap_or(true);
        fields.reject_unknown_keys();
        let mut headers = request_headers(refresh_interval);
        headers.extend(request.headers);
        Some(Self {
            url: url?.url,
            refresh_interval,
            headers,
            oauth2: request.oauth2,
            versions: if enable_http2 {
                OfferedVersions::Http2
            } else {
                OfferedVersions::Http1
            },
            tls: request.tls,
            proxies: request.proxies,
            follow_redirects,
        })
    }

    pub(super) fn source(&self, net: &Net) -> HttpSource {
        HttpSource {
            fetcher: net.fetcher(FetchOptions {
                tls: &self.tls,
                versions: self.versions,
                proxies: self.proxies.as_ref(),
                unix_socket: None,
            }),
            tokens: self.oauth2.as_ref().map(|oauth2| net.tokens(oauth2)),
            redacted_url: HttpUrl::redacted(&self.url),
            settings: self.clone(),
        }
    }
}

/// The headers that Prometheus sends.
fn request_headers(refresh_interval: Duration) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, "application/json"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let seconds = refresh_interval.as_secs_f64().to_string();
    let name = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
    if let Ok(value) = HeaderValue::try_from(seconds) {
        headers.insert(name, value);
    }
    headers
}

/// The source of one `http_sd_configs` entry.
pub(super) struct HttpSource {
    settings: Settings,
    fetcher: Fetcher,
    tokens: Option<Arc<TokenSource>>,
    redacted_url: String,
}

impl Source for HttpSource {
    async fn poll(&mut self) -> Vec<PollResult> {
        let patience = self.settings.refresh_interval.min(REQUEST_TIMEOUT);
        let found = match tokio::time::timeout(patience, self.fetch()).await {
            Ok(found) => found.map(Found::Targets),
            Err(_) => Err(format!("no answer within {}", format_duration(patience))),
        };
        vec![PollResult {
            list_name: self.redacted_url.clone(),
            found,
        }]
    }

    fn interval(&self) -> Duration {
        self.settings.refresh_interval
    }
}

impl HttpSource {
    async fn fetch(&self) -> Result<Vec<Target>, String> {
        let answer = self.request().await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("answered with status {}", answer.status().as_u16()));
        }
        check_content_type(answer.headers())?;
        let url = self.redacted_url.clone();
        // Parsing megabytes would delay checks.
        let parsed = tokio::task::spawn_blocking(move || {
            let groups = payload::parse(answer.body(), Format::Json)?;
            Ok(payload::targets(groups, &[("__meta_url", &url)]))
        });
        parsed.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Sends the request and follows redirects within the host, because other hosts must not see the
    /// credentials.
    async fn request(&self) -> Result<http::Response<Bytes>, String> {
        let mut url = self.settings.url.clone();
        let mut headers = self.settings.headers.clone();
        if let Some(tokens) = &self.tokens {
            let token = tokens.get(&Attempt::start()).await;
            headers.insert(
                header::AUTHORIZATION,
                token.map_err(|failure| failure.error)?,
            );
        }
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.request_at(url.clone(), headers.clone()).await?;
            if answer.status() == StatusCode::UNAUTHORIZED
                && let (Some(tokens), Some(refused)) =
                    (&self.tokens, headers.get(header::AUTHORIZATION))
            {
                tokens.invalidate(refused);
            }
            let follow = answer.status().is_redirection() && self.settings.follow_redirects;
            let Some(location) = answer.headers().get(header::LOCATION).filter(|_| follow) else {
                return Ok(answer);
            };
            let next = location
                .to_str()
                .ok()
                .and_then(|location| url.join(location).ok())
                .ok_or("redirects to an invalid URL")?;
            // Compared with the first URL, not the previous one.
            if !is_same_service(&self.settings.url, &next) || !is_same_service(&url, &next) {
                return Err("redirects to another host, port or scheme".to_owned());
            }
            url = next;
        }
        Err(format!("redirects more than {MAX_REDIRECTS} times"))
    }

    async fn request_at(
        &self,
        url: Url,
        headers: HeaderMap,
    ) -> Result<http::Response<Bytes>, String> {
        let mut request = http::Request::new(Bytes::new());
        let uri = url.as_str().parse();
        *request.uri_mut() = uri.map_err(|_| "redirects to an invalid URL".to_owned())?;
        *request.headers_mut() = headers;
        let max_bytes = usize::try_from(payload::MAX_BYTES).unwrap_or(usize::MAX);
        let response = self.fetcher.fetch(request, max_bytes).await;
        response.map_err(|failure| failure.error.into())
    }
}

/// Like Prometheus, accepts only `application/json` in UTF-8.
fn check_content_type(headers: &HeaderMap) -> Result<(), String> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map_or("", |value| value.to_str().unwrap_or("?"));
    let lower = given.to_ascii_lowercase();
    let (kind, charset) = lower
        .split_once(';')
        .map_or((&*lower, "utf-8"), |(kind, parameter)| {
            let charset = parameter.trim().strip_prefix("charset=").unwrap_or("?");
            (kind, charset.trim_matches('"'))
        });
    if kind.trim() == "application/json" && charset == "utf-8" {
        return Ok(());
    }
    let shown: String = given.chars().take(100).collect();
    Err(format!(
        "answered with the content type {shown:?}, which is not application/json"
    ))
}
