//! Whether the daemon is ready, as `/-/ready` says.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether every monitor has been started, and the daemon is not about to stop.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets it.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
