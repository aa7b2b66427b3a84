//! Reads heads of HTTP/1 responses for those who go on in another protocol: through a tunnel, or over a WebSocket.

use std::{io, mem};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a head.
pub(crate) const MAX_BYTES: usize = 16 << 10;

/// Pieces in which heads may come.
pub(crate) const MAX_PIECES: usize = 2 * MAX_BYTES;

/// Typical maximum size of a head.
const TYPICAL_BYTES: usize = 1 << 10;

/// The first bytes of a head.
const START: &[u8] = b"HTTP/";

/// The reason why there is no head.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The connection failed.
    Io(io::Error),
    /// The peer closed the connection before.
    Closed,
    /// The peer sends something else than HTTP.
    NotHttp,
    /// It is longer than [`MAX_BYTES`].
    TooLarge,
    /// It came in more than [`MAX_PIECES`].
    TooManyPieces,
}

/// Reads heads, and keeps what comes behind them.
#[derive(Default)]
pub(crate) struct HeadReader {
    /// Received, and not part of a head that was returned.
    received: Vec<u8>,
    /// Number of reads.
    pieces: usize,
}

impl HeadReader {
    /// Reads the next head, up to the empty line at its end.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> Result<Vec<u8>, HeadError> {
        let mut searched = 0;
        loop {
            if let Some(end) = end_of_head(&self.received, searched)? {
                let rest = self.received.split_off(end);
                return Ok(mem::replace(&mut self.received, rest));
            }
            searched = self.received.len();
            if searched >= MAX_BYTES {
                return Err(HeadError::TooLarge);
            }
            self.received.reserve(TYPICAL_BYTES);
            let room = (MAX_BYTES - searched) as u64;
            match stream.take(room).read_buf(&mut self.received).await {
                Ok(0) => return Err(HeadError::Closed),
                Ok(_) => self.pieces += 1,
                Err(error) => return Err(HeadError::Io(error)),
            }
            // They may come byte by byte, and more than one of them.
            if self.pieces > MAX_PIECES {
                return Err(HeadError::TooManyPieces);
            }
        }
    }

    /// The bytes that came behind the last head.
    pub(crate) fn into_rest(self) -> Vec<u8> {
        self.received
    }
}

/// The end of the head that `received` begins with, if it is complete; `searched` bytes have been looked at before.
/// Carriage returns may be missing, and lines in front of it may be empty: parsers allow it.
fn end_of_head(received: &[u8], searched: usize) -> Result<Option<usize>, HeadError> {
    let is_of_line = |byte: &u8| !b"\r\n".contains(byte);
    let Some(begin) = received.iter().position(is_of_line) else {
        return Ok(None);
    };
    let start = received[begin..].iter().take(START.len());
    if !start.eq(START.iter().take(received.len() - begin)) {
        return Err(HeadError::NotHttp);
    }
    let from = begin.max(searched.saturating_sub(2));
    let ends: [&[u8]; 2] = [b"\n\r\n", b"\n\n"];
    let ends = ends.iter().filter_map(|end| {
        let at = received[from..]
            .windows(end.len())
            .position(|part| part == *end)?;
        Some(from + at + end.len())
    });
    Ok(ends.min())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The heads that a peer sends in pieces of `size` bytes, what comes behind them, and why there are no more.
    async fn heads(sent: &[u8], size: usize) -> (Vec<String>, String, HeadError) {
        let (mut ours, mut theirs) = tokio::io::duplex(size);
        let sending = async {
            theirs.write_all(sent).await.ok();
            drop(theirs);
        };
        let reading = async {
            let mut reader = HeadReader::default();
            let mut heads = Vec::new();
            let error = loop {
                match reader.next(&mut ours).await {
                    Ok(head) => heads.push(String::from_utf8(head).expect("text")),
                    Err(error) => break error,
                }
            };
            // The peer need not wait for a reader any more.
            drop(ours);
            let rest = String::from_utf8(reader.into_rest()).expect("text");
            (heads, rest, error)
        };
        let ((), result) = tokio::join!(sending, reading);
        result
    }

    #[tokio::test]
    async fn a_head_ends_with_an_empty_line() {
        let first = "HTTP/1.1 103 Early\r\na: b\r\n\r\n";
        for second in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\r\nc: d\n\r\n",
            "\r\n\nHTTP/1.1 200 OK\r\n\n",
        ] {
            for size in [1, 2, 3, 1000] {
                let sent = format!("{first}{second}HTT");
                let (heads, rest, error) = heads(sent.as_bytes(), size).await;
                assert_eq!(heads, [first, second], "{size}");
                assert_eq!(rest, "HTT");
                assert!(matches!(error, HeadError::Closed), "{error:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_head_is_bounded() {
        let head = |bytes: usize| format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(bytes));
        let whole = head(MAX_BYTES - 24) + "\r\n\r\n";
        assert_eq!(whole.len(), MAX_BYTES);
        let (whole_heads, ..) = heads(whole.as_bytes(), 4000).await;
        assert_eq!(whole_heads, [whole]);
        let (none, _, error) = heads(head(MAX_BYTES).as_bytes(), 4000).await;
        assert!(
            none.is_empty() && matches!(error, HeadError::TooLarge),
            "{error:?}"
        );
        let many = "HTTP/1.1 100 C\r\n\r\n".repeat(2000);
        let (some, _, error) = heads(many.as_bytes(), 1).await;
        assert!(
            !some.is_empty() && matches!(error, HeadError::TooManyPieces),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn anything_else_is_noticed_at_once() {
        for sent in ["SSH-2.0-x", "HTTX", "\r\nX", "\x00"] {
            let (.., error) = heads(sent.as_bytes(), 100).await;
            assert!(matches!(error, HeadError::NotHttp), "{sent:?} {error:?}");
        }
        let (.., error) = heads(b"HTTP", 100).await;
        assert!(matches!(error, HeadError::Closed), "{error:?}");
    }
}
