//! A pair of observers that receive the same events.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    DispatcherObserver, Job, MaintenanceWindow, MonitorObserver, MonitorStatus, Report, Skip,
};

/// Passes every event to the first and then to the second observer.
pub struct Tee(
    pub Arc<dyn DispatcherObserver>,
    pub Arc<dyn DispatcherObserver>,
);

struct TeeObserver([Arc<dyn MonitorObserver>; 2]);

impl DispatcherObserver for Tee {
    fn observe(&self, job: &Job) -> Arc<dyn MonitorObserver> {
        Arc::new(TeeObserver([self.0.observe(job), self.1.observe(job)]))
    }

    fn on_stopped(&self, job: &Job) {
        self.0.on_stopped(job);
        self.1.on_stopped(job);
    }

    fn on_replaced(&self, job: &Job) {
        self.0.on_replaced(job);
        self.1.on_replaced(job);
    }

    fn on_connected(&self, is_connected: Option<bool>) {
        self.0.on_connected(is_connected);
        self.1.on_connected(is_connected);
    }

    fn on_maintenance(&self, windows: &Arc<[MaintenanceWindow]>) {
        self.0.on_maintenance(windows);
        self.1.on_maintenance(windows);
    }

    fn on_runtime_delay(&self, delay: Duration) {
        self.0.on_runtime_delay(delay);
        self.1.on_runtime_delay(delay);
    }
}

impl TeeObserver {
    fn for_each(&self, notify: impl Fn(&dyn MonitorObserver)) {
        self.0.iter().for_each(|observer| notify(&**observer));
    }
}

impl MonitorObserver for TeeObserver {
    fn on_scheduled(&self, next: Instant) {
        self.for_each(|observer| observer.on_scheduled(next));
    }

    fn on_started(&self, lag: Duration) {
        self.for_each(|observer| observer.on_started(lag));
    }

    fn on_tainted(&self) {
        self.for_each(|observer| observer.on_tainted());
    }

    fn on_completed(&self, report: &Report) {
        self.for_each(|observer| observer.on_completed(report));
    }

    fn on_cancelled(&self) {
        self.for_each(|observer| observer.on_cancelled());
    }

    fn on_skipped(&self, slots: u64, why: Skip) {
        self.for_each(|observer| observer.on_skipped(slots, why));
    }

    fn on_status(&self, status: &MonitorStatus) {
        self.for_each(|observer| observer.on_status(status));
    }

    fn reason_to_skip(&self) -> Option<Skip> {
        self.0.iter().find_map(|observer| observer.reason_to_skip())
    }

    fn awaits_confirmation(&self) -> bool {
        self.0.iter().any(|observer| observer.awaits_confirmation())
    }
}
