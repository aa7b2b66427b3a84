//! The requests of a check along its redirects.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version,
    header::{self, HeaderName},
};
use percent_encoding::{CONTROLS, percent_encode};
use url::Url;

use super::{Http, cookies::CookieJar};
use crate::{
    check::{Attempt, Fact, Failure, HttpHead, Reason, StepKind},
    net::http::{OfferedVersions, Request, TRACEPARENT, Transport, traceparent},
    value::{HttpUrl, MAX_REDIRECTS, is_same_service},
};

/// Headers that are sent to other hosts of redirects. Any other could be a credential.
const CROSS_ORIGIN_SAFE_HEADERS: [HeaderName; 8] = [
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::PRAGMA,
    header::USER_AGENT,
];

/// One request of a check, after any number of redirects.
pub(super) struct Hop {
    pub url: Arc<Url>,
    pub method: Method,
    body: Bytes,
}

/// Values of one check, in addition to the settings.
#[derive(Default)]
pub(super) struct CheckContext {
    /// The Authorization header that was fetched for it.
    pub authorization: Option<HeaderValue>,
    /// The address at which the host of the URL is checked.
    pub address: Option<std::net::IpAddr>,
}

impl<T: Transport> Http<T> {
    /// Follows redirects and returns the last response.
    pub(super) async fn response(
        &self,
        context: &CheckContext,
        attempt: &Attempt,
    ) -> Result<(Hop, Response<T::Body>), Failure> {
        let mut hop = Hop {
            url: self.settings.url.clone(),
            method: self.settings.method.clone(),
            body: self.settings.body.clone(),
        };
        let mut redirects: u32 = 0;
        let mut jar = CookieJar::default();
        loop {
            let is_same_origin = is_same_service(&self.settings.url, &hop.url);
            let client = match &self.client_without_identity {
                Some(client) if !is_same_origin => client,
                _ => &self.client,
            };
            let mut request = self.request(&hop, is_same_origin, context, &jar);
            self.add_traceparent(&mut request.headers, attempt);
            self.record_way(&request, context, attempt);
            let response = client.send(request, attempt).await?;
            if is_same_origin && response.status() == StatusCode::UNAUTHORIZED {
                self.discard_token(context);
            }
            if redirect_location(&response).is_some() {
                attempt.record_detail(|| Fact::Redirects(redirects + 1));
            }
            let next = self.next_hop(&hop, &response);
            if response.status().is_redirection() {
                let text = || self.redirect_in_words(redirects, &next);
                attempt.step(StepKind::Redirect, text);
            }
            let next = next.map_err(|error| {
                record_head(&hop.url, &response, attempt);
                attempt.failure(Reason::ProtocolError, error)
            })?;
            let Some(next) = next else {
                record_head(&hop.url, &response, attempt);
                return Ok((hop, response));
            };
            if let Some(advanced) = &self.settings.advanced {
                advanced.min_validity.judge(attempt)?;
            }
            if redirects == MAX_REDIRECTS {
                record_head(&hop.url, &response, attempt);
                let error = format!("more than {MAX_REDIRECTS} redirects");
                return Err(attempt.failure(Reason::TooManyRedirects, error));
            }
            redirects += 1;
            jar.store_from(&hop.url, response.headers());
            hop = next;
        }
    }

    /// Adds the identity of the check's trace, unless the user has a `traceparent`.
    fn add_traceparent(&self, headers: &mut HeaderMap, attempt: &Attempt) {
        let Some(value) = traceparent(attempt) else {
            return;
        };
        let mut own = self.settings.headers.iter();
        if own.all(|(name, _)| *name != TRACEPARENT) {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// Tells what of the settings decides on the way of `request`.
    fn record_way(&self, request: &Request, context: &CheckContext, attempt: &Attempt) {
        let host = || request.url.host_str().unwrap_or_default();
        match request.address {
            Some(address) if context.address.is_none() => {
                attempt.step(StepKind::Lookup, || {
                    format!("{} is {address} by resolve", host())
                });
            }
            _ => {}
        }
        let advanced = self.settings.advanced.as_deref();
        if advanced.is_some_and(|advanced| advanced.proxies.is_some()) && request.proxy.is_none() {
            attempt.step(StepKind::Proxy, || {
                format!("no proxy for {} URLs of {}", request.url.scheme(), host())
            });
        }
    }

    /// The request of `hop`; `at_home`, it may hold secrets.
    fn request(
        &self,
        hop: &Hop,
        is_same_origin: bool,
        context: &CheckContext,
        jar: &CookieJar,
    ) -> Request {
        let settings = &self.settings;
        // With room for those that the client adds: Accept and Host.
        let mut headers = HeaderMap::with_capacity(settings.headers.len() + 2);
        // Headers that describe the body are dropped with it, for example if a redirect turns POST into GET.
        let lost_body = hop.body.is_empty() && !settings.body.is_empty();
        for (name, value) in &*settings.headers {
            let describes_body = name.as_str().starts_with("content-");
            if (is_same_origin || CROSS_ORIGIN_SAFE_HEADERS.contains(name))
                && !(lost_body && describes_body)
            {
                headers.append(name, value.clone());
            }
        }
        if let Some(authorization) = context.authorization.as_ref().filter(|_| is_same_origin) {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        jar.apply_to(&hop.url, &mut headers);
        let pinned = context
            .address
            .filter(|_| settings.url.host() == hop.url.host());
        let advanced = settings.advanced.as_deref();
        Request {
            method: hop.method.clone(),
            url: hop.url.clone(),
            headers,
            body: hop.body.clone(),
            route: settings.route,
            zone: settings.zone_of(&hop.url),
            address: pinned.or_else(|| advanced?.address_of(&hop.url)),
            proxy: advanced
                .and_then(|advanced| advanced.proxy_of(&hop.url))
                .cloned(),
            server_name: settings.server_name.clone().filter(|_| is_same_origin),
        }
    }

    /// The reason why a redirect is followed or not, after `count` others.
    fn redirect_in_words(&self, count: u32, next: &Result<Option<Hop>, &'static str>) -> String {
        match next {
            Err(error) => format!("not followed: {error}"),
            Ok(None) if !self.settings.follow_redirects => {
                "not followed, as follow_redirects is false".to_owned()
            }
            Ok(None) => "not followed, as it names no other URL".to_owned(),
            Ok(Some(_)) if count == MAX_REDIRECTS => {
                format!("not followed, as {MAX_REDIRECTS} were followed before")
            }
            Ok(Some(hop)) => {
                let number = count + 1;
                let url = HttpUrl::redacted(&hop.url);
                let secrets = if is_same_service(&self.settings.url, &hop.url) {
                    ""
                } else {
                    ", without credentials, as it leads to another host, port or scheme"
                };
                let method = &hop.method;
                format!("followed by {method} {url} ({number} of {MAX_REDIRECTS}){secrets}")
            }
        }
    }

    /// The hop that `response` redirects to, if it does and may (RFC 9110, section 15.4).
    fn next_hop(
        &self,
        hop: &Hop,
        response: &Response<T::Body>,
    ) -> Result<Option<Hop>, &'static str> {
        let Some((keeps_method, location)) = redirect_location(response) else {
            return Ok(None);
        };
        if !self.settings.follow_redirects {
            return Ok(None);
        }
        let mut url = hop
            .url
            .join(&location_text(location.as_bytes()))
            .ok()
            .filter(|url| Uri::try_from(url.as_str()).is_ok())
            .ok_or("redirect to an invalid URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("redirect to another scheme, expected http or https");
        }
        if url.scheme() == "http" && self.settings.versions == OfferedVersions::Http3 {
            return Err("redirect to http://, which HTTP/3 is not for");
        }
        // Both fail for URLs without a host only.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let (method, body) = if keeps_method {
            if !hop.body.is_empty() && !is_same_service(&self.settings.url, &url) {
                return Err("redirect to another host, which must not get the request's body");
            }
            (hop.method.clone(), hop.body.clone())
        } else if hop.method == Method::HEAD {
            (Method::HEAD, Bytes::new())
        } else {
            (Method::GET, Bytes::new())
        };
        let url = Arc::new(url);
        Ok(Some(Hop { url, method, body }))
    }
}

/// Where `response` redirects to, if it does, and whether that is asked with the same method.
fn redirect_location<B>(response: &Response<B>) -> Option<(bool, &HeaderValue)> {
    let keeps_method = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return None,
    };
    // An empty one leads nowhere, as curl and blackbox_exporter have it.
    let location = response
        .headers()
        .get(header::LOCATION)
        .filter(|location| !location.is_empty())?;
    Some((keeps_method, location))
}

/// Records the head of `response`, which is the last one, and is from `url`.
fn record_head<B>(url: &Url, response: &Response<B>, attempt: &Attempt) {
    attempt.record(Fact::HttpStatus(response.status().as_u16()));
    attempt.record_detail(|| {
        let headers = response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Fact::HttpHead(HttpHead {
            version_tenths: match response.version() {
                Version::HTTP_10 => 10,
                Version::HTTP_2 => 20,
                Version::HTTP_3 => 30,
                _ => 11,
            },
            is_over_tls: url.scheme() == "https",
            content_length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            last_modified: text(header::LAST_MODIFIED).and_then(unix_time),
        })
    });
}

/// The Unix time of an HTTP date (RFC 9110, section 5.6.7), in any of its forms.
fn unix_time(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// A location as text: of one that is not UTF-8, the bytes beyond ASCII are percent-encoded.
fn location_text(location: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(location) {
        Ok(text) => text.into(),
        Err(_) => percent_encode(location, CONTROLS).into(),
    }
}
