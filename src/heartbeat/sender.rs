//! Sends one heartbeat, and again if that fails.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Settings;
use crate::{
    check::Attempt,
    net::{FetchOptions, Fetcher, Net, http::OfferedVersions, oauth2::TokenSource},
    value::format_duration,
};

/// Number of requests for a heartbeat, at most.
const MAX_REQUESTS: usize = 3;

/// Time between a request that failed and the next one.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Bytes of an answer; an ordinary one has a few.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Sends heartbeats to one watcher.
pub(super) struct Sender {
    settings: Settings,
    uri: Option<Uri>,
    fetcher: Fetcher,
    tokens: Option<Arc<TokenSource>>,
}

impl Sender {
    pub(super) fn new(settings: &Settings, net: &Net) -> Self {
        Self {
            uri: settings.url.as_str().parse().ok(),
            fetcher: net.fetcher(FetchOptions {
                tls: &settings.tls,
                versions: OfferedVersions::Http2,
                proxies: settings.proxies.as_ref(),
                unix_socket: None,
            }),
            tokens: settings.oauth2.as_ref().map(|oauth2| net.tokens(oauth2)),
            settings: settings.clone(),
        }
    }

    /// Sends a heartbeat, for which there is time until the next one at `until`.
    ///
    /// # Errors
    /// The error of the last request.
    pub(super) async fn send(&self, until: Instant) -> Result<(), String> {
        let limit = self.settings.timeout;
        let mut last = format!("no answer within {}", format_duration(limit));
        let requests = async {
            for request in 0..MAX_REQUESTS {
                if request > 0 {
                    sleep(RETRY_PAUSE).await;
                }
                match timeout(limit, self.request()).await {
                    Ok(Ok(())) => return true,
                    Ok(Err(error)) => last = error,
                    Err(_) => last = format!("no answer within {}", format_duration(limit)),
                }
            }
            false
        };
        let is_accepted = timeout_at(until, requests).await;
        if is_accepted == Ok(true) {
            return Ok(());
        }
        Err(last)
    }

    async fn request(&self) -> Result<(), String> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = self.settings.method.clone();
        *request.uri_mut() = self.uri.clone().ok_or("the URL is not a URI")?;
        *request.headers_mut() = self.settings.headers.clone();
        let mut token = None;
        if let Some(tokens) = &self.tokens {
            let value = tokens.get(&Attempt::start()).await;
            let value = value.map_err(|failure| failure.error)?;
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, value.clone());
            token = Some((tokens, value));
        }
        let answer = self.fetcher.fetch(request, MAX_ANSWER_BYTES).await;
        let status = answer.map_err(|failure| failure.error)?.status();
        if status == StatusCode::UNAUTHORIZED
            && let Some((tokens, refused)) = token
        {
            tokens.invalidate(&refused);
        }
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("HTTP {}, expected 2xx", status.as_u16()))
        }
    }
}
