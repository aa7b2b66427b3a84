//! How many threads the checks of a configuration need.

use std::{num::NonZero, thread};

use crate::check::Job;

/// Checks per second that one thread has room for: without TLS they take some 60 % of its time,
/// measured by `benches/`.
const CHECKS_PER_WORKER: f64 = 4_000.0;

/// CPU time of a check over TLS, as a multiple of that of one without, measured by `benches/`.
const COST_OVER_TLS: f64 = 5.0;

/// Checks per second, over all of `jobs`.
pub(crate) fn checks_per_second<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> f64 {
    let rate = |job: &Job| job.check_every.as_secs_f64().recip();
    jobs.into_iter().map(rate).sum()
}

/// Number of cores that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Number of threads that have room for the checks of `jobs`.
///
/// No more than that run them, as far as there are cores: threads that have little to do wake each
/// other for every check, which costs a fifth of its CPU time. What blocks (rendering a page, reading
/// files) does so on threads of its own.
pub(crate) fn threads_needed<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> usize {
    let load = |job: &Job| {
        let cost = if job.speaks_tls() { COST_OVER_TLS } else { 1.0 };
        cost * job.check_every.as_secs_f64().recip()
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0"
    )]
    let needed = (jobs.into_iter().map(load).sum::<f64>() / CHECKS_PER_WORKER).ceil() as usize;
    needed.max(1)
}
