//! OAuth 2 tokens by the client credentials grant (RFC 6749, section 4.4): fetched when one is needed,
//! kept until it expires or is refused, and shared by all monitors with the same settings.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use scopeguard::{ScopeGuard, guard};
use serde::Deserialize;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::{
    FetchOptions, Fetcher,
    http::{OfferedVersions, Proxies, USER_AGENT},
    tls,
};
use crate::{
    check::{Attempt, Failure, Phase, Reason, StepKind},
    value::{HttpUrl, basic_authorization},
};

/// Settings of a token source. They hold secrets, so there is no `Debug`.
#[derive(Clone)]
pub struct Settings {
    /// The token that is requested.
    pub(crate) grant: Grant,
    /// TLS settings for the token endpoint.
    pub tls: tls::Settings,
    /// Proxies for requests to the token endpoint.
    pub(crate) proxies: Option<Proxies>,
}

/// A token endpoint, and the parameters of a request to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    /// The token endpoint.
    pub url: Url,
    /// The client's name.
    pub client_id: String,
    /// The client's password; empty for none.
    pub client_secret: String,
    /// Scopes and further parameters of the request.
    pub parameters: Vec<(String, String)>,
}

impl Settings {
    /// Returns whether all settings but the grant are the defaults, so that monitors with equal grants can
    /// share tokens.
    fn is_plain(&self) -> bool {
        self.tls.is_default() && self.tls.server_name.is_none() && self.proxies.is_none()
    }
}

/// The token sources in use, by grant.
#[derive(Default)]
pub(super) struct TokenSourceCache(Mutex<HashMap<Grant, Weak<TokenSource>>>);

impl TokenSourceCache {
    pub(super) fn get(
        &self,
        settings: &Settings,
        make: impl FnOnce() -> TokenSource,
    ) -> Arc<TokenSource> {
        if !settings.is_plain() {
            return Arc::new(make());
        }
        let mut shared = self.0.lock();
        if let Some(tokens) = shared.get(&settings.grant).and_then(Weak::upgrade) {
            return tokens;
        }
        // Unused sources are dropped, together with their secrets.
        shared.retain(|_, tokens| tokens.strong_count() > 0);
        let tokens = Arc::new(make());
        shared.insert(settings.grant.clone(), Arc::downgrade(&tokens));
        tokens
    }
}

/// A token source with its current token.
pub struct TokenSource {
    settings: Settings,
    fetcher: Fetcher,
    /// Locked while a token is fetched, so that other checks wait for it.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The kind of client authentication that worked last.
    client_auth: Option<ClientAuth>,
    /// When the last fetch failed, and why.
    failed: Option<(Instant, Failure)>,
}

struct Token {
    authorization: HeaderValue,
    expires: Option<Instant>,
}

/// Kinds of client authentication (RFC 6749, section 2.3.1): in a header or in the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    Basic,
    Post,
}

/// Time before its expiry from which a token is no longer used, because requests take a while.
const EXPIRY_LEEWAY: Duration = Duration::from_secs(10);

/// Maximum number of bytes of a token response: many times the longest token.
const MAX_RESPONSE_BYTES: usize = 256 << 10;

impl TokenSource {
    /// The options of the fetcher for these settings.
    pub(super) fn fetch_options(settings: &Settings) -> FetchOptions<'_> {
        FetchOptions {
            tls: &settings.tls,
            versions: OfferedVersions::Http2,
            proxies: settings.proxies.as_ref(),
            unix_socket: None,
        }
    }

    pub(super) fn new(settings: &Settings, fetcher: Fetcher) -> Self {
        Self {
            settings: settings.clone(),
            fetcher,
            state: tokio::sync::Mutex::default(),
        }
    }

    /// The value of an Authorization header with a token that has not expired.
    ///
    /// Concurrent callers share one request to the token endpoint.
    ///
    /// # Errors
    /// A [`Failure`] if the token endpoint returns none. The request is not recorded in `attempt`.
    pub async fn get(&self, attempt: &Attempt) -> Result<HeaderValue, Failure> {
        // Names the token endpoint if the deadline drops a check that waits for a token.
        let unanswered = guard((), |()| {
            attempt.set_timeout_failure(failure(Reason::Timeout, "did not answer in time"));
        });
        attempt.step(StepKind::Token, || {
            format!(
                "a token of {}, fetched unless one is known",
                HttpUrl::redacted(&self.settings.grant.url)
            )
        });
        let result = attempt.untimed(self.get_or_fetch()).await;
        attempt.step(StepKind::Token, || match &result {
            Ok(_) => "there is one",
            Err(_) => "there is none",
        });
        ScopeGuard::into_inner(unanswered);
        result
    }

    async fn get_or_fetch(&self) -> Result<HeaderValue, Failure> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = &state.token
            && token.expires.is_none_or(|expires| now < expires)
        {
            return Ok(token.authorization.clone());
        }
        if let Some((failed, failure)) = &state.failed
            && *failed >= asked
        {
            return Err(failure.clone());
        }
        match self.fetch(&mut state).await {
            Ok(token) => {
                let authorization = token.authorization.clone();
                state.token = Some(token);
                state.failed = None;
                Ok(authorization)
            }
            Err(failure) => {
                state.token = None;
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Forgets the token that was refused, if it is still the one that is given out.
    pub(crate) fn invalidate(&self, authorization: &HeaderValue) {
        // If it is locked, another token is being fetched already.
        if let Ok(mut state) = self.state.try_lock()
            && let Some(token) = &state.token
            && token.authorization == *authorization
        {
            state.token = None;
        }
    }

    /// Asks for a token: first with the credentials in a header, as every server must know it, then
    /// in the body, as some know alone.
    async fn fetch(&self, state: &mut State) -> Result<Token, Failure> {
        let (first, second) = match state.client_auth {
            Some(known) => (known, None),
            None => (ClientAuth::Basic, Some(ClientAuth::Post)),
        };
        let (mut client_auth, mut answer) = (first, self.request_token(first).await?);
        if let Some(second) = second
            && matches!(answer.0, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
        {
            (client_auth, answer) = (second, self.request_token(second).await?);
        }
        let (status, body) = answer;
        if !status.is_success() {
            // A server that was set up anew may want the other one.
            state.client_auth = None;
            let code = error_code(&body).map_or_else(String::new, |code| format!(" ({code})"));
            let error = format!("answered {}{code}", status.as_u16());
            return Err(failure(Reason::ResponseMismatch, &error));
        }
        let token = read_token(&body, Instant::now())
            .map_err(|error| failure(Reason::ProtocolError, error))?;
        state.client_auth = Some(client_auth);
        Ok(token)
    }

    async fn request_token(&self, client_auth: ClientAuth) -> Result<(StatusCode, Bytes), Failure> {
        let mut request = http::Request::new(self.body(client_auth));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self
            .settings
            .grant
            .url
            .as_str()
            .parse()
            .map_err(|_| failure(Reason::AgentError, "has an invalid URL"))?;
        *request.headers_mut() = self.headers(client_auth);
        let response = self
            .fetcher
            .fetch(request, MAX_RESPONSE_BYTES)
            .await
            .map_err(|wrong| failure(wrong.reason, &format!("failed: {}", wrong.error)))?;
        Ok((response.status(), response.into_body()))
    }

    fn headers(&self, client_auth: ClientAuth) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::USER_AGENT, USER_AGENT),
            (header::ACCEPT, "application/json"),
            (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if client_auth == ClientAuth::Basic {
            let encode = |text: &str| -> String {
                form_urlencoded::byte_serialize(text.as_bytes()).collect()
            };
            let grant = &self.settings.grant;
            let value =
                basic_authorization(&encode(&grant.client_id), &encode(&grant.client_secret));
            headers.insert(header::AUTHORIZATION, value);
        }
        headers
    }

    fn body(&self, client_auth: ClientAuth) -> Bytes {
        let grant = &self.settings.grant;
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "client_credentials");
        body.extend_pairs(&grant.parameters);
        if client_auth == ClientAuth::Post {
            body.append_pair("client_id", &grant.client_id);
            body.append_pair("client_secret", &grant.client_secret);
        }
        body.finish().into()
    }
}

/// A failure of the token endpoint. The check has not started, so it is in no phase yet.
fn failure(reason: Reason, error: &str) -> Failure {
    Failure::new(
        Phase::Processing,
        reason,
        format!("the token endpoint {error}"),
    )
}

/// A token response (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
}

fn read_token(body: &[u8], now: Instant) -> Result<Token, &'static str> {
    // The parser's error is left out: it could repeat a part of the token.
    let response: TokenResponse = serde_json::from_slice(body)
        .map_err(|_| "returned no access_token, expected JSON with one")?;
    let scheme = match response.token_type.as_deref() {
        None => "Bearer",
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(scheme) => scheme,
    };
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !is_word(scheme) || !is_word(&response.access_token) {
        return Err("returned a token that no header can carry");
    }
    let mut authorization = HeaderValue::try_from(format!("{scheme} {}", response.access_token))
        .map_err(|_| "returned a token that no header can carry")?;
    authorization.set_sensitive(true);
    let lifetime = match &response.expires_in {
        None | Some(serde_json::Value::Null) => None,
        Some(value) => Some(
            seconds(value).ok_or("returned an invalid expires_in, expected a number of seconds")?,
        ),
    };
    let expires = lifetime.and_then(|lifetime| {
        // Of a token that lives shortly, most of its life is used all the same.
        now.checked_add(lifetime.saturating_sub(EXPIRY_LEEWAY.min(lifetime / 2)))
    });
    Ok(Token {
        authorization,
        expires,
    })
}

/// Seconds as a number, or as a text of digits, which some servers send.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = match value {
        serde_json::Value::Number(number) => number.as_f64()?,
        serde_json::Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().ok()?
        }
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// The error code of a response, if it is one of the RFC (section 5.2): other text could
/// be anything, secrets included.
fn error_code(body: &[u8]) -> Option<&'static str> {
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let refused: Refused = serde_json::from_slice(body).ok()?;
    KNOWN.into_iter().find(|known| *known == refused.error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The header and the seconds for which it is used; `None` for no expiry.
    fn read(body: &str) -> Result<(String, Option<f64>), &'static str> {
        let now = Instant::now();
        let token = read_token(body.as_bytes(), now)?;
        let text = token.authorization.to_str().map_err(|_| "is not text")?;
        let left = token.expires.map(|expires| (expires - now).as_secs_f64());
        Ok((text.to_owned(), left))
    }

    #[test]
    fn a_token_is_used_until_shortly_before_it_expires() {
        let with = |expires: &str| {
            read(&format!(
                r#"{{"access_token":"t","token_type":"bearer"{expires}}}"#
            ))
        };
        let bearer = |left| Ok(("Bearer t".to_owned(), left));
        assert_eq!(with(""), bearer(None));
        assert_eq!(with(r#","expires_in":null"#), bearer(None));
        assert_eq!(
            with(r#","expires_in":3600,"scope":"a""#),
            bearer(Some(3590.0))
        );
        assert_eq!(with(r#","expires_in":"3600""#), bearer(Some(3590.0)));
        assert_eq!(with(r#","expires_in":10"#), bearer(Some(5.0)));
        assert_eq!(with(r#","expires_in":0"#), bearer(Some(0.0)));
        assert!(with(r#","expires_in":1e18"#).is_ok());
        for wrong in ["-1", "1e300", "true", r#""soon""#, "[]"] {
            assert!(
                with(&format!(r#","expires_in":{wrong}"#)).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn invalid_token_responses_are_refused() {
        for wrong in [
            "",
            "[]",
            "access_token=t",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a\nb"}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"é"}"#,
            r#"{"access_token":1}"#,
            r#"{"access_token":"t","access_token":"u"}"#,
            r#"{"access_token":"t","token_type":""}"#,
            r#"{"access_token":"t","token_type":"a b"}"#,
            r#"{"access_token":"t""#,
            r#"{"access_token":"t"}{}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let mac = read(r#"{"access_token":"t","token_type":"BearerToken"}"#);
        assert_eq!(mac, Ok(("BearerToken t".to_owned(), None)));
    }

    #[test]
    fn only_known_error_codes_are_repeated() {
        let code = |body: &str| error_code(body.as_bytes());
        assert_eq!(
            code(r#"{"error":"invalid_client"}"#),
            Some("invalid_client")
        );
        assert_eq!(code(r#"{"error":"hunter2"}"#), None);
        assert_eq!(code("<html>"), None);
    }

    proptest! {
        #[test]
        fn any_response_is_read_without_panic(body in any::<Vec<u8>>(), text in any::<String>()) {
            let _ = read_token(&body, Instant::now());
            let _ = error_code(&body);
            let _ = read(&format!(r#"{{"access_token":{text:?},"expires_in":{text:?}}}"#));
        }
    }
}
