//! `proxy_url` and what belongs to it, with the names and meanings of Prometheus' HTTP clients.

use std::env;

use http::{
    HeaderMap, HeaderValue,
    header::{self, HeaderName},
};

use crate::{
    net::http::{NoProxy, Proxies, Proxy},
    value::{Fields, FromNode, Node},
};

/// Reads `proxy_url`, `no_proxy`, `proxy_from_environment` and `proxy_connect_header`.
pub(crate) fn read_proxies(fields: &mut Fields<'_>) -> Option<Proxies> {
    let url = fields.optional::<Proxy>("proxy_url");
    let given = fields.node("proxy_url").is_some();
    let exempt = fields.optional::<NoProxy>("no_proxy");
    let from_environment = fields.optional("proxy_from_environment").unwrap_or(false);
    let headers = connect_headers(fields);
    let wrong =
        |key: &str, wrong: &str, allowed: &str| fields.add_value_problem(key, wrong, allowed);
    if from_environment && given {
        let both = "proxy_url and proxy_from_environment cannot be used together";
        wrong("proxy_url", both, "one of them");
    }
    if exempt.is_some() && from_environment {
        let both = "no_proxy and proxy_from_environment cannot be used together";
        wrong("no_proxy", both, "NO_PROXY in the environment");
    } else if exempt.is_some() && !given {
        wrong("no_proxy", "has no effect without proxy_url", "");
    }
    if !headers.is_empty() && !given && !from_environment {
        let allowed = "proxy_url or proxy_from_environment";
        wrong(
            "proxy_connect_header",
            "has no effect without a proxy",
            allowed,
        );
    }
    let (http, https, exempt) = if from_environment {
        environment_proxies(&|name| env::var(name).ok(), fields)
    } else {
        let proxy = url?;
        (Some(proxy.clone()), Some(proxy), exempt.unwrap_or_default())
    };
    Proxies::new(http, https, exempt, &headers)
}

/// The proxies of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in upper or lower case, as Go reads them.
fn environment_proxies(
    variable: &dyn Fn(&str) -> Option<String>,
    fields: &Fields<'_>,
) -> (Option<Proxy>, Option<Proxy>, NoProxy) {
    let text = |name: &str| {
        let found = [name.to_owned(), name.to_lowercase()];
        let mut texts = found.iter().filter_map(|name| variable(name));
        texts.find(|text| !text.is_empty())
    };
    let complain = |name, wrong, allowed| {
        let wrong = format!("needs {name}, which {wrong}");
        fields.add_value_problem("proxy_from_environment", wrong, allowed);
    };
    let proxy = |name| {
        let text = text(name)?;
        let url = if text.contains("://") {
            text
        } else {
            format!("http://{text}")
        };
        match url.parse() {
            Ok(proxy) => Some(proxy),
            Err(wrong) => {
                complain(name, wrong, Proxy::EXPECTED);
                None
            }
        }
    };
    let exempt = text("NO_PROXY")
        .map_or(Ok(NoProxy::default()), |text| text.parse())
        .unwrap_or_else(|wrong: String| {
            complain("NO_PROXY", wrong, NoProxy::EXPECTED);
            NoProxy::default()
        });
    (proxy("HTTP_PROXY"), proxy("HTTPS_PROXY"), exempt)
}

fn connect_headers(fields: &mut Fields<'_>) -> HeaderMap {
    let check_name = |name: &str| match HeaderName::from_bytes(name.as_bytes()) {
        Ok(header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING) => {
            Err(("set from the URL".to_owned(), "no such header"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(("invalid header name".to_owned(), "letters, digits and -")),
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
    const EXPECTED: &'static str = "text or a list of texts, without line breaks";

    fn from_node(node: &Node) -> Result<Self, String> {
        let values = match node {
            Node::List(items) => items.iter().map(HeaderValue::from_node).collect(),
            node => HeaderValue::from_node(node).map(|value| vec![value]),
        };
        values.map(Self)
    }
}

impl FromNode for Proxy {
    const EXPECTED: &'static str = "http://, https://, socks5:// or socks5h:// with host and port";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node)?.parse()
    }
}

impl FromNode for NoProxy {
    const EXPECTED: &'static str = "a comma-separated list of hosts such as example.com, .example.com, 192.0.2.1, 192.0.2.0/24, *";

    fn from_node(node: &Node) -> Result<Self, String> {
        String::from_node(node)?.parse()
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::value::{Path, Problems};

    #[test]
    fn the_environment_has_a_proxy_for_each_scheme() {
        let node = Node::Map(Vec::new());
        let problems = Problems::default();
        let fields = Fields::from_node(&node, Path::default(), &problems).expect("a mapping");
        let variable = |name: &str| match name {
            "HTTP_PROXY" => Some("one:1".to_owned()),
            "HTTPS_PROXY" => Some(String::new()),
            "https_proxy" => Some("socks5h://two:2".to_owned()),
            "NO_PROXY" => Some("direct.example".to_owned()),
            _ => None,
        };
        let (http, https, exempt) = environment_proxies(&variable, &fields);
        let proxies = Proxies::new(http, https, exempt, &HeaderMap::new()).expect("proxies");
        let of = |url| {
            let proxy = proxies.for_url(&Url::parse(url).expect("a URL"));
            proxy.map(ToString::to_string)
        };
        assert_eq!(of("http://a.example").as_deref(), Some("http://one:1"));
        assert_eq!(of("https://a.example").as_deref(), Some("socks5h://two:2"));
        assert_eq!(of("https://direct.example"), None);
        assert_eq!(problems.count(), 0);
        environment_proxies(&|_| Some("gopher://".to_owned()), &fields);
        assert_eq!(problems.count(), 3);
    }
}
