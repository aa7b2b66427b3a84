//! The section `metrics` of the configuration.

use std::sync::Arc;

use super::{
    buckets::BucketSet,
    families::{CERTIFICATE_INFO, FAMILIES},
    family::Family,
};

/// The exported metrics, and the buckets of histograms.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Upper bounds in seconds of the latency histogram, if not [`DURATION_BUCKETS`](super::DURATION_BUCKETS).
    pub duration_buckets: Option<Arc<[f64]>>,
    /// Upper bounds in bytes, if not [`RESPONSE_SIZE_BUCKETS`](super::RESPONSE_SIZE_BUCKETS).
    pub response_size_buckets: Option<Arc<[f64]>>,
    /// Names of the families to leave out.
    pub disabled: Vec<&'static str>,
    /// Names of the families to export although they are off by default.
    pub enabled: Vec<&'static str>,
}

impl Settings {
    /// Returns whether monitors export `family`.
    pub(crate) fn exports(&self, family: &Family) -> bool {
        let is_on = !family.is_opt_in() || self.enabled.contains(&family.name);
        family.is_per_monitor() && is_on && !self.disabled.contains(&family.name)
    }

    /// Returns whether a family is exported that needs the identity of the peer's certificate.
    pub(crate) fn exports_leaf_certificates(&self) -> bool {
        let family = FAMILIES
            .iter()
            .find(|family| family.name == CERTIFICATE_INFO);
        family.is_some_and(|family| self.exports(family))
    }

    /// The upper bounds of the buckets in `set`.
    pub(crate) fn bounds(&self, set: BucketSet) -> &[f64] {
        let configured = match set {
            BucketSet::Duration => self.duration_buckets.as_deref(),
            BucketSet::ResponseSize => self.response_size_buckets.as_deref(),
            BucketSet::Lag => None,
        };
        configured.unwrap_or(set.default_bounds())
    }
}
