//! Raises the limit of open file descriptors, and divides it between checks, probes and clients of the server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of an idle daemon, with some to spare for files.
const BASE: usize = 32;

/// Descriptors of a check: its connection, and a lookup or a file.
const PER_CHECK: usize = 2;

/// Clients of the server may use one of this many descriptors.
const CONNECTIONS_SHARE: usize = 4;

/// Raises the soft limit to the hard one, and returns it; `None` is unlimited.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "Failed to raise RLIMIT_NOFILE");
            current
        }
    }
}

/// Probes on request may use one of this many of the descriptors that clients leave, and those that checks leave.
const PROBES_SHARE: usize = 4;

/// Limits of concurrent checks, probes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Maximum number of concurrent checks.
    pub checks: usize,
    /// Maximum number of concurrent probes on request; 0 without `/probe`.
    pub probes: usize,
    /// Maximum number of client connections.
    pub connections: usize,
}

impl Budget {
    /// Lowers the budget to fit into `limit` descriptors. Clients get at most a quarter, so that idle
    /// ones leave enough for checks, and probes at most a quarter of the rest or what checks leave.
    pub(crate) fn within(self, limit: Option<u64>) -> Self {
        let Some(limit) = limit else { return self };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let free = limit.saturating_sub(BASE);
        let connections = self.connections.min(free / CONNECTIONS_SHARE).max(1);
        let both = free.saturating_sub(connections) / PER_CHECK;
        let most = both.saturating_sub(self.checks).max(both / PROBES_SHARE);
        let probes = self.probes.min(most.max(1));
        let checks = both.saturating_sub(probes);
        Self {
            checks: self.checks.min(checks).max(1),
            probes,
            connections,
        }
    }

    /// Number of probes for which `limit` leaves descriptors, at least 1: those of a later configuration.
    pub(crate) fn max_probes(self, limit: Option<u64>) -> usize {
        let Some(limit) = limit else {
            return usize::MAX;
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let others = BASE + self.connections + PER_CHECK * self.checks;
        (limit.saturating_sub(others) / PER_CHECK).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Budget = Budget {
        checks: 1000,
        probes: 0,
        connections: 256,
    };

    #[test]
    fn a_budget_fits_into_the_limit_and_is_never_empty() {
        for probes in [0, 1, 256] {
            let wanted = Budget { probes, ..WANTED };
            assert_eq!(wanted.within(None), wanted);
            assert_eq!(wanted.within(Some(524_288)), wanted);
            for limit in [0, 1, 40, 64, 100, 256, 1024, 2048] {
                let budget = wanted.within(Some(limit));
                assert!(budget.checks >= 1 && budget.connections >= 1);
                assert_eq!(budget.probes == 0, probes == 0);
                let both = budget.checks + budget.probes;
                let needed = BASE + budget.connections + PER_CHECK * both;
                assert!(limit < 64 || needed as u64 <= limit, "{limit}: {budget:?}");
            }
        }
    }

    #[test]
    fn probes_get_a_quarter_or_what_checks_leave() {
        let check = |checks, probes, expected| {
            let wanted = Budget {
                checks,
                probes,
                ..WANTED
            };
            let budget = wanted.within(Some(1024));
            assert_eq!((budget.checks, budget.probes), expected);
            assert_eq!(budget.max_probes(Some(1024)), budget.probes.max(1));
        };
        check(1000, 0, (372, 0));
        check(1000, 256, (279, 93));
        check(1000, 50, (322, 50));
        check(200, 256, (200, 172));
    }
}
