//! What is assumed: every number of a plan that is not in the configuration.

use std::time::Duration;

/// How long a check takes where all is well: a handshake and an answer across a continent.
pub(super) const HEALTHY_CHECK_DURATION: Duration = Duration::from_millis(100);

/// Bytes of a daemon without monitors, by `benches/README.md`.
pub(super) const BASE_MEMORY: usize = 11_000_000;
/// Bytes that a monitor adds, by `benches/README.md`.
pub(super) const MONITOR_MEMORY: usize = 5_500;
/// Bytes that it adds where there is a status page, by README.
pub(super) const HISTORY_MEMORY: usize = 1_500;
/// Bytes that a check in flight adds, by `benches/README.md`.
pub(super) const CHECK_MEMORY: usize = 40_000;
/// The same over TLS, by `benches/README.md`.
pub(super) const TLS_CHECK_MEMORY: usize = 60_000;

/// Open files of a daemon that checks nothing and that nobody scrapes.
pub(super) const BASE_DESCRIPTORS: usize = 20;
/// Sockets that a lookup holds: two name servers are asked at once. A check that has looked its
/// host up holds one connection instead.
pub(super) const LOOKUP_SOCKETS: usize = 2;
/// The same where they do not answer: each is asked three times, every time from a socket of its own.
pub(super) const SILENT_LOOKUP_SOCKETS: usize = 6;

/// Bytes of a sample line without its monitor's name.
pub(super) const SAMPLE_BYTES: usize = 66;

/// Requests a second past which a host may take checks for an attack: what rate limits commonly
/// grant one address.
pub(super) const MAX_REQUESTS_PER_HOST: f64 = 10.0;
