//! Items on their way from the checks to the exporter, bounded in number and bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::stats::{DropReason, ExportStats, Signal};

/// Maximum bytes that wait.
pub(crate) const MAX_QUEUE_BYTES: usize = 8 << 20;

/// Maximum number of items that wait.
const MAX_QUEUE_ITEMS: usize = 16_384;

/// Bytes of a batch, beyond which it gets no further item.
pub(super) const MAX_BATCH_BYTES: usize = 512 << 10;

/// Number of items of a batch.
const MAX_BATCH_ITEMS: usize = 512;

/// Time for which an item waits for others to be sent with.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// An item as OTLP encodes it, with its tag and length.
pub(super) type Item = Box<[u8]>;

/// The queue of one signal. Adding to it never waits.
#[derive(Debug)]
pub(super) struct Queue {
    signal: Signal,
    stats: Arc<ExportStats>,
    /// True if somebody empties it.
    is_open: AtomicBool,
    state: Mutex<State>,
    /// Signals the first item, and a full batch.
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
}

impl State {
    fn is_batch(&self) -> bool {
        self.bytes >= MAX_BATCH_BYTES || self.items.len() >= MAX_BATCH_ITEMS
    }
}

impl Queue {
    pub(super) fn new(signal: Signal, stats: Arc<ExportStats>) -> Self {
        Self {
            signal,
            stats,
            is_open: AtomicBool::new(false),
            state: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Returns true if items are exported.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Takes items from now on, or drops what it has and takes none.
    pub(super) fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
        if !is_open {
            let left = std::mem::take(&mut *self.state.lock());
            self.count_undelivered(left.items.len());
        }
    }

    /// Adds an item, unless the queue is full.
    pub(super) fn push(&self, item: Item) {
        let mut state = self.state.lock();
        let fits = state.bytes + item.len() <= MAX_QUEUE_BYTES;
        if !fits || state.items.len() >= MAX_QUEUE_ITEMS {
            drop(state);
            self.stats
                .add_dropped(self.signal, DropReason::QueueFull, 1);
            return;
        }
        let (was_empty, was_batch) = (state.items.is_empty(), state.is_batch());
        state.bytes += item.len();
        state.items.push_back(item);
        let wakes = was_empty || !was_batch && state.is_batch();
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Waits for a batch: a full one, or what has come in a second after the first item.
    pub(super) async fn wait_for_batch(&self) {
        while self.state.lock().items.is_empty() {
            self.filled.notified().await;
        }
        let full = async {
            while !self.state.lock().is_batch() {
                self.filled.notified().await;
            }
        };
        // A batch that does not become full is one as well.
        let _ = timeout(BATCH_WAIT, full).await;
    }

    /// Removes the oldest items, as many as a batch has.
    pub(super) fn take_batch(&self) -> Vec<Item> {
        let mut state = self.state.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_BATCH_BYTES
            && batch.len() < MAX_BATCH_ITEMS
            && let Some(item) = state.items.pop_front()
        {
            bytes += item.len();
            batch.push(item);
        }
        state.bytes -= bytes;
        batch
    }

    /// Returns a batch that was not sent.
    pub(super) fn put_back(&self, batch: Vec<Item>) {
        let mut state = self.state.lock();
        for item in batch.into_iter().rev() {
            state.bytes += item.len();
            state.items.push_front(item);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Number of items.
    pub(super) fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Counts items that are given up.
    pub(super) fn count_undelivered(&self, items: usize) {
        let reason = DropReason::Undelivered;
        self.stats.add_dropped(self.signal, reason, items as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Queue, Arc<ExportStats>) {
        let stats = Arc::new(ExportStats::default());
        (Queue::new(Signal::Logs, stats.clone()), stats)
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_them() {
        let (queue, stats) = queue();
        for _ in 0..10_000 {
            queue.push(vec![0; 1 << 10].into());
        }
        let kept = MAX_QUEUE_BYTES >> 10;
        assert_eq!(queue.len(), kept);
        let dropped = stats.dropped(Signal::Logs, DropReason::QueueFull);
        assert_eq!(dropped, (10_000 - kept) as u64);
        let batch = queue.take_batch();
        assert_eq!(batch.len(), MAX_BATCH_BYTES >> 10);
        queue.put_back(batch);
        assert_eq!(queue.len(), kept);
        queue.set_open(false);
        assert_eq!(queue.len(), 0);
        let undelivered = stats.dropped(Signal::Logs, DropReason::Undelivered);
        assert_eq!(undelivered, kept as u64);
    }

    #[test]
    fn the_number_of_small_items_is_bounded_too() {
        let (queue, _) = queue();
        for _ in 0..100_000 {
            queue.push(Box::new([]));
        }
        assert_eq!(queue.len(), MAX_QUEUE_ITEMS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_full_or_a_second_old() {
        let (queue, _) = queue();
        let begin = tokio::time::Instant::now();
        queue.push(Box::new([1]));
        queue.wait_for_batch().await;
        assert_eq!(begin.elapsed().as_secs(), 1);
        for _ in 0..MAX_BATCH_ITEMS {
            queue.push(Box::new([1]));
        }
        queue.wait_for_batch().await;
        assert_eq!(begin.elapsed().as_secs(), 1);
        assert_eq!(queue.take_batch().len(), MAX_BATCH_ITEMS);
    }
}
