//! Queries several name servers in order, and decides how long to wait for each.
//!
//! The next server is asked when one fails, and when it has said nothing for a second; it is listened
//! to all the same. What a later server finds counts at once. That it finds nothing counts after a
//! while only, if an earlier one may still know better.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use super::{
    message::{Query, Response},
    resolv_conf::Options,
    server::{Availability, QueryError, QueryOptions, Server},
};
use crate::{
    check::{Failure, Phase, Rcode, Reason, Steps},
    net::io_reason,
};

/// The name servers of a resolver.
#[derive(Debug)]
pub(super) struct Servers {
    in_order: Vec<Server>,
    attempts: usize,
    timeout: Duration,
    query_options: QueryOptions,
    /// The server to begin with, if it changes with each query (`rotate`).
    turn: Option<AtomicUsize>,
}

/// The reason why no server gave an answer.
#[derive(Debug)]
pub(super) enum ServersError {
    /// A server answered with this code.
    Refused(Rcode),
    Failed(Failure),
}

/// The time after which the next server is asked too, or the only one once more. The C library waits
/// for five seconds by default, which is all that most checks have.
const HEAD_START: Duration = Duration::from_secs(1);
/// The same for a server that was silent, and may be back.
const TRIAL_HEAD_START: Duration = Duration::from_millis(100);

/// Time in which an earlier server may contradict a later one that found nothing.
const OBJECTION: Duration = Duration::from_secs(2);
/// The same for an earlier server that is silent.
const SILENT_OBJECTION: Duration = Duration::from_millis(250);

/// A query that was sent to a server.
struct Sent {
    /// The place of the server in the order.
    rank: usize,
    /// The time from which a negative answer of a later server counts.
    objects_until: Instant,
    is_over: bool,
}

impl Servers {
    pub(super) fn new(addresses: &[SocketAddr], options: Options) -> Self {
        Self {
            in_order: addresses.iter().copied().map(Server::new).collect(),
            attempts: options.attempts,
            timeout: options.timeout,
            query_options: QueryOptions {
                tcp: options.use_vc,
                edns: options.edns0,
            },
            turn: options.rotate.then(AtomicUsize::default),
        }
    }

    /// The answer to `query` of any server that has one: records, or that there are none.
    pub(super) async fn ask(&self, query: &Query, steps: &Steps) -> Result<Response, ServersError> {
        let count = self.in_order.len();
        let turn = self.turn.as_ref();
        let first = turn.map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed) % count);
        let max_queries = self.attempts * count;
        let mut pending = FuturesUnordered::new();
        let mut sent: Vec<Sent> = Vec::new();
        let mut errors = Vec::new();
        // An answer without records, and the rank of the server that it is from.
        let mut empty: Option<(usize, Response)> = None;
        let mut wake = Instant::now();
        loop {
            let objection = empty.as_ref().and_then(|(rank, _)| objection(&sent, *rank));
            if let Some((_, response)) = empty.take_if(|_| objection.is_none()) {
                return Ok(response);
            }
            while sent.len() < max_queries && (pending.is_empty() || Instant::now() >= wake) {
                let (index, rank) = (sent.len(), sent.len() % count);
                let server = &self.in_order[(first + rank) % count];
                let now = Instant::now();
                let (head_start, objection) = match server.health.availability() {
                    // Behind the last one, it is the turn of those that were asked already.
                    _ if rank + 1 == count => (HEAD_START, Duration::ZERO),
                    Availability::Answers => (HEAD_START, OBJECTION),
                    Availability::OnTrial => (TRIAL_HEAD_START, OBJECTION),
                    Availability::Silent => (Duration::ZERO, SILENT_OBJECTION),
                };
                sent.push(Sent {
                    rank,
                    objects_until: now + objection,
                    is_over: false,
                });
                pending.push(
                    async move { (index, server.ask(query, self.query_options, steps).await) },
                );
                let is_last = sent.len() == max_queries;
                wake = now + if is_last { self.timeout } else { head_start };
            }
            let until = objection.map_or(wake, |objection| objection.min(wake));
            match timeout_at(until, pending.next()).await {
                Ok(Some((_, Ok(response)))) if !response.records.is_empty() => {
                    return Ok(response);
                }
                Ok(Some((index, Ok(response)))) => {
                    sent[index].is_over = true;
                    let rank = sent[index].rank;
                    if empty.as_ref().is_none_or(|(held, _)| rank < *held) {
                        empty = Some((rank, response));
                    }
                }
                Ok(Some((index, Err(error)))) => {
                    sent[index].is_over = true;
                    errors.push(error);
                }
                Ok(None) => return Err(ServersError::from(errors)),
                Err(_) if empty.is_some() && until < wake => {}
                Err(_) if sent.len() == max_queries => {
                    return empty.map_or_else(
                        || Err(ServersError::from(errors)),
                        |(_, response)| Ok(response),
                    );
                }
                Err(_) => {}
            }
        }
    }
}

/// Until when a server before that of `rank` may know better; `None` if none may any more.
fn objection(sent: &[Sent], rank: usize) -> Option<Instant> {
    let earlier = sent.iter().filter(|sent| sent.rank < rank && !sent.is_over);
    let until = earlier.map(|sent| sent.objects_until).max()?;
    (until > Instant::now()).then_some(until)
}

impl From<Vec<QueryError>> for ServersError {
    /// The first error that is not a local one; a timeout if no server answered.
    fn from(errors: Vec<QueryError>) -> Self {
        let is_ours = |error: &QueryError| match error {
            QueryError::Io(error) => io_reason(error) == Reason::AgentError,
            _ => false,
        };
        let theirs = errors.iter().position(|error| !is_ours(error));
        match errors.into_iter().nth(theirs.unwrap_or_default()) {
            None => Self::failed(Reason::Timeout, "the name servers did not answer"),
            Some(QueryError::Refused(rcode)) => Self::Refused(rcode),
            Some(QueryError::Referral) => {
                let error = "the name server does not offer recursion";
                Self::failed(Reason::DnsFailure, error)
            }
            Some(QueryError::Malformed(error)) => {
                let error = format!("the name server's response is malformed: {error}");
                Self::failed(Reason::DnsFailure, error)
            }
            Some(QueryError::Io(error)) => Self::io(&error),
        }
    }
}

impl ServersError {
    fn failed(reason: Reason, error: impl Into<String>) -> Self {
        Self::Failed(Failure::new(Phase::Resolve, reason, error.into()))
    }

    fn io(error: &io::Error) -> Self {
        if io_reason(error) == Reason::AgentError {
            let error = format!("failed to query the name servers: {error}");
            return Self::failed(Reason::AgentError, error);
        }
        let error = format!("failed to reach the name servers: {error}");
        Self::failed(Reason::DnsFailure, error)
    }
}
