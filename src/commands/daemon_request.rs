//! Sends requests of commands to a running daemon.

use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, USER_AGENT},
};
use url::Url;

use crate::{
    check::{Failure, Phase, Reason},
    net::{self, FetchOptions, Net},
    value::{basic_authorization, userinfo},
};

/// The size of an answer, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Sends a request, with the user and password of `url`, and returns the status and the body.
pub(super) async fn send(
    method: Method,
    mut url: Url,
    options: FetchOptions<'_>,
) -> Result<(StatusCode, Bytes), Failure> {
    let failure = |error| Failure::new(Phase::Processing, Reason::AgentError, error);
    let mut request = http::Request::new(Bytes::new());
    *request.method_mut() = method;
    let user_agent = HeaderValue::from_static(net::http::USER_AGENT);
    request.headers_mut().insert(USER_AGENT, user_agent);
    if let Some((user, password)) = userinfo(&url) {
        let authorization = basic_authorization(&user, &password);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        // Both fail for URLs without a host only.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    let uri = url.as_str().parse();
    *request.uri_mut() = uri.map_err(|_| failure("the URL cannot be sent over HTTP"))?;
    let fetcher = Net::system().fetcher(options);
    let response = fetcher.fetch(request, MAX_RESPONSE_BYTES).await?;
    Ok((response.status(), response.into_body()))
}
