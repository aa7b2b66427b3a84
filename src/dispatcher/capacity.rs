//! Calculates the number of worker threads.

use std::{num::NonZero, thread};

use crate::check::Job;

/// Checks per second of one thread. Without TLS they take 50 to 70 % of its time, as measured in
/// `benches/`.
const CHECKS_PER_WORKER: f64 = 5_000.0;

/// CPU time of a check with TLS relative to one without, as measured in `benches/`.
const COST_OVER_TLS: f64 = 5.0;

/// Checks per second of all `jobs`.
pub(crate) fn checks_per_second<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> f64 {
    jobs.into_iter().map(rate).sum()
}

/// Checks per second of `job`, not counting extra slots while a change is not confirmed.
fn rate(job: &Job) -> f64 {
    if job.enabled {
        job.check_every.as_secs_f64().recip()
    } else {
        0.0
    }
}

/// Number of cores that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Number of threads that the checks of `jobs` need.
///
/// Not more, because idle threads wake each other for every check, which costs 15 % of its CPU time.
/// Blocking work, such as rendering a page or reading files, runs on other threads.
pub(crate) fn threads_needed<'j>(jobs: impl IntoIterator<Item = &'j Job>) -> usize {
    let load = |job: &Job| {
        let cost = if job.speaks_tls() { COST_OVER_TLS } else { 1.0 };
        cost * rate(job)
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0"
    )]
    let needed = (jobs.into_iter().map(load).sum::<f64>() / CHECKS_PER_WORKER).ceil() as usize;
    needed.max(1)
}
