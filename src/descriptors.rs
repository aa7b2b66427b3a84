//! Raises the limit of open file descriptors, and divides it between checks and clients of the server.

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

/// Limits of concurrent checks and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Maximum number of concurrent checks.
    pub checks: usize,
    /// Maximum number of client connections.
    pub connections: usize,
}

impl Budget {
    /// Lowers the budget to fit into `limit` descriptors. Clients get at most a quarter, so that idle
    /// ones leave enough for checks.
    pub fn within(self, limit: Option<u64>) -> Self {
        let Some(limit) = limit else { return self };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let free = limit.saturating_sub(BASE);
        let connections = self.connections.min(free / CONNECTIONS_SHARE).max(1);
        let checks = free.saturating_sub(connections) / PER_CHECK;
        Self {
            checks: self.checks.min(checks).max(1),
            connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_fits_into_the_limit_and_is_never_empty() {
        let wanted = Budget {
            checks: 1000,
            connections: 256,
        };
        assert_eq!(wanted.within(None), wanted);
        assert_eq!(wanted.within(Some(524_288)), wanted);
        for limit in [0, 1, 40, 64, 100, 256, 1024, 2048] {
            let budget = wanted.within(Some(limit));
            assert!(budget.checks >= 1 && budget.connections >= 1);
            let needed = BASE + budget.connections + PER_CHECK * budget.checks;
            assert!(limit < 64 || needed as u64 <= limit, "{limit}: {budget:?}");
        }
        let budget = wanted.within(Some(1024));
        let expected = Budget {
            checks: 372,
            connections: 248,
        };
        assert_eq!(budget, expected);
    }
}
