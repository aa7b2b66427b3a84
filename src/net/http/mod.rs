//! One HTTP request over a fresh, measured connection, with each step of it in its phase.

mod client;
mod connection;
mod head;
mod head_reader;
#[cfg(feature = "http3")]
mod http3;
mod message;
mod proxy;
mod request;
mod steps;
mod traceparent;
mod tunnel;

pub(crate) use client::{Client, ClientOptions};
pub(crate) use connection::ResponseBody;
pub(crate) use head_reader::{
    HeadError, HeadReader, MAX_BYTES as MAX_HEAD_BYTES, MAX_PIECES as MAX_HEAD_PIECES,
};
pub(crate) use proxy::{NoProxy, Proxies, Proxy, ProxyScheme};
pub(crate) use request::{Body, OfferedVersions, Request, Transport, USER_AGENT};
pub(crate) use steps::{record_request_headers, record_response, shown_value};
pub(crate) use traceparent::{TRACEPARENT, traceparent};
