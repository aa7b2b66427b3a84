//! Rules for following HTTP redirects.

use url::Url;

/// Maximum number of redirects, as in blackbox_exporter.
pub(crate) const MAX_REDIRECTS: u32 = 10;

/// Returns true if credentials for `home` may be sent to `other`: same scheme, host and port, or https
/// instead of http on the default ports.
pub(crate) fn is_same_service(home: &Url, other: &Url) -> bool {
    let is_upgraded = home.scheme() == "http"
        && other.scheme() == "https"
        && home.port().is_none()
        && other.port().is_none();
    home.host() == other.host()
        && (is_upgraded
            || home.scheme() == other.scheme()
                && home.port_or_known_default() == other.port_or_known_default())
}
