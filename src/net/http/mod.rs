//! One HTTP request over a fresh, measured connection, with each step of it in its phase.

mod client;
mod connection;
mod head;
mod message;
mod proxy;
mod request;
mod telling;
mod tunnel;

pub use client::{Client, ClientOptions};
pub use connection::ResponseBody;
pub use proxy::{NoProxy, Proxies, Proxy, ProxyScheme};
pub use request::{Body, OfferedVersions, Request, Transport, USER_AGENT};
pub(crate) use telling::{shown_value, tell_request_headers, tell_response};
