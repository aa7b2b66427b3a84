//! HTTP/3: one request over a fresh QUIC connection, which the task of its check drives.

mod causes;
mod connection;
mod driver;
mod exchange;
mod frames;
mod handshake;
mod socket;
mod streams;

pub(super) use connection::Quic;
pub(super) use exchange::{Http3Body, send};
