//! The section `heartbeat` of the configuration.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use url::Url;

use crate::{
    net::{
        http::{Proxies, USER_AGENT},
        oauth2, tls,
    },
    settings::{check_own_header, read_own_request},
    value::{Fields, FromNode, HttpUrl, Node, format_duration},
};

/// The shortest interval.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The default interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// The longest default timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The section `heartbeat`, which has secrets: the URL is one.
#[derive(Clone)]
pub struct Settings {
    pub(super) url: Url,
    pub(super) every: Duration,
    /// Timeout of each request.
    pub(super) timeout: Duration,
    pub(super) method: Method,
    /// Headers of each request, the one with known credentials among them.
    pub(super) headers: HeaderMap,
    pub(super) oauth2: Option<Box<oauth2::Settings>>,
    pub(super) tls: tls::Settings,
    pub(super) proxies: Option<Proxies>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("watcher", &self.watcher())
            .field("every", &self.every)
            .field("timeout", &self.timeout)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the section.
    #[must_use]
    pub(crate) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let url = fields.required::<HttpUrl>("url");
        let every = fields.optional("every").unwrap_or(DEFAULT_INTERVAL);
        if every < MIN_INTERVAL {
            let wrong = format_args!("{} is too short", format_duration(every));
            let expected = format_args!("at least {}", format_duration(MIN_INTERVAL));
            fields.add_value_problem("every", wrong, expected);
        }
        let timeout = fields.optional("timeout");
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT.min(every));
        if timeout > every {
            let wrong = format_args!("{} is longer than every", format_duration(timeout));
            let expected = format_args!("at most {}", format_duration(every));
            fields.add_value_problem("timeout", wrong, expected);
        }
        let method = fields.optional("method").unwrap_or(HeartbeatMethod::Get);
        let own_headers = fields.headers(check_own_header);
        let userinfo = url.as_ref().and_then(|url| url.userinfo.clone());
        let request = read_own_request(&mut fields, userinfo, own_headers);
        fields.reject_unknown_keys();
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.extend(request.headers);
        Some(Self {
            url: url?.url,
            every,
            timeout,
            method: method.into(),
            headers,
            oauth2: request.oauth2,
            tls: request.tls,
            proxies: request.proxies,
        })
    }

    /// The watcher, without the path and the query of its URL: the path is often the secret that names the check.
    pub(super) fn watcher(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// A method of a request for a heartbeat.
#[derive(Clone, Copy)]
enum HeartbeatMethod {
    Get,
    Head,
    Post,
}

impl From<HeartbeatMethod> for Method {
    fn from(method: HeartbeatMethod) -> Self {
        match method {
            HeartbeatMethod::Get => Self::GET,
            HeartbeatMethod::Head => Self::HEAD,
            HeartbeatMethod::Post => Self::POST,
        }
    }
}

impl FromNode for HeartbeatMethod {
    const EXPECTED: &'static str = "GET, HEAD or POST";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        match text.to_ascii_uppercase().as_str() {
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            "POST" => Ok(Self::Post),
            _ => Err(format!("unsupported method {text:?}")),
        }
    }
}
