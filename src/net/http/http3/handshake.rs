//! The TLS handshake inside of QUIC, as it is seen by whoever measures it.

use std::{any::Any, sync::Arc};

use parking_lot::Mutex;
use quinn::{
    ConnectError, ConnectionId, Side,
    crypto::{
        ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
        rustls::QuicClientConfig,
    },
};
use quinn_proto::{TransportError, transport_parameters::TransportParameters};
use rustls::{CipherSuite, NamedGroup};

use super::socket::MeasuredSocket;
use crate::check::{Attempt, Phase, StepKind};

/// Begins the session of one connection, and watches it.
pub(super) struct WatchedConfig {
    pub inner: Arc<QuicClientConfig>,
    pub attempt: Attempt,
    pub socket: Arc<MeasuredSocket>,
    pub agreed: Arc<Mutex<Option<Agreed>>>,
}

impl ClientConfig for WatchedConfig {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        parameters: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = self.inner.clone();
        Ok(Box::new(WatchedSession {
            inner: inner.start_session(version, server_name, parameters)?,
            config: self,
            hello: Some(Vec::new()),
        }))
    }
}

/// A session that notes when the peer answers, and what it chooses.
struct WatchedSession {
    inner: Box<dyn Session>,
    config: Arc<WatchedConfig>,
    /// The beginning of what the peer sends, until its choice is known.
    hello: Option<Vec<u8>>,
}

impl WatchedSession {
    fn watch(&mut self, bytes: &[u8]) {
        let Some(hello) = &mut self.hello else { return };
        if hello.is_empty() {
            let WatchedConfig {
                attempt, socket, ..
            } = &*self.config;
            attempt.step(StepKind::Connected, || socket.shown_local_address());
            attempt.enter(Phase::Tls);
        }
        let room = MAX_HELLO_BYTES - hello.len();
        hello.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if let Some(agreed) = Agreed::parse(hello) {
            *self.config.agreed.lock() = Some(agreed);
            self.hello = None;
        } else if hello.len() == MAX_HELLO_BYTES {
            self.hello = None;
        }
    }
}

impl Session for WatchedSession {
    fn initial_keys(&self, destination: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(destination, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.watch(bytes);
        self.inner.read_handshake(bytes)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(bytes)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, destination: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(destination, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

/// The choice of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub suite: CipherSuite,
    pub group: Option<NamedGroup>,
}

/// Bytes of a ServerHello, with a HelloRetryRequest before it; the longest has a key of some 1,100 bytes.
const MAX_HELLO_BYTES: usize = 8 << 10;

/// The type of a ServerHello, and of a HelloRetryRequest (RFC 8446, section 4).
const SERVER_HELLO: u8 = 2;

/// The extension with the key of the peer (RFC 8446, section 4.2).
const KEY_SHARE: u16 = 51;

/// The random number that makes a ServerHello a HelloRetryRequest (RFC 8446, section 4.1.3), its beginning.
const RETRY_RANDOM: [u8; 8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];

impl Agreed {
    /// The choice in the ServerHello of `messages`, if all of it is there.
    fn parse(messages: &[u8]) -> Option<Self> {
        let mut rest = messages;
        loop {
            let kind = take(&mut rest, 1)?[0];
            let mut message = take_counted(&mut rest, 3)?;
            if kind != SERVER_HELLO {
                continue;
            }
            take(&mut message, 2)?;
            let random = take(&mut message, 32)?;
            if random.starts_with(&RETRY_RANDOM) {
                continue;
            }
            take_counted(&mut message, 1)?;
            let suite = number(take(&mut message, 2)?);
            take(&mut message, 1)?;
            return Some(Self {
                suite: suite.into(),
                group: take_counted(&mut message, 2).and_then(group),
            });
        }
    }
}

/// The group of the key among `extensions`.
fn group(mut extensions: &[u8]) -> Option<NamedGroup> {
    loop {
        let kind = number(take(&mut extensions, 2)?);
        let mut content = take_counted(&mut extensions, 2)?;
        if kind == KEY_SHARE {
            return Some(number(take(&mut content, 2)?).into());
        }
    }
}

/// Takes `count` bytes off the front of `bytes`.
fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (front, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(front)
}

/// Takes a length of `width` bytes off the front of `bytes`, and as many bytes.
fn take_counted<'b>(bytes: &mut &'b [u8], width: usize) -> Option<&'b [u8]> {
    let length = take(bytes, width)?.iter();
    let length = length.fold(0, |length, byte| length << 8 | usize::from(*byte));
    take(bytes, length)
}

fn number(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u16::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ServerHello with `random`, AES-256 and X25519.
    fn hello(random: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend(random);
        body.resize(2 + 32, 7);
        body.extend([0, 0x13, 0x02, 0]);
        let extensions = [0, 43, 0, 2, 3, 4, 0, 51, 0, 5, 0, 29, 0, 1, 9];
        body.extend([0, 15]);
        body.extend(extensions);
        let mut message = vec![SERVER_HELLO, 0, 0, u8::try_from(body.len()).expect("short")];
        message.extend(body);
        message
    }

    #[test]
    fn the_choice_is_that_of_the_hello_after_a_retry() {
        let expected = Agreed {
            suite: CipherSuite::TLS13_AES_256_GCM_SHA384,
            group: Some(NamedGroup::X25519),
        };
        let once = hello(&[1; 8]);
        assert_eq!(Agreed::parse(&once), Some(expected));
        assert_eq!(Agreed::parse(&hello(&RETRY_RANDOM)), None);
        let twice = [hello(&RETRY_RANDOM), once.clone()].concat();
        assert_eq!(Agreed::parse(&twice), Some(expected));
        for length in 0..once.len() {
            assert_eq!(Agreed::parse(&once[..length]), None, "{length}");
        }
    }
}
