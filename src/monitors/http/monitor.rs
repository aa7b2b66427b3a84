//! `type: http`: asks for a URL, reads the response to its end, and judges it.

mod body;
mod cookies;
mod encoding;
mod hops;
mod json;
mod matchers;
mod rare;
mod segments;
pub(in crate::monitors) mod settings;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, header, response::Parts};
use url::{Host, Url};

use self::hops::Course;
use crate::{
    check::{Attempt, Fact, Failure, Monitor, Phase, Reason, Report, log_check},
    net::{
        Connector,
        http::{Client, ProxyScheme, Transport},
        oauth2::Tokens,
    },
    value::ZonedHttpUrl,
};

pub use encoding::Encoding;
pub use json::Expression;
pub use matchers::{BodyMatchers, HeaderMatcher};
pub use rare::Rare;
pub use settings::Settings;

/// Checks one URL over `T`.
pub struct Http<T = Client> {
    client: T,
    /// For other hosts that a redirect leads to, where they must not see the client's certificate.
    anonymous: Option<T>,
    /// What few monitors need.
    means: Option<Box<Means>>,
    settings: Arc<Settings>,
    /// The URL as it may be seen.
    shown_url: String,
}

/// What is needed before a request can be sent.
struct Means {
    /// What gives tokens.
    tokens: Option<Arc<Tokens>>,
    /// What looks up all addresses, where all are to be checked.
    connector: Option<Connector>,
}

impl<T: Transport> Http<T> {
    /// The settings, bound to a client that sends their requests.
    pub fn new(client: T, settings: impl Into<Arc<Settings>>) -> Self {
        let settings = settings.into();
        let shown_url = ZonedHttpUrl::redacted(&settings.url, settings.zone.as_deref());
        Self {
            client,
            anonymous: None,
            means: None,
            settings,
            shown_url,
        }
    }

    /// Checks with what has to be fetched or looked up before.
    async fn check_by(&self, means: &Means, attempt: &Attempt) -> Result<(), Failure> {
        let mut course = Course::default();
        if let Some(tokens) = &means.tokens {
            course.authorization = Some(tokens.get(attempt).await?);
        }
        let (Some(connector), Some(Host::Domain(name))) =
            (&means.connector, self.settings.url.host())
        else {
            return self.check_at(&course, attempt).await;
        };
        let addresses =
            connector.resolve_all(name, self.settings.route, rare::MOST_ADDRESSES, attempt);
        for address in addresses.await? {
            attempt.forget();
            course.address = Some(address);
            let silence = Silence {
                attempt,
                address: Some(address),
            };
            let result = self.check_at(&course, attempt).await;
            silence.end();
            result.map_err(|failure| Failure {
                error: format!("at {address}: {}", failure.error).into(),
                ..failure
            })?;
        }
        Ok(())
    }

    /// Checks at one address.
    async fn check_at(&self, course: &Course, attempt: &Attempt) -> Result<(), Failure> {
        let (hop, response) = self.response(course, attempt).await?;
        let (parts, mut body) = response.into_parts();
        attempt.learn(Fact::HttpStatus(parts.status.as_u16()));
        let head = self.judge_head(&hop.url, &parts).await;
        let rare = self.settings.rare.as_deref();
        if rare.is_some_and(|rare| rare.without_body) {
            head?;
        } else {
            if let Err(failure) = &head {
                // A wrong status says more than what then happens to its body.
                attempt.presume(failure.clone());
            }
            attempt.enter(Phase::Transfer);
            let encoding = self.encoding_of(&hop, parts.status);
            let body = self.read_body(&mut body, encoding, attempt).await;
            head?;
            let verdict = self.judge_body(body?).await;
            verdict.map_err(|failure| name_encoding(failure, encoding, &parts.headers))?;
        }
        match rare {
            Some(rare) => rare.freshness.judge(attempt),
            None => Ok(()),
        }
    }

    fn token_was_refused(&self, course: &Course) {
        let tokens = self.means.as_ref().and_then(|means| means.tokens.as_ref());
        if let (Some(tokens), Some(authorization)) = (tokens, &course.authorization) {
            tokens.refused(authorization);
        }
    }

    /// What is wrong with everything but the body.
    async fn judge_head(&self, url: &Url, response: &Parts) -> Result<(), Failure> {
        let settings = &self.settings;
        let wrong = |reason, error| Err(Failure::new(Phase::Processing, reason, error));
        let status = response.status;
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
        let version = response.version;
        let versions = &settings.valid_http_versions;
        if !versions.is_empty() && !versions.iter().any(|valid| valid.0 == version) {
            return wrong(
                Reason::HttpVersion,
                format!("the response came in {version:?}"),
            );
        }
        if let Some(error) = self.header_complaint(&response.headers).await {
            return wrong(Reason::HeaderMismatch, error);
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
}

/// The failure of a body that was encoded though `compression` does not say so, with a word on that.
fn name_encoding(failure: Failure, decoded: Option<Encoding>, headers: &HeaderMap) -> Failure {
    let is_mismatch = matches!(failure.reason, Reason::BodyMismatch | Reason::JsonMismatch);
    let named = headers
        .get(header::CONTENT_ENCODING)
        .filter(|_| is_mismatch);
    let (None, Some(named)) = (decoded, named) else {
        return failure;
    };
    let named = named.as_bytes();
    let is = |name: &&Encoding| named.eq_ignore_ascii_case(name.as_str().as_bytes());
    let hint = match Encoding::ALL.iter().find(is) {
        Some(Encoding::Identity) => return failure,
        Some(encoding) => format!(
            "the body is encoded in {0} (set compression: {0})",
            encoding.as_str()
        ),
        // What the header says is not repeated: it could be anything.
        None => "the body is in an encoding that is not decoded".to_owned(),
    };
    Failure {
        error: format!("{}; {hint}", failure.error).into(),
        ..failure
    }
}

/// Says at which address it was silent, where the deadline drops a check of several.
struct Silence<'a> {
    attempt: &'a Attempt,
    address: Option<IpAddr>,
}

impl Silence<'_> {
    fn end(mut self) {
        self.address = None;
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let error = format!("at {address}: no result in time");
            let failure = self.attempt.failure(Reason::Timeout, error);
            self.attempt.presume(failure);
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
        let url = &self.settings.url;
        let rare = self.settings.rare.as_ref();
        let named = matches!(url.host(), Some(Host::Domain(_)))
            && rare.is_none_or(|rare| rare.address_of(url).is_none());
        let looked_up = match rare.and_then(|rare| rare.proxy_of(url)) {
            Some(proxy) => {
                proxy.endpoint.host.is_name() || named && proxy.scheme == ProxyScheme::Socks5
            }
            None => named,
        };
        let resolve = looked_up.then_some(Phase::Resolve);
        let tls = (url.scheme() == "https").then_some(Phase::Tls);
        let body = rare.is_none_or(|rare| !rare.without_body);
        let transfer = body.then_some(Phase::Transfer);
        let always = [Phase::Connect, Phase::Processing];
        let before = resolve.into_iter().chain(tls).chain(always);
        before.chain(transfer).collect()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        match &self.means {
            // In a box, so that it is no part of what each check of the others allocates.
            Some(means) => Box::pin(self.check_by(means, attempt)).await,
            None => self.check_at(&Course::default(), attempt).await,
        }
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
