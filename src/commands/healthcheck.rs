//! `healthcheck`: asks the running daemon whether it is healthy, for containers without a shell.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use http::{Method, StatusCode};
use tokio::{runtime::Builder, time::timeout};
use url::Url;

use super::daemon_request;
use crate::{
    check::Failure,
    config::{self, Invalid},
    exit_code::{self, WithExitCode},
    net::{FetchOptions, http::OfferedVersions, tls},
    server,
    value::HttpUrl,
};

/// The time that the daemon has to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason why the daemon is not known to be healthy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] Invalid),
    /// The configuration does not say where the daemon listens.
    #[error("no address in server.listen: expected the URL of the daemon as an argument")]
    NoAddress,
    /// The argument is not a URL.
    #[error("invalid URL: expected http://HOST:PORT or https://HOST:PORT")]
    Url,
    /// The system has no resources for a request.
    #[error("failed to start: {0}")]
    Start(#[from] io::Error),
    /// No answer came in time.
    #[error("{0}: no answer within {seconds} s", seconds = REQUEST_TIMEOUT.as_secs())]
    Timeout(String),
    /// No answer came.
    #[error("{0}: {error}", error = .1.error)]
    Request(String, Failure),
    /// The answer was another one.
    #[error("{0}: HTTP {1}, expected 200")]
    Status(String, u16),
}

impl WithExitCode for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NoAddress | Self::Url => exit_code::USAGE,
            _ => exit_code::FAILURE,
        }
    }

    fn has_location(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

/// The address that is asked.
#[derive(Debug, PartialEq)]
struct Daemon {
    url: Url,
    unix_socket: Option<PathBuf>,
    /// True if it is known from the configuration: then it is this machine's, so any certificate will do, and
    /// a demand for a password is an answer.
    is_configured: bool,
}

impl Daemon {
    /// Returns the address for messages, without user, password and query.
    fn address(&self) -> String {
        match &self.unix_socket {
            Some(path) => format!("unix:{}", path.display()),
            None => HttpUrl::redacted(&self.url),
        }
    }
}

/// Asks the daemon at `url` for `/-/healthy`, or else the one that the configuration at `config_path` is for.
///
/// # Errors
/// If it does not answer with status 200 within two seconds.
pub(crate) fn run(config_path: &Path, url: Option<&str>) -> Result<(), Error> {
    let daemon = match url {
        Some(text) => {
            let mut url = Url::parse(text)
                .ok()
                .filter(Url::has_host)
                .filter(|url| matches!(url.scheme(), "http" | "https"))
                .ok_or(Error::Url)?;
            if url.path() == "/" {
                url.set_path("/-/healthy");
            }
            Daemon {
                url,
                unix_socket: None,
                is_configured: false,
            }
        }
        None => configured(&config::read_server(config_path)?).ok_or(Error::NoAddress)?,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let status = runtime
        .block_on(async { timeout(REQUEST_TIMEOUT, ask(&daemon)).await })
        .map_err(|_| Error::Timeout(daemon.address()))?
        .map_err(|failure| Error::Request(daemon.address(), failure))?;
    let is_healthy =
        status == StatusCode::OK || daemon.is_configured && status == StatusCode::UNAUTHORIZED;
    if is_healthy {
        Ok(())
    } else {
        Err(Error::Status(daemon.address(), status.as_u16()))
    }
}

/// Returns the first address that a daemon with these settings listens on.
fn configured(settings: &server::Settings) -> Option<Daemon> {
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let over_tcp = |scheme: &str, address: SocketAddr| {
        let url = format!("{scheme}://{address}/-/healthy");
        Daemon {
            url: Url::parse(&url).expect("an address is the host of a URL"),
            unix_socket: None,
            is_configured: true,
        }
    };
    settings.listen.iter().find_map(|address| match address {
        server::Address::Port(port) => Some(over_tcp(scheme, (Ipv4Addr::LOCALHOST, *port).into())),
        server::Address::Tcp(address) => {
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            Some(over_tcp(scheme, SocketAddr::new(ip, address.port())))
        }
        // Never over TLS.
        server::Address::Unix(path) => Some(Daemon {
            unix_socket: Some(path.clone()),
            ..over_tcp("http", (Ipv4Addr::LOCALHOST, 80).into())
        }),
        server::Address::Inherited => None,
    })
}

async fn ask(daemon: &Daemon) -> Result<StatusCode, Failure> {
    let options = FetchOptions {
        tls: &tls::Settings {
            insecure_skip_verify: daemon.is_configured,
            ..tls::Settings::default()
        },
        versions: OfferedVersions::Http1,
        proxies: None,
        unix_socket: daemon.unix_socket.as_deref(),
    };
    let (status, _) = daemon_request::send(Method::GET, daemon.url.clone(), options).await?;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{FromNode, Node};

    #[track_caller]
    fn check(listen: &str, expected: Option<(&str, Option<&str>)>) {
        let address = server::Address::from_node(&Node::Text(listen.to_owned()));
        let settings = server::Settings {
            listen: vec![address.expect("an address")],
            ..server::Settings::default()
        };
        let found =
            configured(&settings).map(|daemon| (daemon.url.to_string(), daemon.unix_socket));
        let expected = expected.map(|(url, path)| (url.to_owned(), path.map(PathBuf::from)));
        assert_eq!(found, expected, "{listen}");
    }

    #[test]
    fn the_first_configured_address_is_asked() {
        check(":9115", Some(("http://127.0.0.1:9115/-/healthy", None)));
        check("0.0.0.0:1", Some(("http://127.0.0.1:1/-/healthy", None)));
        check("[::]:1", Some(("http://[::1]:1/-/healthy", None)));
        check("192.0.2.1:1", Some(("http://192.0.2.1:1/-/healthy", None)));
        let socket = Some("/run/socket");
        check(
            "unix:/run/socket",
            Some(("http://127.0.0.1/-/healthy", socket)),
        );
        check("systemd", None);
    }
}
