//! Asks a proxy for a tunnel, by CONNECT (RFC 9110, section 9.3.6) or SOCKS 5 (RFC 1928), and why
//! it may refuse.

use std::{io, net::IpAddr};

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::head_reader::{HeadError, HeadReader};
use crate::{
    check::Reason,
    value::{Endpoint, Host},
};

/// The reason why there is no tunnel.
#[derive(Debug)]
pub(super) enum ProxyError {
    /// The connection to the proxy ended.
    Io(io::Error),
    /// The proxy rejected so.
    Rejected(Reason, String),
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl ProxyError {
    fn malformed(what: &str) -> Self {
        Self::Rejected(Reason::ProtocolError, what.to_owned())
    }
}

/// Asks for a tunnel to `target`.
pub(super) async fn request_connect_tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Endpoint,
    headers: &HeaderMap,
) -> Result<(), ProxyError> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_str().as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    stream.flush().await?;

    let mut reader = HeadReader::default();
    let head = reader.next(stream).await.map_err(|error| match error {
        HeadError::Io(error) => ProxyError::Io(error),
        HeadError::Closed => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
        HeadError::NotHttp => ProxyError::malformed("expected an HTTP response to CONNECT"),
        HeadError::TooLarge | HeadError::TooManyPieces => {
            ProxyError::malformed("the response to CONNECT is too long")
        }
    })?;
    match status(&head) {
        // The target has not been spoken to, and does not speak first.
        Some(200..=299) if !reader.into_rest().is_empty() => Err(ProxyError::malformed(
            "unexpected data after the response to CONNECT",
        )),
        Some(200..=299) => Ok(()),
        Some(407) => {
            let error = "HTTP 407 in response to CONNECT: it requires other credentials";
            Err(ProxyError::Rejected(
                Reason::ConnectionFailed,
                error.to_owned(),
            ))
        }
        Some(status) => {
            let error = format!("HTTP {status} in response to CONNECT, expected 2xx");
            Err(ProxyError::Rejected(Reason::ConnectionFailed, error))
        }
        None => Err(ProxyError::malformed(
            "the response to CONNECT has no status",
        )),
    }
}

/// The status of a response, of which `head` is the head.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let mut words = rest.split(|byte| *byte == b' ');
    let version = words.next()?;
    let code = words.next()?;
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if version.len() != 1 || !digits(version) || code.len() != 3 || !digits(code) {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (100..600).contains(&code).then_some(code)
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
/// User and password (RFC 1929).
const USERINFO: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks for a tunnel to `target`.
pub(super) async fn request_socks5_tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Endpoint,
    userinfo: Option<&(String, String)>,
) -> Result<(), ProxyError> {
    // A proxy that authenticates clients by address needs no password.
    let methods: &[u8] = match userinfo {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USERINFO],
    };
    stream.write_all(methods).await?;
    stream.flush().await?;
    let refused = |error: &str| ProxyError::Rejected(Reason::ConnectionFailed, error.to_owned());
    let userinfo = match (stream.read_u8().await?, stream.read_u8().await?) {
        (VERSION, NO_AUTHENTICATION) => None,
        (VERSION, USERINFO) if userinfo.is_some() => userinfo,
        (VERSION, NONE_ACCEPTABLE) if userinfo.is_some() => {
            return Err(refused("it does not accept a user name and a password"));
        }
        (VERSION, NONE_ACCEPTABLE) => return Err(refused("it requires credentials")),
        _ => return Err(ProxyError::malformed("it does not speak SOCKS 5")),
    };
    if let Some((user, password)) = userinfo {
        let mut request = vec![1];
        for text in [user, password] {
            let length = u8::try_from(text.len())
                .map_err(|_| refused("the user name or password is too long"))?;
            request.push(length);
            request.extend_from_slice(text.as_bytes());
        }
        stream.write_all(&request).await?;
        stream.flush().await?;
        let (_, status) = (stream.read_u8().await?, stream.read_u8().await?);
        if status != 0 {
            return Err(refused("it rejected the credentials"));
        }
    }
    let mut request = vec![VERSION, 1, 0];
    match &target.host {
        Host::Address(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Host::Address(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        // A zone has a meaning on this host only.
        Host::Zoned(zoned) => {
            request.push(IPV6);
            request.extend(zoned.address.octets());
        }
        Host::Name(name) => {
            let length =
                u8::try_from(name.len()).map_err(|_| refused("the host name is too long"))?;
            request.extend([NAME, length]);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend(target.port.to_be_bytes());
    stream.write_all(&request).await?;
    stream.flush().await?;
    reply(stream).await
}

/// Reads what becomes of the request: the reply, and the address that it came from.
async fn reply<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), ProxyError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head[..2]).await?;
    let [version, code, ..] = head;
    if version != VERSION {
        return Err(ProxyError::malformed("it does not speak SOCKS 5"));
    }
    let rejected = |reason, error: &str| {
        Err(ProxyError::Rejected(
            reason,
            format!("it answered: {error}"),
        ))
    };
    match code {
        0 => {}
        2 => return rejected(Reason::ConnectionFailed, "not allowed"),
        3 => return rejected(Reason::HostUnreachable, "network unreachable"),
        4 => return rejected(Reason::HostUnreachable, "host unreachable"),
        5 => return rejected(Reason::ConnectionRefused, "connection refused"),
        code => return rejected(Reason::ConnectionFailed, &format!("error code {code}")),
    }
    stream.read_exact(&mut head[2..]).await?;
    let length: u8 = match head[3] {
        IPV4 => 4,
        IPV6 => 16,
        NAME => stream.read_u8().await?,
        _ => return Err(ProxyError::malformed("it does not speak SOCKS 5")),
    };
    let mut bound = vec![0; usize::from(length) + 2];
    stream.read_exact(&mut bound).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target() -> Endpoint {
        Endpoint {
            host: Host::Name("a.example".to_owned()),
            port: 443,
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime without I/O").block_on(future)
    }

    /// The protocol, and the credentials.
    #[derive(Clone, Copy)]
    enum Way {
        Connect,
        Socks(Option<(&'static str, &'static str)>),
    }

    /// Asks a proxy that answers with `bytes` and closes. Returns the request and the outcome.
    fn ask(bytes: &[u8], way: Way) -> (Vec<u8>, Result<(), ProxyError>) {
        run(async {
            let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
            theirs.write_all(bytes).await.expect("room for it");
            theirs.shutdown().await.expect("an open pipe");
            let outcome = match way {
                Way::Connect => {
                    request_connect_tunnel(&mut ours, &target(), &HeaderMap::new()).await
                }
                Way::Socks(userinfo) => {
                    let userinfo = userinfo.map(|(a, b)| (a.to_owned(), b.to_owned()));
                    request_socks5_tunnel(&mut ours, &target(), userinfo.as_ref()).await
                }
            };
            drop(ours);
            let mut asked = Vec::new();
            theirs.read_to_end(&mut asked).await.expect("an open pipe");
            (asked, outcome)
        })
    }

    fn reason(outcome: Result<(), ProxyError>) -> Option<Reason> {
        match outcome {
            Ok(()) => None,
            Err(ProxyError::Rejected(reason, _)) => Some(reason),
            Err(ProxyError::Io(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                Some(Reason::ConnectionReset)
            }
        }
    }

    #[test]
    fn connect_asks_for_the_target_and_takes_any_2xx() {
        let (asked, outcome) = ask(b"HTTP/1.0 201 Yes\r\nX: y\r\n\r\n", Way::Connect);
        assert_eq!(reason(outcome), None);
        let expected = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
        assert_eq!(asked, expected.as_bytes());
    }

    #[test]
    fn every_refusal_of_connect_has_its_reason() {
        for (answer, expected) in [
            ("HTTP/1.1 407 No\r\n\r\n", Reason::ConnectionFailed),
            ("HTTP/1.1 403 No\r\n\r\n", Reason::ConnectionFailed),
            ("HTTP/1.1 099 No\r\n\r\n", Reason::ProtocolError),
            ("HTTP/1.1 2000 No\r\n\r\n", Reason::ProtocolError),
            ("HTTP/2 200\r\n\r\n", Reason::ProtocolError),
            ("SSH-2.0-x\r\n", Reason::ProtocolError),
            ("HTTP/1.1 200 OK\r\n\r\nx", Reason::ProtocolError),
            ("HTTP/1.1 200 OK\r\n", Reason::ConnectionReset),
            ("", Reason::ConnectionReset),
        ] {
            let (_, outcome) = ask(answer.as_bytes(), Way::Connect);
            assert_eq!(reason(outcome), Some(expected), "{answer:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "x".repeat(1 << 15));
        let (_, outcome) = ask(endless.as_bytes(), Way::Connect);
        assert_eq!(reason(outcome), Some(Reason::ProtocolError));
    }

    #[test]
    fn socks_asks_for_the_target_with_and_without_credentials() {
        let wanted = b"\x05\x01\x00\x03\x09a.example\x01\xbb";
        let (asked, outcome) = ask(b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0", Way::Socks(None));
        assert_eq!(reason(outcome), None);
        assert_eq!(asked, [&b"\x05\x01\x00"[..], wanted].concat());
        let answer = b"\x05\x02\x01\x00\x05\x00\x00\x03\x01a\0\0";
        let (asked, outcome) = ask(answer, Way::Socks(Some(("me", "pw"))));
        assert_eq!(reason(outcome), None);
        assert_eq!(
            asked,
            [&b"\x05\x02\x00\x02\x01\x02me\x02pw"[..], wanted].concat()
        );
        // It may do without them.
        let answer = b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0";
        let (asked, outcome) = ask(answer, Way::Socks(Some(("me", "pw"))));
        assert_eq!(reason(outcome), None);
        assert_eq!(asked, [&b"\x05\x02\x00\x02"[..], wanted].concat());
    }

    #[test]
    fn every_refusal_of_socks_has_its_reason() {
        let me = Some(("me", "pw"));
        for (answer, userinfo, expected) in [
            (&b"\x05\xff"[..], None, Reason::ConnectionFailed),
            (b"\x05\xff", me, Reason::ConnectionFailed),
            (b"\x05\x02\x01\x01", me, Reason::ConnectionFailed),
            (b"\x05\x00\x05\x02", None, Reason::ConnectionFailed),
            (b"\x05\x00\x05\x03", None, Reason::HostUnreachable),
            (b"\x05\x00\x05\x04", None, Reason::HostUnreachable),
            (b"\x05\x00\x05\x05", None, Reason::ConnectionRefused),
            (b"\x05\x00\x05\x08", None, Reason::ConnectionFailed),
            (b"\x05\x00\x05\x00\x00\x07", None, Reason::ProtocolError),
            (b"\x05\x00\x04\x00", None, Reason::ProtocolError),
            (b"\x05\x02", None, Reason::ProtocolError),
            (b"HT", None, Reason::ProtocolError),
            (b"\x05\x00\x05\x00\x00\x01\0", None, Reason::ConnectionReset),
            (b"\x05", None, Reason::ConnectionReset),
        ] {
            let (_, outcome) = ask(answer, Way::Socks(userinfo));
            assert_eq!(reason(outcome), Some(expected), "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn any_response_ends(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let http = [b"HTTP/1.1 ", &bytes[..]].concat();
            let socks = [b"\x05\x00\x05\x00", &bytes[..]].concat();
            let _ = ask(&bytes, Way::Connect);
            let _ = ask(&http, Way::Connect);
            let _ = ask(&bytes, Way::Socks(None));
            let _ = ask(&socks, Way::Socks(None));
        }
    }
}
