//! Closes a connection in a way that the peer has nothing to log.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    time::{Duration, timeout},
};

use super::MeasuredStream;

/// Maximum time for closing a connection.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes that a peer may send meanwhile.
const MAX_REST: u64 = 64 << 10;

/// Sends close_notify where TLS is spoken, and reads until the peer closes as well. A socket that is
/// closed with data unread, such as the session tickets of TLS 1.3, resets the connection instead.
pub(super) async fn close(stream: &mut MeasuredStream) {
    let close = async {
        stream.shutdown().await?;
        let mut rest = stream.take(MAX_REST);
        copy(&mut rest, &mut sink()).await
    };
    // The peer may be gone already, or never close: neither matters any more.
    let _ = timeout(CLOSE_TIMEOUT, close).await;
}
