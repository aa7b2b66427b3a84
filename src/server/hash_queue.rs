//! A queue for hashing passwords, one at a time, so that a flood of wrong ones uses no more than
//! one blocking thread, and delays no other client.
//!
//! Slots rotate between queues, one for each client and user. Within a queue the newest request
//! comes first, because clients of old requests have probably given up.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The origin of a request: the client's network, and the user if it is a known one. Unknown names
/// share a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    network: Option<IpAddr>,
    user: Option<String>,
}

impl Client {
    pub(super) fn new(address: Option<IpAddr>, user: Option<String>) -> Self {
        let network = address.map(|address| match address.to_canonical() {
            // One subscriber has at least a /64.
            IpAddr::V6(address) => {
                let prefix = address.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            address @ IpAddr::V4(_) => address,
        });
        Self { network, user }
    }
}

#[derive(Default)]
pub(super) struct HashQueue(Mutex<State>);

#[derive(Default)]
struct State {
    is_taken: bool,
    /// In the order of their next slots; no queue is empty.
    waiting: VecDeque<(Client, Vec<oneshot::Sender<HashSlot>>)>,
}

/// The permit to hash one password. When dropped, it goes to the next client.
pub(super) struct HashSlot(Option<Arc<HashQueue>>);

impl HashQueue {
    /// Waits for a slot.
    pub(super) async fn acquire(self: &Arc<Self>, client: Client) -> HashSlot {
        let waiting = {
            let mut state = self.0.lock();
            if !state.is_taken {
                state.is_taken = true;
                return HashSlot(Some(self.clone()));
            }
            let (sender, waiting) = oneshot::channel();
            let mut queues = state.waiting.iter_mut();
            match queues.find(|(known, _)| *known == client) {
                Some((_, queue)) => queue.push(sender),
                None => state.waiting.push_back((client, vec![sender])),
            }
            waiting
        };
        waiting.await.expect("its sender is kept until it has sent")
    }

    /// Passes the slot on to the next request.
    fn pass_on(self: Arc<Self>) {
        loop {
            let newest = {
                let mut state = self.0.lock();
                let Some((client, mut queue)) = state.waiting.pop_front() else {
                    state.is_taken = false;
                    return;
                };
                queue.retain(|waiting| !waiting.is_closed());
                let newest = queue.pop();
                if !queue.is_empty() {
                    state.waiting.push_back((client, queue));
                }
                newest
            };
            if let Some(waiting) = newest {
                match waiting.send(HashSlot(Some(self.clone()))) {
                    Ok(()) => return,
                    // The client has gone away, so the slot was not given.
                    Err(mut slot) => slot.0 = None,
                }
            }
        }
    }
}

impl Drop for HashSlot {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::JoinHandle;

    use super::*;

    fn client(address: &str, user: Option<&str>) -> Client {
        let address = address.parse().expect("an address");
        Client::new(Some(address), user.map(ToOwned::to_owned))
    }

    /// Waits for its turn, and writes down that it had it.
    fn ask(
        queue: &Arc<HashQueue>,
        client: Client,
        name: &'static str,
        order: &Arc<Mutex<Vec<&'static str>>>,
    ) -> JoinHandle<()> {
        let (queue, order) = (queue.clone(), order.clone());
        tokio::spawn(async move {
            let _turn = queue.acquire(client).await;
            order.lock().push(name);
        })
    }

    #[tokio::test]
    async fn slots_rotate_between_clients_newest_request_first() {
        let (queue, order) = (Arc::new(HashQueue::default()), Arc::default());
        let slot = queue.acquire(client("192.0.2.1", None)).await;
        let mut tasks = Vec::new();
        for (address, user, name) in [
            ("192.0.2.1", None, "oldest"),
            ("192.0.2.1", None, "middle"),
            ("192.0.2.1", None, "gone"),
            ("192.0.2.1", None, "newest"),
            ("192.0.2.1", Some("known"), "known user"),
            ("2001:db8::1", None, "network, older"),
            ("2001:db8::2", None, "network, newer"),
        ] {
            tasks.push(ask(&queue, client(address, user), name, &order));
            tokio::task::yield_now().await;
        }
        tasks.remove(2).abort();
        tokio::task::yield_now().await;
        drop(slot);
        for task in tasks {
            task.await.expect("it has its turn");
        }
        let expected = [
            "newest",
            "known user",
            "network, newer",
            "middle",
            "network, older",
            "oldest",
        ];
        assert_eq!(*order.lock(), expected);
        let free = queue.acquire(client("192.0.2.1", None)).now_or_never();
        assert!(free.is_some(), "the turn comes back");
    }
}
