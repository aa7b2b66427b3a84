//! ICMP echo over sockets that all monitors share: one for each version of IP, and for each way to
//! send that the kernel wants a socket of its own for.

mod open;
mod packet;
mod session;
mod socket;
mod sockets;
mod waiting;

pub use open::Profile;
pub use packet::{Family, HEADER, MAX_PAYLOAD, Notice};
pub use session::{EchoSession, Outcome, Request};
pub use socket::Socket;
pub use sockets::Sockets;
