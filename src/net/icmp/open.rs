//! Opens sockets for echo requests, and names the missing permission.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr},
};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, SockFilter, Type};

use super::packet::Family;

/// The properties of a socket. Requests with equal ones share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    /// The version of IP.
    pub family: Family,
    /// The source address; `None` for the system's choice.
    pub source: Option<IpAddr>,
    /// Maximum number of hops of a request; 0 for the system's default.
    pub ttl: u8,
    /// True if a request must not be fragmented, and is lost if it is too large for a network on its way.
    pub dont_fragment: bool,
}

/// A socket that is not read from yet.
pub(super) struct OpenSocket {
    pub socket: socket2::Socket,
    pub family: Family,
    /// Of a raw socket alone.
    pub(crate) identifier: Option<u16>,
}

/// The reason why a socket cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// No kind of ICMP socket is permitted.
    Forbidden,
    /// Another error of the system.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden => f.write_str(NO_PERMISSION),
            Self::Io(error) => write!(f, "no socket for ICMP: {error}"),
        }
    }
}

/// The missing permission, and the ways to grant it.
const NO_PERMISSION: &str = "no permission to send ICMP: the group of this process is not in \
    net.ipv4.ping_group_range, and it has no CAP_NET_RAW; grant one of them: \
    sysctl -w net.ipv4.ping_group_range=\"0 2147483647\", or \
    setcap cap_net_raw+ep on the program, or cap_add: [NET_RAW] for a container of root, or \
    AmbientCapabilities=CAP_NET_RAW in the unit of systemd";

/// Bytes that may wait at a socket either way, as far as the system lets it: it is for all monitors.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

impl SocketKey {
    /// Opens an unprivileged socket if the system has them, else a raw one.
    pub(super) fn open(self) -> Result<OpenSocket, OpenError> {
        let unprivileged = self.socket(Type::DGRAM);
        let (socket, identifier) = match unprivileged {
            Ok(socket) => (socket, None),
            Err(error) if is_exhausted(&error) => return Err(OpenError::Io(error)),
            Err(_) => match self.socket(Type::RAW) {
                Ok(socket) => (socket, Some(random_identifier())),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(OpenError::Forbidden);
                }
                Err(error) => return Err(OpenError::Io(error)),
            },
        };
        self.configure(&socket, identifier).map_err(OpenError::Io)?;
        Ok(OpenSocket {
            socket,
            family: self.family,
            identifier,
        })
    }

    fn socket(self, kind: Type) -> io::Result<socket2::Socket> {
        let (domain, protocol) = match self.family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        socket2::Socket::new(domain, kind.nonblocking(), Some(protocol))
    }

    fn configure(self, socket: &socket2::Socket, identifier: Option<u16>) -> io::Result<()> {
        if let Some(identifier) = identifier {
            socket.attach_filter(&replies_to(self.family, identifier))?;
        }
        match self.family {
            Family::V4 => self.configure_v4(socket)?,
            Family::V6 => self.configure_v6(socket)?,
        }
        setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        // The system keeps to its own limits without complaint.
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        match self.source {
            Some(source) => socket.bind(&SocketAddr::new(source, 0).into()),
            None => Ok(()),
        }
    }

    fn configure_v4(self, socket: &socket2::Socket) -> io::Result<()> {
        if self.ttl > 0 {
            socket.set_ttl_v4(self.ttl.into())?;
        }
        // The path itself is probed, not the kernel's cache of its MTU.
        let discovery = if self.dont_fragment {
            Ipv4PathMtuDiscovery::PROBE
        } else {
            Ipv4PathMtuDiscovery::DONT
        };
        set_ip_mtu_discover(socket, discovery)?;
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        Ok(())
    }

    fn configure_v6(self, socket: &socket2::Socket) -> io::Result<()> {
        if self.ttl > 0 {
            socket.set_unicast_hops_v6(self.ttl.into())?;
        }
        if self.dont_fragment {
            set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
            setsockopt(socket, sockopt::Ipv6DontFrag, &true)?;
        }
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
        socket.set_recv_hoplimit_v6(true)
    }
}

/// Returns whether descriptors or memory are exhausted, so that another kind of socket would fail too.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
        || error.kind() == io::ErrorKind::OutOfMemory
}

fn random_identifier() -> u16 {
    let [a, b, ..] = RandomState::new().hash_one(()).to_be_bytes();
    u16::from_be_bytes([a, b])
}

/// A program for the kernel (bpf(4)), so that a raw socket gets no messages but echo replies with
/// `identifier`: without it, it gets those of everybody.
fn replies_to(family: Family, identifier: u16) -> Vec<SockFilter> {
    // IPv4 packets include the header, whose length goes to X; IPv6 packets do not.
    const BPF_LDX_B_MSH: u16 = 0xb1;
    const BPF_LD_B_IND: u16 = 0x50;
    const BPF_LD_H_IND: u16 = 0x48;
    const BPF_LD_B_ABS: u16 = 0x30;
    const BPF_LD_H_ABS: u16 = 0x28;
    const BPF_JMP_JEQ_K: u16 = 0x15;
    const BPF_RET_K: u16 = 0x06;
    let step = |code, k| SockFilter::new(code, 0, 0, k);
    let unless_equal_skip = |skip, k| SockFilter::new(BPF_JMP_JEQ_K, 0, skip, k);
    let (byte, half) = match family {
        Family::V4 => (BPF_LD_B_IND, BPF_LD_H_IND),
        Family::V6 => (BPF_LD_B_ABS, BPF_LD_H_ABS),
    };
    let mut program = vec![
        step(byte, 0),
        unless_equal_skip(3, family.reply().into()),
        step(half, 4),
        unless_equal_skip(1, identifier.into()),
        step(BPF_RET_K, u32::MAX),
        step(BPF_RET_K, 0),
    ];
    if family == Family::V4 {
        program.insert(0, step(BPF_LDX_B_MSH, 0));
    }
    program
}
