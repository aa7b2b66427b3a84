//! Hosts and ports that monitors connect to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use rustls::pki_types::ServerName;
use url::Url;

use super::{FromNode, Node};

/// The name or address of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to look up, in ASCII.
    Name(String),
    /// An address.
    Address(IpAddr),
    /// An address with a zone.
    Zoned(ZonedAddress),
}

/// An IPv6 address with a zone, such as `fe80::1%eth0`; the zone is an interface (RFC 4007).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZonedAddress {
    /// The address.
    pub address: Ipv6Addr,
    /// The name or the index of the interface.
    pub zone: Arc<str>,
}

impl ZonedAddress {
    /// Maximum length of an interface's name (IFNAMSIZ).
    const MAX_ZONE_BYTES: usize = 15;

    /// Parses an address and a zone, separated by `%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, zone) = text.split_once('%')?;
        let address = address.parse().ok()?;
        let is_zone = (1..=Self::MAX_ZONE_BYTES).contains(&zone.len())
            && zone
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"/%[]@?#".contains(&byte));
        is_zone.then(|| Self {
            address,
            zone: zone.into(),
        })
    }
}

impl fmt::Display for ZonedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%{}", self.address, self.zone)
    }
}

/// A host with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The port, from 1.
    pub port: u16,
}

/// A host with an optional port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The host.
    pub host: Host,
    /// The port, from 1.
    pub port: Option<u16>,
}

impl Host {
    /// Returns true if it has to be looked up.
    #[must_use]
    pub fn is_name(&self) -> bool {
        matches!(self, Self::Name(_))
    }

    /// The name for SNI and verification in TLS.
    ///
    /// For names that are valid in DNS but not in TLS (`-a.example`), no name is sent, and no
    /// certificate is accepted.
    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        match self {
            Self::Address(address) => ServerName::IpAddress((*address).into()),
            Self::Zoned(zoned) => ServerName::IpAddress(IpAddr::V6(zoned.address).into()),
            Self::Name(name) => ServerName::try_from(name.clone())
                .unwrap_or_else(|_| ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        reject_url(text)?;
        let inner = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Some(zoned) = inner.and_then(ZonedAddress::parse) {
            return Ok(Self::Zoned(zoned));
        }
        let host = url::Host::parse(text).ok().and_then(Self::from_url_host);
        host.ok_or_else(|| redacted_error(text, "invalid host"))
    }

    /// Converts the host of a URL; `None` if it is not valid in DNS.
    fn from_url_host(host: url::Host<impl AsRef<str>>) -> Option<Self> {
        match host {
            url::Host::Ipv4(address) => Some(Self::Address(address.into())),
            url::Host::Ipv6(address) => Some(Self::Address(address.into())),
            url::Host::Domain(name) => {
                let name = name.as_ref();
                is_dns_name(name).then(|| Self::Name(name.to_owned()))
            }
        }
    }
}

/// Returns true if `name` is valid in DNS: labels may have any characters, such as an underscore, but
/// must not be empty or too long (RFC 2181, section 11).
fn is_dns_name(name: &str) -> bool {
    const MAX_NAME_BYTES: usize = 253;
    const MAX_LABEL_BYTES: usize = 63;
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut labels = name.split('.');
    name.len() <= MAX_NAME_BYTES && labels.all(|label| (1..=MAX_LABEL_BYTES).contains(&label.len()))
}

/// The IP address in `url`, if it has one instead of a name.
#[must_use]
pub(crate) fn ip_literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}

impl Endpoint {
    /// The endpoint of `url`; `None` if its host is not valid in DNS or its scheme has no port.
    #[must_use]
    pub(crate) fn from_url(url: &Url) -> Option<Self> {
        Some(Self {
            host: Host::from_url_host(url.host()?)?,
            port: url.port_or_known_default()?,
        })
    }
}

impl Target {
    /// The endpoint, with `port` as the default.
    #[must_use]
    pub(crate) fn endpoint(self, port: u16) -> Endpoint {
        let Self {
            host,
            port: written,
        } = self;
        Endpoint {
            host,
            port: written.unwrap_or(port),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        reject_url(text)?;
        let whole = |host| Ok(Self { host, port: None });
        if let Ok(address) = text.parse() {
            return whole(Host::Address(address));
        }
        if let Some(zoned) = ZonedAddress::parse(text) {
            return whole(Host::Zoned(zoned));
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
            return whole(Host::parse(text)?);
        };
        let port = port.parse().ok().filter(|port| *port > 0);
        Ok(Self {
            host: Host::parse(host)?,
            port: Some(port.ok_or_else(|| redacted_error(text, "no port from 1 to 65535 in"))?),
        })
    }
}

/// Rejects a text with a scheme, which may hold a password and is not repeated.
fn reject_url(text: &str) -> Result<(), String> {
    match text.split_once("://") {
        Some(_) => Err("URLs are not supported here".to_owned()),
        None => Ok(()),
    }
}

/// Joins `wrong` and `text`, which is omitted if it may contain a password.
fn redacted_error(text: &str, wrong: &str) -> String {
    if text.contains('@') {
        "contains credentials".to_owned()
    } else {
        format!("{wrong} {text:?}")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
            Self::Zoned(zoned) => zoned.fmt(f),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Zoned(zoned) => write!(f, "[{zoned}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match ZonedAddress::parse(text) {
            Some(zoned) => Ok(Self::Zoned(zoned)),
            None => Self::parse(text),
        }
    }
}

impl FromNode for Host {
    const EXPECTED: &'static str = "a host name or address, without a port";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node)?.parse()
    }
}

impl FromNode for Target {
    const EXPECTED: &'static str = "HOST or HOST:PORT (IPv6 addresses with a port in brackets)";

    fn from_node(node: &Node) -> Result<Self, String> {
        Self::parse(&String::from_node(node)?)
    }
}

impl FromNode for Endpoint {
    const EXPECTED: &'static str = "HOST:PORT (IPv6 addresses in brackets)";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let Target { host, port } = Target::parse(&text)?;
        let port = port.ok_or_else(|| format!("no port in {text:?}"))?;
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let read =
            Endpoint::from_node(&Node::Text(text.to_owned())).map(|endpoint| endpoint.to_string());
        assert_eq!(
            read.as_deref().map_err(String::as_str),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        check("example.com:25", Ok("example.com:25"));
        check("EXAMPLE.com:25", Ok("example.com:25"));
        let label = "x".repeat(63);
        let longest = [&*label, &label, &label, &label[..61]].join(".");
        let hosts = [
            "my_host",
            "_a._b.example",
            "-a-.example",
            "*.example",
            "a.example.",
            &longest,
        ];
        for host in hosts {
            check(&format!("{host}:1"), Ok(&format!("{host}:1")));
        }
        check("bücher.example:80", Ok("xn--bcher-kva.example:80"));
        check("192.0.2.1:65535", Ok("192.0.2.1:65535"));
        check("[::1]:25", Ok("[::1]:25"));
        check("[fe80::1%eth0]:25", Ok("[fe80::1%eth0]:25"));
        check("[fe80::1%2]:25", Ok("[fe80::1%2]:25"));
        check("fe80::1%eth0", Err("no port in \"fe80::1%eth0\""));
        for host in [
            "[fe80::1%]",
            "[127.0.0.1%lo]",
            "[fe80::1%a/b]",
            "[fe80::1%0123456789abcdef]",
        ] {
            check(&format!("{host}:1"), Err(&format!("invalid host {host:?}")));
        }
        check("localhost", Err("no port in \"localhost\""));
        check("::1", Err("no port in \"::1\""));
        check("[::1]", Err("no port in \"[::1]\""));
        for text in [
            "localhost:0",
            "localhost:65536",
            "localhost:",
            "localhost:http",
        ] {
            check(text, Err(&format!("no port from 1 to 65535 in {text:?}")));
        }
        check("user:hunter2@host:1", Err("contains credentials"));
        let too_long = format!("{longest}y");
        let long_label = format!("{label}x.example");
        for host in [
            "",
            "a b",
            "a/b",
            "[::1",
            "::g",
            "a..b",
            ".a",
            "a..",
            &too_long,
            &long_label,
        ] {
            check(&format!("{host}:1"), Err(&format!("invalid host {host:?}")));
        }
        check("http://a:1", Err("URLs are not supported here"));
        check("http://user:hunter2@a", Err("URLs are not supported here"));
    }

    #[test]
    fn a_port_may_be_left_out_where_there_is_a_usual_one() {
        let read = |text: &str| {
            let target = Target::from_node(&Node::Text(text.to_owned())).expect("a target");
            target.endpoint(53).to_string()
        };
        assert_eq!(read("192.0.2.1"), "192.0.2.1:53");
        assert_eq!(read("192.0.2.1:54"), "192.0.2.1:54");
        assert_eq!(read("::1"), "[::1]:53");
        assert_eq!(read("[::1]"), "[::1]:53");
        assert_eq!(read("[::1]:54"), "[::1]:54");
        assert_eq!(read("fe80::1%eth0"), "[fe80::1%eth0]:53");
        assert_eq!(read("[fe80::1%eth0]"), "[fe80::1%eth0]:53");
        assert_eq!(read("ns.example"), "ns.example:53");
    }

    #[test]
    fn a_name_that_tls_cannot_carry_is_not_asked_for() {
        let server_name = |text: &str| {
            let host = Host::parse(text).expect("a host");
            host.server_name().to_str().into_owned()
        };
        assert_eq!(server_name("my_host"), "my_host");
        assert_eq!(server_name("a.example."), "a.example");
        assert_eq!(server_name("-a.example"), "0.0.0.0");
    }

    #[test]
    fn a_url_leads_to_a_host_that_dns_can_carry() {
        let of = |url: &str| {
            let endpoint = Endpoint::from_url(&Url::parse(url).expect("a URL"));
            endpoint.map(|endpoint| endpoint.to_string())
        };
        assert_eq!(of("https://a.example/").as_deref(), Some("a.example:443"));
        assert_eq!(of("ws://[::1]/").as_deref(), Some("[::1]:80"));
        assert_eq!(of("http://192.0.2.1:81").as_deref(), Some("192.0.2.1:81"));
        assert_eq!(of("http://my_host:81").as_deref(), Some("my_host:81"));
        assert_eq!(of("https://a..example/"), None);
        assert_eq!(of("unix:/run/socket"), None);
    }
}
