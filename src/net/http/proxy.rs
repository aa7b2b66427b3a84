//! The choice of the proxy for a request.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use http::{HeaderMap, header};
use ipnet::IpNet;
use url::Url;

use crate::value::{Endpoint, Host, basic_authorization, ip_literal, userinfo};

/// The proxies of a monitor.
#[derive(Clone)]
pub(crate) struct Proxies {
    /// For `http` URLs.
    http: Option<Arc<Proxy>>,
    /// For `https` URLs.
    https: Option<Arc<Proxy>>,
    exempt: NoProxy,
}

/// A proxy. It holds secrets, so it is shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The protocol of the proxy.
    pub scheme: ProxyScheme,
    /// Host and port of the proxy.
    pub endpoint: Endpoint,
    /// User name and password.
    pub userinfo: Option<(String, String)>,
    /// Headers of the request for a tunnel, the one with the credentials among them.
    pub headers: HeaderMap,
}

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS 5 (RFC 1928), with names looked up here.
    Socks5,
    /// SOCKS 5, with names looked up there.
    Socks5h,
}

impl Proxies {
    /// These proxies, which are sent `connect_headers` beside their own; `None` if there is none.
    #[must_use]
    pub(crate) fn new(
        http: Option<Proxy>,
        https: Option<Proxy>,
        exempt: NoProxy,
        connect_headers: &HeaderMap,
    ) -> Option<Self> {
        let with_headers = |mut proxy: Proxy| {
            for (name, value) in connect_headers {
                proxy.headers.append(name, value.clone());
            }
            Arc::new(proxy)
        };
        let proxies = Self {
            http: http.map(with_headers),
            https: https.map(with_headers),
            exempt,
        };
        (proxies.http.is_some() || proxies.https.is_some()).then_some(proxies)
    }

    /// The headers of a request for a tunnel, which are the same for every proxy.
    pub(in crate::net) fn connect_headers(&self) -> HeaderMap {
        let proxy = self.http.as_ref().or(self.https.as_ref());
        proxy.map(|proxy| proxy.headers.clone()).unwrap_or_default()
    }

    /// The proxy that a request for `url` goes through, if it goes through one.
    #[must_use]
    pub(crate) fn for_url(&self, url: &Url) -> Option<&Arc<Proxy>> {
        let proxy = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        proxy.as_ref().filter(|_| !self.exempt.matches(url))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = [&self.http, &self.https].map(Option::as_deref);
        f.debug_tuple("Proxies").field(&shown).finish()
    }
}

impl FromStr for Proxy {
    /// The problem. It never repeats the text, which may contain a password.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Err("no scheme".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("invalid URL: {error}"))?;
        let (scheme, port) = match url.scheme() {
            "http" => (ProxyScheme::Http, 80),
            "https" => (ProxyScheme::Https, 443),
            "socks5" => (ProxyScheme::Socks5, 1080),
            "socks5h" => (ProxyScheme::Socks5h, 1080),
            other => return Err(format!("unsupported scheme {other}")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("more than a host and a port".to_owned());
        }
        let host: Host = url.host_str().unwrap_or_default().parse()?;
        let userinfo = userinfo(&url);
        let mut headers = HeaderMap::new();
        if let (Some((user, password)), ProxyScheme::Http | ProxyScheme::Https) =
            (&userinfo, scheme)
        {
            let value = basic_authorization(user, password);
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        if let Some((user, password)) = &userinfo
            && user.len().max(password.len()) > u8::MAX.into()
        {
            return Err("user or password of more than 255 bytes".to_owned());
        }
        Ok(Self {
            scheme,
            endpoint: Endpoint {
                host,
                port: url.port().unwrap_or(port),
            },
            userinfo,
            headers,
        })
    }
}

/// The URL, without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            ProxyScheme::Http => "http",
            ProxyScheme::Https => "https",
            ProxyScheme::Socks5 => "socks5",
            ProxyScheme::Socks5h => "socks5h",
        };
        write!(f, "{scheme}://{}", self.endpoint)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hosts that are spoken to without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoProxy(Vec<NoProxyRule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum NoProxyRule {
    /// `*`
    All,
    /// `192.0.2.0/24`
    Network(IpNet),
    /// `192.0.2.1`, `[::1]:80`
    Address(IpAddr, Option<u16>),
    /// `example.com:80`, and those below it; `.example.com`, those below it alone.
    Domain {
        name: String,
        below: bool,
        port: Option<u16>,
    },
}

impl NoProxy {
    fn matches(&self, url: &Url) -> bool {
        let port = url.port_or_known_default().unwrap_or_default();
        let here = |wanted: Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        let address = ip_literal(url);
        let domain = url.domain().unwrap_or_default().trim_end_matches('.');
        self.0.iter().any(|rule| match rule {
            NoProxyRule::All => true,
            NoProxyRule::Network(network) => {
                address.is_some_and(|address| network.contains(&address))
            }
            NoProxyRule::Address(exempt, port) => address == Some(*exempt) && here(*port),
            NoProxyRule::Domain { name, below, port } => {
                let parent = domain.strip_suffix(name.as_str());
                let covered =
                    parent.is_some_and(|rest| rest.ends_with('.') || rest.is_empty() && !below);
                covered && here(*port)
            }
        })
    }
}

impl FromStr for NoProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim);
        let rules = parts
            .filter(|part| !part.is_empty())
            .map(NoProxyRule::parse);
        rules.collect::<Result<_, _>>().map(Self)
    }
}

impl NoProxyRule {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err("contains credentials".to_owned());
        }
        let invalid_host = || format!("invalid host {text:?}");
        if text == "*" {
            return Ok(Self::All);
        }
        if text.contains('/') {
            let network = text
                .parse()
                .map_err(|_| format!("invalid network {text:?}"))?;
            return Ok(Self::Network(network));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address, None));
        }
        let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| invalid_host())?)),
            None => (text, None),
        };
        let name = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        match name.unwrap_or(host).parse() {
            Ok(Host::Address(address)) if name.is_none() => Ok(Self::Address(address, port)),
            Ok(Host::Name(host)) if !host.contains('*') => Ok(Self::Domain {
                name: host.trim_end_matches('.').to_owned(),
                below: name.is_some(),
                port,
            }),
            _ => Err(invalid_host()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn matches(rules: &str, url: &str, expected: bool) {
        let exempt = rules.parse::<NoProxy>().expect("rules");
        let covered = exempt.matches(&Url::parse(url).expect("a URL"));
        assert_eq!(covered, expected, "{rules} {url}");
    }

    #[test]
    fn a_host_is_exempt_by_its_name_its_domain_its_network_or_its_port() {
        matches("", "http://a.example/", false);
        matches("*", "http://a.example/", true);
        matches("b.example, a.example", "http://a.example:81/", true);
        matches("A.Example", "http://a.EXAMPLE/", true);
        matches("a.example", "http://a.example./", true);
        matches("example", "http://a.example/", true);
        matches("ample", "http://a.example/", false);
        matches(".example", "http://example/", false);
        matches(".example", "http://a.example/", true);
        matches("*.example", "http://a.b.example/", true);
        matches("a.example:81", "http://a.example:81/", true);
        matches("a.example:80", "http://a.example/", true);
        matches("a.example:443", "http://a.example/", false);
        matches("192.0.2.1", "http://192.0.2.1/", true);
        matches("192.0.2.1:81", "http://192.0.2.1/", false);
        matches("192.0.2.0/24", "http://192.0.2.255/", true);
        matches("192.0.2.0/24", "http://192.0.3.0/", false);
        matches("0.0.0.0/0", "http://192.0.3.0/", true);
        matches("192.0.2.1/32", "http://192.0.2.1/", true);
        matches("192.0.2.1/32", "http://192.0.2.0/", false);
        matches("0.0.0.0/0", "http://[::1]/", false);
        matches("::/0", "http://[::1]/", true);
        matches("::1", "http://[::1]:80/", true);
        matches("[::1]:80", "http://[::1]/", true);
        matches("fd00::/8", "http://[fd12::1]/", true);
        matches("localhost", "http://127.0.0.1/", false);
    }

    #[test]
    fn invalid_no_proxy_hosts_are_refused() {
        for rules in [
            "a b",
            "192.0.2.0/33",
            "::/129",
            "a/8",
            "a:b",
            "*a",
            ".192.0.2.1",
        ] {
            assert!(rules.parse::<NoProxy>().is_err(), "{rules}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_keeps_its_password() {
        let shown = |text: &str| text.parse::<Proxy>().map(|proxy| proxy.to_string());
        assert_eq!(shown("http://a:b@c").as_deref(), Ok("http://c:80"));
        assert_eq!(
            shown("https://C.example:1/").as_deref(),
            Ok("https://c.example:1")
        );
        assert_eq!(
            shown("socks5://127.0.0.1").as_deref(),
            Ok("socks5://127.0.0.1:1080")
        );
        assert_eq!(
            shown("socks5h://[::1]:9").as_deref(),
            Ok("socks5h://[::1]:9")
        );
        let invalid_host = |text: &str| text.parse::<Proxy>().map(|_| ()).expect_err("no proxy");
        assert_eq!(invalid_host("a:1"), "no scheme");
        assert_eq!(invalid_host("socks4://a"), "unsupported scheme socks4");
        assert_eq!(invalid_host("http://a/path"), "more than a host and a port");
        for text in [
            "http://hunter2@",
            "socks5://hunter2@",
            "http://hunter2:x@a:99999",
        ] {
            assert!(!invalid_host(text).contains("hunter2"), "{text}");
        }
        assert!(invalid_host(&format!("socks5://{}@a", "u".repeat(256))).contains("255"));
    }
}
