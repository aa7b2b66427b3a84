//! Which echo requests wait for an answer, and whose they are: no socket, no clock.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::packet::{Cookie, Notice, Reply};

/// What became of the request `sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub sequence: u16,
    pub said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The target answered.
    Reply(Arrival),
    /// Somebody said that the request did not arrive.
    Notice(Notice),
}

/// How a reply came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When it was read.
    pub read_at: Instant,
    /// How long it lay with the kernel before.
    pub lay: Duration,
    /// Hops that it could still have made.
    pub hop_limit: Option<u8>,
}

/// A request that waits.
pub(super) struct Waiter {
    /// The session that it belongs to.
    pub owner: u64,
    pub target: IpAddr,
    pub cookie: Cookie,
    /// Bytes of payload.
    pub size: usize,
    /// Has room for an answer to each request of its owner.
    pub inbox: mpsc::Sender<Answer>,
}

/// The requests of one socket that wait, by their sequence: at most one answer goes to each.
#[derive(Default)]
pub(super) struct Waiting {
    waiters: HashMap<u16, Waiter>,
    next: u16,
}

/// Half of the sequences there are, so that a free one is found at once.
const MAX_WAITING: usize = 1 << 15;

impl Waiting {
    /// A sequence for `waiter`, the longest unused; `None` where too many wait already.
    pub fn insert(&mut self, waiter: Waiter) -> Option<u16> {
        if self.waiters.len() >= MAX_WAITING {
            return None;
        }
        loop {
            let sequence = self.next;
            self.next = self.next.wrapping_add(1);
            if let Entry::Vacant(vacant) = self.waiters.entry(sequence) {
                vacant.insert(waiter);
                return Some(sequence);
            }
        }
    }

    /// Hands a reply that `from` sent to whom it is for, if to anybody.
    pub fn reply(&mut self, from: IpAddr, reply: Reply<'_>, arrival: Arrival) {
        let answers =
            |waiter: &Waiter| waiter.target == from && reply.answers(waiter.cookie, waiter.size);
        self.hand_over(reply.sequence, Said::Reply(arrival), answers);
    }

    /// Hands a notice on the request `sequence` to `target` to whom it is for, if to anybody.
    pub fn notice(&mut self, target: IpAddr, sequence: u16, notice: Notice) {
        if notice.is_final() {
            let concerns = |waiter: &Waiter| waiter.target == target;
            self.hand_over(sequence, Said::Notice(notice), concerns);
        }
    }

    fn hand_over(&mut self, sequence: u16, said: Said, is_for: impl Fn(&Waiter) -> bool) {
        if let Entry::Occupied(waiter) = self.waiters.entry(sequence)
            && is_for(waiter.get())
        {
            // A session that has just ended has no use for it.
            let _ = waiter.remove().inbox.try_send(Answer { sequence, said });
        }
    }

    /// No longer waits for an answer to the request `sequence` of `owner`.
    pub fn forget(&mut self, sequence: u16, owner: u64) {
        // It may have been answered meanwhile, and its sequence be somebody else's.
        if let Entry::Occupied(waiter) = self.waiters.entry(sequence)
            && waiter.get().owner == owner
        {
            waiter.remove();
        }
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::icmp::packet::{self, Family};

    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    const COOKIE: Cookie = [7; 8];

    fn waiter(owner: u64) -> (Waiter, mpsc::Receiver<Answer>) {
        let (inbox, answers) = mpsc::channel(1);
        let waiter = Waiter {
            owner,
            target: TARGET,
            cookie: COOKIE,
            size: 28,
            inbox,
        };
        (waiter, answers)
    }

    fn arrival() -> Arrival {
        Arrival {
            read_at: Instant::now(),
            lay: Duration::ZERO,
            hop_limit: Some(64),
        }
    }

    /// Has `from` answer `sequence` with what came with `cookie`.
    fn answer(waiting: &mut Waiting, from: IpAddr, sequence: u16, cookie: Cookie) {
        let mut packet = packet::request(Family::V4, 0, sequence, cookie, 28);
        packet[0] = Family::V4.reply();
        let reply = Reply::parse(Family::V4, &packet).expect("a reply");
        waiting.reply(from, reply, arrival());
    }

    fn notice(kind: u8) -> Notice {
        Notice {
            family: Family::V4,
            kind,
            code: 0,
            mtu: 0,
            from: None,
        }
    }

    #[test]
    fn a_reply_goes_to_whom_it_is_for_and_once() {
        let mut waiting = Waiting::default();
        let (first, mut first_answers) = waiter(1);
        let (second, mut second_answers) = waiter(2);
        let first = waiting.insert(first).expect("room");
        let second = waiting.insert(second).expect("room");
        answer(&mut waiting, TARGET, second, COOKIE);
        answer(&mut waiting, TARGET, second, COOKIE);
        assert_eq!(waiting.len(), 1);
        let got = second_answers.try_recv().expect("it was answered");
        assert_eq!(got.sequence, second);
        assert!(matches!(got.said, Said::Reply(_)));
        assert!(second_answers.try_recv().is_err());
        assert!(first_answers.try_recv().is_err());
        answer(&mut waiting, TARGET, first, COOKIE);
        assert!(first_answers.try_recv().is_ok());
    }

    #[test]
    fn what_is_not_the_reply_leaves_the_request_waiting() {
        let mut waiting = Waiting::default();
        let (waiter, mut answers) = waiter(1);
        let sequence = waiting.insert(waiter).expect("room");
        answer(&mut waiting, OTHER, sequence, COOKIE);
        answer(&mut waiting, TARGET, sequence, [8; 8]);
        answer(&mut waiting, TARGET, sequence.wrapping_add(1), COOKIE);
        waiting.notice(OTHER, sequence, notice(3));
        // A redirect.
        waiting.notice(TARGET, sequence, notice(5));
        assert_eq!(waiting.len(), 1);
        assert!(answers.try_recv().is_err());
        waiting.notice(TARGET, sequence, notice(3));
        assert_eq!(waiting.len(), 0);
        let got = answers.try_recv().expect("a notice").said;
        assert_eq!(got, Said::Notice(notice(3)));
    }

    #[test]
    fn nobody_forgets_the_request_of_another() {
        let mut waiting = Waiting::default();
        let sequence = waiting.insert(waiter(1).0).expect("room");
        waiting.forget(sequence, 2);
        assert_eq!(waiting.len(), 1);
        waiting.forget(sequence, 1);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn a_sequence_that_waits_is_not_given_twice() {
        let mut waiting = Waiting::default();
        let kept = waiting.insert(waiter(1).0).expect("room");
        for _ in 0..70_000 {
            let sequence = waiting.insert(waiter(2).0).expect("room");
            assert_ne!(sequence, kept);
            waiting.forget(sequence, 2);
        }
    }

    #[test]
    fn only_so_many_may_wait() {
        let mut waiting = Waiting::default();
        while waiting.insert(waiter(1).0).is_some() {}
        assert_eq!(waiting.len(), MAX_WAITING);
        waiting.forget(0, 1);
        assert!(waiting.insert(waiter(1).0).is_some());
    }
}
