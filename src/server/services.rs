//! The services behind the routes.

use std::{sync::Arc, time::Duration};

use super::{Readiness, ReloadHandle};
use crate::{metrics::Metrics, probe::Prober, status::Status};

/// Everything that the server serves.
pub struct Services {
    /// `/metrics`
    pub metrics: Arc<Metrics>,
    /// `/-/ready`
    pub readiness: Readiness,
    /// The status page, if there is one.
    pub status: Option<Status>,
    /// `/probe` and what belongs to it.
    pub probe: Option<Arc<Prober>>,
    /// `/-/reload`, if there is something to read again.
    pub reload: Option<ReloadHandle>,
    /// Interval at which the files of `server.tls` are checked for changes.
    pub poll_interval: Duration,
}
