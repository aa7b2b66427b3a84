//! Two who are told of the same monitors.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Job, Observer, Overseer, Report, Skip};

/// Tells the one and then the other.
pub struct Both(pub Arc<dyn Overseer>, pub Arc<dyn Overseer>);

struct Observers([Arc<dyn Observer>; 2]);

impl Overseer for Both {
    fn observe(&self, job: &Job) -> Arc<dyn Observer> {
        Arc::new(Observers([self.0.observe(job), self.1.observe(job)]))
    }

    fn stopped(&self, job: &Job) {
        self.0.stopped(job);
        self.1.stopped(job);
    }

    fn runtime_delay(&self, delay: Duration) {
        self.0.runtime_delay(delay);
        self.1.runtime_delay(delay);
    }
}

impl Observers {
    fn each(&self, tell: impl Fn(&dyn Observer)) {
        self.0.iter().for_each(|observer| tell(&**observer));
    }
}

impl Observer for Observers {
    fn due(&self, next: Instant) {
        self.each(|observer| observer.due(next));
    }

    fn begun(&self, lag: Duration) {
        self.each(|observer| observer.begun(lag));
    }

    fn tainted(&self) {
        self.each(|observer| observer.tainted());
    }

    fn completed(&self, report: &Report) {
        self.each(|observer| observer.completed(report));
    }

    fn cancelled(&self) {
        self.each(|observer| observer.cancelled());
    }

    fn skipped(&self, slots: u64, why: Skip) {
        self.each(|observer| observer.skipped(slots, why));
    }
}
