//! A shared socket: sends the echo requests of many checks, and delivers the replies.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use nix::{
    cmsg_space,
    libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, sock_extended_err, sockaddr_in6},
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
        },
        time::TimeSpec,
    },
};
use parking_lot::{Mutex, MutexGuard};
use scopeguard::{ScopeGuard, guard};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket, sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    open::OpenSocket,
    packet::{Cookie, Family, IcmpError, Reply, quoted, request, strip_ipv4_header},
    pending::{Answer, Arrival, PendingEcho, PendingEchoes},
};

/// A socket that is shared by all checks with the same key.
pub struct Socket {
    state: Arc<SocketState>,
    /// Ends with the last user of the socket.
    reader: AbortOnDropHandle<()>,
}

pub(super) struct SocketState {
    /// No socket of UDP, but one for datagrams, which is all that tokio has to know of it.
    socket: UdpSocket,
    family: Family,
    /// The identifier of a raw socket. For other sockets, the kernel sets it and filters replies.
    identifier: Option<u16>,
    pending: Mutex<PendingEchoes>,
    /// Derives unpredictable cookies from numbers.
    cookies: RandomState,
    requests: AtomicU64,
}

impl Socket {
    /// Starts to read what `opened` receives.
    pub(super) fn start(opened: OpenSocket) -> io::Result<Self> {
        let state = Arc::new(SocketState {
            socket: UdpSocket::from_std(opened.socket.into())?,
            family: opened.family,
            identifier: opened.identifier,
            pending: Mutex::default(),
            cookies: RandomState::new(),
            requests: AtomicU64::new(0),
        });
        let reader = AbortOnDropHandle::new(tokio::spawn(read(state.clone())));
        Ok(Self { state, reader })
    }

    /// Returns whether replies are still read. They are not once the runtime that read them is gone.
    pub(super) fn is_alive(&self) -> bool {
        !self.reader.is_finished()
    }

    pub(super) fn state(&self) -> &Arc<SocketState> {
        &self.state
    }

    /// Number of pending requests.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state.pending().len()
    }
}

/// Maximum number of retries of a send: an ICMP error on the request of another check
/// fails whatever is sent next over the same socket, once.
const MAX_SEND_RETRIES: usize = 8;

/// Time to wait for room in the send buffer, and the pause between two tries.
const SEND_BUFFER_TIMEOUT: Duration = Duration::from_millis(500);
const SEND_BUFFER_POLL: Duration = Duration::from_millis(5);

impl SocketState {
    pub(super) fn pending(&self) -> MutexGuard<'_, PendingEchoes> {
        self.pending.lock()
    }

    /// A number that no other session has.
    pub(super) fn number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    fn cookie(&self) -> Cookie {
        self.cookies.hash_one(self.number()).to_be_bytes()
    }

    /// Sends a request with a payload of `size` bytes to `target`, whose answer goes to `inbox`;
    /// returns its sequence, and when it was sent.
    pub(super) async fn send(
        &self,
        owner: u64,
        target: SocketAddr,
        size: usize,
        inbox: mpsc::Sender<Answer>,
    ) -> io::Result<(u16, Instant)> {
        let cookie = self.cookie();
        let echo = PendingEcho {
            owner,
            target: target.ip(),
            cookie,
            size,
            inbox,
        };
        let sequence = self.pending().insert(echo).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::OutOfMemory,
                "too many echo requests are waiting for replies",
            )
        })?;
        // Removes it if the check is dropped meanwhile.
        let reserved = guard(sequence, |sequence| {
            self.pending().cancel(sequence, owner);
        });
        let identifier = self.identifier.unwrap_or(0);
        let packet = request(self.family, identifier, sequence, cookie, size);
        let sent_at = self.send_packet(&packet, target).await?;
        Ok((ScopeGuard::into_inner(reserved), sent_at))
    }

    async fn send_packet(&self, packet: &[u8], target: SocketAddr) -> io::Result<Instant> {
        let address = target.into();
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let sent_at = Instant::now();
            match SockRef::from(&self.socket).send_to(packet, &address) {
                Ok(_) => return Ok(sent_at),
                // Requests to neighbours that are looked for hold the buffer for seconds. Whether
                // there is room again is not asked of epoll, which calls a socket with an error
                // writable for good.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if began.elapsed() > SEND_BUFFER_TIMEOUT {
                        let full = "the socket's send buffer is full";
                        return Err(io::Error::new(io::ErrorKind::OutOfMemory, full));
                    }
                    tokio::time::sleep(SEND_BUFFER_POLL).await;
                }
                Err(error) if tries == MAX_SEND_RETRIES => return Err(error),
                Err(_) => tries += 1,
            }
        }
    }

    /// Reads what has come in, or much of it: others want to run as well. Returns whether more may be
    /// there.
    fn drain(&self, room: &mut RecvBuffer) -> bool {
        let mut more = false;
        for (interest, flags) in [
            (Interest::ERROR, MsgFlags::MSG_ERRQUEUE),
            (Interest::READABLE, MsgFlags::empty()),
        ] {
            // What would block, in the end, tells tokio that nothing is left.
            let _ = self.socket.try_io(interest, || {
                for _ in 0..MAX_BATCH {
                    match room.receive(self.socket.as_raw_fd(), flags) {
                        Ok(received) => self.dispatch(&received),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            return Err(error);
                        }
                        // What an ICMP error left behind, which the error queue has told.
                        Err(_) => {}
                    }
                }
                more = true;
                Ok(())
            });
        }
        more
    }

    fn dispatch(&self, received: &Received<'_>) {
        let Some(address) = received.address else {
            return;
        };
        if let Some(icmp_error) = received.icmp_error {
            let quoted = quoted(self.family, received.bytes).filter(|(id, _)| self.is_ours(*id));
            if let Some((_, sequence)) = quoted {
                self.pending().icmp_error(address, sequence, icmp_error);
            }
            return;
        }
        let message = if self.identifier.is_some() && self.family == Family::V4 {
            strip_ipv4_header(received.bytes)
        } else {
            Some(received.bytes)
        };
        let reply = message.and_then(|message| Reply::parse(self.family, message));
        if let Some(reply) = reply.filter(|reply| self.is_ours(reply.identifier)) {
            let arrival = Arrival {
                read_at: Instant::now(),
                kernel_queue_time: received.kernel_queue_time(),
                hop_limit: received.hop_limit,
            };
            self.pending().reply(address, reply, arrival);
        }
    }

    fn is_ours(&self, identifier: u16) -> bool {
        self.identifier.is_none_or(|ours| ours == identifier)
    }
}

/// Packets that are read before other tasks get a turn.
const MAX_BATCH: usize = 256;

/// The pause after a batch that was full. The kernel keeps what comes meanwhile, and of a flood drops
/// what it has no room for. The times of replies are the kernel's, so they are not delayed.
const BATCH_PAUSE: Duration = Duration::from_millis(1);

/// Reads as long as the runtime runs.
async fn read(state: Arc<SocketState>) {
    let mut room = RecvBuffer::new();
    let interest = Interest::READABLE | Interest::ERROR;
    while state.socket.ready(interest).await.is_ok() {
        if state.drain(&mut room) {
            tokio::time::sleep(BATCH_PAUSE).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// The memory for packets that come in.
struct RecvBuffer {
    bytes: Box<[u8]>,
    control: Vec<u8>,
}

/// A received packet.
struct Received<'r> {
    bytes: &'r [u8],
    /// The sender; of an ICMP error, the target of the request.
    address: Option<IpAddr>,
    hop_limit: Option<u8>,
    stamp: Option<SystemTime>,
    icmp_error: Option<IcmpError>,
}

impl RecvBuffer {
    fn new() -> Self {
        Self {
            // No packet is larger.
            bytes: vec![0; 1 << 16].into(),
            control: cmsg_space!(
                sock_extended_err,
                sockaddr_in6,
                TimeSpec,
                i32,
                i32,
                [u8; 64]
            ),
        }
    }

    fn receive(&mut self, socket: RawFd, flags: MsgFlags) -> io::Result<Received<'_>> {
        let mut slices = [IoSliceMut::new(&mut self.bytes)];
        let control = Some(&mut self.control[..]);
        let message = recvmsg::<SockaddrStorage>(socket, &mut slices, control, flags)?;
        let size = message.bytes;
        let mut received = Received {
            bytes: &[],
            address: message.address.as_ref().and_then(ip),
            hop_limit: None,
            stamp: None,
            icmp_error: None,
        };
        for control in message.cmsgs()? {
            received.note(&control);
        }
        received.bytes = self.bytes.get(..size).unwrap_or_default();
        Ok(received)
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

impl Received<'_> {
    fn note(&mut self, control: &ControlMessageOwned) {
        match control {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                self.hop_limit = u8::try_from(*hops).ok();
            }
            ControlMessageOwned::ScmTimestampns(stamp) => {
                let since_epoch = Duration::from(*stamp);
                self.stamp = SystemTime::UNIX_EPOCH.checked_add(since_epoch);
            }
            ControlMessageOwned::Ipv4RecvErr(error, from) => {
                let from = from.map(|from| SockaddrIn::from(from).ip().into());
                self.icmp_error = icmp_error(error, from);
            }
            ControlMessageOwned::Ipv6RecvErr(error, from) => {
                let from = from.map(|from| SockaddrIn6::from(from).ip().into());
                self.icmp_error = icmp_error(error, from);
            }
            _ => {}
        }
    }

    /// Time between the kernel's timestamp and now.
    fn kernel_queue_time(&self) -> Duration {
        let kernel_queue_time = self.stamp.and_then(|stamp| stamp.elapsed().ok());
        kernel_queue_time.unwrap_or_default()
    }
}

fn icmp_error(error: &sock_extended_err, from: Option<IpAddr>) -> Option<IcmpError> {
    let family = match error.ee_origin {
        SO_EE_ORIGIN_ICMP => Family::V4,
        SO_EE_ORIGIN_ICMP6 => Family::V6,
        // Our own kernel, which has told the sender already.
        _ => return None,
    };
    Some(IcmpError {
        family,
        kind: error.ee_type,
        code: error.ee_code,
        mtu: error.ee_info,
        from: from.filter(|from| !from.is_unspecified()),
    })
}
