//! Recognizes responses of others than the target, such as captive portals, by their head.

use http::{HeaderMap, StatusCode, header};
use url::{Host, Url};

use crate::check::Cause;

/// The cause of a failed check, if `status` and `headers` tell it. `home` is the monitor's URL, and `url`
/// the one that answered.
pub(super) fn find(
    status: StatusCode,
    headers: &HeaderMap,
    home: &Url,
    url: &Url,
) -> Option<Cause> {
    if is_captive_portal(status, home, url) {
        return Some(Cause::CaptivePortal);
    }
    let is_error = status.is_client_error() || status.is_server_error();
    (is_error && is_from_cdn(status, headers)).then_some(Cause::CdnErrorPage)
}

/// Returns true if a network wants a login: it says so (RFC 6585, section 6), or redirects to a private address
/// or a host with a telling name.
fn is_captive_portal(status: StatusCode, home: &Url, url: &Url) -> bool {
    if status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED {
        return true;
    }
    let is_private = |url: &Url| match url.host() {
        Some(Host::Ipv4(address)) => address.is_private(),
        _ => false,
    };
    let has_telling_name = |url: &Url| {
        let name = url.domain().unwrap_or_default();
        let words = [
            "captive",
            "hotspot",
            "portal.wifi",
            "guest-wifi",
            "guestwifi",
        ];
        words.iter().any(|word| name.contains(word))
    };
    home.host() != url.host()
        && (is_private(url) && !is_private(home)
            || has_telling_name(url) && !has_telling_name(home))
}

/// Returns true if an error page is that of a content delivery network itself, and not passed on by it.
fn is_from_cdn(status: StatusCode, headers: &HeaderMap) -> bool {
    let value = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_ascii_lowercase()
    };
    let server = value(header::SERVER.as_str());
    let is_cloudflare = server == "cloudflare"
        && (headers.contains_key("cf-mitigated") || (520..=530).contains(&status.as_u16()));
    let is_cloudfront =
        server == "cloudfront" || value("x-cache").starts_with("error from cloudfront");
    is_cloudflare || is_cloudfront || matches!(&*server, "akamaighost" | "varnish")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn who_answers_is_told_by_status_headers_and_url() {
        let home = "http://a.example/";
        for (status, header, url, expected) in [
            (500, None, home, None),
            (511, None, home, Some(Cause::CaptivePortal)),
            (
                200,
                None,
                "http://10.0.0.1/login",
                Some(Cause::CaptivePortal),
            ),
            (
                200,
                None,
                "http://captive.example/",
                Some(Cause::CaptivePortal),
            ),
            (200, None, "http://www.a.example/", None),
            (
                522,
                Some(("server", "cloudflare")),
                home,
                Some(Cause::CdnErrorPage),
            ),
            (500, Some(("server", "cloudflare")), home, None),
            (
                403,
                Some(("server", "CloudFront")),
                home,
                Some(Cause::CdnErrorPage),
            ),
            (
                503,
                Some(("server", "Varnish")),
                home,
                Some(Cause::CdnErrorPage),
            ),
            (200, Some(("server", "Varnish")), home, None),
            (404, Some(("server", "nginx")), home, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let status = StatusCode::from_u16(status).expect("a status");
            let (home, url) = [home, url]
                .map(|url| Url::parse(url).expect("a URL"))
                .into();
            assert_eq!(
                find(status, &headers, &home, &url),
                expected,
                "{status} {url}"
            );
        }
    }
}
