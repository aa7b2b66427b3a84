//! `server`: where to listen, how, and for whom.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};

use super::{
    basic_auth::Users,
    host::{AllowedHost, AllowedHosts},
    mount::Mount,
    tls,
};
use crate::value::{Fields, FromNode, Node};

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on; empty for none.
    pub listen: Vec<Address>,
    /// True if there is a status page.
    pub status_page: bool,
    /// TLS settings for TCP listeners; `None` without TLS.
    pub tls: Option<tls::Settings>,
    /// Users and passwords; `None` for access without a password.
    pub users: Option<Users>,
    /// True if `/-/healthy` and `/-/ready` need no password.
    pub open_probes: bool,
    /// True if `POST /-/reload` is accepted.
    pub enable_lifecycle: bool,
    /// The hosts that requests may be for; any if not set.
    pub allowed_hosts: Option<AllowedHosts>,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum number of requests per second; `None` for no limit.
    pub max_requests_per_second: Option<usize>,
    /// The interval and the burst of a rate limit of a web configuration.
    pub rate_limit: Option<(Duration, usize)>,
    /// Headers that all responses have.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Where everything is served, if not at the root.
    pub mount: Option<Mount>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On a port of all addresses, IPv6 and IPv4 alike if the system has both.
    Port(u16),
    /// On a port of one address.
    Tcp(SocketAddr),
    /// On a socket of this machine.
    Unix(PathBuf),
    /// On the sockets that the process was started with (systemd.socket(5)).
    Inherited,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![Address::Port(9115)],
            status_page: true,
            tls: None,
            users: None,
            open_probes: false,
            enable_lifecycle: true,
            allowed_hosts: None,
            max_connections: 256,
            max_requests_per_second: None,
            rate_limit: None,
            response_headers: Vec::new(),
            mount: None,
        }
    }
}

impl Settings {
    /// Returns whether the status page can be requested, so that histories are needed.
    #[must_use]
    pub(crate) fn shows_status(&self) -> bool {
        self.status_page && !self.listen.is_empty()
    }

    /// Reads the section.
    pub fn read(mut fields: Fields<'_>) -> Self {
        let defaults = Self::default();
        let users = Users::read(&mut fields);
        let open_probes: Option<bool> = fields.optional("open_probes");
        if open_probes.is_some() && users.is_none() {
            let wrong = "has no effect without basic_auth_users";
            fields.add_value_problem("open_probes", wrong, "");
        }
        let settings = Self {
            listen: read_listen(&mut fields).unwrap_or(defaults.listen),
            status_page: fields
                .optional("status_page")
                .map_or(defaults.status_page, |OnOff(on)| on),
            tls: fields.section("tls").and_then(tls::Settings::read),
            users,
            open_probes: open_probes.unwrap_or(defaults.open_probes),
            enable_lifecycle: fields
                .optional("enable_lifecycle")
                .unwrap_or(defaults.enable_lifecycle),
            allowed_hosts: read_allowed_hosts(&mut fields),
            max_connections: fields
                .optional("max_connections")
                .unwrap_or(defaults.max_connections),
            max_requests_per_second: fields.optional("max_requests_per_second"),
            ..defaults
        };
        fields.reject_unknown_keys();
        settings
    }
}

/// One address, or a list of them, or `off`.
fn read_listen(fields: &mut Fields<'_>) -> Option<Vec<Address>> {
    let (node, _) = fields.node("listen")?;
    if matches!(node, Node::List(_)) {
        let addresses: Vec<Address> = fields.list("listen");
        if addresses.is_empty() {
            fields.add_value_problem("listen", "empty", "at least one address, or off");
        }
        let mut seen = Vec::new();
        for address in &addresses {
            // Port 0 is a different one each time.
            let any_port = matches!(address, Address::Tcp(address) if address.port() == 0);
            if seen.contains(address) && !any_port {
                let wrong = format_args!("duplicate address {address}");
                fields.add_value_problem("listen", wrong, "");
            }
            seen.push(address.clone());
        }
        return Some(addresses);
    }
    let listen: Listen = fields.optional("listen")?;
    Some(Vec::from_iter(listen.0))
}

fn read_allowed_hosts(fields: &mut Fields<'_>) -> Option<AllowedHosts> {
    const KEY: &str = "allowed_hosts";
    fields.node(KEY)?;
    let problems = fields.problems().count();
    let hosts: Vec<AllowedHost> = fields.list(KEY);
    if hosts.is_empty() && fields.problems().count() == problems {
        let allowed = "at least one host; leave the key out to allow any";
        fields.add_value_problem(KEY, "empty", allowed);
    }
    Some(AllowedHosts::new(hosts))
}

struct Listen(Option<Address>);

impl FromNode for Listen {
    const EXPECTED: &'static str = "ADDRESS:PORT such as :9115, 127.0.0.1:9115 or [::1]:9115, unix:PATH, systemd, \
                                   a list of these, or off";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            // `on` or `off`: booleans in YAML 1.1, words in YAML 1.2.
            Node::Bool(false) => Ok(Self(None)),
            Node::Text(text) if text == "off" => Ok(Self(None)),
            node => Address::from_node(node).map(|address| Self(Some(address))),
        }
    }
}

impl FromNode for Address {
    const EXPECTED: &'static str =
        "ADDRESS:PORT such as :9115, 127.0.0.1:9115 or [::1]:9115, unix:PATH, or systemd";

    fn from_node(node: &Node) -> Result<Self, String> {
        // unix(7): sun_path has 108 bytes, the last of them 0.
        const MAX_PATH_BYTES: usize = 107;
        let text = String::from_node(node)?;
        if text == "systemd" {
            return Ok(Self::Inherited);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.len() > MAX_PATH_BYTES || path.contains('\0') {
                return Err(format!("invalid socket path {path:?}"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let address = if let Some(port) = text.strip_prefix(':') {
            port.parse().ok().map(Self::Port)
        } else {
            let address = text.replacen("localhost:", "127.0.0.1:", 1);
            address.parse().ok().map(Self::Tcp)
        };
        address.ok_or_else(|| format!("invalid listen address {text:?}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, ":{port}"),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited => f.write_str("systemd"),
        }
    }
}

/// `on` or `off`: booleans in YAML 1.1, words in YAML 1.2.
struct OnOff(bool);

impl FromNode for OnOff {
    const EXPECTED: &'static str = "on or off";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Bool(on) => Ok(Self(*on)),
            Node::Text(text) if text == "on" => Ok(Self(true)),
            Node::Text(text) if text == "off" => Ok(Self(false)),
            other => Err(format!("invalid value {:?}", String::from_node(other)?)),
        }
    }
}
