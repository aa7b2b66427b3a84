//! Cookies along the redirects of one check (RFC 6265): many a login sends a browser in a circle until
//! it comes with the one that it was given.

use cookie_store::{CookieStore, RawCookie};
use http::{HeaderMap, HeaderValue, header};
use url::Url;

/// The cookies of one check, from the first redirect that sets one.
#[derive(Default)]
pub(super) struct Jar(Option<Box<CookieStore>>);

impl Jar {
    /// Takes the cookies that the response of `url` sets.
    pub fn take(&mut self, url: &Url, headers: &HeaderMap) {
        let mut cookies = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
            .filter_map(|text| RawCookie::parse(text.to_owned()).ok())
            .peekable();
        if cookies.peek().is_some() {
            let store = self.0.get_or_insert_default();
            store.store_response_cookies(cookies, url);
        }
    }

    /// Adds those that are for `url` to `headers`, behind those that are there already.
    pub fn give(&self, url: &Url, headers: &mut HeaderMap) {
        let Some(store) = &self.0 else { return };
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
