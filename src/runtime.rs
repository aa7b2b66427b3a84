//! The runtime of the program: a thread that cannot be had is an error, never a panic.

use std::{io, panic::catch_unwind, sync::mpsc, thread, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// Threads for what takes long without waiting: pages to render, large bodies to match.
const MAX_BLOCKING_THREADS: usize = 32;

/// How long a blocking thread that has nothing to do is kept. As long as there is one, work waits for
/// it if no other thread can be had; tokio panics if there is none.
const KEEP_ALIVE: Duration = Duration::from_secs(366 * 86_400);

/// A runtime that runs checks on `workers` threads.
///
/// # Errors
/// If the system gives no more threads (a limit of processes), or no other resource that it needs.
pub(crate) fn build(workers: usize) -> io::Result<Runtime> {
    // One more for what blocks.
    probe_threads(workers + 1)?;
    // tokio panics if a worker cannot be spawned.
    let runtime = catch_unwind(|| {
        Builder::new_multi_thread()
            .worker_threads(workers)
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

/// Makes sure that so many threads can be had at once.
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
