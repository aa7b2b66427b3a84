//! Prints a plan as text.

use std::fmt::{self, Display, Formatter};

use comfy_table::{CellAlignment, Table, presets};

use super::{Load, Plan, Warning, assumptions, in_flight::round_up};
use crate::text::counted;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.summary().trim_fmt())?;
        writeln!(f, "{}\n", self.loads().trim_fmt())?;
        writeln!(
            f,
            "healthy: every check takes {} ms",
            assumptions::HEALTHY_CHECK_DURATION.as_millis()
        )?;
        writeln!(
            f,
            "worst case: all checks time out, no name server answers, every monitor has failed before"
        )?;
        if !self.hosts.is_empty() {
            writeln!(f, "\n{}", self.hosts().trim_fmt())?;
        }
        if self.more_hosts > 0 {
            writeln!(f, " and {} more", self.more_hosts)?;
        }
        if !self.warnings.is_empty() {
            writeln!(f, "\nwarnings")?;
        }
        self.warnings
            .iter()
            .try_for_each(|warning| writeln!(f, "- {warning}"))
    }
}

impl Plan {
    fn summary(&self) -> Table {
        let monitors: usize = self.types.values().sum();
        let types: Vec<_> = self
            .types
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let monitors = match &types[..] {
            [] => monitors.to_string(),
            types => format!("{monitors}: {}", types.join(", ")),
        };
        let cores = counted(self.machine.cores, "core");
        let mut table = table();
        table.add_row(["monitors", &monitors]);
        table.add_row(["checks per second", &rate(self.checks_per_second)]);
        let threads = format!("{} on {cores}", self.worker_threads);
        table.add_row(["worker threads", &threads]);
        if let Some(storage) = &self.storage {
            let (size, written) = (storage.bytes, storage.bytes_per_second);
            table.add_row(["store after its retention", &bytes(size)]);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "for show"
            )]
            let written = bytes(written as u64);
            table.add_row(["written to it per second", &written]);
        }
        table
    }

    fn loads(&self) -> Table {
        let mut table = table();
        table.set_header(["", "HEALTHY", "WORST CASE", "LIMIT"]);
        align_right(&mut table, &[1, 2, 3]);
        let mut row = |what: &str, of: &dyn Fn(&Load) -> String, limit: &str| {
            table.add_row([what, &of(&self.healthy), &of(&self.worst_case), limit]);
        };
        let limit = self.limits.checks.to_string();
        let no_limit = || "none".to_owned();
        let descriptors = self
            .machine
            .descriptors
            .map_or_else(no_limit, |limit| limit.to_string());
        row(
            "checks in flight (average)",
            &|load| rate(load.mean_in_flight),
            "",
        );
        row(
            "checks in flight (peak)",
            &|load| load.peak_in_flight.to_string(),
            &limit,
        );
        row(
            "open files (peak)",
            &|load| load.descriptors.to_string(),
            &descriptors,
        );
        let memory = self.machine.memory.map_or_else(String::new, bytes);
        row("memory (peak)", &|load| bytes(load.memory as u64), &memory);
        let has_bodies = self.worst_case.bodies > 0;
        if has_bodies {
            row(
                "memory with the largest bodies",
                &|load| bytes(load.memory as u64 + load.bodies),
                &memory,
            );
        }
        row(
            "series of monitors",
            &|load| load.monitor_series.to_string(),
            "",
        );
        row(
            "series of the daemon",
            &|_| self.daemon_series.to_string(),
            "",
        );
        row("scrape size", &|load| bytes(load.scrape as u64), "");
        table
    }

    fn hosts(&self) -> Table {
        let mut table = table();
        let mut header = vec![
            "HOST",
            "MONITORS",
            "REQUESTS PER SECOND",
            "WORST CASE IN FLIGHT",
        ];
        let limit = self.limits.checks_per_host.map(|limit| limit.to_string());
        header.extend(limit.as_ref().map(|_| "LIMIT"));
        table.set_header(header);
        align_right(&mut table, &[1, 2, 3, 4]);
        for host in &self.hosts {
            let mut row = vec![
                host.name.clone(),
                host.monitors.to_string(),
                rate(host.requests_per_second),
                host.peak_in_flight.to_string(),
            ];
            row.extend(limit.clone());
            table.add_row(row);
        }
        table
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// Right-aligns the existing ones of these columns.
fn align_right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConcurrencyLimit {
                is_healthy: well,
                peak,
                limit,
                needed,
                skipped_per_second,
            } => {
                let when = if *well {
                    "even if all checks succeed"
                } else {
                    "if all checks time out"
                };
                write!(
                    f,
                    "{when}, {peak} checks are in flight at once, and the limit is {limit}{}: {}; \
                     raise dispatcher.max_concurrent_checks to {needed}",
                    if *well {
                        ""
                    } else {
                        " for targets that time out"
                    },
                    consequence(*skipped_per_second)
                )
            }
            Self::HostLimit {
                host,
                others,
                peak,
                limit,
                skipped_per_second,
            } => write!(
                f,
                "if all checks time out, {peak} checks of {host}{} are in flight at once, and the \
                 limit for a host is {limit}: {}; raise dispatcher.max_concurrent_checks_per_host \
                 to {peak}",
                and_others(*others),
                consequence(*skipped_per_second)
            ),
            Self::WorkerThreads { needed, used } => write!(
                f,
                "the checks need {needed} worker threads, and there are {used}: checks will start \
                 late, and slots will be skipped (stalled); check less often, or spread the \
                 monitors over several machines"
            ),
            Self::Descriptors { needed, limit } => write!(
                f,
                "up to {needed} files are open at once, and the system allows {limit}: checks \
                 will fail with agent_error; raise the hard limit (ulimit -Hn, LimitNOFILE, \
                 ulimits), or lower dispatcher.max_concurrent_checks"
            ),
            Self::Memory { needed, limit } => write!(
                f,
                "up to {} of memory is needed, and {} is available: the daemon may be killed; raise \
                 the limit, lower dispatcher.max_concurrent_checks, or spread the monitors over \
                 several machines",
                bytes(*needed),
                bytes(*limit)
            ),
            Self::Bodies {
                bodies: most,
                limit,
            } => write!(
                f,
                "if all targets send the largest bodies that are allowed, these take {}, and {} of \
                 memory is available: lower body_size_limit, json_values_limit or \
                 dispatcher.max_concurrent_checks",
                bytes(*most),
                bytes(*limit)
            ),
            Self::Requests {
                host,
                others,
                per_second,
            } => write!(
                f,
                "{host}{} gets {} requests per second, more than {}: the host may limit them",
                and_others(*others),
                rate(*per_second),
                rate(assumptions::MAX_REQUESTS_PER_HOST)
            ),
        }
    }
}

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" (and {})", counted(others, "more host")),
    }
}

/// The consequence of a limit that is too low.
fn consequence(skipped_per_second: f64) -> String {
    if skipped_per_second > 0.0 {
        let skipped = counted(rate(skipped_per_second), "slot");
        format!("{skipped} per second would be skipped (saturated or overrun)")
    } else {
        "some checks would start late".to_owned()
    }
}

/// A number with three significant digits.
pub(super) fn rate(number: f64) -> String {
    // The sum of no floats is -0.0.
    if number == 0.0 {
        return "0".to_owned();
    }
    if number >= 100.0 {
        return format!("{number:.0}");
    }
    let whole_digits = usize::from(number >= 1.0) + usize::from(number >= 10.0);
    let zeros = round_up(-number.log10()).saturating_sub(1);
    let text = format!("{number:.*}", 3 - whole_digits + zeros);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A size with a decimal unit (1 KB = 1000 B), as in `benches/README.md`.
#[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
pub(super) fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    let (size, unit) = match bytes {
        ..1e3 => (bytes, "B"),
        ..1e6 => (bytes / 1e3, "KB"),
        ..1e9 => (bytes / 1e6, "MB"),
        _ => (bytes / 1e9, "GB"),
    };
    let decimals = usize::from(size < 100.0 && unit != "B");
    format!("{size:.decimals$} {unit}")
}
