//! A server of WebSockets (RFC 6455) that does what a closure does with each connection.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::handshake::derive_accept_key};

use super::{SERVERS, server::Request};

/// A server on a port of its own; dropped, it is gone with all of its connections.
pub struct Peer {
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Peer {
    pub fn start<F: Future<Output = ()> + Send + 'static>(
        act: impl Fn(WebSocketStream<TcpStream>) -> F + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        listener.set_nonblocking(true).expect("an open socket");
        let task = SERVERS.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listening socket");
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            loop {
                let Ok((tcp, _)) = listener.accept().await else {
                    continue;
                };
                if let Ok(socket) = accept_async(tcp).await {
                    connections.spawn(act(socket));
                }
            }
        });
        Self {
            address,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The response that upgrades as `request` asks, with these lines besides.
pub fn upgraded(request: &Request, lines: &[&str]) -> String {
    let key = request.header("sec-websocket-key").expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    let necessary = [
        "upgrade: websocket",
        "connection: Upgrade",
        &format!("sec-websocket-accept: {accept}"),
    ];
    response(&[&necessary, lines].concat())
}

/// A response with status 101 and these lines.
pub fn response(lines: &[&str]) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\n",
        lines.join("\r\n")
    )
}
