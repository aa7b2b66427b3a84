//! The types of monitors: `ls` of this folder is the list of what can be checked.
//!
//! A type is a module with `Settings`, which read themselves and bind themselves to a [`Net`](crate::net::Net), and
//! a [`Monitor`](crate::check::Monitor) that comes of it. To add one, write its file and put one
//! line in each of two lists: `pub mod` here, and `types!` in `types.rs`.

pub mod dns;
pub mod grpc;
pub mod http;
pub mod icmp;
pub mod tcp;
pub mod tls;
mod types;
pub mod unix;
pub mod websocket;

pub use types::{Settings, Type};
