//! Measured connections to the targets of monitors.
//!
//! Each step enters its phase on the check's attempt. Nothing here knows when or why a check runs.

mod closing;
mod connect;
mod echo;
mod errors;
mod fetch;
pub(crate) mod http;
pub mod icmp;
mod limited;
mod mysql;
pub(crate) mod oauth2;
pub(crate) mod query_response;
mod resolve;
mod route;
mod shared;
mod starttls;
mod stream;
mod text_session;
pub mod tls;
mod udp;
mod unix_socket;

pub(crate) use connect::{Connector, with_zone};
pub(crate) use echo::SentWords;
pub(crate) use errors::ErrorClassifier;
use errors::io_reason;
pub(crate) use fetch::{FetchOptions, Fetcher};
pub(crate) use limited::{Limited, LimitedBuffer, MAX_PIECES};
pub use resolve::Resolver;
pub use route::Route;
pub use shared::Net;
pub(crate) use starttls::StartTls;
pub(crate) use stream::{MeasuredStream, TlsTarget};
pub(crate) use unix_socket::connect_unix;
