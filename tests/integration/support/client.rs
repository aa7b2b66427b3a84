//! A client of HTTP/1.1 that shows exactly what came.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

/// A response as it came, but for the chunks of its body, which are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one that ends with its connection.
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(':'));
        let mut answer = Self {
            status: status
                .and_then(|status| status.parse().ok())
                .expect("a status code"),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
                .collect(),
            body: bytes[end + 4..].to_vec(),
        };
        if answer.header("transfer-encoding") == Some("chunked") && !answer.body.is_empty() {
            answer.body = put_together(&answer.body);
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a page in UTF-8")
    }
}

/// The content of the chunks (RFC 9112, section 7.1); panics if the last one is missing.
#[track_caller]
fn put_together(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|end| end == b"\r\n");
        let end = end.expect("a chunk's size");
        let size = std::str::from_utf8(&chunks[..end]).expect("a size in ASCII");
        let size = usize::from_str_radix(size, 16).expect("a size in hexadecimal");
        let data = &chunks[end + 2..];
        if size == 0 {
            assert_eq!(data, b"\r\n");
            return body;
        }
        body.extend_from_slice(&data[..size]);
        chunks = &data[size + 2..];
    }
}

#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

/// Sends a request with these headers, a line each, on a connection of its own.
#[track_caller]
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    let mut stream = connect(address);
    stream
        .write_all(head.as_bytes())
        .expect("an open connection");
    Answer::parse(&read_to_end(&mut stream).expect("an answer"))
}

/// The same of a server that would send its answer in chunks; it may not to HTTP/1.0.
#[track_caller]
pub fn get_in_one_piece(address: SocketAddr, path: &str) -> Answer {
    let mut stream = connect(address);
    let head = format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n");
    stream
        .write_all(head.as_bytes())
        .expect("an open connection");
    Answer::parse(&read_to_end(&mut stream).expect("an answer"))
}

#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a listening server");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout above zero");
    stream
}

/// Everything until the server closes.
pub fn read_to_end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}
