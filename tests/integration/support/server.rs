//! A server that follows a script: the same steps for every connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use rustls::ServerConfig;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{PATIENCE, SERVERS};

/// The next action of a server on a connection.
///
/// After the last step it closes in good order. The client's leaving ends a script that waits for
/// it, in [`Step::Request`] and [`Step::Hang`].
#[derive(Clone)]
pub enum Step {
    /// Does nothing for so long.
    Wait(Duration),
    /// Reads some bytes, whatever they are.
    Read,
    /// Waits until there is something to read, and leaves it there.
    Peek,
    /// A TLS handshake.
    Tls(Arc<ServerConfig>),
    /// A TLS handshake where the client begins one.
    TlsIfWanted(Arc<ServerConfig>),
    /// Reads these bytes, and closes where others come.
    Hear(Bytes),
    /// Reads so many bytes, of which no more is made.
    Take(usize),
    /// Reads one request of HTTP/1.
    Request,
    /// Writes bytes.
    Send(Bytes),
    /// Writes bytes so many times.
    Repeat(Bytes, u64),
    /// Writes bytes until nobody takes them.
    Flood(Bytes),
    /// Answers one request after the other, for as long as the client keeps the connection.
    Answer(Arc<dyn Fn(&Request) -> Bytes + Send + Sync>),
    /// Answers one request.
    Reply(Arc<dyn Fn(&Request) -> Bytes + Send + Sync>),
    /// Speaks HTTP/2 and answers one request.
    Http2(Vec<Frame>),
    /// Reads until the client leaves.
    Hang,
    /// Reads until the client has ended what it sends: over TLS, by close_notify.
    Farewell,
    /// Reads nothing, and stays.
    Deaf,
    /// Writes back what it reads until the client leaves.
    Echo,
    /// Closes without a word of TLS.
    Drop,
    /// Closes with a TCP reset.
    Reset,
}

impl Step {
    pub fn send(bytes: impl Into<Bytes>) -> Self {
        Self::Send(bytes.into())
    }

    pub fn hear(bytes: impl Into<Bytes>) -> Self {
        Self::Hear(bytes.into())
    }

    pub fn answer<B: Into<Bytes>>(answer: impl Fn(&Request) -> B + Send + Sync + 'static) -> Self {
        Self::Answer(Arc::new(move |request| answer(request).into()))
    }
}

/// The next action of an HTTP/2 server on a stream. After the last frame it serves until the client leaves.
#[derive(Clone)]
pub enum Frame {
    /// Does nothing for so long.
    Wait(Duration),
    /// The headers, with a status.
    Head(u16),
    /// The headers, with a status and these.
    HeadWith(u16, Headers),
    /// The headers, with a status and these, and the end of the stream.
    HeadAlone(u16, Headers),
    /// Headers behind the body, which end the stream.
    Trailers(Headers),
    /// A part of the body.
    Data(Bytes),
    /// The end of the body.
    End,
    /// Resets the stream.
    Reset,
    /// Resets the stream as one whose request was not even looked at, so that a client may retry.
    Refuse,
    /// Closes the connection in good order of TLS.
    Close,
    /// Closes the connection without a word of TLS.
    Drop,
}

/// Names and values of headers.
pub type Headers = Vec<(&'static str, String)>;

/// A request as the server got it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The request target: of HTTP/2, the path and the query.
    pub target: String,
    /// Names in lower case, in the order in which they came. Of HTTP/2, with the pseudo-headers
    /// `:scheme` and `:authority`.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The SNI of the connection.
    pub server_name: Option<String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| &**value);
        assert!(values.next().is_none(), "{name} came more than once");
        value
    }
}

/// The observations of a server.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections accepted.
    pub connections: usize,
    /// The addresses of the clients.
    pub peers: Vec<SocketAddr>,
    /// Connections that the client has closed or reset.
    pub left: usize,
    pub requests: Vec<Request>,
    /// The data that [`Step::Take`] read.
    pub taken: Vec<u8>,
    /// Steps done, of all connections.
    pub steps: usize,
    /// Bytes that the kernel took of [`Step::Send`], [`Step::Repeat`] and [`Step::Flood`].
    pub sent: u64,
}

/// A server on a port of its own; dropped, it is gone with all of its connections.
pub struct Server {
    pub address: SocketAddr,
    seen: watch::Receiver<Seen>,
    task: AbortHandle,
}

impl Server {
    /// On 127.0.0.1.
    pub fn start(script: impl Into<Vec<Step>>) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), script)
    }

    pub fn start_at(address: IpAddr, script: impl Into<Vec<Step>>) -> Self {
        Self::start_on(listener(SocketAddr::new(address, 0), 1024), script)
    }

    /// On both loopback addresses, with one port.
    pub fn start_pair(script: &[Step]) -> (Self, Self) {
        loop {
            let ip4 = listener(SocketAddr::from(([127, 0, 0, 1], 0)), 1024);
            let mut address = local_address(&ip4);
            address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
            // The port may be taken there, by a test that runs beside this one.
            if let Ok(ip6) = try_listener(address, 1024) {
                return (Self::start_on(ip4, script), Self::start_on(ip6, script));
            }
        }
    }

    fn start_on(listener: Socket, script: impl Into<Vec<Step>>) -> Self {
        let address = local_address(&listener);
        let script: Arc<[Step]> = script.into().into();
        let (seen, receiver) = watch::channel(Seen::default());
        let task = SERVERS.spawn(async move {
            let listener = TcpListener::from_std(listener.into()).expect("a listening socket");
            let seen = Arc::new(seen);
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            loop {
                let Ok((tcp, peer)) = listener.accept().await else {
                    continue;
                };
                seen.send_modify(|seen| {
                    seen.connections += 1;
                    seen.peers.push(peer);
                });
                let connection = Connection::new(tcp, seen.clone());
                let script = script.clone();
                connections.spawn(async move { connection.run(&script).await });
            }
        });
        Self {
            address,
            seen: receiver,
            task: task.abort_handle(),
        }
    }

    /// Answers 200 with a short body to everything.
    pub fn ok() -> Self {
        Self::start([Step::answer(|_| ok("hello"))])
    }

    /// Answers every request with what `answer` makes of it.
    pub fn answering<B: Into<Bytes>>(
        answer: impl Fn(&Request) -> B + Send + Sync + 'static,
    ) -> Self {
        Self::start([Step::answer(answer)])
    }

    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn https(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// The URL with a name that the lab's name server has to resolve.
    pub fn named(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{host}:{}{path}", self.address.port())
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// The one request that came.
    #[track_caller]
    pub fn request(&self) -> Request {
        let mut requests = self.seen().requests;
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }

    /// Waits for something to be seen.
    #[track_caller]
    pub fn until(&self, condition: impl Fn(&Seen) -> bool) -> impl Future<Output = Seen> {
        let caller = std::panic::Location::caller();
        let mut seen = self.seen.clone();
        async move {
            let met = timeout(PATIENCE, seen.wait_for(|seen| condition(seen))).await;
            let met = met.is_ok_and(|met| met.is_ok());
            let seen = seen.borrow().clone();
            assert!(met, "never seen, at {caller}; but: {seen:#?}");
            seen
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port whose accept queue is full, so that the kernel drops every SYN that comes.
pub struct Deaf {
    listener: Socket,
    pub address: SocketAddr,
    fillers: Vec<TcpStream>,
}

impl Deaf {
    pub async fn new() -> Self {
        let listener = listener(SocketAddr::from(([127, 0, 0, 1], 0)), 1);
        let address = local_address(&listener);
        let mut fillers = Vec::new();
        let impatience = Duration::from_millis(100);
        // Until one gets no answer: how many fit is the kernel's own business.
        while let Ok(filler) = timeout(impatience, TcpStream::connect(address)).await {
            fillers.push(filler.expect("a listener that has room"));
        }
        Self {
            listener,
            address,
            fillers,
        }
    }

    /// Makes room and follows `script` from here on.
    pub fn listen(self, script: impl Into<Vec<Step>>) -> Server {
        drop(self.fillers);
        Server::start_on(self.listener, script)
    }
}

/// A port that nobody listens on, and that nobody else can get.
pub struct Closed {
    _bound: Socket,
    pub address: SocketAddr,
}

impl Closed {
    pub fn new() -> Self {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        bound
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("a free port");
        let address = local_address(&bound);
        Self {
            _bound: bound,
            address,
        }
    }
}

fn listener(address: SocketAddr, backlog: i32) -> Socket {
    try_listener(address, backlog).expect("a free port on loopback")
}

fn try_listener(address: SocketAddr, backlog: i32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> SocketAddr {
    socket
        .local_addr()
        .ok()
        .as_ref()
        .and_then(SockAddr::as_socket)
        .expect("a bound socket has an address")
}

/// A response with `body` and its length.
pub fn ok(body: &str) -> String {
    response("200 OK", &[], body)
}

/// A response with `body` and its length.
pub fn response(status: &str, headers: &[&str], body: &str) -> String {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

/// A redirect to `location`.
pub fn redirect(status: u16, location: &str) -> String {
    response(
        &format!("{status} Elsewhere"),
        &[&format!("location: {location}")],
        "",
    )
}

/// TCP, or TLS over it.
enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// As through a proxy that itself is spoken to over TLS.
    Nested(Box<TlsStream<TlsStream<TcpStream>>>),
    Closed,
}

impl Wire {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls,
            Self::Nested(tls) => tls,
            Self::Closed => unreachable!("a script goes on after a failed handshake"),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Connection {
    wire: Wire,
    /// Read and not yet used.
    buffer: Vec<u8>,
    server_name: Option<String>,
    seen: Arc<watch::Sender<Seen>>,
}

/// The reason why a script ends early.
enum End {
    /// The client has closed or reset the connection.
    Left,
    /// The server has.
    Closed,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Left
    }
}

impl From<h2::Error> for End {
    fn from(_: h2::Error) -> Self {
        Self::Left
    }
}

impl Connection {
    fn new(tcp: TcpStream, seen: Arc<watch::Sender<Seen>>) -> Self {
        // Otherwise the kernel takes megabytes that nobody reads.
        let _ = SockRef::from(&tcp).set_send_buffer_size(64 << 10);
        let _ = tcp.set_nodelay(true);
        Self {
            wire: Wire::Tcp(tcp),
            buffer: Vec::new(),
            server_name: None,
            seen,
        }
    }

    async fn run(mut self, script: &[Step]) {
        let result = self.follow(script).await;
        if let Err(End::Left) = result {
            self.seen.send_modify(|seen| seen.left += 1);
        }
    }

    async fn follow(&mut self, script: &[Step]) -> Result<(), End> {
        for step in script {
            match step {
                Step::Wait(time) => sleep(*time).await,
                Step::Read => self.fill().await?,
                Step::Peek => {
                    self.first_byte().await?;
                }
                Step::Tls(config) => self.handshake(config).await?,
                Step::TlsIfWanted(config) => {
                    const HANDSHAKE: u8 = 0x16;
                    if self.first_byte().await? == HANDSHAKE {
                        self.handshake(config).await?;
                    }
                }
                Step::Hear(bytes) => self.hear(bytes).await?,
                Step::Take(length) => {
                    while self.buffer.len() < *length {
                        self.fill().await?;
                    }
                    let taken: Vec<_> = self.buffer.drain(..length).collect();
                    self.seen.send_modify(|seen| seen.taken.extend(taken));
                }
                Step::Request => {
                    self.request().await?;
                }
                Step::Send(bytes) => self.send(bytes).await?,
                Step::Repeat(bytes, times) => {
                    for _ in 0..*times {
                        self.send(bytes).await?;
                    }
                }
                Step::Flood(bytes) => loop {
                    self.send(bytes).await?;
                },
                Step::Answer(answer) => loop {
                    let request = self.request().await?;
                    self.send(&answer(&request)).await?;
                },
                Step::Reply(answer) => {
                    let request = self.request().await?;
                    self.send(&answer(&request)).await?;
                }
                Step::Http2(frames) => self.http2(frames).await?,
                Step::Hang => loop {
                    self.fill().await?;
                },
                Step::Farewell => {
                    // rustls calls it an error where TCP ends without close_notify.
                    while self.wire.stream().read_buf(&mut self.buffer).await? > 0 {}
                }
                Step::Deaf => std::future::pending().await,
                Step::Echo => loop {
                    self.fill().await?;
                    let heard = std::mem::take(&mut self.buffer);
                    self.send(&heard).await?;
                },
                Step::Drop => return Err(End::Closed),
                Step::Reset => {
                    if let Wire::Tcp(tcp) = &self.wire {
                        tcp.set_zero_linger()?;
                    } else if let Wire::Tls(tls) = &self.wire {
                        tls.get_ref().0.set_zero_linger()?;
                    }
                    return Err(End::Closed);
                }
            }
            self.seen.send_modify(|seen| seen.steps += 1);
        }
        self.wire.stream().shutdown().await?;
        loop {
            self.fill().await?;
        }
    }

    async fn hear(&mut self, bytes: &[u8]) -> Result<(), End> {
        // No more than that: what comes next may be a handshake.
        let missing = bytes.len().saturating_sub(self.buffer.len());
        let mut rest = vec![0; missing];
        self.wire.stream().read_exact(&mut rest).await?;
        self.buffer.extend_from_slice(&rest);
        let heard: Vec<_> = self.buffer.drain(..bytes.len()).collect();
        if heard == bytes {
            Ok(())
        } else {
            Err(End::Closed)
        }
    }

    /// Reads something more.
    async fn fill(&mut self) -> Result<(), End> {
        self.buffer.reserve(16 << 10);
        let length = self.wire.stream().read_buf(&mut self.buffer).await?;
        if length == 0 { Err(End::Left) } else { Ok(()) }
    }

    /// The first byte that came over TCP, which remains to be read.
    async fn first_byte(&mut self) -> Result<u8, End> {
        let Wire::Tcp(tcp) = &mut self.wire else {
            unreachable!("a script peeks into TLS");
        };
        let mut first = [0];
        match tcp.peek(&mut first).await? {
            0 => Err(End::Left),
            _ => Ok(first[0]),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.wire.stream().write_all(bytes).await?;
        self.wire.stream().flush().await?;
        self.seen
            .send_modify(|seen| seen.sent += bytes.len() as u64);
        Ok(())
    }

    async fn handshake(&mut self, config: &Arc<ServerConfig>) -> Result<(), End> {
        let acceptor = TlsAcceptor::from(config.clone());
        self.wire = match std::mem::replace(&mut self.wire, Wire::Closed) {
            Wire::Tcp(tcp) => {
                let tls = acceptor.accept(tcp).await?;
                self.server_name = tls.get_ref().1.server_name().map(ToOwned::to_owned);
                Wire::Tls(Box::new(tls))
            }
            Wire::Tls(outer) => {
                let tls = acceptor.accept(*outer).await?;
                self.server_name = tls.get_ref().1.server_name().map(ToOwned::to_owned);
                Wire::Nested(Box::new(tls))
            }
            Wire::Nested(_) | Wire::Closed => unreachable!("a script has no more wires"),
        };
        Ok(())
    }

    async fn request(&mut self) -> Result<Request, End> {
        let head_length = loop {
            match self.buffer.windows(4).position(|end| end == b"\r\n\r\n") {
                Some(start) => break start + 4,
                None => self.fill().await?,
            }
        };
        let head: Vec<_> = self.buffer.drain(..head_length).collect();
        let head = String::from_utf8(head).expect("a head of ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, target) = (word(), word());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        let mut request = Request {
            method,
            target,
            headers: headers.collect(),
            body: Vec::new(),
            server_name: self.server_name.clone(),
        };
        let length = request.header("content-length").map_or(0, |length| {
            length.parse().expect("a length that is a number")
        });
        while self.buffer.len() < length {
            self.fill().await?;
        }
        request.body = self.buffer.drain(..length).collect();
        self.seen
            .send_modify(|seen| seen.requests.push(request.clone()));
        Ok(request)
    }

    async fn http2(&mut self, frames: &[Frame]) -> Result<(), End> {
        let (seen, server_name) = (self.seen.clone(), self.server_name.clone());
        let mut connection = h2::server::handshake(self.wire.stream()).await?;
        let Some(exchange) = connection.accept().await else {
            return Err(End::Left);
        };
        let (request, respond) = exchange?;
        let answer = async {
            let request = read_http2(request, server_name).await?;
            seen.send_modify(|seen| seen.requests.push(request));
            answer_http2(respond, frames).await
        };
        // The connection makes progress only while it is asked for more requests.
        let mut serve = std::pin::pin!(async {
            while let Some(exchange) = connection.accept().await {
                exchange?;
            }
            Err(End::Left)
        });
        tokio::select! {
            result = answer => match result {
                Ok(None) => Ok(()),
                Ok(Some(_open)) => serve.await,
                Err(end) => Err(end),
            },
            result = &mut serve => result,
        }
    }
}

async fn read_http2(
    request: http::Request<RecvStream>,
    server_name: Option<String>,
) -> Result<Request, End> {
    let (head, mut stream) = request.into_parts();
    let mut headers = vec![
        (
            ":scheme".to_owned(),
            head.uri.scheme_str().unwrap_or_default().to_owned(),
        ),
        (
            ":authority".to_owned(),
            head.uri
                .authority()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
    ];
    headers.extend(head.headers.iter().map(|(name, value)| {
        (
            name.to_string(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    }));
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(Request {
        method: head.method.to_string(),
        target: head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers,
        body,
        server_name,
    })
}

fn head(status: u16, headers: &[(&'static str, String)]) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = status.try_into().expect("a status code");
    for (name, value) in headers {
        let value = value.parse().expect("the value of a header");
        head.headers_mut().append(*name, value);
    }
    head
}

/// A stream that is not reset before this is dropped.
type OpenStream = (SendResponse<Bytes>, Option<SendStream<Bytes>>);

/// Follows the script, and returns the stream unless the connection is to be closed.
async fn answer_http2(
    mut respond: SendResponse<Bytes>,
    frames: &[Frame],
) -> Result<Option<OpenStream>, End> {
    let mut stream = None;
    let headed = "a body after its headers";
    for frame in frames {
        match frame {
            Frame::Wait(time) => sleep(*time).await,
            Frame::Head(status) => stream = Some(respond.send_response(head(*status, &[]), false)?),
            Frame::HeadWith(status, headers) => {
                stream = Some(respond.send_response(head(*status, headers), false)?);
            }
            Frame::HeadAlone(status, headers) => {
                stream = Some(respond.send_response(head(*status, headers), true)?);
            }
            Frame::Trailers(headers) => stream
                .as_mut()
                .expect(headed)
                .send_trailers(head(200, headers).headers().clone())?,
            Frame::Data(data) => stream
                .as_mut()
                .expect(headed)
                .send_data(data.clone(), false)?,
            Frame::End => stream
                .as_mut()
                .expect(headed)
                .send_data(Bytes::new(), true)?,
            Frame::Reset => match &mut stream {
                Some(stream) => stream.send_reset(h2::Reason::INTERNAL_ERROR),
                None => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            },
            Frame::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
            Frame::Close => return Ok(None),
            Frame::Drop => return Err(End::Closed),
        }
    }
    Ok(Some((respond, stream)))
}
