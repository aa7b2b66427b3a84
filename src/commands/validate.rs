//! `validate`: whether a configuration is right, and what it would change.

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

/// Why it cannot be told what would change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other configuration is not right itself.
    #[error("{0}")]
    Invalid(Invalid),
    /// The daemon cannot be asked.
    #[error("failed to ask the daemon: {0}")]
    Request(String),
    /// The daemon does not take its configuration, or tells of nothing.
    #[error("the daemon answered {status}: {told}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it says.
        told: String,
    },
    /// The system gives no thread.
    #[error("failed to start: {0}")]
    Start(#[from] io::Error),
}

/// How long the daemon may take to read its configuration.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of its response.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// A line that says that `config` is right, and behind it what would change: from what the file
/// `other` has, or from what the daemon at the URL `other` runs, by the file that it has itself.
///
/// # Errors
/// Where the latter cannot be told.
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

/// Warnings of what is surely not meant, and of what keeps monitors from checking anything here: the file
/// may be meant for another machine all the same.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let obstacles = missing_prerequisites(&config.jobs(&Net::system()));
    let obstacles = obstacles.into_iter();
    let doubts = config.warnings.iter();
    let doubts = doubts.map(|warning| format!("warning: {warning}"));
    doubts
        .chain(obstacles.map(|(obstacle, monitors)| {
            let monitors = count(monitors);
            format!("warning: {monitors} cannot check anything on this machine: {obstacle}")
        }))
        .collect()
}

fn count(monitors: usize) -> String {
    let word = if monitors == 1 { "monitor" } else { "monitors" };
    format!("{monitors} {word}")
}

/// What the daemon at `url` would change if it read its configuration now.
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
        Err(Error::Refused { status, told })
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
