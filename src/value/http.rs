//! Values of HTTP settings: URLs, versions, methods, header values.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Method, Uri, Version};
use url::Url;

use super::{FromNode, Node, ZonedAddress};

/// An HTTP URL, and the credentials written in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl {
    /// The URL without userinfo and fragment.
    pub url: Url,
    /// User and password, percent-decoded, if there were any.
    pub userinfo: Option<(String, String)>,
}

impl HttpUrl {
    /// `url` without parts that may be secret: userinfo, query and fragment.
    #[must_use]
    pub(crate) fn redacted(url: &Url) -> String {
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Both fail for URLs without a host only, and those have no userinfo either.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.into()
    }
}

impl FromNode for HttpUrl {
    const EXPECTED: &'static str = "a URL that starts with http:// or https://";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        if !text.contains("://") {
            return Err("no scheme".to_owned());
        }
        // The text is not repeated: it may hold a password.
        let mut url = Url::parse(&text).map_err(|error| format!("invalid URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("unsupported scheme {}", url.scheme()));
        }
        if Uri::try_from(url.as_str()).is_err() {
            return Err("cannot be requested over HTTP".to_owned());
        }
        url.set_fragment(None);
        let userinfo = userinfo(&url);
        Ok(Self { url, userinfo }.without_userinfo())
    }
}

impl HttpUrl {
    fn without_userinfo(mut self) -> Self {
        let removed = self
            .url
            .set_username("")
            .and_then(|()| self.url.set_password(None));
        removed.expect("an HTTP URL has a host");
        self
    }
}

/// An HTTP URL whose IPv6 address may have a zone, such as `http://[fe80::1%25eth0]/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZonedHttpUrl {
    /// The URL without the zone, which is not sent (RFC 6874, section 4).
    pub url: HttpUrl,
    /// The zone of the address: an interface.
    pub zone: Option<Arc<str>>,
}

impl ZonedHttpUrl {
    /// `url` with its `zone`, without parts that may be secret.
    #[must_use]
    pub(crate) fn redacted(url: &Url, zone: Option<&str>) -> String {
        let shown = HttpUrl::redacted(url);
        match zone {
            Some(zone) => shown.replacen(']', &format!("%25{zone}]"), 1),
            None => shown,
        }
    }
}

impl FromNode for ZonedHttpUrl {
    const EXPECTED: &'static str = HttpUrl::EXPECTED;

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let Some((before, zoned, after)) = zoned_address(&text) else {
            let url = HttpUrl::from_node(node)?;
            return Ok(Self { url, zone: None });
        };
        let text = format!("{before}{}{after}", zoned.address);
        Ok(Self {
            url: HttpUrl::from_node(&Node::Text(text))?,
            zone: Some(zoned.zone),
        })
    }
}

/// The IPv6 address with a zone in a URL's host, with the text before and after it.
fn zoned_address(url: &str) -> Option<(&str, ZonedAddress, &str)> {
    let authority = url.find("://")? + 3;
    let path = url[authority..].find(['/', '?', '#', '\\']);
    let end = path.map_or(url.len(), |path| authority + path);
    let userinfo = url[authority..end].rfind('@');
    let host = userinfo.map_or(authority, |at| authority + at + 1);
    let inner = url[host..end].strip_prefix('[')?;
    let inner = &inner[..inner.find(']')?];
    let (address, zone) = inner.split_once("%25")?;
    let zone = percent_encoding::percent_decode_str(zone)
        .decode_utf8()
        .ok()?;
    let zoned = ZonedAddress::parse(&format!("{address}%{zone}"))?;
    let start = host + 1;
    Some((&url[..start], zoned, &url[start + inner.len()..]))
}

impl std::fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Self::redacted(&self.url))
    }
}

/// User and password of `url`, percent-decoded, if it has any.
pub(crate) fn userinfo(url: &Url) -> Option<(String, String)> {
    let decode = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8_lossy().into_owned()
    };
    let password = url.password();
    let given = !url.username().is_empty() || password.is_some();
    given.then(|| (decode(url.username()), decode(password.unwrap_or_default())))
}

/// The header value for Basic authentication (RFC 7617).
pub(crate) fn basic_authorization(user: &str, password: &str) -> HeaderValue {
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {credentials}"))
        .expect("base64 is made of letters, digits and three signs");
    value.set_sensitive(true);
    value
}

/// An HTTP version, named as in blackbox_exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpVersion(pub Version);

impl FromNode for HttpVersion {
    const EXPECTED: &'static str = "HTTP/1.0, HTTP/1.1, HTTP/2.0 or HTTP/3.0";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "HTTP/1.0" => Ok(Self(Version::HTTP_10)),
            "HTTP/1.1" => Ok(Self(Version::HTTP_11)),
            "HTTP/2.0" | "HTTP/2" => Ok(Self(Version::HTTP_2)),
            "HTTP/3.0" | "HTTP/3" => Ok(Self(Version::HTTP_3)),
            other => Err(format!("HTTP version {other:?} is not supported")),
        }
    }
}

impl FromNode for Method {
    const EXPECTED: &'static str = "an HTTP method such as GET, HEAD or POST";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?.to_uppercase();
        match Self::from_bytes(text.as_bytes()) {
            // A proxy's method: its answer is a tunnel and no response.
            Ok(Self::CONNECT) => Err("CONNECT is not supported".to_owned()),
            Ok(method) => Ok(method),
            Err(_) => Err(format!("invalid method {text:?}")),
        }
    }
}

/// Header values may be secret, so errors do not repeat them.
impl FromNode for HeaderValue {
    const EXPECTED: &'static str = "text without line breaks and other control characters";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let mut value = Self::from_bytes(text.as_bytes())
            .map_err(|_| "contains characters that a header cannot have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The URL, and its user and password.
    type Parts<'t> = (&'t str, Option<(&'t str, &'t str)>);

    #[track_caller]
    fn check(text: &str, expected: Result<Parts<'_>, &str>) {
        let read = HttpUrl::from_node(&Node::Text(text.to_owned()));
        let read = read.as_ref().map_err(String::as_str).map(|read| {
            let userinfo = read
                .userinfo
                .as_ref()
                .map(|(user, password)| (&**user, &**password));
            (read.url.as_str(), userinfo)
        });
        assert_eq!(read, expected, "{text:?}");
    }

    #[test]
    fn a_url_gives_up_its_credentials() {
        check("http://example.com", Ok(("http://example.com/", None)));
        check(
            "HTTPS://Example.COM:443/a?b=c#d",
            Ok(("https://example.com/a?b=c", None)),
        );
        check(
            "https://us%65r:p%40ss@example.com/",
            Ok(("https://example.com/", Some(("user", "p@ss")))),
        );
        check(
            "https://token@example.com/",
            Ok(("https://example.com/", Some(("token", "")))),
        );
        check("http://[::1]:8080/", Ok(("http://[::1]:8080/", None)));
    }

    #[test]
    fn what_is_no_web_address_is_refused_without_repeating_it() {
        check("example.com", Err("no scheme"));
        check("localhost:8080/x", Err("no scheme"));
        check("ftp://example.com", Err("unsupported scheme ftp"));
        check("http://", Err("invalid URL: empty host"));
        check("http://secret@", Err("invalid URL: empty host"));
        check("http://exa{mple.com/", Err("cannot be requested over HTTP"));
        check(
            "http://a:b@c:99999/",
            Err("invalid URL: invalid port number"),
        );
        check(
            "http://exa mple.com/",
            Err("invalid URL: invalid international domain name"),
        );
    }

    #[test]
    fn an_address_may_have_a_zone_that_is_not_sent() {
        let read = |text: &str| ZonedHttpUrl::from_node(&Node::Text(text.to_owned()));
        let zoned = read("http://u:p%40@[FE80::1%25eth%30]:81/a[%25x]?b").expect("a URL");
        assert_eq!(zoned.url.url.as_str(), "http://[fe80::1]:81/a[%25x]?b");
        assert_eq!(zoned.zone.as_deref(), Some("eth0"));
        assert_eq!(zoned.url.userinfo, Some(("u".to_owned(), "p@".to_owned())));
        let shown = ZonedHttpUrl::redacted(&zoned.url.url, zoned.zone.as_deref());
        assert_eq!(shown, "http://[fe80::1%25eth0]:81/a[%25x]");
        let plain = read("http://a.test/[::1%25eth0]").expect("a URL");
        assert_eq!((plain.url.url.path(), plain.zone), ("/[::1%25eth0]", None));
        for text in [
            "http://[fe80::1%25]/",
            "http://[fe80::1%eth0]/",
            "http://[fe80::1%25a%2fb]/",
            "http://[1.2.3.4%25eth0]/",
        ] {
            assert_eq!(
                read(text),
                Err("invalid URL: invalid IPv6 address".to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_logged_has_no_secret() {
        let url = Url::parse("https://user:pass@example.com/path?token=1#frag").expect("a URL");
        assert_eq!(HttpUrl::redacted(&url), "https://example.com/path");
    }

    #[test]
    fn methods_are_upper_cased() {
        let read = |text: &str| Method::from_node(&Node::Text(text.to_owned()));
        assert_eq!(read("get"), Ok(Method::GET));
        assert_eq!(read("Purge").map(|m| m.to_string()), Ok("PURGE".to_owned()));
        assert_eq!(read("GE T"), Err("invalid method \"GE T\"".to_owned()));
        assert!(read("connect").is_err());
        assert!(read("").is_err());
    }

    #[test]
    fn a_header_value_is_never_repeated() {
        let read = HeaderValue::from_node(&Node::Text("hunter2\r\nX: y".to_owned()));
        assert!(!read.expect_err("a line break").contains("hunter2"));
        assert!(HeaderValue::from_node(&Node::Int(1)).is_err());
        let value = HeaderValue::from_node(&Node::Text("hunter2".to_owned())).expect("a value");
        assert!(!format!("{value:?}").contains("hunter2"));
    }
}
