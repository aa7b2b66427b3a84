//! How many series there are: what the labels of each family say.

use prometheus::proto::MetricType;

use crate::{
    check::{CertificateRank, Outcome, Phase, Skip},
    metrics::{
        DURATION_BUCKETS, FAMILIES, Family, LATENESS_BUCKETS, RESPONSE_SIZE_BUCKETS, Settings,
    },
};

/// What decides how many series a monitor has.
pub(super) struct Shape<'s> {
    settings: &'s Settings,
    phases: usize,
    tls: bool,
    /// Bounds of its latency histogram.
    duration_buckets: usize,
    /// Bounds of its histogram of response sizes.
    size_buckets: usize,
}

impl<'s> Shape<'s> {
    /// A monitor of a host that has to be looked up or not, over TLS or not; `duration_buckets`
    /// where it has its own.
    pub fn new(
        named: bool,
        tls: bool,
        duration_buckets: Option<&[f64]>,
        settings: &'s Settings,
    ) -> Self {
        let bounds = |given: Option<&[f64]>, default: &[f64]| given.unwrap_or(default).len();
        let durations = duration_buckets.or(settings.duration_buckets.as_deref());
        let sizes = settings.response_size_buckets.as_deref();
        let reached = |phase: &&Phase| match phase {
            Phase::Resolve => named,
            Phase::Tls => tls,
            Phase::Connect | Phase::Processing | Phase::Transfer => true,
        };
        Self {
            settings,
            phases: Phase::ALL.iter().filter(reached).count(),
            tls,
            duration_buckets: bounds(durations, &DURATION_BUCKETS),
            size_buckets: bounds(sizes, &RESPONSE_SIZE_BUCKETS),
        }
    }

    /// Sample lines of a monitor whose last check succeeded, and one before it where it `failed`.
    ///
    /// The failure is one that came with a response: it has a status code of its own.
    pub fn series(&self, failed: bool) -> usize {
        FAMILIES
            .iter()
            .filter(|family| self.settings.gives_monitors(family))
            .map(|family| self.of_family(family, failed))
            .sum()
    }

    fn of_family(&self, family: &Family, failed: bool) -> usize {
        let outcomes = 1 + usize::from(failed);
        match (family.kind, family.labels) {
            (MetricType::HISTOGRAM, ["monitor", "outcome"]) => {
                outcomes * of_histogram(self.duration_buckets)
            }
            (MetricType::HISTOGRAM, _) => of_histogram(self.size_buckets),
            (_, ["monitor", "outcome"]) => Outcome::ALL.len(),
            (_, ["monitor", "phase", "reason"]) => usize::from(failed),
            (_, ["monitor", "phase"]) => self.phases,
            (_, ["monitor", "reason"]) => Skip::ALL.len(),
            (_, ["code", "monitor"]) => outcomes,
            (_, ["certificate", "monitor"]) if self.tls => CertificateRank::ALL.len(),
            (_, ["certificate", "monitor"]) => 0,
            (_, ["cipher", "monitor", "version"]) => usize::from(self.tls),
            _ => 1,
        }
    }
}

/// Sample lines without a label `monitor`, of a daemon with monitors of so many types; whether it
/// has a limit for each host.
pub(super) fn of_daemon(types: usize, has_host_limit: bool) -> usize {
    let own = FAMILIES.iter().filter(|family| !family.is_of_monitors());
    own.map(|family| match (family.kind, family.labels) {
        (MetricType::HISTOGRAM, _) => of_histogram(LATENESS_BUCKETS.len()),
        (_, ["type"]) => types,
        _ if family.name.ends_with("_per_host") => usize::from(has_host_limit),
        _ => 1,
    })
    .sum()
}

/// Its buckets, the one without a bound, sum and count.
fn of_histogram(buckets: usize) -> usize {
    buckets + 3
}

/// Bytes of the two lines that each family begins with.
pub(super) fn heads() -> usize {
    let head = |family: &Family| {
        let (help, kind) = ("# HELP  \n".len(), "# TYPE  counter\n".len());
        2 * family.name.len() + family.help.len() + help + kind
    };
    FAMILIES.iter().map(head).sum()
}
