//! The UDP socket of one QUIC connection.

use std::{
    fmt,
    io::{self, ErrorKind, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::{
    io::{Interest, ReadBuf},
    net::UdpSocket,
};

use crate::net::{ErrorClassifier, Route};

/// A UDP socket that is connected to the target, so that the kernel passes on ICMP errors and nothing that others
/// send.
pub(super) struct MeasuredSocket {
    socket: UdpSocket,
    peer: SocketAddr,
    errors: ErrorClassifier,
    /// The error that ended the connection.
    failure: Mutex<Option<io::Error>>,
}

impl MeasuredSocket {
    /// A socket for `peer`.
    pub(super) async fn open(
        peer: SocketAddr,
        route: Route,
        errors: ErrorClassifier,
    ) -> io::Result<Arc<Self>> {
        let any = match peer.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let source = SocketAddr::new(route.source.unwrap_or(any), 0);
        let socket = UdpSocket::bind(source).await?;
        socket.connect(peer).await?;
        Ok(Arc::new(Self {
            socket,
            peer,
            errors,
            failure: Mutex::default(),
        }))
    }

    /// The address of this end, in words.
    pub(super) fn shown_local_address(&self) -> String {
        match self.socket.local_addr() {
            Ok(local) => format!("from {local}"),
            Err(error) => error.to_string(),
        }
    }

    /// Takes the error that ended the connection.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.failure.lock().take()
    }

    /// Waits for an error of the network: that a port is closed makes a socket no more readable.
    pub(super) async fn watch_errors(self: Arc<Self>) {
        loop {
            let error = match self.socket.ready(Interest::ERROR).await {
                Ok(_) => self.socket.take_error().unwrap_or_else(Some),
                Err(error) => Some(error),
            };
            if let Some(error) = error
                && self.record(error)
            {
                return;
            }
            // It was taken back: told to tokio, so that the next wait is one.
            let nothing = || io::Result::<()>::Err(ErrorKind::WouldBlock.into());
            let _ = self.socket.try_io(Interest::ERROR, nothing);
        }
    }

    /// Records `error`, and returns whether it ends the connection. A datagram that is too large, or for
    /// which there is no room, is a lost one.
    fn record(&self, error: io::Error) -> bool {
        let is_loss = matches!(
            error.kind(),
            ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::OutOfMemory
        ) || matches!(error.raw_os_error(), Some(EMSGSIZE | ENOBUFS));
        if !is_loss {
            self.failure.lock().get_or_insert(error);
        }
        !is_loss
    }
}

// Linux's numbers (errno(3)) of errors for which std has no kind.
const EMSGSIZE: i32 = 90;
const ENOBUFS: i32 = 105;

impl AsyncUdpSocket for MeasuredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.socket.try_send(transmit.contents) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                self.record(error);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        loop {
            let mut buffer = ReadBuf::new(buffer);
            match self.socket.poll_recv(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    let len = buffer.filled().len();
                    // An empty datagram is not an end.
                    if let Err(flood) = self.errors.count_received(len.max(1)) {
                        self.record(flood);
                        // The check is about to fail.
                        return Poll::Pending;
                    }
                    *meta = RecvMeta {
                        addr: self.peer,
                        len,
                        stride: len,
                        ecn: None,
                        dst_ip: None,
                    };
                    return Poll::Ready(Ok(1));
                }
                Poll::Ready(Err(error)) => {
                    if self.record(error) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl fmt::Debug for MeasuredSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeasuredSocket").finish_non_exhaustive()
    }
}

/// Waits until the socket can send.
#[derive(Debug)]
struct WritePoller(Arc<MeasuredSocket>);

impl UdpPoller for WritePoller {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.socket.poll_send_ready(context)
    }
}
