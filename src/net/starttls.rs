//! How the protocols that begin in plain text are asked for TLS.

use super::conversation::{Conversation, quoted};
use crate::{
    check::{Failure, Reason},
    value::{FromNode, Node},
};

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

impl FromNode for StartTls {
    const ALLOWED: &'static str = "smtp, imap, pop3, ftp, ldap, postgres or mysql";

    fn from_node(node: &Node) -> Result<Self, String> {
        Ok(match String::from_node(node)?.as_str() {
            "smtp" => Self::Smtp,
            "imap" => Self::Imap,
            "pop3" => Self::Pop3,
            "ftp" => Self::Ftp,
            "ldap" => Self::Ldap,
            "postgres" => Self::Postgres,
            "mysql" => Self::Mysql,
            other => return Err(format!("{other:?} cannot be asked for TLS")),
        })
    }
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

    /// Asks the peer for TLS; the handshake is what comes next.
    pub(super) async fn ask(self, conversation: &mut Conversation<'_>) -> Result<(), Failure> {
        match self {
            Self::Smtp => {
                reply(conversation, "220").await?;
                conversation.say(b"EHLO monitoringdaemon\r\n").await?;
                reply(conversation, "250").await?;
                conversation.say(b"STARTTLS\r\n").await?;
                reply(conversation, "220").await
            }
            Self::Imap => {
                status(conversation, &["* OK", "* PREAUTH"], "").await?;
                conversation.say(b"a1 STARTTLS\r\n").await?;
                status(conversation, &["a1 OK"], "* ").await
            }
            Self::Pop3 => {
                status(conversation, &["+OK"], "").await?;
                conversation.say(b"STLS\r\n").await?;
                status(conversation, &["+OK"], "").await
            }
            Self::Ftp => {
                reply(conversation, "220").await?;
                conversation.say(b"AUTH TLS\r\n").await?;
                reply(conversation, "234").await
            }
            Self::Ldap => ldap(conversation).await,
            Self::Postgres => postgres(conversation).await,
            Self::Mysql => mysql(conversation).await,
        }
    }
}

fn refused(conversation: &Conversation<'_>, said: &[u8]) -> Failure {
    let error = format!("the peer said {}", quoted(said));
    conversation.failure(Reason::ResponseMismatch, error)
}

async fn line(conversation: &mut Conversation<'_>) -> Result<Vec<u8>, Failure> {
    match conversation.line().await? {
        Some(line) => Ok(line),
        None => Err(conversation.ended_early()),
    }
}

/// A reply with `code`, of one or more lines (RFC 959, section 4.2; RFC 5321, section 4.2.1).
async fn reply(conversation: &mut Conversation<'_>, code: &str) -> Result<(), Failure> {
    let first = line(conversation).await?;
    let Some(rest) = first.strip_prefix(code.as_bytes()) else {
        return Err(refused(conversation, &first));
    };
    if rest.first() == Some(&b'-') {
        let is_last = |line: &[u8]| {
            let rest = line.strip_prefix(code.as_bytes());
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b' ')))
        };
        while !is_last(&line(conversation).await?) {}
    }
    Ok(())
}

/// A line that begins with one of `good`, after any that begin with `skipped`.
async fn status(
    conversation: &mut Conversation<'_>,
    good: &[&str],
    skipped: &str,
) -> Result<(), Failure> {
    loop {
        let line = line(conversation).await?;
        if good.iter().any(|good| line.starts_with(good.as_bytes())) {
            return Ok(());
        }
        if skipped.is_empty() || !line.starts_with(skipped.as_bytes()) {
            return Err(refused(conversation, &line));
        }
    }
}

/// An LDAPMessage with an ExtendedRequest of the OID 1.3.6.1.4.1.1466.20037.
const LDAP_START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

async fn ldap(conversation: &mut Conversation<'_>) -> Result<(), Failure> {
    conversation.say(LDAP_START_TLS).await?;
    let [sequence, short] = byte_array(conversation).await?;
    let length = match short {
        _ if sequence != 0x30 => {
            return Err(conversation.failure(Reason::ProtocolError, NO_LDAP));
        }
        0..=0x7f => usize::from(short),
        0x81..=0x84 => {
            let length = conversation.bytes(usize::from(short & 0x7f)).await?;
            let length = length
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            if length > LDAP_LONGEST {
                return Err(conversation.failure(Reason::ProtocolError, NO_LDAP));
            }
            length
        }
        _ => return Err(conversation.failure(Reason::ProtocolError, NO_LDAP)),
    };
    let message = conversation.bytes(length).await?;
    match ldap_result(&message) {
        Some(0) => Ok(()),
        Some(code) => {
            let error = format!("the peer refused TLS with the result code {code}");
            Err(conversation.failure(Reason::ResponseMismatch, error))
        }
        None => Err(conversation.failure(Reason::ProtocolError, NO_LDAP)),
    }
}

/// Bytes of an answer: it has a code and a text.
const LDAP_LONGEST: usize = 64 << 10;

const NO_LDAP: &str = "the answer is no extended response of LDAP";

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

async fn postgres(conversation: &mut Conversation<'_>) -> Result<(), Failure> {
    conversation.say(&POSTGRES_SSL_REQUEST).await?;
    match byte_array(conversation).await? {
        [b'S'] => Ok(()),
        [b'N'] => {
            let error = "the server does not speak TLS";
            Err(conversation.failure(Reason::ResponseMismatch, error))
        }
        [other] => {
            let error = format!("the peer said {}", quoted(&[other]));
            Err(conversation.failure(Reason::ProtocolError, error))
        }
    }
}

const MYSQL_CLIENT_PROTOCOL_41: u32 = 0x200;
const MYSQL_CLIENT_SSL: u32 = 0x800;
const MYSQL_CLIENT_SECURE_CONNECTION: u32 = 0x8000;

async fn mysql(conversation: &mut Conversation<'_>) -> Result<(), Failure> {
    let [low, middle, high, sequence] = byte_array(conversation).await?;
    let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
    let greeting = conversation.bytes(length).await?;
    if sequence != 0 {
        let error = "the greeting is none of MySQL";
        return Err(conversation.failure(Reason::ProtocolError, error));
    }
    match mysql_capabilities(&greeting) {
        Ok(capabilities) if capabilities & MYSQL_CLIENT_SSL != 0 => {}
        Ok(_) => {
            let error = "the server does not speak TLS";
            return Err(conversation.failure(Reason::ResponseMismatch, error));
        }
        Err(error) => return Err(conversation.failure(Reason::ProtocolError, error)),
    }
    conversation.say(&mysql_ssl_request()).await
}

/// The lower capability flags of an initial handshake packet of version 10.
fn mysql_capabilities(greeting: &[u8]) -> Result<u32, String> {
    let (version, rest) = greeting.split_first().ok_or("the greeting is empty")?;
    if *version == 0xff {
        return Err(format!("the server refuses: {}", quoted(rest)));
    }
    let after_name = |rest: &[u8]| {
        let end = rest.iter().position(|byte| *byte == 0)?;
        // The connection's number, the first part of the scramble, and a filler.
        let flags = end + 1 + 4 + 8 + 1;
        let flags: [u8; 2] = rest.get(flags..flags + 2)?.try_into().ok()?;
        Some(u16::from_le_bytes(flags).into())
    };
    let capabilities = (*version == 10).then(|| after_name(rest)).flatten();
    capabilities.ok_or_else(|| "the greeting is none of MySQL".to_owned())
}

/// A packet with the sequence number 1: capabilities, the largest packet, a character set, 23 zeros.
fn mysql_ssl_request() -> Vec<u8> {
    const UTF8: u8 = 33;
    const LARGEST_PACKET: u32 = 1 << 24;
    let capabilities = MYSQL_CLIENT_PROTOCOL_41 | MYSQL_CLIENT_SSL | MYSQL_CLIENT_SECURE_CONNECTION;
    let mut packet = vec![32, 0, 0, 1];
    packet.extend_from_slice(&capabilities.to_le_bytes());
    packet.extend_from_slice(&LARGEST_PACKET.to_le_bytes());
    packet.push(UTF8);
    packet.resize(4 + 32, 0);
    packet
}

async fn byte_array<const N: usize>(
    conversation: &mut Conversation<'_>,
) -> Result<[u8; N], Failure> {
    let bytes = conversation.bytes(N).await?;
    Ok(bytes.try_into().expect("as many were asked for"))
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

    #[test]
    fn the_capabilities_of_mysql_are_found() {
        let greeting = |flags: [u8; 2]| {
            let start = b"\x0a8.0.36\0\x01\x02\x03\x0412345678\0";
            [&start[..], &flags, b"rest"].concat()
        };
        assert_eq!(mysql_capabilities(&greeting([0xff, 0xf7])), Ok(0xf7ff));
        assert_eq!(
            mysql_capabilities(&greeting([0x00, 0x08])),
            Ok(MYSQL_CLIENT_SSL)
        );
        let refusal = b"\xff\x10\x04Too many connections";
        assert_eq!(
            mysql_capabilities(refusal),
            Err(r#"the server refuses: "\u{10}\u{4}Too many connections""#.to_owned())
        );
        assert!(mysql_capabilities(b"").is_err());
        assert!(mysql_capabilities(b"\x0a8.0").is_err());
        assert!(mysql_capabilities(b"SSH-2.0").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ldap_result(&bytes);
            let _ = mysql_capabilities(&bytes);
            let _ = quoted(&bytes);
        }
    }
}
