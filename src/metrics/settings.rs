//! The section `metrics` of the configuration.

use std::sync::Arc;

use super::{
    buckets::BucketSet,
    families::{CERTIFICATE_INFO, FAMILIES},
    family::Family,
    native_histogram::NativeHistograms,
};

/// The amount of series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Everything.
    #[default]
    Full,
    /// The series that rules and dashboards need, and no series for what has not happened.
    Compact,
}

/// The choice of native histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum NativeChoice {
    /// On in the compact profile.
    #[default]
    ByProfile,
    /// Off.
    Off,
    /// On.
    On(NativeHistograms),
}

/// The exported metrics, and the buckets of histograms.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The amount of series.
    pub profile: Profile,
    /// Native histograms.
    pub native_histograms: NativeChoice,
    /// True if classic buckets are exported. If not given, they are unless the compact profile has native ones instead.
    pub classic_histograms: Option<bool>,
    /// True if OpenMetrics has samples with the times since which counters count.
    pub(crate) has_created_samples: bool,
    /// Upper bounds in seconds of the latency histogram, if not [`DURATION_BUCKETS`](super::DURATION_BUCKETS).
    pub(crate) duration_buckets: Option<Arc<[f64]>>,
    /// Upper bounds in bytes, if not [`RESPONSE_SIZE_BUCKETS`](super::buckets::RESPONSE_SIZE_BUCKETS).
    pub(crate) response_size_buckets: Option<Arc<[f64]>>,
    /// Names of the families to leave out.
    pub disabled: Vec<&'static str>,
    /// Names of the families to export although they are off by default.
    pub enabled: Vec<&'static str>,
}

impl Settings {
    /// Returns whether monitors export `family`.
    pub(crate) fn exports(&self, family: &Family) -> bool {
        let is_on = !family.is_opt_in(self.profile) || self.enabled.contains(&family.name);
        family.is_per_monitor() && is_on && !self.disabled.contains(&family.name)
    }

    /// Returns whether a family is exported that needs the identity of the peer's certificate.
    pub(crate) fn exports_leaf_certificates(&self) -> bool {
        let family = FAMILIES
            .iter()
            .find(|family| family.name == CERTIFICATE_INFO);
        family.is_some_and(|family| self.exports(family))
    }

    /// The native histograms, unless they are off.
    #[must_use]
    pub fn native(&self) -> Option<NativeHistograms> {
        match (self.native_histograms, self.profile) {
            (NativeChoice::On(native), _) => Some(native),
            (NativeChoice::ByProfile, Profile::Compact) => Some(NativeHistograms::default()),
            (NativeChoice::Off, _) | (NativeChoice::ByProfile, Profile::Full) => None,
        }
    }

    /// Returns whether classic buckets are exported.
    #[must_use]
    pub(crate) fn has_classic(&self) -> bool {
        let by_default = self.profile == Profile::Full || self.native().is_none();
        self.classic_histograms.unwrap_or(by_default)
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
