//! Handles signals on a thread without checks, so that they cannot be blocked.

use std::{
    io, process,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::server::ReloadHandle;

/// The thread that handles signals. Dropping it ends the thread.
pub(super) struct SignalThread {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl SignalThread {
    /// Cancels `shutdown` on the first SIGTERM or SIGINT, and exits at once on the second. SIGHUP
    /// requests a reload.
    ///
    /// # Errors
    /// If the thread or a signal handler cannot be set up.
    pub(super) fn start(shutdown: CancellationToken, reload: ReloadHandle) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (started, start) = mpsc::channel();
        let stopped = stop.clone();
        let thread = spawn_guarded(shutdown.clone(), move || {
            let runtime = Builder::new_current_thread().enable_io().build();
            let result = runtime.and_then(|runtime| {
                runtime.block_on(async {
                    let signals = Signals::install()?;
                    let _ = started.send(Ok(()));
                    stopped
                        .run_until_cancelled(signals.handle(&shutdown, &reload))
                        .await;
                    Ok(())
                })
            });
            if let Err(error) = result {
                let _ = started.send(Err(error));
            }
        })?;
        let ended = || io::Error::other("the thread for signals has ended");
        start.recv().map_err(|_| ended())??;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

/// Runs `work` on the thread for signals. When it ends, even by a panic, `shutdown` is cancelled: without it, signals
/// could not stop the daemon.
fn spawn_guarded(
    shutdown: CancellationToken,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        let _guard = shutdown.drop_guard();
        work();
    })
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn handle(mut self, shutdown: &CancellationToken, reload: &ReloadHandle) {
        self.next_termination(reload).await;
        shutdown.cancel();
        let number = self.next_termination(reload).await.as_raw_value();
        process::exit(128 + number);
    }

    async fn next_termination(&mut self, reload: &ReloadHandle) -> SignalKind {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.hangup.recv() => reload.request(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_stops_when_the_thread_ends() {
        let works: [fn(); 2] = [|| {}, || panic!("ouch")];
        for work in works {
            let shutdown = CancellationToken::new();
            let thread = spawn_guarded(shutdown.clone(), work).expect("a thread");
            let _ = thread.join();
            assert!(shutdown.is_cancelled());
        }
    }
}
