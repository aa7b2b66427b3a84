//! ICMP echo over sockets that all monitors share: one for each version of IP, and for each way to
//! send that the kernel wants a socket of its own for.

mod open;
mod packet;
mod pending;
mod session;
mod socket;
mod sockets;

pub use open::SocketKey;
pub use packet::Family;
pub(crate) use packet::{IcmpError, MAX_PAYLOAD};
pub use session::{EchoResult, EchoSession};
pub(crate) use sockets::Sockets;
