//! Queries one name server, over UDP and TCP, and remembers if it answers.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, socket_with};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpStream, UdpSocket},
    time::Instant,
};

use super::message::{FORMERR, NOTIMP, Query, REFUSED, Response, ResponseError, SERVFAIL};
use crate::check::{Rcode, StepKind, Steps};

/// Options of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryOptions {
    /// Over TCP from the beginning.
    pub tcp: bool,
    pub edns: bool,
}

/// The reason why a server gave no usable answer, so that another one is asked.
#[derive(Debug)]
pub(super) enum QueryError {
    Io(io::Error),
    Refused(Rcode),
    /// It does not look up names for others.
    Referral,
    Malformed(String),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Refused(rcode) => write!(f, "it says {rcode}"),
            Self::Referral => f.write_str("it does not look up names for others"),
            Self::Malformed(error) => write!(f, "its response is malformed: {error}"),
        }
    }
}

/// A name server with the sockets that it has been asked over.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    idle: Mutex<Vec<Socket>>,
    pub health: Health,
}

/// A UDP socket that is connected to the server.
#[derive(Debug)]
struct Socket {
    udp: UdpSocket,
    opened: Instant,
    queries: u32,
}

/// A socket of each query's own would double the system calls. One that is used again has a port
/// that could be found out in time, so it is not used often, nor for long.
const MAX_QUERIES: u32 = 32;
const MAX_AGE: Duration = Duration::from_secs(1);
const MAX_IDLE: usize = 16;

/// A longer datagram is not asked for.
const MAX_DATAGRAM: usize = 4096;

impl Server {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: Mutex::default(),
            health: Health::default(),
        }
    }

    /// Sends `query` and returns the response. There is no time limit.
    pub(super) async fn ask(
        &self,
        query: &Query,
        options: QueryOptions,
        steps: &Steps,
    ) -> Result<Response, QueryError> {
        let waiting = self.health.start_query();
        let address = self.address;
        steps.add(StepKind::DnsQuery, || {
            let over = if options.tcp { "TCP" } else { "UDP" };
            format!("{query} to {address} over {over}")
        });
        let asked = self.exchange(query, options, steps).await;
        steps.add(StepKind::DnsResponse, || match &asked {
            Ok(response) => format!("{address} says {response}"),
            Err(error) => format!("{address}: {error}"),
        });
        waiting.end(&asked);
        match asked? {
            Response {
                rcode: rcode @ (SERVFAIL | NOTIMP | REFUSED),
                ..
            } => Err(QueryError::Refused(rcode)),
            Response {
                is_referral: true, ..
            } => Err(QueryError::Referral),
            response => Ok(response),
        }
    }

    async fn exchange(
        &self,
        query: &Query,
        options: QueryOptions,
        steps: &Steps,
    ) -> Result<Response, QueryError> {
        let mut edns = options.edns;
        loop {
            let mut response = None;
            if !options.tcp {
                response = Some(self.ask_over_udp(query, edns).await?);
            }
            let response = match response {
                Some(response) if !response.is_truncated => response,
                // In a box, because it is rare, and would make the future of each check larger.
                truncated => {
                    if truncated.is_some() {
                        let address = self.address;
                        steps.add(StepKind::DnsQuery, || {
                            format!("{query} to {address} over TCP, as the response was truncated")
                        });
                    }
                    Box::pin(self.ask_over_tcp(query, edns)).await?
                }
            };
            // From a server that has never heard of EDNS (RFC 6891, section 7).
            if response.rcode == FORMERR && edns {
                edns = false;
                continue;
            }
            return Ok(response);
        }
    }

    async fn ask_over_udp(&self, query: &Query, edns: bool) -> Result<Response, QueryError> {
        let id = rand::random();
        let bytes = query.encode(id, edns);
        let socket = self.send(&bytes).await.map_err(QueryError::Io)?;
        loop {
            let received = socket.receive(query, id).await.map_err(QueryError::Io)?;
            match received {
                Ok(response) => {
                    self.put_back(socket);
                    return Ok(response);
                }
                // A late response to an earlier query, or a forged one.
                Err(ResponseError::Mismatched) => {}
                Err(ResponseError::Malformed(error)) => return Err(QueryError::Malformed(error)),
            }
        }
    }

    /// Sends a query over a socket that is kept, or a new one.
    async fn send(&self, bytes: &[u8]) -> io::Result<Socket> {
        let kept = self.idle.lock().pop();
        if let Some(mut socket) = kept.filter(|socket| socket.opened.elapsed() < MAX_AGE) {
            socket.queries += 1;
            // What went wrong with an earlier query may come to light only now.
            if socket.udp.send(bytes).await.is_ok() {
                return Ok(socket);
            }
        }
        Socket::open_and_send(self.address, bytes)
    }

    fn put_back(&self, socket: Socket) {
        let now = Instant::now();
        let is_young = |socket: &Socket| now - socket.opened < MAX_AGE;
        let mut idle = self.idle.lock();
        if !idle.first().is_none_or(is_young) {
            idle.retain(is_young);
        }
        if socket.queries < MAX_QUERIES && idle.len() < MAX_IDLE {
            idle.push(socket);
        }
    }

    async fn ask_over_tcp(&self, query: &Query, edns: bool) -> Result<Response, QueryError> {
        let id = rand::random();
        let query_bytes = query.encode(id, edns);
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            // RFC 1035, section 4.2.2: each message behind its length.
            let length = u16::try_from(query_bytes.len()).expect("a query is short");
            stream
                .write_all(&[&length.to_be_bytes(), &*query_bytes].concat())
                .await?;
            let length = stream.read_u16().await?;
            let mut bytes = vec![0; length.into()];
            stream.read_exact(&mut bytes).await?;
            io::Result::Ok(bytes)
        };
        let bytes = exchange.await.map_err(QueryError::Io)?;
        query.decode(id, &bytes).map_err(|unfit| match unfit {
            ResponseError::Mismatched => {
                QueryError::Malformed("it answers another query".to_owned())
            }
            ResponseError::Malformed(error) => QueryError::Malformed(error),
        })
    }
}

impl Socket {
    /// A socket with a port of the system's choice, which is random, over which `bytes` have been sent.
    ///
    /// They are sent before the socket is watched: then its first event is the response.
    fn open_and_send(server: SocketAddr, bytes: &[u8]) -> io::Result<Self> {
        let family = if server.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&socket, &server)?;
        send(&socket, bytes, SendFlags::empty())?;
        Ok(Self {
            udp: UdpSocket::from_std(socket.into())?,
            opened: Instant::now(),
            queries: 1,
        })
    }

    /// Waits for a datagram, and reads it as a response to `query`.
    async fn receive(&self, query: &Query, id: u16) -> io::Result<Result<Response, ResponseError>> {
        loop {
            // That the port is closed makes a socket no more readable.
            let interest = Interest::READABLE | Interest::ERROR;
            if self.udp.ready(interest).await?.is_error() {
                if let Some(error) = self.udp.take_error()? {
                    return Err(error);
                }
                // It was taken back: told to tokio, so that the next wait is one.
                let nothing = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
                let _ = self.udp.try_io(Interest::ERROR, nothing);
            }
            match self.try_receive(query, id) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }

    /// Separate from the waiting, so that the buffer is not part of the future of each check.
    fn try_receive(&self, query: &Query, id: u16) -> io::Result<Result<Response, ResponseError>> {
        let mut datagram = [0; MAX_DATAGRAM];
        let length = self.udp.try_recv(&mut datagram)?;
        Ok(query.decode(id, &datagram[..length]))
    }
}

/// Knowledge about whether a server answers.
///
/// A server that left a query unanswered counts as silent for some time: others are asked together with it.
#[derive(Debug)]
pub(super) struct Health {
    /// The start of the times below.
    start: Instant,
    /// When a response last came, in milliseconds.
    heard: AtomicU64,
    /// Until when the server is taken for silent, in milliseconds; 0 for one that is not.
    silent_until: AtomicU64,
}

/// The expectation of a server, which decides when the next one is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// It is expected to answer.
    Answers,
    /// It was silent, and is tried again for a moment by one query.
    OnTrial,
    /// It has been silent lately.
    Silent,
}

impl Health {
    /// Time for which a server counts as silent after an unanswered query.
    const SILENT_FOR: Duration = Duration::from_secs(30);
    /// One of the queries after that time tries the server, for which the others do not wait.
    const TRIAL_FOR: Duration = Duration::from_secs(2);
    /// A query that was given up earlier tells nothing.
    const UNANSWERED_AFTER: Duration = Duration::from_millis(100);

    /// The expectation of the server now.
    pub(super) fn availability(&self) -> Availability {
        let until = self.silent_until.load(Ordering::Relaxed);
        let now = self.now();
        if until == 0 {
            return Availability::Answers;
        }
        if now < until {
            return Availability::Silent;
        }
        let trial_ends = now + millis(Self::TRIAL_FOR);
        let silent_until = &self.silent_until;
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        match silent_until.compare_exchange(until, trial_ends, set, fetch) {
            Ok(_) => Availability::OnTrial,
            Err(_) => Availability::Silent,
        }
    }

    fn start_query(&self) -> PendingQuery<'_> {
        PendingQuery {
            health: self,
            since: Some(self.now()),
        }
    }

    /// From 1.
    fn now(&self) -> u64 {
        millis(self.start.elapsed()) + 1
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            heard: AtomicU64::new(0),
            silent_until: AtomicU64::new(0),
        }
    }
}

/// A query that waits for its response; dropped before, it tells that the server is silent.
struct PendingQuery<'h> {
    health: &'h Health,
    since: Option<u64>,
}

impl PendingQuery<'_> {
    fn end(mut self, asked: &Result<Response, QueryError>) {
        self.since = None;
        // An unreachable server is known immediately, and so costs nothing.
        if !matches!(asked, Err(QueryError::Io(_))) {
            let now = self.health.now();
            self.health.heard.store(now, Ordering::Relaxed);
            self.health.silent_until.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for PendingQuery<'_> {
    fn drop(&mut self) {
        let Some(since) = self.since else { return };
        let now = self.health.now();
        // A server that had something to say meanwhile is busy with a name that is hard to find.
        let was_heard = self.health.heard.load(Ordering::Relaxed) >= since;
        if !was_heard && now - since >= millis(Health::UNANSWERED_AFTER) {
            let until = now + millis(Health::SILENT_FOR);
            self.health.silent_until.store(until, Ordering::Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn answered() -> Result<Response, QueryError> {
        Err(QueryError::Referral)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_leaves_a_query_unanswered_is_silent_and_tried_again() {
        let health = Health::default();
        let waiting = health.start_query();
        assert_eq!(health.availability(), Availability::Answers);
        advance(Health::UNANSWERED_AFTER).await;
        drop(waiting);
        assert_eq!(health.availability(), Availability::Silent);
        advance(Health::SILENT_FOR).await;
        assert_eq!(health.availability(), Availability::OnTrial);
        assert_eq!(
            health.availability(),
            Availability::Silent,
            "one query does for a trial"
        );
        health.start_query().end(&answered());
        assert_eq!(health.availability(), Availability::Answers);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_others_is_not_silent() {
        let health = Health::default();
        let waiting = health.start_query();
        advance(Duration::from_secs(4)).await;
        health.start_query().end(&answered());
        advance(Duration::from_secs(1)).await;
        drop(waiting);
        assert_eq!(health.availability(), Availability::Answers);
        // Nor is one that was not waited for.
        advance(Duration::from_secs(1)).await;
        let waiting = health.start_query();
        advance(Duration::from_millis(99)).await;
        drop(waiting);
        assert_eq!(health.availability(), Availability::Answers);
        let unreachable = Err(QueryError::Io(io::ErrorKind::ConnectionRefused.into()));
        health.start_query().end(&unreachable);
        assert_eq!(health.availability(), Availability::Answers);
    }
}
