//! The thread on which probes run, apart from the checks of monitors: however many probes there are, the
//! operating system shares the time between the two.

use std::{future::pending, panic::resume_unwind};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::LOG_TARGET;
use crate::{
    check::{Job, Report, Steps},
    runtime::Runtime,
};

/// A runtime for probes, which is started when it is needed first.
#[derive(Default)]
pub(super) struct ProbeThread(Mutex<Option<Runtime>>);

impl ProbeThread {
    /// Starts the thread. If that is impossible, probes share a thread with checks.
    pub(super) fn start(&self) {
        let mut started = self.0.lock();
        if started.is_some() {
            return;
        }
        match Runtime::start(1) {
            Ok(runtime) => *started = Some(runtime),
            Err(error) => tracing::warn!(
                target: LOG_TARGET,
                %error,
                "Failed to start a thread for probes; they share one with the monitors"
            ),
        }
    }

    /// Runs one check of `job`.
    pub(super) async fn check(&self, job: Job, steps: Steps) -> Report {
        let handle: Option<Handle> = self.0.lock().as_ref().map(|it| it.handle().clone());
        let check = async move { job.check_with_steps(steps).await };
        let Some(handle) = handle else {
            return check.await;
        };
        match AbortOnDropHandle::new(handle.spawn(check)).await {
            Ok(report) => report,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The daemon is stopping, and drops the probe next.
                Err(_) => pending().await,
            },
        }
    }
}

impl Drop for ProbeThread {
    fn drop(&mut self) {
        // Waiting for it is not allowed where this may be dropped.
        if let Some(runtime) = self.0.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}
