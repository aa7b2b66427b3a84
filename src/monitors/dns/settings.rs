//! The keys of `type: dns`, with blackbox_exporter's names and meanings.

use std::{fmt, sync::Arc};

use hickory_proto::rr::Name;
use url::Url;

use super::{
    message::Question,
    record_types::{Class, RecordType},
    rules::Rules,
};
use crate::{
    net::{Route, tls},
    settings::{read_min_validity, read_route, read_tls_config, refuse_tls_keys},
    value::{Endpoint, Fields, FromNode, HttpUrl, Node, Target},
};

/// Settings of a DNS check.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name server and the transport.
    pub server: Server,
    /// The question.
    pub question: Question,
    /// True if recursion is requested.
    pub recursion_desired: bool,
    /// Rules for a response.
    pub rules: Arc<Rules>,
    /// The IP family and source address to use.
    pub route: Route,
    /// TLS settings.
    pub tls: tls::Settings,
    /// Minimum validity of the certificates.
    pub(crate) min_validity: tls::MinCertificateValidity,
}

/// The name server and the transport.
#[derive(Clone, Debug)]
pub enum Server {
    /// By datagrams, and over TCP what does not fit into one.
    Udp(Endpoint),
    /// Over TCP.
    Tcp(Endpoint),
    /// Over TLS (RFC 7858).
    Tls(Endpoint),
    /// Over HTTPS (RFC 8484).
    Https(Arc<Url>),
}

/// The words of `transport_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
    Tls,
    Https,
}

impl Settings {
    /// Reads the keys; `None` without a server or a question.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let target = fields.required::<ServerAddress>("target");
        let transport = Transport::read(fields, target.as_ref());
        let tls = read_tls_config(fields);
        let min_validity = read_min_validity(fields);
        if !matches!(transport, Transport::Tls | Transport::Https) {
            let wrong = "has no effect without TLS";
            refuse_tls_keys(fields, wrong, "transport_protocol tls or https");
        }
        let name = fields.required::<QueryName>("query_name");
        let kind = fields.optional("query_type").unwrap_or(RecordType::ANY);
        let class = fields.optional("query_class").unwrap_or(Class::IN);
        let recursion_desired = fields.optional("recursion_desired").unwrap_or(true);
        let rules = Arc::new(Rules::read(fields));
        let route = read_route(fields);
        let server = target?.server(transport)?;
        let QueryName(name) = name?;
        Some(Self {
            server,
            question: Question { name, kind, class },
            recursion_desired,
            rules,
            route,
            tls,
            min_validity,
        })
    }
}

impl Transport {
    /// Reads `transport_protocol` and `dns_over_tls`.
    fn read(fields: &mut Fields<'_>, target: Option<&ServerAddress>) -> Self {
        let by_url = matches!(target, Some(ServerAddress::Url(_)));
        let given: Option<Self> = fields.optional("transport_protocol");
        let over_tls: Option<bool> = fields.optional("dns_over_tls");
        match (given, over_tls) {
            (Some(Self::Udp), Some(true)) => {
                let wrong = "not supported over UDP";
                fields.add_value_problem("dns_over_tls", wrong, "transport_protocol tcp");
            }
            (Some(Self::Tls | Self::Https), Some(false)) => {
                let wrong = "contradicts transport_protocol";
                fields.add_value_problem("dns_over_tls", wrong, "one of them");
            }
            (_, Some(true)) if by_url || given == Some(Self::Https) => {
                let wrong = "contradicts the https:// target";
                fields.add_value_problem("dns_over_tls", wrong, "one of them");
            }
            _ => {}
        }
        match given {
            Some(Self::Https) if target.is_some() && !by_url => {
                let allowed = "https://HOST/PATH with transport_protocol https";
                fields.add_value_problem("target", "not a URL", allowed);
            }
            Some(Self::Udp | Self::Tcp | Self::Tls) if by_url => {
                let wrong = "not supported with a URL as target";
                fields.add_value_problem(
                    "transport_protocol",
                    wrong,
                    "https, or a target HOST:PORT",
                );
            }
            _ => {}
        }
        match given {
            _ if by_url => Self::Https,
            None | Some(Self::Tcp) if over_tls == Some(true) => Self::Tls,
            given => given.unwrap_or(Self::Udp),
        }
    }
}

impl FromNode for Transport {
    const EXPECTED: &'static str = "udp, tcp, tls or https";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "udp" => Ok(Self::Udp),
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            "https" => Ok(Self::Https),
            other => Err(format!("unknown transport {other:?}")),
        }
    }
}

/// The value of `target`.
enum ServerAddress {
    Host(Target),
    Url(Url),
}

impl ServerAddress {
    /// The server; `None` if the two do not fit together.
    fn server(self, transport: Transport) -> Option<Server> {
        let target = match self {
            Self::Url(url) => return Some(Server::Https(url.into())),
            Self::Host(target) => target,
        };
        match transport {
            Transport::Udp => Some(Server::Udp(target.endpoint(53))),
            Transport::Tcp => Some(Server::Tcp(target.endpoint(53))),
            Transport::Tls => Some(Server::Tls(target.endpoint(853))),
            Transport::Https => None,
        }
    }
}

impl FromNode for ServerAddress {
    const EXPECTED: &'static str = "a name server as HOST, HOST:PORT or https://HOST/PATH";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        if !text.contains("://") {
            return Target::from_node(node).map(Self::Host);
        }
        let HttpUrl { url, userinfo } = HttpUrl::from_node(node)?;
        if url.scheme() != "https" {
            return Err("unsupported scheme http".to_owned());
        }
        if userinfo.is_some() {
            return Err("URL with credentials is not supported".to_owned());
        }
        Ok(Self::Url(url))
    }
}

/// The name in the question, absolute whether it ends in a dot or not.
struct QueryName(Name);

impl FromNode for QueryName {
    const EXPECTED: &'static str = "a domain name such as example.com or _dmarc.example.com; \
                                   escapes such as \\. or \\032 for other characters";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let wrong = || format!("invalid domain name {text:?}");
        if text == "." {
            return Ok(Self(Name::root()));
        }
        let mut name = if text.is_ascii() {
            let labels = labels(&text).ok_or_else(wrong)?;
            Name::from_labels(labels).map_err(|_| wrong())?
        } else {
            Name::from_utf8(&text).map_err(|_| wrong())?
        };
        name.set_fqdn(true);
        Ok(Self(name))
    }
}

/// The labels of a name (RFC 1035, section 5.1), of which the last may end in a dot.
fn labels(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut labels = vec![Vec::new()];
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'.' => {
                labels.push(Vec::new());
                continue;
            }
            b'\\' => unescape(&mut bytes)?,
            b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b':' => return None,
            b'!'..=b'~' => byte,
            _ => return None,
        };
        labels.last_mut()?.push(byte);
    }
    if labels.last()?.is_empty() {
        labels.pop();
    }
    Some(labels).filter(|labels| !labels.is_empty())
}

/// The byte that is written behind a backslash, as itself or as three decimal digits.
fn unescape(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digits = [first, bytes.next()?, bytes.next()?];
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(endpoint) | Self::Tcp(endpoint) | Self::Tls(endpoint) => endpoint.fmt(f),
            Self::Https(url) => f.write_str(&HttpUrl::redacted(url)),
        }
    }
}
