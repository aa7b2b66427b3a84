//! STARTTLS: requests TLS in protocols that begin in plain text, and ends their sessions.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    MeasuredStream, TlsTarget,
    closing::{CLOSE_TIMEOUT, close},
    echo::quote,
    mysql,
    text_session::TextSession,
};
use crate::check::{Failure, Reason};

/// A protocol that begins in plain text and can go on over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// RFC 3207.
    Smtp,
    /// RFC 9051, section 6.2.1.
    Imap,
    /// RFC 2595, section 4.
    Pop3,
    /// RFC 4217.
    Ftp,
    /// RFC 4511, section 4.14.
    Ldap,
    /// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>
    Postgres,
    /// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>
    Mysql,
}

impl StartTls {
    /// The port that its servers have (IANA's Service Name and Port Number Registry).
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Imap => 143,
            Self::Pop3 => 110,
            Self::Ftp => 21,
            Self::Ldap => 389,
            Self::Postgres => 5432,
            Self::Mysql => 3306,
        }
    }

    /// Asks the peer for TLS; the handshake comes next.
    async fn request(self, session: &mut TextSession<'_>) -> Result<(), Failure> {
        match self {
            Self::Smtp => {
                reply(session, GREETING, "220").await?;
                session.send_public(b"EHLO monitoringdaemon\r\n").await?;
                reply(session, "the reply to EHLO", "250").await?;
                session.send_public(b"STARTTLS\r\n").await?;
                reply(session, "the reply to STARTTLS", "220").await
            }
            Self::Imap => {
                status(session, GREETING, &["* OK", "* PREAUTH"], "").await?;
                session.send_public(b"a1 STARTTLS\r\n").await?;
                status(session, "the reply to STARTTLS", &["a1 OK"], "* ").await
            }
            Self::Pop3 => {
                status(session, GREETING, &["+OK"], "").await?;
                session.send_public(b"STLS\r\n").await?;
                status(session, "the reply to STLS", &["+OK"], "").await
            }
            Self::Ftp => {
                reply(session, GREETING, "220").await?;
                session.send_public(b"AUTH TLS\r\n").await?;
                reply(session, "the reply to AUTH TLS", "234").await
            }
            Self::Ldap => ldap(session).await,
            Self::Postgres => postgres(session).await,
            Self::Mysql => mysql::request(session).await,
        }
    }

    /// Takes leave of the peer in its own words, over TLS or after it has refused TLS.
    async fn quit(self, stream: &mut MeasuredStream, over_tls: bool) -> io::Result<()> {
        let words: &[u8] = match self {
            Self::Smtp | Self::Pop3 | Self::Ftp => b"QUIT\r\n",
            Self::Imap => b"a2 LOGOUT\r\n",
            Self::Ldap => LDAP_UNBIND,
            Self::Mysql if over_tls => return mysql::quit(stream).await,
            // Its server takes a connection that ends here for one of a client that changed its mind.
            Self::Postgres | Self::Mysql => return Ok(()),
        };
        stream.write_all(words).await?;
        stream.flush().await?;
        if self != Self::Ldap {
            stream.read_buf(&mut [0; 256].as_mut_slice()).await?;
        }
        Ok(())
    }
}

impl MeasuredStream {
    /// The same connection under TLS, after the peer was asked for it by `protocol`.
    ///
    /// # Errors
    /// A [`Failure`] if the peer refuses, or the handshake fails.
    pub(crate) async fn start_tls(
        self,
        protocol: StartTls,
        tls: &TlsTarget,
    ) -> Result<Self, Failure> {
        let attempt = self.errors().attempt().clone();
        let mut session = TextSession::new(self, &attempt);
        let requested = protocol.request(&mut session).await;
        if let Err(failure) = requested {
            let is_refusal = failure.reason == Reason::ResponseMismatch;
            let failed = Err(failure);
            if is_refusal {
                attempt.conclude(&failed);
                let stream = session.stream();
                let _ = timeout(CLOSE_TIMEOUT, protocol.quit(stream, false)).await;
                close(stream).await;
            }
            return failed.map(|()| unreachable!("it failed"));
        }
        session.start_tls(tls).await
    }

    /// Ends a connection of which nothing but the handshake was wanted, so that the peer has no error
    /// to log: in the words of `protocol` if it was asked for TLS by that.
    ///
    /// # Errors
    /// A [`Failure`] if the peer requested a client certificate and refuses it.
    pub async fn finish(mut self, protocol: Option<StartTls>) -> Result<(), Failure> {
        let attempt = self.errors().attempt().clone();
        if let Some(protocol) = protocol {
            // The handshake of TLS 1.3 is over for the client before the server has judged its
            // certificate: the refusal comes in place of the answer.
            let demanded = self.errors().is_certificate_demanded();
            if !demanded {
                attempt.conclude(&Ok(()));
            }
            match timeout(CLOSE_TIMEOUT, protocol.quit(&mut self, true)).await {
                Ok(Err(error)) if demanded && error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(self.failure(&error));
                }
                _ => {}
            }
        } else {
            self.await_client_cert_verdict().await?;
        }
        attempt.conclude(&Ok(()));
        close(&mut self).await;
        Ok(())
    }
}

const GREETING: &str = "the greeting of the server";

fn unexpected(session: &TextSession<'_>, received: &[u8], expected: &str) -> Failure {
    let error = format!("the peer sent {}, expected {expected}", quote(received));
    session.failure(Reason::ResponseMismatch, error)
}

async fn line(session: &mut TextSession<'_>) -> Result<Vec<u8>, Failure> {
    match session.whole_line().await? {
        Some(line) => Ok(line),
        None => Err(session.unexpected_eof()),
    }
}

/// A reply with `code`, of one or more lines (RFC 959, section 4.2; RFC 5321, section 4.2.1).
async fn reply(session: &mut TextSession<'_>, name: &str, code: &str) -> Result<(), Failure> {
    session.awaiting(name);
    let first = line(session).await?;
    let Some(rest) = first.strip_prefix(code.as_bytes()) else {
        return Err(unexpected(session, &first, code));
    };
    if rest.first() == Some(&b'-') {
        let is_last = |line: &[u8]| {
            let rest = line.strip_prefix(code.as_bytes());
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b' ')))
        };
        while !is_last(&line(session).await?) {}
    }
    Ok(())
}

/// A line that begins with one of `good`, after any that begin with `skipped`.
async fn status(
    session: &mut TextSession<'_>,
    name: &str,
    good: &[&str],
    skipped: &str,
) -> Result<(), Failure> {
    session.awaiting(name);
    loop {
        let line = line(session).await?;
        if good.iter().any(|good| line.starts_with(good.as_bytes())) {
            return Ok(());
        }
        if skipped.is_empty() || !line.starts_with(skipped.as_bytes()) {
            return Err(unexpected(session, &line, &good.join(" or ")));
        }
    }
}

/// An LDAPMessage with an ExtendedRequest of the OID 1.3.6.1.4.1.1466.20037.
const LDAP_START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// An LDAPMessage with an UnbindRequest (RFC 4511, section 4.3).
const LDAP_UNBIND: &[u8] = b"\x30\x05\x02\x01\x02\x42\x00";

async fn ldap(session: &mut TextSession<'_>) -> Result<(), Failure> {
    session.send_public(LDAP_START_TLS).await?;
    session.awaiting("the response to StartTLS");
    let [sequence, short] = session.array().await?;
    let length = match short {
        _ if sequence != 0x30 => {
            return Err(session.failure(Reason::ProtocolError, NOT_LDAP));
        }
        0..=0x7f => usize::from(short),
        0x81..=0x84 => {
            let length = session
                .bytes(usize::from(short & 0x7f))
                .await?
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            if length > MAX_LDAP_BYTES {
                return Err(session.failure(Reason::ProtocolError, NOT_LDAP));
            }
            length
        }
        _ => return Err(session.failure(Reason::ProtocolError, NOT_LDAP)),
    };
    let message = session.bytes(length).await?;
    match ldap_result(&message) {
        Some(0) => Ok(()),
        Some(code) => {
            let error = format!("the peer refused TLS with result code {code}");
            Err(session.failure(Reason::ResponseMismatch, error))
        }
        None => Err(session.failure(Reason::ProtocolError, NOT_LDAP)),
    }
}

/// Bytes of an answer: it has a code and a text.
const MAX_LDAP_BYTES: usize = 64 << 10;

const NOT_LDAP: &str = "expected an extended response of LDAP";

/// The result code of an ExtendedResponse to the first message, in BER (RFC 4511, section 4.12).
fn ldap_result(message: &[u8]) -> Option<u8> {
    let operation = message.strip_prefix(b"\x02\x01\x01\x78")?;
    let contents = match operation.split_first()? {
        (0..=0x7f, contents) => contents,
        (long @ 0x81..=0x84, rest) => rest.get(usize::from(long & 0x7f)..)?,
        _ => return None,
    };
    contents.strip_prefix(b"\x0a\x01")?.first().copied()
}

/// An SSLRequest: its length, and the code 1234.5679 in place of a version.
const POSTGRES_SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

async fn postgres(session: &mut TextSession<'_>) -> Result<(), Failure> {
    session.send_public(&POSTGRES_SSL_REQUEST).await?;
    session.awaiting("the response to SSLRequest");
    match session.array().await? {
        [b'S'] => Ok(()),
        [b'N'] => {
            let error = "the server does not offer TLS";
            Err(session.failure(Reason::ResponseMismatch, error))
        }
        [other] => {
            let error = format!("the peer sent {}, expected S or N", quote(&[other]));
            Err(session.failure(Reason::ProtocolError, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_result_code_of_ldap_is_found() {
        assert_eq!(
            ldap_result(b"\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            Some(0)
        );
        assert_eq!(
            ldap_result(b"\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x02"),
            Some(2)
        );
        assert_eq!(ldap_result(b"\x02\x01\x02\x78\x07\x0a\x01\x00"), None);
        assert_eq!(ldap_result(b"HTTP/1.1 400"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ldap_result(&bytes);
            let _ = quote(&bytes);
        }
    }
}
