//! `validate`: checks a configuration, and compares it with another one.

use std::{fmt::Write, io, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header::USER_AGENT};
use tokio::{runtime::Builder, time::timeout};
use url::Url;

use crate::{
    check::{Failure, Phase, Reason, missing_prerequisites},
    config::{self, Config, Invalid},
    dispatcher::{ConfigDiff, Shard},
    net::{self, FetchOptions, Net, http::OfferedVersions, tls},
};

/// The reason why the configurations cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other configuration is invalid.
    #[error("{0}")]
    Invalid(Invalid),
    /// The request to the daemon failed.
    #[error("request to the daemon failed: {0}")]
    Request(String),
    /// The daemon responded with an error.
    #[error("the daemon responded with {status}: {response}")]
    Refused {
        /// The status of its response.
        status: u16,
        /// The body of its response.
        response: String,
    },
    /// A thread could not be started.
    #[error("failed to start: {0}")]
    Start(#[from] io::Error),
}

/// Timeout of the request, in which the daemon reads its configuration.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of the response.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Returns a line that `config` is valid, and the changes: compared with the file `other`, or those
/// that the daemon at the URL `other` would make on reload.
///
/// # Errors
/// If the changes cannot be determined.
pub fn run(
    file: &Path,
    config: &Config,
    other: Option<&str>,
    shard: Option<Shard>,
) -> Result<String, Error> {
    let monitors = count(config.monitors.len());
    let valid = format!("{} is valid: {monitors}\n", file.display());
    let difference = match other {
        None => String::new(),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            fetch_dry_run(url)?
        }
        Some(file) => {
            let mut old = config::read(Path::new(file)).map_err(Error::Invalid)?;
            if let Some(shard) = shard {
                old.retain_shard(shard);
            }
            let names: Vec<_> = config.fingerprints().map(|(name, _)| name).collect();
            let mut summary =
                ConfigDiff::new(old.fingerprints(), config.fingerprints()).describe(&names);
            let restart_required = old
                .restart_only_keys
                .changed_keys(&config.restart_only_keys);
            if !restart_required.is_empty() {
                let keys = restart_required.join(", ");
                let _ = writeln!(summary, "restart required for {keys}");
            }
            summary
        }
    };
    Ok(valid + &difference)
}

/// Warnings about probable mistakes, and about local problems that make every check of a monitor fail;
/// the file may be meant for another machine.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let probable_mistakes = config
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}"));
    let missing = missing_prerequisites(&config.jobs(&Net::system()));
    let missing = missing.into_iter().map(|(prerequisite, monitors)| {
        let monitors = count(monitors);
        format!("warning: {monitors} will always fail on this machine: {prerequisite}")
    });
    probable_mistakes.chain(missing).collect()
}

fn count(monitors: usize) -> String {
    let word = if monitors == 1 { "monitor" } else { "monitors" };
    format!("{monitors} {word}")
}

/// Asks the daemon at `url` what it would change on reload.
fn fetch_dry_run(url: &str) -> Result<String, Error> {
    let mut url = Url::parse(url).map_err(|error| Error::Request(error.to_string()))?;
    url.set_path("/-/reload");
    url.set_query(Some("dry_run=true"));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let silent = |_| Error::Request(format!("no answer within {REQUEST_TIMEOUT:?}"));
        timeout(REQUEST_TIMEOUT, post(url)).await.map_err(silent)
    });
    let (status, told) = answer?.map_err(|failure| Error::Request(failure.error.into()))?;
    let told = String::from_utf8_lossy(&told).into_owned();
    if status.is_success() {
        Ok(told)
    } else {
        let status = status.as_u16();
        Err(Error::Refused {
            status,
            response: told,
        })
    }
}

async fn post(url: Url) -> Result<(StatusCode, Vec<u8>), Failure> {
    let fetcher = Net::system().fetcher(FetchOptions {
        tls: &tls::Settings::default(),
        versions: OfferedVersions::Http1,
        proxies: None,
    });
    let mut request = http::Request::new(Bytes::new());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.as_str().parse().map_err(|_| {
        let error = "the URL cannot be sent over HTTP";
        Failure::new(Phase::Processing, Reason::AgentError, error)
    })?;
    let user_agent = HeaderValue::from_static(net::http::USER_AGENT);
    request.headers_mut().insert(USER_AGENT, user_agent);
    let response = fetcher.fetch(request, MAX_RESPONSE_BYTES).await?;
    Ok((response.status(), response.into_body()))
}
