//! The HTTP monitor: checks its preconditions, sends the request, and checks the response.

use std::sync::Arc;

use http::response::Parts;
use scopeguard::{ScopeGuard, guard};
use url::Host;

use super::{
    advanced::MAX_ADDRESSES,
    cause,
    redirects::{CheckContext, Hop},
    settings::Settings,
    verdict::name_encoding,
};
use crate::{
    check::{Attempt, Failure, Monitor, Phase, Reason, Report, log_check},
    net::{
        Connector,
        http::{Client, ProxyScheme, Transport},
        oauth2::TokenSource,
    },
    value::ZonedHttpUrl,
};

/// Target of log lines: the type.
const LOG_TARGET: &str = "monitoringdaemon::monitors::http";

/// Checks one URL over `T`.
pub struct Http<T = Client> {
    pub(super) client: T,
    /// Client for other hosts of redirects, which must not see the client certificate.
    pub(super) client_without_identity: Option<T>,
    /// Preconditions of a request, which few monitors have.
    pub(super) preconditions: Option<Box<Preconditions>>,
    pub(super) settings: Arc<Settings>,
    /// The URL without secrets.
    pub(super) redacted_url: String,
}

/// Preconditions of a request.
pub(super) struct Preconditions {
    /// The token source.
    pub tokens: Option<Arc<TokenSource>>,
    /// Looks up all addresses, for `all_addresses`.
    pub connector: Option<Connector>,
}

impl<T: Transport> Http<T> {
    /// The settings, bound to a client that sends their requests.
    pub fn new(client: T, settings: impl Into<Arc<Settings>>) -> Self {
        let settings = settings.into();
        let redacted_url = ZonedHttpUrl::redacted(&settings.url, settings.zone.as_deref());
        Self {
            client,
            client_without_identity: None,
            preconditions: None,
            settings,
            redacted_url,
        }
    }

    /// Checks with what has to be fetched or looked up before.
    async fn check_with_preconditions(
        &self,
        preconditions: &Preconditions,
        attempt: &Attempt,
    ) -> Result<(), Failure> {
        let mut context = CheckContext::default();
        if let Some(tokens) = &preconditions.tokens {
            context.authorization = Some(tokens.get(attempt).await?);
        }
        let (Some(connector), Some(Host::Domain(name))) =
            (&preconditions.connector, self.settings.url.host())
        else {
            return self.check_once(&context, attempt).await;
        };
        let addresses = connector.resolve_all(name, self.settings.route, MAX_ADDRESSES, attempt);
        for address in addresses.await? {
            attempt.clear_facts_except_address();
            context.address = Some(address);
            // Names the silent address if the deadline drops a check of several.
            let silence = guard((), |()| {
                let error = format!("at {address}: no result in time");
                attempt.set_timeout_failure(attempt.failure(Reason::Timeout, error));
            });
            let result = self.check_once(&context, attempt).await;
            ScopeGuard::into_inner(silence);
            result.map_err(|failure| Failure {
                error: format!("at {address}: {}", failure.error).into(),
                ..failure
            })?;
        }
        Ok(())
    }

    /// Checks at one address.
    async fn check_once(&self, context: &CheckContext, attempt: &Attempt) -> Result<(), Failure> {
        let (hop, response) = self.response(context, attempt).await?;
        let (parts, mut body) = response.into_parts();
        let result = self.judge(&hop, &parts, &mut body, attempt).await;
        if result.is_err()
            && attempt.steps().are_recorded()
            && let Some(cause) =
                cause::find(parts.status, &parts.headers, &self.settings.url, &hop.url)
        {
            attempt.steps().diagnose(cause);
        }
        result
    }

    /// Judges a response.
    async fn judge(
        &self,
        hop: &Hop,
        parts: &Parts,
        body: &mut T::Body,
        attempt: &Attempt,
    ) -> Result<(), Failure> {
        let head = self.check_head(&hop.url, parts, attempt).await;
        let advanced = self.settings.advanced.as_deref();
        if advanced.is_some_and(|advanced| advanced.without_body) {
            head?;
        } else {
            if let Err(failure) = &head {
                // A wrong status says more than what then happens to its body.
                attempt.set_timeout_failure(failure.clone());
            }
            attempt.enter(Phase::Transfer);
            let encoding = self.encoding_of(hop, parts.status);
            let body = self.read_body(body, encoding, attempt).await;
            head?;
            let verdict = self.check_body(body?, attempt.steps()).await;
            verdict.map_err(|failure| name_encoding(failure, encoding, &parts.headers))?;
        }
        match advanced {
            Some(advanced) => advanced.min_validity.judge(attempt),
            None => Ok(()),
        }
    }

    pub(super) fn discard_token(&self, context: &CheckContext) {
        let tokens = self
            .preconditions
            .as_ref()
            .and_then(|preconditions| preconditions.tokens.as_ref());
        if let (Some(tokens), Some(authorization)) = (tokens, &context.authorization) {
            tokens.invalidate(authorization);
        }
    }
}

impl<T: Transport> Monitor for Http<T> {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn target(&self) -> String {
        self.redacted_url.clone()
    }

    fn host(&self) -> Option<String> {
        self.settings.url.host_str().map(str::to_owned)
    }

    fn request_method(&self) -> Option<&str> {
        Some(self.settings.method.as_str())
    }

    fn phases(&self) -> Vec<Phase> {
        let url = &self.settings.url;
        let advanced = self.settings.advanced.as_ref();
        let named = matches!(url.host(), Some(Host::Domain(_)))
            && advanced.is_none_or(|advanced| advanced.address_of(url).is_none());
        let looked_up = match advanced.and_then(|advanced| advanced.proxy_of(url)) {
            Some(proxy) => {
                proxy.endpoint.host.is_name() || named && proxy.scheme == ProxyScheme::Socks5
            }
            None => named,
        };
        let resolve = looked_up.then_some(Phase::Resolve);
        let tls = (url.scheme() == "https").then_some(Phase::Tls);
        let body = advanced.is_none_or(|advanced| !advanced.without_body);
        let transfer = body.then_some(Phase::Transfer);
        let always = [Phase::Connect, Phase::Processing];
        let before = resolve.into_iter().chain(tls).chain(always);
        before.chain(transfer).collect()
    }

    fn max_body_memory(&self) -> u64 {
        self.settings.max_body_memory()
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        match &self.preconditions {
            // In a box, so that checks without preconditions have smaller futures.
            Some(preconditions) => {
                Box::pin(self.check_with_preconditions(preconditions, attempt)).await
            }
            None => self.check_once(&CheckContext::default(), attempt).await,
        }
    }

    fn log(&self, monitor: &str, report: &Report) {
        log_check!(
            target: LOG_TARGET,
            monitor,
            report,
            method = self.settings.method.as_str(),
            url = self.redacted_url,
        );
    }
}
