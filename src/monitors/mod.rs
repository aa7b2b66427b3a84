//! The types of monitors: `ls` of this folder is the list of what can be checked.
//!
//! A type is a module with `Settings`, which read themselves and bind themselves to a [`Net`](crate::net::Net), and
//! a [`Monitor`](crate::check::Monitor) that comes of it. To add one, write its file and put one
//! line in each of two lists: `pub mod` here, and `types!` in `types.rs`.

pub(crate) mod dns;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod icmp;
pub(crate) mod tcp;
pub(crate) mod tls;
mod types;
pub(crate) mod unix;
pub(crate) mod websocket;

pub(crate) use types::Settings;
pub use types::Type;
