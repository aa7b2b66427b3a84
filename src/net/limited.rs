//! Limits of received data: bytes, and the pieces in which they come.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::text::counted;

/// Maximum number of pieces: each costs a system call, however small it is.
pub(crate) const MAX_PIECES: u32 = 16 << 10;

/// Collects pieces up to a limit.
pub(crate) struct LimitedBuffer {
    collected: Vec<u8>,
    limit: usize,
    pieces: u32,
}

/// A limit that a peer exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    /// Of so many bytes.
    Bytes(usize),
    /// Of [`MAX_PIECES`].
    Pieces,
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(limit) => f.write_str(&counted(limit, "byte")),
            Self::Pieces => write!(f, "{MAX_PIECES} pieces"),
        }
    }
}

impl LimitedBuffer {
    /// Room for `limit` bytes, none of which is taken yet.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            collected: Vec::new(),
            limit,
            pieces: MAX_PIECES,
        }
    }

    /// Adds a piece, which may be empty.
    pub(crate) fn add(&mut self, piece: &[u8]) -> Result<(), LimitExceeded> {
        if piece.len() > self.limit - self.collected.len() {
            return Err(LimitExceeded::Bytes(self.limit));
        }
        self.pieces = self.pieces.checked_sub(1).ok_or(LimitExceeded::Pieces)?;
        self.collected.extend_from_slice(piece);
        Ok(())
    }

    /// All that was added.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.collected
    }
}

/// Reads from `R` until a limit is reached, and is at its end then.
pub(crate) struct Limited<R> {
    reader: R,
    bytes: u64,
    pieces: u32,
}

impl<R> Limited<R> {
    /// At most `bytes` bytes, in at most [`MAX_PIECES`] pieces.
    pub(crate) fn new(reader: R, bytes: u64) -> Self {
        Self {
            reader,
            bytes,
            pieces: MAX_PIECES,
        }
    }

    /// Returns whether a limit was reached.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.bytes == 0 || self.pieces == 0
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Limited<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_exhausted() {
            return Poll::Ready(Ok(()));
        }
        let room = usize::try_from(self.bytes)
            .unwrap_or(usize::MAX)
            .min(buffer.remaining());
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.reader).poll_read(context, &mut piece))?;
        let count = piece.filled().len();
        buffer.advance(count);
        self.bytes -= count as u64;
        self.pieces -= u32::from(count > 0);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// The bytes that can be read of `sent`, which come in pieces of `piece` bytes.
    async fn read(sent: Vec<u8>, piece: usize, limit: u64) -> (usize, bool) {
        let (ours, mut theirs) = duplex(piece);
        let write = tokio::spawn(async move { theirs.write_all(&sent).await });
        let mut limited = Limited::new(ours, limit);
        let mut read = Vec::new();
        let count = limited.read_to_end(&mut read).await.expect("it reads");
        let exhausted = limited.is_exhausted();
        drop(limited);
        let _ = write.await.expect("it ends");
        (count, exhausted)
    }

    #[test]
    fn a_buffer_limits_bytes_and_pieces() {
        let mut buffer = LimitedBuffer::new(4);
        assert_eq!(buffer.add(b"abc"), Ok(()));
        assert_eq!(buffer.add(b"de"), Err(LimitExceeded::Bytes(4)));
        assert_eq!(buffer.add(b"d"), Ok(()));
        for _ in 2..MAX_PIECES {
            assert_eq!(buffer.add(b""), Ok(()));
        }
        assert_eq!(buffer.add(b""), Err(LimitExceeded::Pieces));
        assert_eq!(buffer.into_bytes(), b"abcd");
    }

    #[tokio::test]
    async fn bytes_and_pieces_are_bounded() {
        assert_eq!(read(vec![0; 1000], 10, 2000).await, (1000, false));
        assert_eq!(read(vec![0; 1000], 10, 999).await, (999, true));
        let pieces = MAX_PIECES as usize;
        assert_eq!(read(vec![0; 50_000], 1, 100_000).await, (pieces, true));
        assert_eq!(read(vec![0; 50_000], 4, 100_000).await, (50_000, false));
    }
}
