//! The keys of `type: websocket`, with the names of blackbox_exporter.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry as HeaderEntry},
};
use url::Url;

use super::query_response::Entry;
use crate::{
    monitors::http::settings::{host_name, read_headers},
    net::{
        Route,
        http::USER_AGENT,
        tls::{self, MinCertificateValidity},
    },
    settings::{
        read_known_credentials, read_min_validity, read_route, read_tls_config, refuse_tls_keys,
    },
    value::{CaptureLabel, Endpoint, Fields, FromNode, HttpUrl, Node, ZonedHttpUrl},
};

/// Settings of a WebSocket check.
#[derive(Clone)]
pub struct Settings {
    /// The URL, without userinfo and fragment.
    pub url: Url,
    /// Host and port of the URL.
    pub endpoint: Endpoint,
    /// Headers of the request, the one with the credentials among them, apart from those that ask
    /// for the upgrade.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Subprotocols that are offered, one of which the server must choose; empty for none.
    pub subprotocols: Vec<String>,
    /// The messages that are awaited and sent once the connection is upgraded.
    pub query_response: Arc<[Entry]>,
    /// True if a ping must be answered after that.
    pub ping: bool,
    /// TLS settings; `None` without TLS.
    pub tls: Option<tls::Settings>,
    /// The IP family and source address to use.
    pub route: Route,
    /// Minimum validity of the certificates.
    pub(crate) min_validity: MinCertificateValidity,
}

impl Settings {
    /// Reads the keys; `None` without a URL.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target = fields.required::<Target>("target");
        let headers = read_headers(fields);
        check_headers(fields, &headers);
        let userinfo = target.as_ref().and_then(|target| target.userinfo.clone());
        let authorization = read_known_credentials(fields, userinfo, &headers);
        let mut tls = read_tls_config(fields);
        let min_validity = read_min_validity(fields);
        if target.as_ref().is_some_and(|target| !target.is_secure()) {
            let wrong = "has no effect without TLS";
            refuse_tls_keys(fields, wrong, "a target that starts with wss://");
        }
        let subprotocols = read_subprotocols(fields);
        let query_response = fields.list_of("query_response", |entry| Some(Entry::read(entry)));
        let labels = query_response.iter().flat_map(|entry| &entry.labels);
        CaptureLabel::check_distinct(labels, fields);
        let ping = fields.optional("ping").unwrap_or(false);
        let route = read_route(fields);
        // Last, so that the problems of the others are reported too.
        let target = target?;
        let tls = target.is_secure().then(|| {
            tls.server_name = tls.server_name.or_else(|| host_name(&headers));
            tls
        });
        Some(Self {
            tls,
            headers: request_headers(headers, authorization, &target.url),
            url: target.url,
            endpoint: target.endpoint,
            subprotocols,
            query_response: query_response.into(),
            ping,
            route,
            min_validity,
        })
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("url", &HttpUrl::redacted(&self.url))
            .finish_non_exhaustive()
    }
}

/// The URL of a WebSocket (RFC 6455, section 3).
struct Target {
    url: Url,
    userinfo: Option<(String, String)>,
    endpoint: Endpoint,
}

impl Target {
    fn is_secure(&self) -> bool {
        self.url.scheme() == "wss"
    }
}

impl FromNode for Target {
    const EXPECTED: &'static str = "a URL that starts with ws:// or wss://";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("no scheme".to_owned());
        };
        // The same URLs as those of HTTP, with the same ports.
        let (scheme, equivalent) = match scheme.to_lowercase().as_str() {
            "ws" => ("ws", "http"),
            "wss" => ("wss", "https"),
            other => return Err(format!("unsupported scheme {other:.20}")),
        };
        let read = ZonedHttpUrl::from_node(&Node::Text(format!("{equivalent}://{rest}")))?;
        let HttpUrl { mut url, userinfo } = read.url;
        url.set_scheme(scheme).expect("a scheme of the same kind");
        let mut host = url.host_str().unwrap_or_default().to_owned();
        if let Some(zone) = read.zone {
            host = host.replace(']', &format!("%{zone}]"));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let endpoint = Endpoint::from_node(&Node::Text(format!("{host}:{port}")))?;
        Ok(Self {
            url,
            userinfo,
            endpoint,
        })
    }
}

/// Headers that ask for the upgrade, and are not the user's.
fn check_headers(fields: &Fields<'_>, headers: &HeaderMap) {
    for name in headers.keys() {
        let asks = name == header::CONNECTION
            || name == header::UPGRADE
            || name.as_str().starts_with("sec-websocket-");
        if asks {
            let wrong = format_args!("{name} is set by the WebSocket handshake");
            fields.add_value_problem("headers", wrong, "another header, or the key subprotocols");
        }
    }
    if headers
        .get(header::HOST)
        .is_some_and(|host| host.to_str().is_err())
    {
        fields.add_value_problem("headers", "Host is not ASCII", "an ASCII host name");
    }
}

/// `headers`, with what every request has.
fn request_headers(
    mut headers: HeaderMap,
    authorization: Option<HeaderValue>,
    url: &Url,
) -> Vec<(HeaderName, HeaderValue)> {
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static(USER_AGENT));
    if let HeaderEntry::Vacant(host) = headers.entry(header::HOST) {
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        host.insert(HeaderValue::try_from(authority).expect("a host and a port"));
    }
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The name of a subprotocol: a token of HTTP (RFC 6455, section 4.1).
struct Subprotocol(String);

impl FromNode for Subprotocol {
    const EXPECTED: &'static str = "a name without spaces and commas";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(format!("invalid subprotocol {name:?}"));
        }
        Ok(Self(name))
    }
}

fn read_subprotocols(fields: &mut Fields<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for Subprotocol(name) in fields.list("subprotocols") {
        if names.contains(&name) {
            let wrong = format_args!("duplicate name {name:?}");
            fields.add_value_problem("subprotocols", wrong, "");
        } else {
            names.push(name);
        }
    }
    names
}
