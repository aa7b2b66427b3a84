//! A name server that answers, or does not, as a rule says: over UDP, TCP and TLS, on one port.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, rdata},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{SERVERS, server::Step};

/// A query as the server got it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub bytes: Vec<u8>,
    pub message: Message,
    pub over_tcp: bool,
    pub from: SocketAddr,
}

/// The server's reaction to a query.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends a message: a datagram, or behind its length.
    Send(Vec<u8>),
    /// Writes bytes as they are.
    Write(Vec<u8>),
    /// Closes the connection.
    Close,
}

type Rule = dyn Fn(&Asked) -> Vec<Act> + Send + Sync;

/// A name server on a port of its own; dropped, it is gone. It does as the rule says of each query, and
/// then waits for more.
pub struct NameServer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    tasks: [AbortHandle; 2],
}

impl NameServer {
    pub fn start(rule: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::start_with(Ipv4Addr::LOCALHOST.into(), None, Arc::new(rule))
    }

    pub fn start_at(
        address: IpAddr,
        rule: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(address, None, Arc::new(rule))
    }

    /// With the handshake `tls` on its TCP port.
    pub fn over_tls(tls: &Step, rule: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let Step::Tls(config) = tls else {
            panic!("no handshake");
        };
        let acceptor = TlsAcceptor::from(config.clone());
        Self::start_with(Ipv4Addr::LOCALHOST.into(), Some(acceptor), Arc::new(rule))
    }

    fn start_with(address: IpAddr, tls: Option<TlsAcceptor>, rule: Arc<Rule>) -> Self {
        let (udp, tcp) = bind(address);
        let address = udp.local_addr().expect("a bound socket has an address");
        let seen = Arc::default();
        let zone = Zone { rule, seen };
        let seen = zone.seen.clone();
        let tasks = [
            SERVERS.spawn(serve_udp(udp, zone.clone())).abort_handle(),
            SERVERS.spawn(serve_tcp(tcp, tls, zone)).abort_handle(),
        ];
        Self {
            address,
            seen,
            tasks,
        }
    }

    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("nothing panics with it").clone()
    }

    /// The one query that came.
    #[track_caller]
    pub fn asked(&self) -> Asked {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Asked {
    /// A response with what `fill` puts into it.
    pub fn response(&self, fill: impl FnOnce(&mut Message)) -> Vec<u8> {
        response(&self.message, fill)
    }

    /// A response with 192.0.2.1 for the name.
    pub fn good(&self) -> Vec<u8> {
        self.response(|message| {
            message.add_answer(address(&self.message, [192, 0, 2, 1]));
        })
    }

    /// A response with this code.
    pub fn code(&self, code: ResponseCode) -> Vec<u8> {
        self.response(|message| message.metadata.response_code = code)
    }

    /// A response that says that there is more of it.
    pub fn truncated(&self) -> Vec<u8> {
        self.response(|message| message.metadata.truncation = true)
    }
}

/// A response to `query` with what `fill` puts into it.
pub fn response(query: &Message, fill: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = query.clone().into_response();
    fill(&mut message);
    message.to_vec().expect("a message that can be written")
}

/// An A record of the name in the question.
pub fn address(query: &Message, address: [u8; 4]) -> Record {
    let name = query.queries[0].name().clone();
    Record::from_rdata(name, 300, RData::A(rdata::A(address.into())))
}

/// One port for both protocols.
fn bind(address: IpAddr) -> (std::net::UdpSocket, std::net::TcpListener) {
    loop {
        let udp = std::net::UdpSocket::bind((address, 0)).expect("a free port");
        let address = udp.local_addr().expect("a bound socket has an address");
        // The port may be taken there, by a test that runs beside this one.
        if let Ok(tcp) = std::net::TcpListener::bind(address) {
            udp.set_nonblocking(true).expect("an open socket");
            tcp.set_nonblocking(true).expect("an open socket");
            return (udp, tcp);
        }
    }
}

#[derive(Clone)]
struct Zone {
    rule: Arc<Rule>,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl Zone {
    fn acts(&self, bytes: Vec<u8>, over_tcp: bool, from: SocketAddr) -> Vec<Act> {
        let message = Message::from_vec(&bytes).expect("a well-formed query");
        let asked = Asked {
            bytes,
            message,
            over_tcp,
            from,
        };
        let acts = (self.rule)(&asked);
        let mut seen = self.seen.lock().expect("nothing panics with it");
        seen.push(asked);
        acts
    }
}

async fn serve_udp(socket: std::net::UdpSocket, zone: Zone) {
    let socket = UdpSocket::from_std(socket).expect("a socket that does not block");
    let mut query = [0; 1500];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut query).await else {
            continue;
        };
        for act in zone.acts(query[..length].to_vec(), false, client) {
            if let Act::Send(bytes) | Act::Write(bytes) = act {
                let _ = socket.send_to(&bytes, client).await;
            }
        }
    }
}

async fn serve_tcp(listener: std::net::TcpListener, tls: Option<TlsAcceptor>, zone: Zone) {
    let listener = TcpListener::from_std(listener).expect("a socket that does not block");
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            continue;
        };
        let (zone, tls) = (zone.clone(), tls.clone());
        tokio::spawn(async move {
            let _ = match tls {
                None => serve_stream(stream, from, zone).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve_stream(stream, from, zone).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

async fn serve_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    zone: Zone,
) -> std::io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await?;
        for act in zone.acts(query, true, from) {
            match act {
                Act::Send(message) => {
                    let length = u16::try_from(message.len()).expect("a message has no more");
                    stream.write_u16(length).await?;
                    stream.write_all(&message).await?;
                }
                Act::Write(bytes) => stream.write_all(&bytes).await?,
                Act::Close => return stream.shutdown().await,
            }
            stream.flush().await?;
        }
    }
}
