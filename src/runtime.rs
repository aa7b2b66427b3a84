//! The tokio runtime of the program. A thread that cannot be started is an error, not a panic.

use std::{
    future::Future,
    io,
    panic::{UnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use tokio::runtime::{self, Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Maximum number of threads for long computations, such as rendering pages and matching large bodies.
const MAX_BLOCKING_THREADS: usize = 32;

/// Time that an idle blocking thread is kept. While there is one, work waits for it if no other thread
/// can be started; without one, tokio panics.
const KEEP_ALIVE: Duration = Duration::from_secs(366 * 86_400);

/// Runs checks, and whatever else is spawned on it.
pub(crate) struct Runtime {
    handle: Handle,
    workers: Workers,
}

/// The threads that run tasks.
enum Workers {
    /// Several, among which tasks move.
    Several(runtime::Runtime),
    /// One, with a scheduler that has nobody to share tasks with, which takes less time for each. It ends when this is
    /// dropped.
    One(#[expect(dead_code, reason = "held for its drop")] DropGuard),
}

impl Runtime {
    /// Starts `workers` threads for checks.
    ///
    /// # Errors
    /// If the threads or other resources cannot be allocated.
    pub(crate) fn start(workers: usize) -> io::Result<Self> {
        // One more for blocking work.
        probe_threads(workers + 1)?;
        if workers == 1 {
            return Self::start_one();
        }
        let runtime = build(|| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        })?;
        Ok(Self {
            handle: runtime.handle().clone(),
            workers: Workers::Several(runtime),
        })
    }

    fn start_one() -> io::Result<Self> {
        let runtime = build(Builder::new_current_thread)?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(stopped.cancelled());
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("checks".to_owned());
        thread.spawn(run)?;
        Ok(Self {
            handle,
            workers: Workers::One(stop.drop_guard()),
        })
    }

    /// Spawns tasks on it.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `future` on this thread. What it spawns runs on the workers.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    /// Stops it without waiting for tasks, which are dropped, and for blocking work.
    pub(crate) fn shutdown_background(self) {
        if let Workers::Several(runtime) = self.workers {
            runtime.shutdown_background();
        }
    }
}

/// Builds a runtime, with a thread for blocking work.
fn build(builder: impl FnOnce() -> Builder + UnwindSafe) -> io::Result<runtime::Runtime> {
    // tokio panics if it cannot spawn a thread.
    let runtime = catch_unwind(|| {
        builder()
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_keep_alive(KEEP_ALIVE)
            .enable_all()
            .build()
            .inspect(|runtime| {
                runtime.spawn_blocking(|| ());
            })
    });
    runtime.unwrap_or_else(|_| Err(io::Error::other("no thread can be spawned")))
}

/// Checks that `count` threads can be started.
fn probe_threads(count: usize) -> io::Result<()> {
    let mut probes = Vec::new();
    let mut result = Ok(());
    for _ in 0..count {
        // Ends when its sender is dropped.
        let (sender, receiver) = mpsc::channel::<()>();
        match thread::Builder::new().spawn(move || receiver.recv()) {
            Ok(probe) => probes.push((sender, probe)),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    for (sender, probe) in probes {
        drop(sender);
        let _ = probe.join();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_on_the_workers_and_end_with_them() {
        for workers in [1, 2] {
            let runtime = Runtime::start(workers).expect("threads");
            let here = thread::current().id();
            let (there, seen, timed) = runtime.block_on(async {
                let there = tokio::spawn(async { thread::current().id() });
                let timed = tokio::time::sleep(Duration::from_millis(1));
                (
                    there.await.expect("no panic"),
                    thread::current().id(),
                    timed.await,
                )
            });
            assert_eq!((seen, timed), (here, ()), "{workers}");
            assert_ne!(there, here, "{workers}");
            let (held, ended) = mpsc::channel::<()>();
            runtime.handle().spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            runtime.shutdown_background();
            // Its sender is dropped with the task.
            assert!(ended.recv().is_err(), "{workers}");
        }
    }
}
