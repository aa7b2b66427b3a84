//! Readers of the settings of `net`: the keys that several types of monitors and lists of targets have.

mod credentials;
mod oauth2;
mod own_headers;
mod own_request;
mod proxy;
mod query_response;
mod route;
mod starttls;
mod tls;

pub(crate) use credentials::{Credentials, read_credentials, read_known_credentials};
pub(crate) use oauth2::read_oauth2;
pub(crate) use own_headers::refuse_headers;
pub(crate) use own_request::{check_own_header, read_own_request};
pub(crate) use proxy::read_proxies;
pub(crate) use query_response::read_query_response;
pub(crate) use route::read_route;
pub(crate) use tls::{TLS_KEYS, read_min_validity, read_tls_config, refuse_tls_keys};
