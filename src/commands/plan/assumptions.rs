//! The assumptions of a plan: every number that is not in the configuration.

use std::time::Duration;

/// Duration of a successful check: a handshake and a response across a continent.
pub(super) const HEALTHY_CHECK_DURATION: Duration = Duration::from_millis(100);

/// Bytes of a daemon without monitors, from `benches/README.md`.
pub(super) const BASE_MEMORY: usize = 11_000_000;
/// Bytes for each monitor, from `benches/README.md`.
pub(super) const MONITOR_MEMORY: usize = 4_300;
/// Additional bytes for each monitor with native histograms, from `benches/README.md`.
pub(super) const NATIVE_HISTOGRAM_MEMORY: usize = 500;
/// Additional bytes for each monitor if the status page is on, from README.
pub(super) const HISTORY_MEMORY: usize = 1_500;
/// Bytes of the steps of a monitor's last failure, at most: 64 of 160 bytes of text, if the status page is on.
pub(super) const EVIDENCE_MEMORY: usize = 13_500;
/// Additional bytes for each monitor if there is a store: while its journal is folded, and uptimes that were shown.
pub(super) const STORAGE_MEMORY: usize = 4_200;
/// Bytes of an hour or a day of a monitor in the store, at most about a hundred.
pub(super) const PERIOD_BYTES: u64 = 90;
/// Bytes of the last checks, the state and the settings of a monitor in the store.
pub(super) const STORED_MONITOR_BYTES: u64 = 1_500;
/// Bytes of a check in the journal of the store.
pub(super) const JOURNALED_CHECK_BYTES: f64 = 25.0;
/// The longest time that checks stay in the journal, in seconds.
pub(super) const JOURNAL_SECONDS: f64 = 600.0;
/// Bytes that a batch writes beside its checks: pages of the database.
pub(super) const BATCH_BYTES: f64 = 20_000.0;
/// Bytes of a request with metrics on its way to a collector.
pub(super) const METRICS_EXPORT_MEMORY: usize = 2_000_000;
/// Bytes of the last exported values of a monitor, if deltas are exported.
pub(super) const DELTA_MEMORY: usize = 3_000;
/// Bytes of what waits for a collector, for each signal that is queued: the queue, and a batch on its way.
pub(super) const TELEMETRY_MEMORY: usize = 10_000_000;
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
pub(super) const SAMPLE_BYTES: usize = 63;

/// Requests per second that rate limits commonly allow from one address.
pub(super) const MAX_REQUESTS_PER_HOST: f64 = 10.0;
