//! Cookies along the redirects of one check (RFC 6265): many logins send a browser in a circle until
//! it comes with the one that it was given.

use cookie_store::{CookieStore, RawCookie};
use http::{HeaderMap, HeaderValue, header};
use url::Url;

/// Cookies that one check takes, and bytes of each: as many as a browser takes of one host
/// (RFC 6265, section 6.1). Further ones are ignored.
const MAX_COOKIES: usize = 64;
const MAX_COOKIE_BYTES: usize = 4096;

/// Bytes of all cookies together, which servers accept in one request.
const MAX_BYTES: usize = 16 << 10;

/// The cookies of one check, from the first redirect that sets one.
#[derive(Default)]
pub(super) struct CookieJar {
    store: Option<Box<CookieStore>>,
    taken: usize,
    bytes: usize,
}

impl CookieJar {
    /// Takes the cookies that the response of `url` sets.
    pub(super) fn store_from(&mut self, url: &Url, headers: &HeaderMap) {
        for value in headers.get_all(header::SET_COOKIE) {
            let bytes = value.as_bytes();
            if bytes.len() > MAX_COOKIE_BYTES {
                continue;
            }
            if self.taken == MAX_COOKIES || self.bytes + bytes.len() > MAX_BYTES {
                return;
            }
            self.taken += 1;
            self.bytes += bytes.len();
            let text = std::str::from_utf8(bytes).ok();
            let Some(cookie) = text.and_then(|text| RawCookie::parse(text.to_owned()).ok()) else {
                continue;
            };
            if cookie
                .domain()
                .is_some_and(|domain| is_public_suffix(domain, url))
            {
                continue;
            }
            let store = self.store.get_or_insert_default();
            store.store_response_cookies(std::iter::once(cookie), url);
        }
    }

    /// Adds those that are for `url` to `headers`, behind those that are there already.
    pub(super) fn apply_to(&self, url: &Url, headers: &mut HeaderMap) {
        let Some(store) = &self.store else { return };
        let given = headers.get(header::COOKIE).map(HeaderValue::as_bytes);
        let mut line = given.unwrap_or_default().to_vec();
        let mut cookies = store.matches(url);
        // RFC 6265, section 5.4: longer paths first; the name, so that it is always the same.
        cookies.sort_by_key(|cookie| {
            let path: &str = &cookie.path;
            (std::cmp::Reverse(path.len()), cookie.name().to_owned())
        });
        for cookie in cookies {
            if !line.is_empty() {
                line.extend_from_slice(b"; ");
            }
            let (name, value) = cookie.name_value();
            line.extend_from_slice(format!("{name}={value}").as_bytes());
        }
        if line.is_empty() {
            return;
        }
        // What cannot be sent was no cookie to begin with.
        if let Ok(mut value) = HeaderValue::from_bytes(&line) {
            value.set_sensitive(true);
            headers.insert(header::COOKIE, value);
        }
    }
}

/// Returns whether hosts of different owners share `domain`, such as `co.uk` (RFC 6265, section 5.3). A host
/// that is itself called so may set cookies for itself.
fn is_public_suffix(domain: &str, url: &Url) -> bool {
    let domain = domain.trim_start_matches('.').to_ascii_lowercase();
    let is_host = url.domain() == Some(&domain);
    let suffix = psl::suffix(domain.as_bytes());
    // A name that the list lacks has its last label as the suffix, by the rule `*`.
    !is_host && suffix.is_some_and(|suffix| suffix.as_bytes() == domain.as_bytes())
}
