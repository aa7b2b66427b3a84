//! Runs long computations without blocking a worker thread.
//!
//! A computation in steps yields between them ([`TimeSlice`], or [`Turns`] where futures are written by hand); others
//! run on a blocking thread ([`run`]).

use std::{
    future::poll_fn,
    panic::resume_unwind,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    task::{spawn_blocking, yield_now},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

/// Time after which a computation in steps yields.
const TIME_SLICE: Duration = Duration::from_micros(200);

/// Cancels a computation whose result is no longer needed.
#[derive(Debug, Default)]
pub(crate) struct CancelFlag(AtomicBool);

impl CancelFlag {
    /// Returns true if the computation is cancelled.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Cancels the computation.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `compute` directly if it `is_short`, otherwise on a blocking thread.
///
/// If the future is dropped, a computation that has not started does not run, and the flag of a running
/// one is set. A panic of `compute` panics here.
pub(crate) async fn run<T: Send + 'static>(
    is_short: bool,
    compute: impl FnOnce(&CancelFlag) -> T + Send + 'static,
) -> T {
    if is_short {
        return compute(&CancelFlag::default());
    }
    let cancel = CancelOnDrop::default();
    let flag = cancel.0.clone();
    let computation = AbortOnDropHandle::new(spawn_blocking(move || compute(&flag)));
    match computation.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, and drops the caller next.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Sets the flag of a computation on drop.
#[derive(Default)]
struct CancelOnDrop(Arc<CancelFlag>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// The time that a computation in steps may use before it yields.
///
/// It begins with the first question for it, after the first step, so that a single step needs no clock.
#[derive(Default)]
pub(crate) struct TimeSlice(Option<Instant>);

impl TimeSlice {
    /// Returns true if the slice is used up.
    fn is_used(&mut self) -> bool {
        let Some(start) = self.0 else {
            self.0 = Some(Instant::now());
            return false;
        };
        start.elapsed() >= TIME_SLICE
    }

    /// Yields if the slice is used up, and starts the next one.
    pub(crate) async fn yield_if_used(&mut self) {
        if self.is_used() {
            yield_turn().await;
            *self = Self::default();
        }
    }
}

/// Lets other tasks run, and tokio look at sockets and timers.
pub(crate) async fn yield_turn() {
    let mut turn = None;
    poll_fn(|context| {
        let turn = turn.get_or_insert_with(|| OthersTurn::begin(context));
        turn.poll(context)
    })
    .await;
}

/// The turn of other tasks, sockets and timers, which does not end sooner if this task is woken.
///
/// `yield_now` alone is not enough for a task that wakes itself, as one does that holds both ends of a
/// channel: it would run again at once, and tokio looks at sockets and timers only after 61 runs.
struct OthersTurn(Arc<TurnState>);

#[derive(Default)]
struct TurnState {
    is_over: AtomicBool,
    task: AtomicWaker,
}

impl Wake for TurnState {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl OthersTurn {
    /// Begins a turn, at whose end the task of `context` is woken.
    fn begin(context: &Context<'_>) -> Self {
        let state = Arc::new(TurnState::default());
        state.task.register(context.waker());
        // It keeps the waker for the moment after tokio has looked at sockets and timers.
        let waker = Waker::from(state.clone());
        let first_poll = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        debug_assert!(first_poll.is_pending());
        Self(state)
    }

    /// Waits for the end of the turn.
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.0.task.register(context.waker());
        if self.0.is_over.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Turns of a task that could always go on, such as one whose peer always has more to say: no more than its share of
/// the worker's time is its own.
#[derive(Default)]
pub(crate) struct Turns {
    /// Since when there has always been something to do.
    slice: Option<TimeSlice>,
    /// The turn of others after a slice was used up.
    others: Option<OthersTurn>,
}

impl Turns {
    /// Waits for the turn of the task. Polled before each piece of work.
    pub(crate) fn poll_turn(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some(slice) = &mut self.slice else {
            self.slice = Some(TimeSlice::default());
            return Poll::Ready(());
        };
        if slice.is_used() {
            let turn = self
                .others
                .get_or_insert_with(|| OthersTurn::begin(context));
            ready!(turn.poll(context));
            self.others = None;
            self.slice = Some(TimeSlice::default());
        }
        Poll::Ready(())
    }

    /// Ends the turn, as the task waits for something else.
    pub(crate) fn end(&mut self) {
        self.slice = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn only_long_computations_leave_the_thread() {
        let here = thread::current().id();
        assert_eq!(run(true, |_| thread::current().id()).await, here);
        assert_ne!(run(false, |_| thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn a_computation_is_told_that_nobody_waits_for_it() {
        let (started, starts) = tokio::sync::oneshot::channel();
        let (stopped, stops) = mpsc::channel();
        let computation = run(false, move |cancel| {
            let _ = started.send(());
            while !cancel.is_set() {
                thread::yield_now();
            }
            let _ = stopped.send(());
        });
        tokio::select! {
            biased;
            () = computation => panic!("it ended by itself"),
            started = starts => started.expect("it runs"),
        }
        let stopped = spawn_blocking(move || stops.recv());
        assert!(stopped.await.expect("no panic").is_ok());
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller() {
        for is_short in [true, false] {
            let caller = tokio::spawn(run(is_short, |_| panic!("ouch")));
            let error = caller.await.expect_err("it panicked");
            assert!(error.is_panic(), "{is_short}");
        }
    }

    #[tokio::test]
    async fn a_used_slice_lets_others_run() {
        let other = Arc::new(CancelFlag::default());
        let flag = other.clone();
        tokio::spawn(async move { flag.set() });
        let mut slice = TimeSlice::default();
        while !other.is_set() {
            slice.yield_if_used().await;
        }
    }

    #[tokio::test]
    async fn a_task_that_can_always_go_on_lets_others_run() {
        let other = Arc::new(CancelFlag::default());
        let flag = other.clone();
        tokio::spawn(async move { flag.set() });
        let mut turns = Turns::default();
        poll_fn(|context| {
            while !other.is_set() {
                ready!(turns.poll_turn(context));
            }
            Poll::Ready(())
        })
        .await;
    }

    #[test]
    fn a_task_that_wakes_itself_lets_sockets_be_looked_at() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let turns = runtime.block_on(async {
            let (mut writer, mut reader) = tokio::net::UnixStream::pair().expect("two sockets");
            let heard = Arc::new(CancelFlag::default());
            let flag = heard.clone();
            tokio::spawn(async move {
                let _ = reader.read_u8().await;
                flag.set();
            });
            let busy = tokio::spawn(async move {
                writer.write_all(&[1]).await.expect("room in the socket");
                let mut turns = 0;
                while !heard.is_set() {
                    poll_fn(|context| {
                        context.waker().wake_by_ref();
                        Poll::Ready(())
                    })
                    .await;
                    yield_turn().await;
                    turns += 1;
                }
                turns
            });
            busy.await.expect("no panic")
        });
        // One until the other task waits, and one until it is woken.
        assert!(turns <= 5, "{turns}");
    }
}
