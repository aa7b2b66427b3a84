//! Pending echo requests and their sessions, without sockets and clocks.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::packet::{Cookie, IcmpError, Reply};

/// The outcome of the request `sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(crate) sequence: u16,
    pub outcome: EchoOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EchoOutcome {
    /// The target answered.
    Reply(Arrival),
    /// A host reported that the request did not arrive.
    IcmpError(IcmpError),
}

/// The arrival of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When it was read.
    pub(crate) read_at: Instant,
    /// Time that it had waited in the kernel.
    pub(crate) kernel_queue_time: Duration,
    /// Hops that it could still have made.
    pub(crate) hop_limit: Option<u8>,
}

/// A request that waits.
pub(super) struct PendingEcho {
    /// The session that it belongs to.
    pub(crate) owner: u64,
    pub target: IpAddr,
    pub cookie: Cookie,
    /// Bytes of payload.
    pub size: usize,
    /// Has capacity for an answer to each request of its owner.
    pub(crate) inbox: mpsc::Sender<Answer>,
}

/// The requests of one socket that wait, by their sequence: at most one answer goes to each.
#[derive(Default)]
pub(super) struct PendingEchoes {
    pending: HashMap<u16, PendingEcho>,
    next: u16,
}

/// Half of all sequence numbers, so that a free one is found quickly.
const MAX_PENDING: usize = 1 << 15;

impl PendingEchoes {
    /// A sequence for `echo`, the one unused for longest; `None` where too many wait already.
    pub(super) fn insert(&mut self, echo: PendingEcho) -> Option<u16> {
        if self.pending.len() >= MAX_PENDING {
            return None;
        }
        loop {
            let sequence = self.next;
            self.next = self.next.wrapping_add(1);
            if let Entry::Vacant(vacant) = self.pending.entry(sequence) {
                vacant.insert(echo);
                return Some(sequence);
            }
        }
    }

    /// Delivers a reply from `from` to its session, if there is one.
    pub(super) fn reply(&mut self, from: IpAddr, reply: Reply<'_>, arrival: Arrival) {
        let answers =
            |echo: &PendingEcho| echo.target == from && reply.answers(echo.cookie, echo.size);
        self.deliver(reply.sequence, EchoOutcome::Reply(arrival), answers);
    }

    /// Delivers an ICMP error about the request `sequence` to `target` to its session, if there is one.
    pub(super) fn icmp_error(&mut self, target: IpAddr, sequence: u16, icmp_error: IcmpError) {
        if icmp_error.is_final() {
            let concerns = |echo: &PendingEcho| echo.target == target;
            self.deliver(sequence, EchoOutcome::IcmpError(icmp_error), concerns);
        }
    }

    fn deliver(
        &mut self,
        sequence: u16,
        outcome: EchoOutcome,
        is_for: impl Fn(&PendingEcho) -> bool,
    ) {
        if let Entry::Occupied(entry) = self.pending.entry(sequence)
            && is_for(entry.get())
        {
            // A session that has just ended has no use for it.
            let _ = entry.remove().inbox.try_send(Answer { sequence, outcome });
        }
    }

    /// Removes the pending request `sequence` of `owner`.
    pub(super) fn cancel(&mut self, sequence: u16, owner: u64) {
        // It may have been answered meanwhile, and its sequence reused by another session.
        if let Entry::Occupied(entry) = self.pending.entry(sequence)
            && entry.get().owner == owner
        {
            entry.remove();
        }
    }

    /// Number of pending requests.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::icmp::packet::{self, Family};

    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    const COOKIE: Cookie = [7; 8];

    fn echo(owner: u64) -> (PendingEcho, mpsc::Receiver<Answer>) {
        let (inbox, answers) = mpsc::channel(1);
        let echo = PendingEcho {
            owner,
            target: TARGET,
            cookie: COOKIE,
            size: 28,
            inbox,
        };
        (echo, answers)
    }

    fn arrival() -> Arrival {
        Arrival {
            read_at: Instant::now(),
            kernel_queue_time: Duration::ZERO,
            hop_limit: Some(64),
        }
    }

    /// Has `from` answer `sequence` with what came with `cookie`.
    fn answer(pending: &mut PendingEchoes, from: IpAddr, sequence: u16, cookie: Cookie) {
        let mut packet = packet::request(Family::V4, 0, sequence, cookie, 28);
        packet[0] = Family::V4.reply();
        let reply = Reply::parse(Family::V4, &packet).expect("a reply");
        pending.reply(from, reply, arrival());
    }

    fn icmp_error(kind: u8) -> IcmpError {
        IcmpError {
            family: Family::V4,
            kind,
            code: 0,
            mtu: 0,
            from: None,
        }
    }

    #[test]
    fn a_reply_is_delivered_once_to_its_session() {
        let mut pending = PendingEchoes::default();
        let (first, mut first_answers) = echo(1);
        let (second, mut second_answers) = echo(2);
        let first = pending.insert(first).expect("room");
        let second = pending.insert(second).expect("room");
        answer(&mut pending, TARGET, second, COOKIE);
        answer(&mut pending, TARGET, second, COOKIE);
        assert_eq!(pending.len(), 1);
        let got = second_answers.try_recv().expect("it was answered");
        assert_eq!(got.sequence, second);
        assert!(matches!(got.outcome, EchoOutcome::Reply(_)));
        assert!(second_answers.try_recv().is_err());
        assert!(first_answers.try_recv().is_err());
        answer(&mut pending, TARGET, first, COOKIE);
        assert!(first_answers.try_recv().is_ok());
    }

    #[test]
    fn other_replies_leave_the_request_pending() {
        let mut pending = PendingEchoes::default();
        let (echo, mut answers) = echo(1);
        let sequence = pending.insert(echo).expect("room");
        answer(&mut pending, OTHER, sequence, COOKIE);
        answer(&mut pending, TARGET, sequence, [8; 8]);
        answer(&mut pending, TARGET, sequence.wrapping_add(1), COOKIE);
        pending.icmp_error(OTHER, sequence, icmp_error(3));
        // A redirect.
        pending.icmp_error(TARGET, sequence, icmp_error(5));
        assert_eq!(pending.len(), 1);
        assert!(answers.try_recv().is_err());
        pending.icmp_error(TARGET, sequence, icmp_error(3));
        assert_eq!(pending.len(), 0);
        let got = answers.try_recv().expect("an ICMP error").outcome;
        assert_eq!(got, EchoOutcome::IcmpError(icmp_error(3)));
    }

    #[test]
    fn a_session_cancels_only_its_own_requests() {
        let mut pending = PendingEchoes::default();
        let sequence = pending.insert(echo(1).0).expect("room");
        pending.cancel(sequence, 2);
        assert_eq!(pending.len(), 1);
        pending.cancel(sequence, 1);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn a_pending_sequence_is_not_reused() {
        let mut pending = PendingEchoes::default();
        let kept = pending.insert(echo(1).0).expect("room");
        for _ in 0..70_000 {
            let sequence = pending.insert(echo(2).0).expect("room");
            assert_ne!(sequence, kept);
            pending.cancel(sequence, 2);
        }
    }

    #[test]
    fn the_number_of_pending_requests_is_limited() {
        let mut pending = PendingEchoes::default();
        while pending.insert(echo(1).0).is_some() {}
        assert_eq!(pending.len(), MAX_PENDING);
        pending.cancel(0, 1);
        assert!(pending.insert(echo(1).0).is_some());
    }
}
