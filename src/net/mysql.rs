//! The part of MySQL's protocol that leads to TLS, and ends a session without an account
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).
//!
//! A server counts clients that leave before their login is decided, and refuses a host with too many
//! of them (`max_connect_errors`). So a login is tried, of a user who need not exist.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{MeasuredStream, echo::quote, text_session::TextSession};
use crate::check::{Failure, Reason};

const CLIENT_PROTOCOL_41: u32 = 0x200;
const CLIENT_SSL: u32 = 0x800;
const CLIENT_SECURE_CONNECTION: u32 = 0x8000;
const CLIENT_PLUGIN_AUTH: u32 = 0x8_0000;

const CAPABILITIES: u32 =
    CLIENT_PROTOCOL_41 | CLIENT_SSL | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH;

/// Reads the greeting, and asks for TLS.
pub(super) async fn request(session: &mut TextSession<'_>) -> Result<(), Failure> {
    session.awaiting("the greeting of the server");
    let [low, middle, high, sequence] = session.array().await?;
    let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
    let greeting = session.bytes(length).await?;
    let wrong = |reason, error: &str| Err(session.failure(reason, error));
    match Greeting::parse(&greeting) {
        Some(Greeting::Refusal(refusal)) => wrong(refusal.reason(), &refusal.to_string()),
        Some(Greeting::Capabilities(capabilities)) if sequence == 0 => {
            if capabilities & CLIENT_SSL == 0 {
                return wrong(Reason::ResponseMismatch, "the server does not offer TLS");
            }
            session.send_public(&ssl_request()).await
        }
        _ => wrong(Reason::ProtocolError, "the greeting is not MySQL's"),
    }
}

/// The first packet of a server.
#[derive(Debug, PartialEq)]
enum Greeting<'g> {
    /// The lower capability flags.
    Capabilities(u32),
    Refusal(Refusal<'g>),
}

/// An error packet in place of a greeting.
#[derive(Debug, PartialEq)]
struct Refusal<'g> {
    code: u16,
    message: &'g [u8],
}

impl<'g> Greeting<'g> {
    fn parse(packet: &'g [u8]) -> Option<Self> {
        const VERSION: u8 = 10;
        const ERROR: u8 = 0xff;
        let (first, rest) = packet.split_first()?;
        if *first == ERROR {
            let (code, message) = rest.split_first_chunk()?;
            // The SQL state, which is left out before the client has told its capabilities.
            let message = match message {
                [b'#', _, _, _, _, _, message @ ..] | message => message,
            };
            let code = u16::from_le_bytes(*code);
            return Some(Self::Refusal(Refusal { code, message }));
        }
        let end_of_version = rest.iter().position(|byte| *byte == 0)?;
        // The connection's number, the first part of the scramble, and a filler.
        let flags = end_of_version + 1 + 4 + 8 + 1;
        let flags: [u8; 2] = rest.get(flags..flags + 2)?.try_into().ok()?;
        let capabilities = u16::from_le_bytes(flags).into();
        (*first == VERSION).then_some(Self::Capabilities(capabilities))
    }
}

impl Refusal<'_> {
    /// The reason of the failure: whether the server refuses every client, or this one.
    fn reason(&self) -> Reason {
        const TOO_MANY_CONNECTIONS: u16 = 1040;
        const SHUTDOWN_IN_PROGRESS: u16 = 1053;
        match self.code {
            TOO_MANY_CONNECTIONS | SHUTDOWN_IN_PROGRESS => Reason::NotServing,
            _ => Reason::ResponseMismatch,
        }
    }
}

impl std::fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, message } = self;
        write!(
            f,
            "the server refused the connection with error {code}: {}",
            quote(message)
        )
    }
}

/// A packet with its length and sequence number.
fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let [low, middle, high, _] = length.to_le_bytes();
    [&[low, middle, high, sequence], payload].concat()
}

/// The beginning of the client's first packet: capabilities, the largest packet, a character set, 23
/// zeros.
fn client_header() -> Vec<u8> {
    const UTF8: u8 = 33;
    const MAX_PACKET: u32 = 1 << 24;
    let mut header = CAPABILITIES.to_le_bytes().to_vec();
    header.extend_from_slice(&MAX_PACKET.to_le_bytes());
    header.push(UTF8);
    header.resize(32, 0);
    header
}

fn ssl_request() -> Vec<u8> {
    packet(1, &client_header())
}

/// Packets that a server sends before it has decided on a login.
const MAX_PACKETS: usize = 8;

/// Bytes of such a packet.
const MAX_PACKET_BYTES: usize = 4 << 10;

/// Tries to log in without a password, waits for the refusal, and says goodbye if there is none.
pub(super) async fn quit(stream: &mut MeasuredStream) -> io::Result<()> {
    const USER: &[u8] = b"monitoringdaemon\0";
    const NO_PASSWORD: &[u8] = b"\0";
    const PLUGIN: &[u8] = b"mysql_native_password\0";
    const COM_QUIT: &[u8] = b"\x01";
    let login = [&client_header()[..], USER, NO_PASSWORD, PLUGIN].concat();
    send(stream, &packet(2, &login)).await?;
    for _ in 0..MAX_PACKETS {
        let (sequence, payload) = receive(stream).await?;
        let answer = match payload.first() {
            // The client is to answer by another plugin, or once more.
            Some(0xfe | 0x01) => empty_password(&payload),
            // Anybody may log in.
            Some(0x00) => return send(stream, &packet(0, COM_QUIT)).await,
            _ => return Ok(()),
        };
        send(stream, &packet(sequence.wrapping_add(1), answer)).await?;
    }
    Ok(())
}

/// The answer to a request for an empty password by the plugin that `payload` names.
fn empty_password(payload: &[u8]) -> &'static [u8] {
    let native = payload.starts_with(b"\xfemysql_native_password\0");
    if native { b"" } else { b"\0" }
}

async fn send(stream: &mut MeasuredStream, packet: &[u8]) -> io::Result<()> {
    stream.write_all(packet).await?;
    stream.flush().await
}

async fn receive(stream: &mut MeasuredStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let [low, middle, high, sequence] = header;
    let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
    if length > MAX_PACKET_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((sequence, payload))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_capabilities_of_a_server_are_found() {
        let greeting = |flags: [u8; 2]| {
            let start = b"\x0a8.0.36\0\x01\x02\x03\x0412345678\0";
            [&start[..], &flags, b"rest"].concat()
        };
        let found = |flags, expected| {
            let greeting = greeting(flags);
            assert_eq!(
                Greeting::parse(&greeting),
                Some(Greeting::Capabilities(expected))
            );
        };
        found([0xff, 0xf7], 0xf7ff);
        found([0x00, 0x08], CLIENT_SSL);
        for other in [&b""[..], b"\x0a8.0", b"SSH-2.0", b"\xff", b"\xff\x10"] {
            assert_eq!(Greeting::parse(other), None, "{}", quote(other));
        }
    }

    #[test]
    fn a_refusal_has_its_number_and_a_reason() {
        for (packet, reason, text) in [
            (
                &b"\xff\x10\x04Too many connections"[..],
                Reason::NotServing,
                "the server refused the connection with error 1040: \"Too many connections\"",
            ),
            (
                b"\xff\x1d\x04#08S01Server shutdown in progress",
                Reason::NotServing,
                "the server refused the connection with error 1053: \"Server shutdown in progress\"",
            ),
            (
                b"\xff\x69\x04Host '10.0.0.1' is blocked",
                Reason::ResponseMismatch,
                "the server refused the connection with error 1129: \"Host '10.0.0.1' is blocked\"",
            ),
        ] {
            let Some(Greeting::Refusal(refusal)) = Greeting::parse(packet) else {
                panic!("no refusal: {}", quote(packet));
            };
            assert_eq!(refusal.reason(), reason);
            assert_eq!(refusal.to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Greeting::parse(&bytes);
        }
    }
}
