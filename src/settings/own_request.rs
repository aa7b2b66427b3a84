//! The keys of requests on the daemon's own account: of lists of targets and of heartbeats.

use http::{HeaderMap, HeaderName, header};

use super::{
    Credentials, own_headers::refuse_headers, read_credentials, read_proxies, read_tls_config,
};
use crate::{
    net::{http::Proxies, oauth2, tls},
    value::Fields,
};

/// The headers of a request, and the way it is sent.
pub(crate) struct OwnRequest {
    /// Those of the configuration, and static credentials.
    pub headers: HeaderMap,
    pub oauth2: Option<Box<oauth2::Settings>>,
    pub tls: tls::Settings,
    pub proxies: Option<Proxies>,
}

/// Refuses headers that are set from the URL.
pub(crate) fn check_own_header(name: &HeaderName) -> Result<(), (&'static str, &'static str)> {
    let own = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ];
    refuse_headers(own, "set from the URL")(name)
}

/// Reads the credentials, `tls_config` and the proxies of a request with `headers`.
pub(crate) fn read_own_request(
    fields: &mut Fields<'_>,
    userinfo: Option<(String, String)>,
    mut headers: HeaderMap,
) -> OwnRequest {
    let (authorization, oauth2) = match read_credentials(fields, userinfo, &headers) {
        Some(Credentials::Static(value)) => (Some(value), None),
        Some(Credentials::OAuth2(oauth2)) => (None, Some(oauth2)),
        None => (None, None),
    };
    let tls = read_tls_config(fields);
    let proxies = read_proxies(fields);
    headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
    OwnRequest {
        headers,
        oauth2,
        tls,
        proxies,
    }
}
