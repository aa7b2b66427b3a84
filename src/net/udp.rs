//! A UDP socket for one peer, measured like a connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{io::Interest, net::UdpSocket};

use super::{Connector, ErrorClassifier, Route, with_zone};
use crate::{
    check::{Attempt, Failure, Phase, StepKind},
    value::Endpoint,
};

impl Connector {
    /// A UDP socket that is connected to `endpoint`. Enters the phases `resolve` and `connect`.
    ///
    /// # Errors
    /// A [`Failure`] if there is none.
    pub(crate) async fn connect_udp(
        &self,
        endpoint: &Endpoint,
        route: Route,
        attempt: &Attempt,
    ) -> Result<UdpPeer, Failure> {
        let address = self.resolve(&endpoint.host, route, attempt).await?;
        attempt.enter(Phase::Connect);
        let peer = with_zone(&endpoint.host, address, endpoint.port, attempt)?;
        attempt.step(StepKind::Connect, || format!("a UDP socket for {peer}"));
        let errors = ErrorClassifier::new(attempt);
        let any = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let connect = async {
            let source = SocketAddr::new(route.source.unwrap_or(any), 0);
            let socket = UdpSocket::bind(source).await?;
            socket.connect(peer).await?;
            io::Result::Ok(socket)
        };
        match connect.await {
            Ok(socket) => Ok(UdpPeer {
                socket,
                address,
                errors,
            }),
            Err(error) => Err(errors.failure(&error)),
        }
    }
}

/// A UDP socket for one peer, which knows what check it is for.
pub(crate) struct UdpPeer {
    socket: UdpSocket,
    address: IpAddr,
    errors: ErrorClassifier,
}

impl UdpPeer {
    /// The longest that there is.
    const MAX_DATAGRAM_BYTES: usize = u16::MAX as usize;

    /// The address of the peer.
    #[must_use]
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Sends `datagram`.
    ///
    /// # Errors
    /// A [`Failure`] if it cannot be sent.
    pub(crate) async fn send(&self, datagram: &[u8]) -> Result<(), Failure> {
        let sent = self.socket.send(datagram).await;
        sent.map(drop).map_err(|error| self.errors.failure(&error))
    }

    /// Waits for a datagram of the peer.
    ///
    /// # Errors
    /// A [`Failure`] if the network reports an error.
    pub(crate) async fn receive(&self) -> Result<Vec<u8>, Failure> {
        loop {
            match self.try_receive().await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received.map_err(|error| self.errors.failure(&error)),
            }
        }
    }

    /// Waits for something to happen, which need not be a datagram.
    async fn try_receive(&self) -> io::Result<Vec<u8>> {
        // That the port is closed makes a socket no more readable.
        let ready = self.socket.ready(Interest::READABLE | Interest::ERROR);
        if ready.await?.is_error() {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            // It was taken back: told to tokio, so that the next wait is one.
            let nothing = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
            let _ = self.socket.try_io(Interest::ERROR, nothing);
        }
        // Made when there is something to put in it: a check that waits costs no buffer.
        let mut datagram = vec![0; Self::MAX_DATAGRAM_BYTES];
        let length = self.socket.try_recv(&mut datagram)?;
        Ok(datagram[..length].to_vec())
    }
}
