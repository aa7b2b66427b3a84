//! The tokio runtime of the program. A thread that cannot be started is an error, not a panic.

use std::{io, panic::catch_unwind, sync::mpsc, thread, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// Maximum number of threads for long computations, such as rendering pages and matching large bodies.
const MAX_BLOCKING_THREADS: usize = 32;

/// Time that an idle blocking thread is kept. While there is one, work waits for it if no other thread
/// can be started; without one, tokio panics.
const KEEP_ALIVE: Duration = Duration::from_secs(366 * 86_400);

/// Builds a runtime with `workers` threads for checks.
///
/// # Errors
/// If the threads or other resources cannot be allocated.
pub(crate) fn build(workers: usize) -> io::Result<Runtime> {
    // One more for blocking work.
    probe_threads(workers + 1)?;
    // tokio panics if it cannot spawn a worker.
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
