//! HTTP/3 servers: one by h3 that answers, and one of QUIC that does what its test wants.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use h3_quinn::BidiStream;
use http::{Request, Response};
use parking_lot::Mutex;
use quinn::{
    Connection, Endpoint, ServerConfig, TransportConfig, crypto::rustls::QuicServerConfig,
};
use rustls::version::TLS13;

use super::{
    SERVERS,
    pki::{Handshake, IDENTITY},
    server::Step,
};

/// A request that the server has received.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: Request<()>,
    pub body: Bytes,
}

type Requests = Arc<Mutex<Vec<Received>>>;

/// A server of HTTP/3. It ends when it is dropped.
pub struct Http3Server {
    pub address: SocketAddr,
    endpoint: Endpoint,
    requests: Requests,
}

/// The handshake of a server that speaks HTTP/3.
pub const HANDSHAKE: Handshake<'static> = Handshake {
    versions: &[&TLS13],
    alpn: &["h3"],
    client_authority: None,
    client_may_refuse: false,
};

impl Http3Server {
    /// Serves each connection as `serve` does.
    pub fn serving<F: Future<Output = ()> + Send + 'static>(
        handshake: Step,
        serve: impl Fn(Connection) -> F + Send + Sync + 'static,
    ) -> Self {
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        Self::serving_at(at, handshake, serve)
    }

    pub fn serving_at<F: Future<Output = ()> + Send + 'static>(
        at: SocketAddr,
        handshake: Step,
        serve: impl Fn(Connection) -> F + Send + Sync + 'static,
    ) -> Self {
        let Step::Tls(tls) = handshake else {
            panic!("a handshake is wanted");
        };
        let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3");
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        // A check that goes without a word would be missed no sooner.
        transport.max_idle_timeout(None);
        config.transport_config(Arc::new(transport));
        let _runtime = SERVERS.enter();
        let endpoint = Endpoint::server(config, at).expect("a port of loopback");
        let address = endpoint.local_addr().expect("a bound socket");
        let accepting = endpoint.clone();
        let serve = Arc::new(serve);
        SERVERS.spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let serve = serve.clone();
                SERVERS.spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(connection).await;
                    }
                });
            }
        });
        Self {
            address,
            endpoint,
            requests: Requests::default(),
        }
    }

    /// Answers each request as `answer` says, with a body.
    pub fn answering<B: Into<Bytes>>(
        handshake: Step,
        answer: impl Fn(&Received) -> Response<B> + Send + Sync + 'static,
    ) -> Self {
        Self::answering_at(Ipv4Addr::LOCALHOST.into(), handshake, answer)
    }

    pub fn answering_at<B: Into<Bytes>>(
        address: IpAddr,
        handshake: Step,
        answer: impl Fn(&Received) -> Response<B> + Send + Sync + 'static,
    ) -> Self {
        let requests = Requests::default();
        let answer = Arc::new(move |received: &Received| answer(received).map(Into::into));
        let seen = requests.clone();
        let at = SocketAddr::new(address, 0);
        let mut server = Self::serving_at(at, handshake, move |connection| {
            let (seen, answer) = (seen.clone(), answer.clone());
            async move {
                // That a client goes is no matter.
                let _ = answer_all(connection, &seen, &*answer).await;
            }
        });
        server.requests = requests;
        server
    }

    /// Answers `hello` to everything.
    pub fn ok() -> Self {
        Self::answering(HANDSHAKE.step(&IDENTITY), |_| Response::new("hello"))
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Received> {
        self.requests.lock().clone()
    }

    /// The connections that are open.
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }
}

impl Drop for Http3Server {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"");
    }
}

async fn answer_all(
    connection: Connection,
    seen: &Requests,
    answer: &(dyn Fn(&Received) -> Response<Bytes> + Send + Sync),
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let connection = h3_quinn::Connection::new(connection);
    let mut connection = h3::server::Connection::<_, Bytes>::new(connection).await?;
    while let Some(resolver) = connection.accept().await? {
        let (head, mut stream) = resolver.resolve_request().await?;
        let body = read_all(&mut stream).await?;
        let received = Received { head, body };
        let response = answer(&received);
        seen.lock().push(received);
        let (head, body) = response.into_parts();
        stream.send_response(Response::from_parts(head, ())).await?;
        if !body.is_empty() {
            stream.send_data(body).await?;
        }
        stream.finish().await?;
    }
    Ok(())
}

async fn read_all(
    stream: &mut RequestStream<BidiStream<Bytes>, Bytes>,
) -> Result<Bytes, h3::error::StreamError> {
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend(data.copy_to_bytes(data.remaining()));
    }
    Ok(body.into())
}

/// Frames of HTTP/3 (RFC 9114, section 7.2), one after the other.
#[derive(Clone, Default)]
pub struct Frames(pub Vec<u8>);

impl Frames {
    pub const DATA: u64 = 0;
    pub const HEADERS: u64 = 1;
    pub const GOAWAY: u64 = 7;
    /// One of those that mean nothing.
    pub const GREASE: u64 = 0x21;

    /// A response with this status and these headers.
    pub fn response(status: &str, headers: &[(&str, &str)]) -> Self {
        Self::default().then_headers(status, headers)
    }

    pub fn then_headers(self, status: &str, headers: &[(&str, &str)]) -> Self {
        let mut block = vec![0, 0];
        literal(&mut block, ":status", status);
        for (name, value) in headers {
            literal(&mut block, name, value);
        }
        self.then(Self::HEADERS, &block)
    }

    pub fn then(mut self, kind: u64, payload: &[u8]) -> Self {
        self.claim(kind, payload.len() as u64);
        self.0.extend(payload);
        self
    }

    /// The beginning of a frame that says that it is so long.
    pub fn claim(&mut self, kind: u64, length: u64) {
        for number in [kind, length] {
            // In four bytes, whose first two bits say so (RFC 9000, section 16); in one, if that will do.
            if let Ok(short @ 0..64) = u8::try_from(number) {
                self.0.push(short);
            } else {
                let number = u32::try_from(number).expect("less than 2³⁰");
                self.0.extend((number | 2 << 30).to_be_bytes());
            }
        }
    }
}

/// A header without compression (RFC 9204, section 4.5.6).
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    integer(block, 0b0010_0000, 3, name.len());
    block.extend(name.as_bytes());
    integer(block, 0, 7, value.len());
    block.extend(value.as_bytes());
}

/// An integer behind the first bits of its first byte (RFC 7541, section 5.1).
fn integer(block: &mut Vec<u8>, first: u8, bits: u32, number: usize) {
    let most = (1_usize << bits) - 1;
    let low = |number: usize| u8::try_from(number & 0xff).expect("a byte");
    if number < most {
        block.push(first | low(number));
        return;
    }
    block.push(first | low(most));
    let mut rest = number - most;
    while rest >= 128 {
        block.push(low(rest % 128 + 128));
        rest /= 128;
    }
    block.push(low(rest));
}

/// The stream of a request over a connection that the test itself serves.
pub struct Exchange {
    pub connection: Connection,
    pub send: quinn::SendStream,
    _receive: quinn::RecvStream,
    pub control: quinn::SendStream,
}

impl Exchange {
    /// Waits for the request, and sends the settings before.
    pub async fn accept(connection: Connection) -> Option<Self> {
        let mut control = connection.open_uni().await.ok()?;
        // The type of the stream, and settings of which there are none.
        control.write_all(&[0, 4, 0]).await.ok()?;
        let (send, mut receive) = connection.accept_bi().await.ok()?;
        let mut first = [0; 1];
        receive.read_exact(&mut first).await.ok()?;
        Some(Self {
            connection,
            send,
            _receive: receive,
            control,
        })
    }

    /// Sends `frames`, unless the client has gone.
    pub async fn send(&mut self, frames: &Frames) {
        let _ = self.send.write_all(&frames.0).await;
    }

    /// Waits until the client has closed the connection.
    pub async fn hang(self) {
        self.connection.closed().await;
    }
}
