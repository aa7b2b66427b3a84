//! The task that sends heartbeats, and how it changes.

use std::sync::Arc;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{HeartbeatOutcome, HeartbeatStats, LOG_TARGET, Settings, sender::Sender};
use crate::{
    dispatcher::{Fault, Health, HealthMark},
    net::Net,
    state::States,
};

/// The heartbeats of a daemon: it owns the task that sends them.
pub(crate) struct Heartbeat {
    health: Health,
    states: Arc<States>,
    counters: Arc<HeartbeatStats>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Heartbeat {
    /// Heartbeats that vouch for `health` and `states`. They are sent from [`configure`](Self::configure) on.
    #[must_use]
    pub(crate) fn new(health: Health, states: Arc<States>, counters: Arc<HeartbeatStats>) -> Self {
        Self {
            health,
            states,
            counters,
            running: Mutex::default(),
        }
    }

    /// Sends heartbeats as `settings` say from now on, or none.
    ///
    /// Must be called within a tokio runtime.
    pub(crate) async fn configure(&self, settings: Option<&Settings>, net: &Net) {
        let mut running = self.running.lock().await;
        if let Some(running) = running.take() {
            running.stop().await;
        }
        self.counters.set_enabled(settings.is_some());
        *running = settings.map(|settings| {
            let pulse = Pulse {
                health: self.health.clone(),
                states: self.states.clone(),
                counters: self.counters.clone(),
                settings: settings.clone(),
                sender: Sender::new(settings, net),
                last: None,
            };
            let stop = CancellationToken::new();
            let task = AbortOnDropHandle::new(tokio::spawn(pulse.run(stop.clone())));
            Running { stop, task }
        });
    }

    /// Sends no more heartbeats.
    pub(crate) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.stop().await;
        }
    }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(target: LOG_TARGET, %error, "Heartbeats ended unexpectedly");
        }
    }
}

/// The task of heartbeats.
struct Pulse {
    health: Health,
    states: Arc<States>,
    counters: Arc<HeartbeatStats>,
    settings: Settings,
    sender: Sender,
    /// The outcome of the last heartbeat; `None` before the first one.
    last: Option<HeartbeatOutcome>,
}

impl Pulse {
    async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.beat()).await;
    }

    /// Sends a heartbeat at the end of each interval for which it can vouch.
    async fn beat(&mut self) {
        let mut mark = self.health.mark();
        let mut next = Instant::now() + self.settings.every;
        loop {
            sleep_until(next).await;
            let fault = self.fault_since(&mark);
            mark = self.health.mark();
            let now = Instant::now();
            next = (next + self.settings.every).max(now + self.settings.every / 2);
            if let Some(reason) = fault {
                self.record(HeartbeatOutcome::Withheld, Some(reason), None);
                continue;
            }
            match self.sender.send(next).await {
                Ok(()) => self.record(HeartbeatOutcome::Sent, None, None),
                Err(error) => self.record(HeartbeatOutcome::Failed, None, Some(&error)),
            }
        }
    }

    /// The reason why no heartbeat may be sent, if there is one.
    fn fault_since(&self, mark: &HealthMark) -> Option<&'static str> {
        let fault = self.health.fault_since(mark);
        let fault = fault.map(Fault::as_str);
        fault.or_else(|| self.states.is_cut_off().then_some("cut_off"))
    }

    /// Counts a heartbeat, and logs its outcome if it is not that of the one before.
    fn record(&mut self, outcome: HeartbeatOutcome, reason: Option<&str>, error: Option<&str>) {
        self.counters.add(outcome);
        if self.last.replace(outcome) == Some(outcome) {
            return;
        }
        let watcher = self.settings.watcher();
        match outcome {
            HeartbeatOutcome::Sent => {
                tracing::info!(target: LOG_TARGET, watcher, "Heartbeats are accepted");
            }
            HeartbeatOutcome::Failed => {
                tracing::warn!(target: LOG_TARGET, watcher, error, "Heartbeat failed");
            }
            HeartbeatOutcome::Withheld => {
                tracing::warn!(target: LOG_TARGET, watcher, reason, "Heartbeat withheld");
            }
        }
    }
}
