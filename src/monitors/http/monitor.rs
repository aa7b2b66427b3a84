//! The monitor: what is fetched or looked up before, the response, and its verdicts in their order.

use std::sync::Arc;

use scopeguard::{ScopeGuard, guard};
use url::Host;

use super::{
    advanced::MOST_ADDRESSES, redirects::Course, settings::Settings, verdict::name_encoding,
};
use crate::{
    check::{Attempt, Fact, Failure, Monitor, Phase, Reason, Report, log_check},
    net::{
        Connector,
        http::{Client, ProxyScheme, Transport},
        oauth2::Tokens,
    },
    value::ZonedHttpUrl,
};

/// Target of log lines: the type.
const LOG_TARGET: &str = "monitoringdaemon::monitors::http";

/// Checks one URL over `T`.
pub struct Http<T = Client> {
    pub(super) client: T,
    /// For other hosts that a redirect leads to, where they must not see the client's certificate.
    pub(super) anonymous: Option<T>,
    /// What few monitors need.
    pub(super) means: Option<Box<Means>>,
    pub(super) settings: Arc<Settings>,
    /// The URL as it may be seen.
    pub(super) shown_url: String,
}

/// What is needed before a request can be sent.
pub(super) struct Means {
    /// What gives tokens.
    pub tokens: Option<Arc<Tokens>>,
    /// What looks up all addresses, where all are to be checked.
    pub connector: Option<Connector>,
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
        let addresses = connector.resolve_all(name, self.settings.route, MOST_ADDRESSES, attempt);
        for address in addresses.await? {
            attempt.forget();
            course.address = Some(address);
            // Says at which address it was silent, where the deadline drops a check of several.
            let silence = guard((), |()| {
                let error = format!("at {address}: no result in time");
                attempt.presume(attempt.failure(Reason::Timeout, error));
            });
            let result = self.check_at(&course, attempt).await;
            ScopeGuard::into_inner(silence);
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

    pub(super) fn token_was_refused(&self, course: &Course) {
        let tokens = self.means.as_ref().and_then(|means| means.tokens.as_ref());
        if let (Some(tokens), Some(authorization)) = (tokens, &course.authorization) {
            tokens.refused(authorization);
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

    fn max_body_memory(&self) -> u64 {
        self.settings.max_body_memory()
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
            target: LOG_TARGET,
            monitor,
            report,
            method = self.settings.method.as_str(),
            url = self.shown_url,
        );
    }
}
