//! The host that a request is for: each has one, and `server.allowed_hosts` may restrict it.

use std::sync::Arc;

use http::{
    Request, Version,
    header::HOST,
    uri::{Authority, Scheme},
};

use crate::value::{FromNode, Node};

/// The host and port that a request is for; none in HTTP/1.0, and if Host is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostHeader(Option<Authority>);

/// A request without a Host header, with several, or with an invalid one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHost;

impl HostHeader {
    /// The host of `request` (RFC 9112, section 3.2): an absolute URI's comes before the header's.
    pub(super) fn from_request<B>(request: &Request<B>) -> Result<Self, BadHost> {
        let mut values = request.headers().get_all(HOST).iter();
        let header = match (values.next(), values.next()) {
            (None, _) if request.version() < Version::HTTP_11 => None,
            (Some(value), None) if value.is_empty() => None,
            (Some(value), None) => Some(parse(value.as_bytes()).ok_or(BadHost)?),
            _ => return Err(BadHost),
        };
        let absolute = request.uri().authority().cloned();
        Ok(Self(absolute.or(header)))
    }

    /// Returns whether `origin`, an `Origin` header, is of the same host and port.
    pub(super) fn is_origin(&self, origin: &[u8]) -> bool {
        let Some(host) = &self.0 else { return false };
        let origin = std::str::from_utf8(origin).unwrap_or_default();
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let Some(authority) = parse(authority.as_bytes()) else {
            return false;
        };
        // A proxy in front of the daemon may terminate TLS, so the scheme is unknown.
        let default = if scheme.eq_ignore_ascii_case(Scheme::HTTPS.as_str()) {
            443
        } else {
            80
        };
        let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
        host.host().eq_ignore_ascii_case(authority.host()) && port(host) == port(&authority)
    }
}

/// `text` as a host, with a port or without.
fn parse(text: &[u8]) -> Option<Authority> {
    let authority = Authority::try_from(text).ok()?;
    // `host:` is valid, and `user@host` is not.
    let is_host = !authority.as_str().contains('@') && !authority.host().is_empty();
    is_host.then_some(authority)
}

/// `server.allowed_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHosts(Arc<[AllowedHost]>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AllowedHost(Authority);

impl AllowedHosts {
    pub(super) fn new(hosts: Vec<AllowedHost>) -> Self {
        Self(hosts.into())
    }

    /// Returns whether `host` is one of them; those without a port are allowed with any.
    pub(super) fn contains(&self, host: &HostHeader) -> bool {
        let Some(host) = &host.0 else { return false };
        self.0.iter().any(|AllowedHost(allowed)| {
            let port = allowed.port_u16();
            allowed.host().eq_ignore_ascii_case(host.host())
                && (port.is_none() || port == host.port_u16())
        })
    }
}

impl FromNode for AllowedHost {
    const EXPECTED: &'static str =
        "a host name or address, with or without a port, such as status.example.org or [::1]:9115";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let host = parse(text.as_bytes()).map(Self);
        host.ok_or_else(|| format!("invalid host {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_of(version: Version, uri: &str, hosts: &[&str]) -> Result<Option<String>, BadHost> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let request = request.body(()).expect("a request");
        let host = HostHeader::from_request(&request)?.0;
        Ok(host.map(|host| host.to_string()))
    }

    #[test]
    fn a_request_has_one_host() {
        let of = |hosts: &[&str]| host_of(Version::HTTP_11, "/", hosts);
        for host in ["a", "a:80", "127.0.0.1:9115", "[::1]:1"] {
            assert_eq!(of(&[host]), Ok(Some(host.to_owned())));
        }
        assert_eq!(of(&[""]), Ok(None));
        for hosts in [&[][..], &["a", "a"], &["a b"], &["u@a"], &["a/b"], &[":80"]] {
            assert_eq!(of(hosts), Err(BadHost), "{hosts:?}");
        }
        assert_eq!(host_of(Version::HTTP_10, "/", &[]), Ok(None));
        let twice = host_of(Version::HTTP_10, "/", &["a", "b"]);
        assert_eq!(twice, Err(BadHost));
        let absolute = host_of(Version::HTTP_11, "http://b/metrics", &["a"]);
        assert_eq!(absolute, Ok(Some("b".to_owned())));
    }

    fn header(host: &str) -> HostHeader {
        HostHeader(parse(host.as_bytes()))
    }

    #[test]
    fn a_host_is_allowed_with_the_ports_that_its_entry_has() {
        let hosts = ["a.test", "b.test:80", "[::1]"].map(|host| {
            let node = Node::Text(host.to_owned());
            AllowedHost::from_node(&node).expect("a host")
        });
        let allowed = AllowedHosts::new(hosts.into());
        for host in ["a.test", "A.test:9115", "b.test:80", "[::1]:9115"] {
            assert!(allowed.contains(&header(host)), "{host}");
        }
        for host in ["", "b.test", "b.test:81", "x.a.test", "127.0.0.1"] {
            assert!(!allowed.contains(&header(host)), "{host}");
        }
    }

    #[test]
    fn an_origin_matches_by_host_and_port() {
        let own = |host: &str, origin: &str| header(host).is_origin(origin.as_bytes());
        assert!(own("a:9115", "http://a:9115"));
        assert!(own("A", "https://a"));
        assert!(own("a:443", "https://a"));
        for origin in [
            "null",
            "http://b:9115",
            "http://a:9116",
            "http://a",
            "a:9115",
        ] {
            assert!(!own("a:9115", origin), "{origin}");
        }
        assert!(!own("", "http://a"));
    }
}
