//! Which proxy a request goes through: `proxy_url` and what belongs to it, with the names and meanings
//! of Prometheus' HTTP clients.

use std::{env, net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderValue,
    header::{self, HeaderName},
};
use url::Url;

use crate::value::{
    Endpoint, Fields, FromNode, Host, Node, address_in, basic_authorization, userinfo,
};

/// The proxies of a monitor.
#[derive(Clone)]
pub struct Proxies {
    /// For `http` URLs.
    http: Option<Arc<Proxy>>,
    /// For `https` URLs.
    https: Option<Arc<Proxy>>,
    exempt: Exempt,
}

/// One proxy. It holds secrets, and so its `Debug` shows where it is and no more.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What is spoken with it.
    pub scheme: ProxyScheme,
    /// Where it is.
    pub endpoint: Endpoint,
    /// User and password.
    pub userinfo: Option<(String, String)>,
    /// Headers of the request for a tunnel, the one with the credentials among them.
    pub headers: HeaderMap,
}

/// What is spoken with a proxy.
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
    /// Reads `proxy_url`, `no_proxy`, `proxy_from_environment` and `proxy_connect_header`.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.optional::<Proxy>("proxy_url");
        let given = fields.node("proxy_url").is_some();
        let exempt = fields.optional::<Exempt>("no_proxy");
        let from_environment = fields.optional("proxy_from_environment").unwrap_or(false);
        let headers = connect_headers(fields);
        let wrong = |key: &str, wrong: &str, allowed: &str| fields.wrong_value(key, wrong, allowed);
        if from_environment && given {
            let both = "proxy_url and proxy_from_environment exclude each other";
            wrong("proxy_url", both, "one of them");
        }
        if exempt.is_some() && from_environment {
            let both = "no_proxy and proxy_from_environment exclude each other";
            wrong("no_proxy", both, "NO_PROXY in the environment");
        } else if exempt.is_some() && !given {
            wrong("no_proxy", "exempts from no proxy", "proxy_url beside it");
        }
        if !headers.is_empty() && !given && !from_environment {
            let allowed = "proxy_url or proxy_from_environment beside it";
            wrong("proxy_connect_header", "is sent to no proxy", allowed);
        }
        let mut proxies = if from_environment {
            Self::from_environment(&|name| env::var(name).ok(), fields)
        } else {
            let proxy = Arc::new(url?);
            Self {
                http: Some(proxy.clone()),
                https: Some(proxy),
                exempt: exempt.unwrap_or_default(),
            }
        };
        for proxy in [&mut proxies.http, &mut proxies.https]
            .into_iter()
            .flatten()
        {
            let proxy = Arc::make_mut(proxy);
            for (name, value) in &headers {
                proxy.headers.append(name, value.clone());
            }
        }
        (proxies.http.is_some() || proxies.https.is_some()).then_some(proxies)
    }

    /// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say, in either case, as Go reads them.
    fn from_environment(variable: &dyn Fn(&str) -> Option<String>, fields: &Fields<'_>) -> Self {
        let text = |name: &str| {
            let found = [name.to_owned(), name.to_lowercase()];
            let mut texts = found.iter().filter_map(|name| variable(name));
            texts.find(|text| !text.is_empty())
        };
        let complain = |name, wrong, allowed| {
            let wrong = format!("needs {name}, which {wrong}");
            fields.wrong_value("proxy_from_environment", wrong, allowed);
        };
        let proxy = |name| {
            let text = text(name)?;
            let url = if text.contains("://") {
                text
            } else {
                format!("http://{text}")
            };
            match Proxy::parse(&url) {
                Ok(proxy) => Some(Arc::new(proxy)),
                Err(wrong) => {
                    complain(name, wrong, Proxy::ALLOWED);
                    None
                }
            }
        };
        let exempt = text("NO_PROXY").map_or(Ok(Exempt::default()), |text| Exempt::parse(&text));
        Self {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            exempt: exempt.unwrap_or_else(|wrong| {
                complain("NO_PROXY", wrong, Exempt::ALLOWED);
                Exempt::default()
            }),
        }
    }

    /// The headers of a request for a tunnel, which are the same for every proxy.
    pub(in crate::net) fn connect_headers(&self) -> HeaderMap {
        let proxy = self.http.as_ref().or(self.https.as_ref());
        proxy.map(|proxy| proxy.headers.clone()).unwrap_or_default()
    }

    /// The proxy that a request for `url` goes through, if it goes through one.
    #[must_use]
    pub fn of(&self, url: &Url) -> Option<&Arc<Proxy>> {
        let proxy = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        proxy.as_ref().filter(|_| !self.exempt.covers(url))
    }
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = [&self.http, &self.https].map(Option::as_deref);
        f.debug_tuple("Proxies").field(&shown).finish()
    }
}

fn connect_headers(fields: &mut Fields<'_>) -> HeaderMap {
    let check_name = |name: &str| match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING) => {
            Err(("follows from the URL".to_owned(), "no such header here"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(("is no name of a header".to_owned(), "letters, digits and -")),
    };
    let mut headers = HeaderMap::new();
    for (name, values) in fields.map::<HeaderValues>("proxy_connect_header", check_name) {
        let Ok(name) = HeaderName::try_from(&name) else {
            continue;
        };
        for value in values.0 {
            headers.append(&name, value);
        }
    }
    headers
}

/// The values of one header: a text, or a list of texts as Prometheus has it.
struct HeaderValues(Vec<HeaderValue>);

impl FromNode for HeaderValues {
    const ALLOWED: &'static str = "a text or a list of texts, without line breaks";

    fn from_node(node: &Node) -> Result<Self, String> {
        let values = match node {
            Node::List(items) => items.iter().map(HeaderValue::from_node).collect(),
            node => HeaderValue::from_node(node).map(|value| vec![value]),
        };
        values.map(Self)
    }
}

impl Proxy {
    /// What is wrong never repeats the text, which may hold a password.
    fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Err("has no scheme".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        let (scheme, port) = match url.scheme() {
            "http" => (ProxyScheme::Http, 80),
            "https" => (ProxyScheme::Https, 443),
            "socks5" => (ProxyScheme::Socks5, 1080),
            "socks5h" => (ProxyScheme::Socks5h, 1080),
            other => return Err(format!("has the scheme {other}")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("has more than a host and a port".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let host = Host::from_node(&Node::Text(host.to_owned()))?;
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
            return Err("has a user or password of more than 255 bytes".to_owned());
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

impl FromNode for Proxy {
    const ALLOWED: &'static str =
        "http://, https://, socks5:// or socks5h:// with a host and a port";

    fn from_node(node: &Node) -> Result<Self, String> {
        Self::parse(&String::from_node(node)?)
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.scheme, self.endpoint)
    }
}

/// The hosts that are spoken to without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exempt(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// `*`
    All,
    /// `192.0.2.0/24`
    Network(IpAddr, u8),
    /// `192.0.2.1`, `[::1]:80`
    Address(IpAddr, Option<u16>),
    /// `example.com:80`, and those below it; `.example.com`, those below it alone.
    Domain {
        name: String,
        below: bool,
        port: Option<u16>,
    },
}

impl Exempt {
    fn covers(&self, url: &Url) -> bool {
        let port = url.port_or_known_default().unwrap_or_default();
        let here = |wanted: Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        let address = address_in(url);
        let domain = url.domain().unwrap_or_default().trim_end_matches('.');
        self.0.iter().any(|rule| match rule {
            Rule::All => true,
            Rule::Network(network, bits) => {
                address.is_some_and(|address| is_in(address, *network, *bits))
            }
            Rule::Address(exempt, port) => address == Some(*exempt) && here(*port),
            Rule::Domain { name, below, port } => {
                let parent = domain.strip_suffix(name.as_str());
                let covered =
                    parent.is_some_and(|rest| rest.ends_with('.') || rest.is_empty() && !below);
                covered && here(*port)
            }
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim);
        let rules = parts.filter(|part| !part.is_empty()).map(Rule::parse);
        rules.collect::<Result<_, _>>().map(Self)
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err("has a user".to_owned());
        }
        let wrong = || format!("{text:?} is no host");
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some((network, bits)) = text.split_once('/') {
            let wrong = || format!("{text:?} is no network");
            let network: IpAddr = network.parse().map_err(|_| wrong())?;
            let most = if network.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= most);
            return Ok(Self::Network(network, bits.ok_or_else(wrong)?));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address, None));
        }
        let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let name = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        match Host::from_node(&Node::Text(name.unwrap_or(host).to_owned())) {
            Ok(Host::Address(address)) if name.is_none() => Ok(Self::Address(address, port)),
            Ok(Host::Name(host)) => Ok(Self::Domain {
                name: host.trim_end_matches('.').to_owned(),
                below: name.is_some(),
                port,
            }),
            _ => Err(wrong()),
        }
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = u32::from(address) ^ u32::from(network);
            differing.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = u128::from(address) ^ u128::from(network);
            differing.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

impl FromNode for Exempt {
    const ALLOWED: &'static str =
        "hosts with commas between them: example.com, .example.com, 192.0.2.1, 192.0.2.0/24, *";

    fn from_node(node: &Node) -> Result<Self, String> {
        Self::parse(&String::from_node(node)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Path, Problems};

    #[track_caller]
    fn covers(rules: &str, url: &str, expected: bool) {
        let exempt = Exempt::parse(rules).expect("rules");
        let covered = exempt.covers(&Url::parse(url).expect("a URL"));
        assert_eq!(covered, expected, "{rules} {url}");
    }

    #[test]
    fn a_host_is_exempt_by_its_name_its_domain_its_network_or_its_port() {
        covers("", "http://a.example/", false);
        covers("*", "http://a.example/", true);
        covers("b.example, a.example", "http://a.example:81/", true);
        covers("A.Example", "http://a.EXAMPLE/", true);
        covers("a.example", "http://a.example./", true);
        covers("example", "http://a.example/", true);
        covers("ample", "http://a.example/", false);
        covers(".example", "http://example/", false);
        covers(".example", "http://a.example/", true);
        covers("*.example", "http://a.b.example/", true);
        covers("a.example:81", "http://a.example:81/", true);
        covers("a.example:80", "http://a.example/", true);
        covers("a.example:443", "http://a.example/", false);
        covers("192.0.2.1", "http://192.0.2.1/", true);
        covers("192.0.2.1:81", "http://192.0.2.1/", false);
        covers("192.0.2.0/24", "http://192.0.2.255/", true);
        covers("192.0.2.0/24", "http://192.0.3.0/", false);
        covers("0.0.0.0/0", "http://192.0.3.0/", true);
        covers("192.0.2.1/32", "http://192.0.2.1/", true);
        covers("192.0.2.1/32", "http://192.0.2.0/", false);
        covers("0.0.0.0/0", "http://[::1]/", false);
        covers("::/0", "http://[::1]/", true);
        covers("::1", "http://[::1]:80/", true);
        covers("[::1]:80", "http://[::1]/", true);
        covers("fd00::/8", "http://[fd12::1]/", true);
        covers("localhost", "http://127.0.0.1/", false);
    }

    #[test]
    fn what_is_no_host_is_no_exemption() {
        for rules in [
            "a b",
            "192.0.2.0/33",
            "::/129",
            "a/8",
            "a:b",
            "*a",
            ".192.0.2.1",
        ] {
            assert!(Exempt::parse(rules).is_err(), "{rules}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_keeps_its_password() {
        let shown = |text: &str| Proxy::parse(text).map(|proxy| format!("{proxy:?}"));
        assert_eq!(shown("http://a:b@c").as_deref(), Ok("Http c:80"));
        assert_eq!(
            shown("https://C.example:1/").as_deref(),
            Ok("Https c.example:1")
        );
        assert_eq!(
            shown("socks5://127.0.0.1").as_deref(),
            Ok("Socks5 127.0.0.1:1080")
        );
        assert_eq!(shown("socks5h://[::1]:9").as_deref(), Ok("Socks5h [::1]:9"));
        let wrong = |text: &str| Proxy::parse(text).map(|_| ()).expect_err("no proxy");
        assert_eq!(wrong("a:1"), "has no scheme");
        assert_eq!(wrong("socks4://a"), "has the scheme socks4");
        assert_eq!(wrong("http://a/path"), "has more than a host and a port");
        for text in [
            "http://hunter2@",
            "socks5://hunter2@",
            "http://hunter2:x@a:99999",
        ] {
            assert!(!wrong(text).contains("hunter2"), "{text}");
        }
        assert!(wrong(&format!("socks5://{}@a", "u".repeat(256))).contains("255"));
    }

    #[test]
    fn the_environment_has_a_proxy_for_each_scheme() {
        let node = Node::Map(Vec::new());
        let problems = Problems::default();
        let fields = Fields::open(&node, Path::default(), &problems).expect("a mapping");
        let variable = |name: &str| match name {
            "HTTP_PROXY" => Some("one:1".to_owned()),
            "HTTPS_PROXY" => Some(String::new()),
            "https_proxy" => Some("socks5h://two:2".to_owned()),
            "NO_PROXY" => Some("direct.example".to_owned()),
            _ => None,
        };
        let proxies = Proxies::from_environment(&variable, &fields);
        let of = |url| {
            let proxy = proxies.of(&Url::parse(url).expect("a URL"));
            proxy.map(|proxy| format!("{proxy:?}"))
        };
        assert_eq!(of("http://a.example").as_deref(), Some("Http one:1"));
        assert_eq!(of("https://a.example").as_deref(), Some("Socks5h two:2"));
        assert_eq!(of("https://direct.example"), None);
        assert_eq!(problems.count(), 0);
        Proxies::from_environment(&|_| Some("gopher://".to_owned()), &fields);
        assert_eq!(problems.count(), 3);
    }
}
