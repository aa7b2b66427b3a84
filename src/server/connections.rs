//! The connections of clients and their limits.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    body::{Frame, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{LOG_TARGET, listener::Io, response::Body, routes::Routes};

/// Time that a client may take for the head of a request or a handshake, and between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time in which a client reads nothing of a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum age of a connection.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Time for responses in progress once the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// The connections that are open, oldest first.
pub(super) struct Connections {
    tasks: JoinSet<()>,
    open: Vec<Connection>,
    /// Maximum number. A further one replaces the one that has been idle for longest.
    max: usize,
    closing: CancellationToken,
    /// The start of the times of activity.
    origin: Instant,
}

struct Connection {
    task: AbortHandle,
    activity: Arc<Activity>,
}

/// The use of a connection.
#[derive(Default)]
struct Activity {
    /// Requests in progress, until the last byte of the response is in the socket.
    active_requests: AtomicUsize,
    /// Time at which the last one ended, in milliseconds.
    idle_since: AtomicU64,
}

/// A request that is being answered.
struct ActiveRequest {
    activity: Arc<Activity>,
    origin: Instant,
}

impl ActiveRequest {
    fn new(activity: Arc<Activity>, origin: Instant) -> Arc<Self> {
        activity.active_requests.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { activity, origin })
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let idle_since = millis_since(self.origin);
        self.activity
            .idle_since
            .store(idle_since, Ordering::Relaxed);
        self.activity
            .active_requests
            .fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of a response, which keep their connection from counting as idle until they are written.
struct TrackedBytes {
    bytes: Bytes,
    _active_request: Arc<ActiveRequest>,
}

impl AsRef<[u8]> for TrackedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body whose connection is in use until all of it has been written.
struct TrackedBody {
    body: Body,
    active_requests: Arc<ActiveRequest>,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = JoinError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, JoinError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let tracked = |bytes| {
            Bytes::from_owner(TrackedBytes {
                bytes,
                _active_request: self.active_requests.clone(),
            })
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(tracked))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Connections {
    pub(super) fn new(closing: CancellationToken, max: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: Vec::new(),
            max,
            closing,
            origin: Instant::now(),
        }
    }

    /// Returns whether another one may be accepted: not while one that made room has not ended, as its descriptor is open
    /// until then.
    pub(super) fn has_room(&self) -> bool {
        self.tasks.len() <= self.max
    }

    pub(super) fn add(
        &mut self,
        stream: Box<dyn Io>,
        peer: Option<IpAddr>,
        acceptor: Option<TlsAcceptor>,
        routes: Arc<Routes>,
    ) {
        self.make_room();
        let activity = Arc::new(Activity::default());
        let origin = self.origin;
        activity
            .idle_since
            .store(millis_since(origin), Ordering::Relaxed);
        let service = service_fn({
            let activity = activity.clone();
            move |request| {
                let active_requests = ActiveRequest::new(activity.clone(), origin);
                let routes = routes.clone();
                async move {
                    let response = routes.answer(&request, peer).await;
                    Ok::<_, Infallible>(response.map(|body| TrackedBody {
                        body,
                        active_requests,
                    }))
                }
            }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        let stream = Box::pin(stream);
        let closing = self.closing.clone();
        let task = self.tasks.spawn(async move {
            let stream: Box<dyn Io> = match acceptor {
                None => Box::new(stream),
                Some(acceptor) => match timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    _ => return,
                },
            };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            // The way a connection ends matters only to its client.
            tokio::select! {
                _ = connection.as_mut() => return,
                () = closing.cancelled() => {}
                () = sleep(LIFETIME) => {}
            }
            // Responses in progress are finished, and no further request is accepted.
            connection.as_mut().graceful_shutdown();
            let _ = timeout(WRITE_TIMEOUT, connection).await;
        });
        self.open.push(Connection { task, activity });
    }

    /// Waits for the end of a connection; `None` if there are none. A panic is logged.
    pub(super) async fn next_end(&mut self) -> Option<()> {
        let ended = self.tasks.join_next().await?;
        if ended.is_err_and(|error| error.is_panic()) {
            tracing::error!(target: LOG_TARGET, "Request handler panicked");
        }
        Some(())
    }

    /// Closes the connection that has been idle for longest if the maximum is reached; if
    /// none is idle, the oldest.
    fn make_room(&mut self) {
        self.open
            .retain(|connection| !connection.task.is_finished());
        if self.open.len() < self.max {
            return;
        }
        let idle = self.open.iter().enumerate().filter(|(_, connection)| {
            let active_requests = &connection.activity.active_requests;
            active_requests.load(Ordering::Relaxed) == 0
        });
        let longest = idle.min_by_key(|(_, connection)| {
            let idle_since = &connection.activity.idle_since;
            idle_since.load(Ordering::Relaxed)
        });
        let index = longest.map_or(0, |(index, _)| index);
        self.open.remove(index).task.abort();
    }

    pub(super) async fn close(mut self) {
        self.closing.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(DRAIN_TIMEOUT, all).await;
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use parking_lot::Mutex;

    use super::*;

    /// The lines of a log.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn there_is_room_again_once_a_connection_has_ended() {
        let mut connections = Connections::new(CancellationToken::new(), 2);
        for expected in [true, true, false] {
            connections.make_room();
            let task = connections.tasks.spawn(std::future::pending());
            let activity = Arc::default();
            connections.open.push(Connection { task, activity });
            assert_eq!(connections.has_room(), expected);
        }
        assert_eq!(connections.next_end().await, Some(()));
        assert!(connections.has_room());
        assert_eq!(connections.open.len(), 2);
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_logged() {
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone());
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let mut connections = Connections::new(CancellationToken::new(), 2);
        connections.tasks.spawn(async {});
        assert_eq!(connections.next_end().await, Some(()));
        assert!(lines.0.lock().is_empty());
        connections.tasks.spawn(async { panic!("ouch") });
        assert_eq!(connections.next_end().await, Some(()));
        let text = String::from_utf8(lines.0.lock().clone()).expect("UTF-8");
        assert!(text.contains("Request handler panicked"), "{text}");
        assert_eq!(connections.next_end().await, None);
    }
}
