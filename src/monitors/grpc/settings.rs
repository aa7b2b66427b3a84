//! The keys of `type: grpc`, with blackbox_exporter's names and meanings.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use http::{HeaderName, HeaderValue, Uri, uri::Scheme};

use crate::{
    net::{
        Route,
        tls::{self, MinCertificateValidity},
    },
    settings::{read_min_validity, read_route, read_tls_config, refuse_tls_keys},
    value::{Endpoint, Fields, FromNode, Host, Node, Secret, Target},
};

/// Settings of a gRPC health check.
#[derive(Clone)]
pub struct Settings {
    /// The server.
    pub endpoint: Endpoint,
    /// The service that is asked for; empty for the server as a whole.
    pub service: String,
    /// Metadata of the call: names in lower case, and values as configured.
    pub metadata: Vec<(HeaderName, Secret)>,
    /// TLS settings; `None` without TLS.
    pub tls: Option<tls::Settings>,
    /// The IP family and source address to use.
    pub route: Route,
    /// Minimum validity of the certificates.
    pub(crate) min_validity: MinCertificateValidity,
}

/// The ports of a target that names none.
const PLAIN_PORT: u16 = 80;
const TLS_PORT: u16 = 443;

impl Settings {
    /// The server as a whole, over plain TCP, with the default of every setting.
    #[must_use]
    pub fn plain(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            service: String::new(),
            metadata: Vec::new(),
            tls: None,
            route: Route::default(),
            min_validity: MinCertificateValidity::default(),
        }
    }

    /// Reads the keys; `None` without a target.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target = fields.required::<Target>("target");
        let service = fields.optional("service").unwrap_or_default();
        let metadata = read_metadata(fields);
        let tls = fields.optional("tls").unwrap_or(false);
        let tls_settings = read_tls_config(fields);
        let route = read_route(fields);
        let min_validity = read_min_validity(fields);
        if !tls {
            refuse_tls_keys(fields, "has no effect without TLS", "tls: true");
        }
        let port = if tls { TLS_PORT } else { PLAIN_PORT };
        Some(Self {
            service,
            metadata,
            tls: tls.then_some(tls_settings),
            route,
            min_validity,
            // Last, so that the problems of the others are reported too.
            endpoint: target?.endpoint(port),
        })
    }

    /// The name for SNI and verification, if it differs from the target's.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.tls.as_ref()?.server_name.as_deref()
    }

    /// The URI of the call, with the name that TLS verifies as its authority, for proxies.
    pub(super) fn uri(&self, path: &'static str) -> Uri {
        let Endpoint { host, port } = &self.endpoint;
        let host = match (self.server_name(), host) {
            (Some(name), _) => name.to_owned(),
            (None, Host::Address(address)) if address.is_ipv6() => format!("[{address}]"),
            (None, Host::Zoned(zoned)) => format!("[{}]", zoned.address),
            (None, host) => host.to_string(),
        };
        let (scheme, usual) = match self.tls {
            Some(_) => (Scheme::HTTPS, TLS_PORT),
            None => (Scheme::HTTP, PLAIN_PORT),
        };
        let authority = if *port == usual {
            host
        } else {
            format!("{host}:{port}")
        };
        let uri = Uri::builder().scheme(scheme).authority(authority);
        uri.path_and_query(path)
            .build()
            .expect("names of hosts can stand in a URI")
    }

    /// The metadata as they are sent.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&HeaderName, HeaderValue)> {
        self.metadata.iter().map(|(name, value)| {
            let value = if is_binary(name) {
                BASE64_STANDARD_NO_PAD.encode(value.reveal())
            } else {
                value.reveal().to_owned()
            };
            let mut value = HeaderValue::try_from(value).expect("it was read as one");
            value.set_sensitive(true);
            (name, value)
        })
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// One value or several of one name.
struct Values(Vec<Secret>);

impl FromNode for Values {
    const EXPECTED: &'static str = "text or a list of texts";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::List(items) => items.iter().map(Secret::from_node).collect(),
            node => Secret::from_node(node).map(|value| vec![value]),
        }
        .map(Self)
    }
}

fn read_metadata(fields: &mut Fields<'_>) -> Vec<(HeaderName, Secret)> {
    let entries = fields.map::<Values>("metadata", |name| check_name(&name.to_lowercase()));
    let mut metadata = Vec::new();
    for (name, Values(values)) in entries {
        let Ok(header) = HeaderName::try_from(&name) else {
            continue;
        };
        for value in values {
            if is_binary(&header) || is_plain(value.reveal()) {
                metadata.push((header.clone(), value));
            } else {
                let wrong = format_args!("invalid value of {name}");
                let allowed = "printable ASCII without spaces around it; a name that ends with -bin \
                               takes any text";
                fields.add_value_problem("metadata", wrong, allowed);
            }
        }
    }
    metadata
}

/// A name of metadata (gRPC over HTTP/2, "Requests"), in lower case.
fn check_name(name: &str) -> Result<(), (String, &'static str)> {
    // What the call itself has, and what HTTP/2 forbids (RFC 9113, section 8.2.2).
    const TAKEN: [&str; 9] = [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err((
            "invalid metadata name".to_owned(),
            "letters, digits, _ - and .",
        ));
    }
    if name.starts_with("grpc-") || TAKEN.contains(&name) {
        return Err(("reserved by gRPC".to_owned(), "another name"));
    }
    Ok(())
}

fn is_binary(name: &HeaderName) -> bool {
    name.as_str().ends_with("-bin")
}

fn is_plain(value: &str) -> bool {
    let printable = value.bytes().all(|b| (b' '..=b'~').contains(&b));
    printable && value.trim() == value
}
