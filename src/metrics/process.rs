//! The usual `process_*` metrics, read from procfs(5).
//!
//! The prometheus crate has a collector of these too, but it cuts CPU time down to whole seconds,
//! of which this daemon spends one in an hour.

use procfs::{
    WithCurrentSystemInfo,
    process::{LimitValue, Process},
};

use super::{daemon::Families, families::Id};

/// Adds what can be read of this process; outside Linux and in sandboxes without /proc, nothing.
pub(super) fn collect(families: &mut Families) {
    // Nothing to tell apart on error: what cannot be read has no sample.
    let _ = try_collect(families);
}

#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
fn try_collect(families: &mut Families) -> procfs::ProcResult<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    families.add(
        Id::ProcessCpu,
        &[],
        (stat.utime + stat.stime) as f64 / ticks,
    );
    families.count(Id::ProcessVirtualMemory, stat.vsize);
    families.count(Id::ProcessResidentMemory, stat.rss_bytes().get());
    families.add(Id::ProcessThreads, &[], stat.num_threads as f64);
    let boot = procfs::boot_time_secs()? as f64;
    families.add(
        Id::ProcessStartTime,
        &[],
        boot + stat.starttime as f64 / ticks,
    );
    let limits = process.limits()?;
    for (id, limit) in [
        (Id::ProcessMaxFds, limits.max_open_files),
        (Id::ProcessMaxVirtualMemory, limits.max_address_space),
    ] {
        match limit.soft_limit {
            LimitValue::Value(limit) => families.count(id, limit),
            LimitValue::Unlimited => families.count(id, u64::MAX),
        }
    }
    families.count(Id::ProcessOpenFds, process.fd_count()? as u64);
    Ok(())
}
