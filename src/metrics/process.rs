//! Statistics of the process, read from procfs(5).
//!
//! The prometheus crate has a collector of these too, but it cuts CPU time down to whole seconds,
//! of which this daemon spends one in an hour.

use procfs::{
    WithCurrentSystemInfo,
    process::{LimitValue, Process},
};

/// Statistics of this process. What cannot be read, outside Linux or in a sandbox without /proc, is `None`.
#[derive(Debug, Default)]
pub(super) struct ProcessStats {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) virtual_memory_bytes: Option<f64>,
    pub(crate) resident_memory_bytes: Option<f64>,
    pub threads: Option<f64>,
    pub(crate) start_time_seconds: Option<f64>,
    pub(crate) open_descriptors: Option<f64>,
    pub(crate) max_descriptors: Option<f64>,
    pub(crate) max_virtual_memory_bytes: Option<f64>,
}

impl ProcessStats {
    /// Reads what can be read.
    pub(super) fn read() -> Self {
        let mut stats = Self::default();
        // A statistic that cannot be read exports no sample; the reason makes no difference.
        let _ = stats.try_read();
        stats
    }

    #[expect(clippy::cast_precision_loss, reason = "samples are floats")]
    fn try_read(&mut self) -> procfs::ProcResult<()> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        self.cpu_seconds = Some((stat.utime + stat.stime) as f64 / ticks);
        self.virtual_memory_bytes = Some(stat.vsize as f64);
        self.resident_memory_bytes = Some(stat.rss_bytes().get() as f64);
        self.threads = Some(stat.num_threads as f64);
        let boot = procfs::boot_time_secs()? as f64;
        self.start_time_seconds = Some(boot + stat.starttime as f64 / ticks);
        let limits = process.limits()?;
        self.max_descriptors = Some(soft(limits.max_open_files.soft_limit));
        self.max_virtual_memory_bytes = Some(soft(limits.max_address_space.soft_limit));
        self.open_descriptors = Some(process.fd_count()? as f64);
        Ok(())
    }
}

/// A limit as Prometheus' own client libraries export it: "unlimited" is the largest number.
#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
fn soft(limit: LimitValue) -> f64 {
    match limit {
        LimitValue::Value(limit) => limit as f64,
        LimitValue::Unlimited => u64::MAX as f64,
    }
}
