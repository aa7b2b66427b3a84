//! The assumptions of a plan: every number that is not in the configuration.

use std::time::Duration;

/// Duration of a successful check: a handshake and a response across a continent.
pub(super) const HEALTHY_CHECK_DURATION: Duration = Duration::from_millis(100);

/// Bytes of a daemon without monitors, from `benches/README.md`.
pub(super) const BASE_MEMORY: usize = 11_000_000;
/// Bytes for each monitor, from `benches/README.md`.
pub(super) const MONITOR_MEMORY: usize = 5_500;
/// Additional bytes for each monitor if the status page is on, from README.
pub(super) const HISTORY_MEMORY: usize = 1_500;
/// Bytes of the steps of a monitor's last failure, at most: 64 of 160 bytes of text, if the status page is on.
pub(super) const EVIDENCE_MEMORY: usize = 13_500;
/// Bytes for each check in flight without TLS, from `benches/README.md`.
pub(super) const CHECK_MEMORY: usize = 40_000;
/// Bytes for each check in flight with TLS, from `benches/README.md`.
pub(super) const TLS_CHECK_MEMORY: usize = 60_000;

/// Number of open files of an idle daemon.
pub(super) const BASE_DESCRIPTORS: usize = 20;
/// Number of sockets of a lookup, which asks two name servers at once. After the lookup, a check has
/// one connection instead.
pub(super) const LOOKUP_SOCKETS: usize = 2;
/// Number of sockets of an unanswered lookup: three queries to each server, from separate sockets.
pub(super) const SILENT_LOOKUP_SOCKETS: usize = 6;

/// Bytes of a sample line without the monitor's name.
pub(super) const SAMPLE_BYTES: usize = 66;

/// Requests per second that rate limits commonly allow from one address.
pub(super) const MAX_REQUESTS_PER_HOST: f64 = 10.0;
