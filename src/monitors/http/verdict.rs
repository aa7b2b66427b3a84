//! Checks of the head of a response: status, version, headers and TLS.

use http::{HeaderMap, header, response::Parts};
use url::Url;

use super::{encoding::Encoding, monitor::Http};
use crate::{
    check::{Attempt, Failure, Phase, Reason, StepKind},
    net::http::Transport,
};

impl<T: Transport> Http<T> {
    /// Checks everything but the body.
    pub(super) async fn check_head(
        &self,
        url: &Url,
        response: &Parts,
        attempt: &Attempt,
    ) -> Result<(), Failure> {
        let steps = attempt.steps();
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
            let error = format!("HTTP {}, expected {}", status.as_u16(), valid.join(", "));
            steps.add(StepKind::NotPassed, || {
                format!("valid_status_codes: {error}")
            });
            return wrong(Reason::StatusCode, error);
        }
        steps.add(StepKind::Passed, || {
            let valid: Vec<_> = settings
                .valid_status_codes
                .iter()
                .map(ToString::to_string)
                .collect();
            format!(
                "valid_status_codes: {} is among {}",
                status.as_u16(),
                valid.join(", ")
            )
        });
        let version = response.version;
        let versions = &settings.valid_http_versions;
        if !versions.is_empty() && !versions.iter().any(|valid| valid.0 == version) {
            let valid: Vec<_> = versions
                .iter()
                .map(|valid| format!("{:?}", valid.0))
                .collect();
            let error = format!("{version:?}, expected {}", valid.join(", "));
            steps.add(StepKind::NotPassed, || {
                format!("valid_http_versions: {error}")
            });
            return wrong(Reason::HttpVersion, error);
        }
        if !versions.is_empty() {
            steps.add(StepKind::Passed, || {
                format!("valid_http_versions: {version:?}")
            });
        }
        if let Some(error) = self.header_mismatch(&response.headers, steps).await {
            return wrong(Reason::HeaderMismatch, error);
        }
        let secure = url.scheme() == "https";
        let came = if secure {
            "the final response came over TLS"
        } else {
            "the final response came without TLS"
        };
        for (key, is_set, passed, reason, expected) in [
            (
                "fail_if_ssl",
                settings.fail_if_ssl,
                !secure,
                Reason::SslForbidden,
                "plain HTTP",
            ),
            (
                "fail_if_not_ssl",
                settings.fail_if_not_ssl,
                secure,
                Reason::SslRequired,
                "HTTPS",
            ),
        ] {
            if !is_set {
                continue;
            }
            steps.add(StepKind::verdict(passed), || format!("{key}: {came}"));
            if !passed {
                let error = format!("{came}, expected {expected}");
                return Err(Failure::new(Phase::Tls, reason, error));
            }
        }
        Ok(())
    }
}

/// Adds a hint about an encoded body without `compression` to its failure.
pub(super) fn name_encoding(
    failure: Failure,
    decoded: Option<Encoding>,
    headers: &HeaderMap,
) -> Failure {
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
