//! One HTTP request over a fresh, measured connection, with each step of it in its phase.

mod client;
mod connection;
mod head;
#[cfg(feature = "http3")]
mod http3;
mod message;
mod proxy;
mod request;
mod steps;
mod traceparent;
mod tunnel;

pub use client::{Client, ClientOptions};
pub use connection::ResponseBody;
pub use proxy::{NoProxy, Proxies, Proxy, ProxyScheme};
pub use request::{Body, OfferedVersions, Request, Transport, USER_AGENT};
pub(crate) use steps::{record_request_headers, record_response, shown_value};
pub use traceparent::{TRACEPARENT, traceparent};
