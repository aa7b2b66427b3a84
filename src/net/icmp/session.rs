//! The echo requests of one check.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    packet::{ICMP_HEADER_LEN, IcmpError},
    pending::{Answer, EchoOutcome},
    socket::Socket,
};
use crate::{
    check::{Attempt, Failure, Reason},
    net::io_reason,
};

/// An echo request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    sequence: u16,
    /// Index within the session, from 0.
    pub index: usize,
    /// When it was sent.
    pub(crate) sent_at: Instant,
}

/// The result of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoResult {
    /// The target answered.
    Reply {
        /// From the request until the kernel had the reply.
        round_trip: Duration,
        /// Hops that the reply could still have made.
        hop_limit: Option<u8>,
    },
    /// A host reported that the request did not arrive.
    Lost(IcmpError),
}

/// Echo requests to one target and their results. Dropping it cancels the pending ones.
pub struct EchoSession {
    socket: Arc<Socket>,
    number: u64,
    target: SocketAddr,
    payload_size: usize,
    sent: usize,
    pending: Vec<Request>,
    inbox: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl EchoSession {
    /// A session over `socket` of at most `count` requests to `target`, each with a payload of `payload_size` bytes.
    #[must_use]
    pub fn new(socket: Arc<Socket>, target: SocketAddr, payload_size: usize, count: usize) -> Self {
        let (inbox, answers) = mpsc::channel(count.max(1));
        Self {
            number: socket.state().number(),
            socket,
            target,
            payload_size,
            sent: 0,
            pending: Vec::new(),
            inbox,
            answers,
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// A [`Failure`] if it cannot be sent.
    pub async fn send(&mut self, attempt: &Attempt) -> Result<Request, Failure> {
        let state = self.socket.state();
        let inbox = self.inbox.clone();
        let sent = state.send(self.number, self.target, self.payload_size, inbox);
        let (sequence, sent_at) = sent.await.map_err(|error| {
            const EMSGSIZE: i32 = 90;
            let size = ICMP_HEADER_LEN + self.payload_size;
            let (reason, what) = match error.raw_os_error() {
                Some(EMSGSIZE) => (Reason::HostUnreachable, format!(" of {size} bytes")),
                _ => (io_reason(&error), String::new()),
            };
            let error = format!("failed to send the echo request{what}: {error}");
            attempt.failure(reason, error)
        })?;
        let request = Request {
            sequence,
            index: self.sent,
            sent_at,
        };
        self.sent += 1;
        self.pending.push(request);
        Ok(request)
    }

    /// The next request with a result. Waits forever if none is pending.
    pub async fn next(&mut self) -> (Request, EchoResult) {
        loop {
            let answer = self.answers.recv().await;
            let Some(answer) = answer else {
                return std::future::pending().await;
            };
            let mut pending = self.pending.iter();
            let index = pending.position(|request| request.sequence == answer.sequence);
            // What came just after its request was given up is of no use.
            if let Some(index) = index {
                let request = self.pending.remove(index);
                return (request, request.outcome(answer.outcome));
            }
        }
    }

    /// The request that is pending longest.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<Request> {
        self.pending.first().copied()
    }

    /// Waits no longer for the request that is pending longest.
    pub(crate) fn give_up_oldest(&mut self) {
        if !self.pending.is_empty() {
            let request = self.pending.remove(0);
            self.cancel(request);
        }
    }

    fn cancel(&self, request: Request) {
        let mut pending = self.socket.state().pending();
        pending.cancel(request.sequence, self.number);
    }
}

impl Drop for EchoSession {
    fn drop(&mut self) {
        for request in &self.pending {
            self.cancel(*request);
        }
    }
}

impl Request {
    fn outcome(&self, outcome: EchoOutcome) -> EchoResult {
        match outcome {
            EchoOutcome::IcmpError(icmp_error) => EchoResult::Lost(icmp_error),
            EchoOutcome::Reply(arrival) => {
                let until_read = arrival.read_at.saturating_duration_since(self.sent_at);
                // The clock of the kernel's timestamp can be set; the other one cannot.
                let until_kernel = until_read.checked_sub(arrival.kernel_queue_time);
                EchoResult::Reply {
                    round_trip: until_kernel.unwrap_or(until_read),
                    hop_limit: arrival.hop_limit,
                }
            }
        }
    }
}
