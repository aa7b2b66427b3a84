//! Keeps the last probes, and older failed ones, in memory.

use std::{collections::VecDeque, fmt::Write, sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use super::families::ProbeResult;
use crate::{check::Report, value::format_duration};

/// The last probes, and as many failed ones from before them.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    next_id: u64,
    limit: usize,
    last: VecDeque<Arc<RecentProbe>>,
    older_failures: VecDeque<Arc<RecentProbe>>,
}

/// One probe that has ended.
#[derive(Debug)]
pub(crate) struct RecentProbe {
    /// Its number, from 0.
    pub id: u64,
    /// The module.
    pub module: String,
    /// The target without secrets.
    pub target: String,
    /// The target as it was asked for.
    requested: String,
    /// The result.
    pub report: Report,
    /// Its metrics in the text format.
    pub metrics: Arc<str>,
    prober: &'static str,
    timeout: std::time::Duration,
    module_text: Arc<str>,
}

impl Recent {
    /// Keeps `limit` probes, and as many older failures.
    pub(super) fn set_limit(&self, limit: usize) {
        let mut kept = self.0.lock();
        kept.limit = limit;
        kept.last.truncate(limit);
        kept.older_failures.truncate(limit);
    }

    /// Adds a probe, the newest.
    pub(super) fn add(&self, mut probe: RecentProbe) -> Arc<RecentProbe> {
        let mut kept = self.0.lock();
        probe.id = kept.next_id;
        kept.next_id += 1;
        let probe = Arc::new(probe);
        let limit = kept.limit;
        kept.last.push_front(probe.clone());
        if kept.last.len() > limit
            && let Some(oldest) = kept.last.pop_back()
            && oldest.report.failure.is_some()
        {
            kept.older_failures.push_front(oldest);
            kept.older_failures.truncate(limit);
        }
        probe
    }

    /// All of them, the newest first.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<Arc<RecentProbe>> {
        let kept = self.0.lock();
        kept.last
            .iter()
            .chain(&kept.older_failures)
            .cloned()
            .collect()
    }

    /// The probe of this number.
    #[must_use]
    pub(crate) fn by_id(&self, id: u64) -> Option<Arc<RecentProbe>> {
        self.list().into_iter().find(|probe| probe.id == id)
    }

    /// The newest probe of `target`, with this module if one is given.
    #[must_use]
    pub(crate) fn by_target(&self, target: &str, module: Option<&str>) -> Option<Arc<RecentProbe>> {
        self.list().into_iter().find(|probe| {
            let is_module = module.is_none_or(|module| probe.module == module);
            is_module && (probe.requested == target || probe.target == target)
        })
    }
}

impl RecentProbe {
    pub(super) fn new(
        module: &str,
        (requested, target): (&str, String),
        module_text: Arc<str>,
        result: &ProbeResult<'_>,
        metrics: Arc<str>,
    ) -> Self {
        Self {
            id: 0,
            module: module.to_owned(),
            target,
            requested: requested.to_owned(),
            report: result.report.clone(),
            metrics,
            prober: result.prober.as_str(),
            timeout: result.timeout,
            module_text,
        }
    }

    /// The log of the probe, its metrics, and its module.
    #[must_use]
    pub(crate) fn log(&self) -> String {
        let mut text = "Logs for the probe:\n".to_owned();
        let _ = self.write_log(&mut text);
        let _ = write!(
            text,
            "\n\n\nMetrics that would have been returned:\n{}\n\n\nModule configuration:\n{}",
            self.metrics, self.module_text
        );
        text
    }

    fn write_log(&self, text: &mut String) -> std::fmt::Result {
        let Report {
            ended_at,
            duration,
            phases,
            failure,
            steps,
            ..
        } = &self.report;
        let began = ended_at
            .checked_sub(*duration)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let time = chrono::DateTime::<chrono::Utc>::from(began)
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        writeln!(
            text,
            "{time} {} probe of {} with module {}, timeout {}",
            self.prober,
            self.target,
            self.module,
            format_duration(self.timeout)
        )?;
        for step in steps {
            let millis = 1000.0 * step.at.as_secs_f64();
            let phase = step.phase.map_or("-", |phase| phase.as_str());
            let kind = step.kind;
            writeln!(text, "{millis:10.3} ms {phase:<10} {kind}: {}", step.text)?;
        }
        for (phase, spent) in phases {
            let seconds = spent.as_secs_f64();
            writeln!(text, "phase {phase}: {seconds:.6} s")?;
        }
        let seconds = duration.as_secs_f64();
        match failure {
            None => writeln!(text, "Probe succeeded in {seconds:.6} s"),
            Some(failure) => writeln!(
                text,
                "Probe failed in {seconds:.6} s: {} in phase {}: {}",
                failure.reason, failure.phase, failure.error
            ),
        }
    }
}
