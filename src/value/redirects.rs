//! Rules for following redirects.

use url::Url;

/// Redirects followed in a row, as many as blackbox_exporter follows.
pub const MAX_REDIRECTS: usize = 10;

/// Whether credentials for `home` may be sent to `other`: the same host and port, by the same scheme, or by
/// https instead of http, each on its own port.
pub fn is_same_service(home: &Url, other: &Url) -> bool {
    let is_upgraded = home.scheme() == "http"
        && other.scheme() == "https"
        && home.port().is_none()
        && other.port().is_none();
    home.host() == other.host()
        && (is_upgraded
            || home.scheme() == other.scheme()
                && home.port_or_known_default() == other.port_or_known_default())
}
