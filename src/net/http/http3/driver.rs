//! Drives a QUIC connection from the task of its check: nothing is spawned, so nothing can outlive the check.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    thread,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use quinn::{AsyncTimer, AsyncUdpSocket, Endpoint, Runtime, TokioRuntime, VarInt};
use tokio::task::coop::unconstrained;

use super::{socket::MeasuredSocket, streams::QuicConnection};
use crate::offload::Turns;

/// H3_NO_ERROR (RFC 9114, section 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// A part of a connection that runs beside the request.
type Part = Pin<Box<dyn Future<Output = ()> + Send>>;

/// HTTP/3 over the connection.
pub(super) type Http3 = h3::client::Connection<QuicConnection, Bytes>;

/// A runtime for quinn that collects the parts that quinn would have run as tasks.
#[derive(Default)]
pub(super) struct Collector(Mutex<Vec<Part>>);

impl Runtime for Collector {
    #[expect(clippy::disallowed_types, reason = "quinn's timers have it")]
    fn new_timer(&self, time: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(time)
    }

    fn spawn(&self, part: Part) {
        self.0.lock().push(part);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// Drives a connection. Dropped with the check, it closes the connection.
pub(super) struct Driver {
    collector: Arc<Collector>,
    running: FuturesUnordered<Part>,
    socket: Arc<MeasuredSocket>,
    endpoint: Endpoint,
    http3: Option<Http3>,
    turns: Turns,
}

impl Driver {
    pub(super) fn new(
        collector: Arc<Collector>,
        socket: Arc<MeasuredSocket>,
        endpoint: Endpoint,
    ) -> Self {
        let driver = Self {
            collector,
            running: FuturesUnordered::new(),
            socket: socket.clone(),
            endpoint,
            http3: None,
            turns: Turns::default(),
        };
        driver.run(Box::pin(socket.watch_errors()));
        driver
    }

    /// Runs `part` beside the request.
    pub(super) fn run(&self, part: Part) {
        self.running.push(part);
    }

    /// Drives HTTP/3 too from now on: its control streams.
    pub(super) fn set_http3(&mut self, http3: Http3) {
        self.http3 = Some(http3);
    }

    /// Awaits `future`, and drives the connection meanwhile.
    ///
    /// # Errors
    /// If the socket had an error that ends the connection.
    pub(super) async fn drive<F: Future>(&mut self, future: F) -> io::Result<F::Output> {
        let mut future = pin!(future);
        poll_fn(|context| {
            // A peer that always has more to say takes no more than its share of the worker's time.
            ready!(self.turns.poll_turn(context));
            self.poll_connection(context);
            let output = future.as_mut().poll(context);
            if let Some(http3) = &mut self.http3 {
                // The error of a connection reaches the request that it was for.
                let _ = http3.poll_close(context);
            }
            if let Some(error) = self.socket.take_failure() {
                return Poll::Ready(Err(error));
            }
            if output.is_pending() {
                self.turns.end();
                // Sends what was written.
                self.poll_connection(context);
            }
            output.map(Ok)
        })
        .await
    }

    fn poll_connection(&mut self, context: &mut Context<'_>) {
        self.running.extend(self.collector.0.lock().drain(..));
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(context) {}
    }
}

impl Drop for Driver {
    /// Tells the peer that the connection is over, so that it need not wait for a timeout.
    fn drop(&mut self) {
        // A lock of quinn's may be poisoned.
        if thread::panicking() {
            return;
        }
        self.endpoint.close(NO_ERROR, b"");
        let mut context = Context::from_waker(Waker::noop());
        let last = pin!(unconstrained(poll_fn(|context| {
            self.poll_connection(context);
            Poll::Ready(())
        })));
        let _ = last.poll(&mut context);
    }
}
