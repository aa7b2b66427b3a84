//! How many series there are: what the labels of each family say.

use prometheus::proto::MetricType;

use crate::{
    check::{CertificateRank, Job, Outcome, Phase, ServingStatus, Skip},
    metrics::{
        DURATION_BUCKETS, FAMILIES, Family, LATENESS_BUCKETS, RESPONSE_SIZE_BUCKETS, Settings,
    },
};

/// What decides how many series a monitor has.
pub(super) struct Shape<'s> {
    settings: &'s Settings,
    kind: &'static str,
    /// Those that a check reaches where all is well.
    phases: Vec<Phase>,
    /// Bounds of its latency histogram.
    duration_buckets: usize,
    /// Bounds of its histogram of response sizes.
    size_buckets: usize,
}

impl<'s> Shape<'s> {
    /// The shape of the monitor of `job`.
    pub fn of(job: &Job, settings: &'s Settings) -> Self {
        let bounds = |given: Option<&[f64]>, default: &[f64]| given.unwrap_or(default).len();
        let own = job.duration_buckets.as_deref();
        let durations = own.or(settings.duration_buckets.as_deref());
        let sizes = settings.response_size_buckets.as_deref();
        Self {
            settings,
            kind: job.kind(),
            phases: job.phases(),
            duration_buckets: bounds(durations, &DURATION_BUCKETS),
            size_buckets: bounds(sizes, &RESPONSE_SIZE_BUCKETS),
        }
    }

    /// Whether a check reaches `phase` where all is well.
    pub fn reaches(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
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
        if !self.has(family) {
            return 0;
        }
        let outcomes = 1 + usize::from(failed);
        match (family.kind, family.labels) {
            (MetricType::HISTOGRAM, ["monitor", "outcome"]) => {
                outcomes * of_histogram(self.duration_buckets)
            }
            (MetricType::HISTOGRAM, _) => of_histogram(self.size_buckets),
            (_, ["monitor", "outcome"]) => Outcome::ALL.len(),
            (_, ["monitor", "phase", "reason"]) => usize::from(failed),
            (_, ["monitor", "phase"]) => self.phases.len(),
            (_, ["monitor", "reason"]) => Skip::ALL.len(),
            (_, ["code", "monitor"] | ["monitor", "rcode"]) => outcomes,
            (_, ["certificate", "monitor"]) => CertificateRank::ALL.len(),
            (_, ["monitor", "serving_status"]) => ServingStatus::ALL.len(),
            (_, ["monitor", "statistic"]) => 3,
            _ => 1,
        }
    }

    /// Whether monitors of this type have series of `family`, by the facts that they learn.
    ///
    /// Some are of certain checks alone: a serial number, jitter, what a dialogue caught.
    fn has(&self, family: &Family) -> bool {
        let name = family.name;
        let is_of = |prefix: &str| name.starts_with(prefix);
        if is_of("monitor_tls_") {
            self.reaches(Phase::Tls)
        } else if is_of("monitor_http_") {
            matches!(self.kind, "http" | "websocket")
        } else if is_of("monitor_dns_") {
            self.kind == "dns" && name != "monitor_dns_serial"
        } else if is_of("monitor_icmp_") {
            self.kind == "icmp" && name != "monitor_icmp_jitter_seconds"
        } else if is_of("monitor_grpc_") {
            self.kind == "grpc"
        } else if is_of("monitor_expect_") {
            false
        } else if name.contains("_response_size_") {
            // Whatever else a connection is for, something is read from it.
            let talks = [Phase::Request, Phase::Processing];
            talks.iter().any(|phase| self.reaches(*phase))
        } else {
            true
        }
    }
}

/// Sample lines without a label `monitor`, of a daemon with monitors of so many types and without
/// discovery; whether it has a limit for each host.
pub(super) fn of_daemon(types: usize, has_host_limit: bool) -> usize {
    let own = FAMILIES.iter().filter(|family| !family.is_of_monitors());
    own.map(|family| match (family.kind, family.labels) {
        (MetricType::HISTOGRAM, _) => of_histogram(LATENESS_BUCKETS.len()),
        (_, ["type"]) => types,
        _ if family.is_of_discovery() => 0,
        _ if family.name.ends_with("_per_host") => usize::from(has_host_limit),
        _ => 1,
    })
    .sum()
}

/// Its buckets, the one without a bound, sum and count.
fn of_histogram(buckets: usize) -> usize {
    buckets + 3
}

/// Bytes of the two lines that each family begins with, of those that a page with such monitors has.
pub(super) fn heads(shapes: &[&Shape<'_>]) -> usize {
    let present = |family: &&Family| {
        if family.is_of_monitors() {
            shapes.iter().any(|shape| shape.has(family))
        } else {
            !family.is_of_discovery()
        }
    };
    let head = |family: &Family| {
        let (help, kind) = ("# HELP  \n".len(), "# TYPE  counter\n".len());
        2 * family.name.len() + family.help.len() + help + kind
    };
    FAMILIES.iter().filter(present).map(head).sum()
}
