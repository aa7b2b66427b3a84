//! Plans for invented jobs on invented machines, one of them pinned by `tests/golden/plan.txt`.
//!
//! `UPDATE_EXPECT=1 cargo test golden` writes it anew.

use std::{env, fs, path::Path, time::Duration};

use super::*;
use crate::{
    check::{Attempt, Failure},
    commands::plan::output,
    metrics::Settings,
};

/// A monitor that is never checked.
struct Silent(&'static str);

impl crate::check::Monitor for Silent {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn target(&self) -> String {
        format!("{}/", self.0)
    }

    fn host(&self) -> Option<String> {
        let (_, host) = self.0.split_once("://")?;
        Some(host.to_owned())
    }

    fn phases(&self) -> Vec<Phase> {
        let mut phases = vec![Phase::Connect, Phase::Processing, Phase::Transfer];
        if self.0.starts_with("https:") {
            phases.push(Phase::Tls);
        }
        let is_address = |host: String| host.starts_with(['1', '[']);
        if !self.host().is_some_and(is_address) {
            phases.push(Phase::Resolve);
        }
        phases
    }

    async fn check(&self, _: &Attempt) -> Result<(), Failure> {
        Ok(())
    }
}

const MACHINE: Machine = Machine {
    cores: 4,
    descriptors: None,
    memory: None,
};

const LIMITS: Limits = Limits {
    checks: 1000,
    checks_per_host: None,
    connections: 256,
};

/// So many monitors of `url`, with their interval and timeout in milliseconds.
fn jobs(count: usize, url: &'static str, every: u64, timeout: u64) -> Vec<Job> {
    let job = |number: usize| {
        let mut job = Job::new(number.to_string(), Silent(url));
        job.check_every = Duration::from_millis(every);
        job.timeout = Duration::from_millis(timeout);
        job
    };
    (0..count).map(job).collect()
}

fn plan_of(jobs: &[Job]) -> Plan {
    Plan::within(LIMITS, &Settings::default(), jobs, MACHINE, 0)
}

#[test]
fn worker_threads_depend_on_the_checks_per_second() {
    for (count, every, rate, threads) in [
        (0, 1, 0.0, 1),
        (10, 500, 20.0, 1),
        (3, 60_000, 0.05, 1),
        (5_000, 1_000, 5_000.0, 1),
        (5_001, 1_000, 5_001.0, 2),
        (50_000, 1_000, 50_000.0, 4),
    ] {
        let plan = plan_of(&jobs(count, "http://a", every, 1));
        let near = (plan.checks_per_second - rate).abs() < 1e-6;
        assert!(near, "{count}/{every}: {}", plan.checks_per_second);
        assert_eq!(plan.worker_threads, threads, "{count}/{every}");
    }
}

/// Checks the number of checks in flight of so many monitors with this interval and timeout.
#[track_caller]
fn check_flight(
    (count, every, timeout): (usize, u64, u64),
    well: (f64, usize),
    worst: (f64, usize),
) {
    let plan = plan_of(&jobs(count, "http://a", every, timeout));
    for (load, (mean, peak)) in [(plan.healthy, well), (plan.worst_case, worst)] {
        let near = (load.mean_in_flight - mean).abs() < 1e-6;
        assert!(near, "{} is not {mean}", load.mean_in_flight);
        assert_eq!(load.peak_in_flight, peak);
    }
}

#[test]
fn the_average_in_flight_is_the_sum_of_duration_over_interval() {
    check_flight((0, 1_000, 1_000), (0.0, 0), (0.0, 0));
    check_flight((2, 5_000, 5_000), (0.04, 2), (2.0, 2));
    // 10 of the first checks; 40, and four times the root of 40 × 0.98.
    check_flight((2_000, 5_000, 5_000), (40.0, 10 + 66), (2_000.0, 2_000));
    // 500 of the first checks; 2,000 / 12, and four times the root of that × 11 / 12.
    check_flight(
        (2_000, 60_000, 5_000),
        (200.0 / 60.0, 10 + 11),
        (2_000.0 / 12.0, 500 + 217),
    );
    // Timeouts shorter than what is assumed of a good check.
    check_flight((1_000, 1_000, 50), (50.0, 5 + 78), (50.0, 5 + 78));
    // Intervals shorter than that, which one check fills.
    check_flight((10, 20, 20), (10.0, 10), (10.0, 10));
}

#[test]
fn the_peak_is_estimated_over_all_monitors_together() {
    let mut mixed = jobs(100, "http://a", 1_000, 1_000);
    mixed.extend(jobs(100, "https://b", 10_000, 1_000));
    let worst = plan_of(&mixed).worst_case;
    assert!((worst.mean_in_flight - 110.0).abs() < 1e-6, "{worst:?}");
    // 100 of the first checks; 110, and four times the root of 100 × 0.1 × 0.9.
    assert_eq!(worst.peak_in_flight, 200);
    let hosts = plan_of(&mixed).hosts;
    let peaks: Vec<_> = hosts
        .iter()
        .map(|host| (&*host.name, host.peak_in_flight))
        .collect();
    assert_eq!(peaks, [("a", 100), ("b", 100)]);
}

#[test]
fn the_limit_bounds_open_files_and_memory() {
    let of = |url, count, checks| {
        let limits = Limits { checks, ..LIMITS };
        let worst = Plan::within(
            limits,
            &Settings::default(),
            &jobs(count, url, 1_000, 1_000),
            MACHINE,
            0,
        )
        .worst_case;
        let none = Plan::within(limits, &Settings::default(), &[], MACHINE, 0).worst_case;
        let monitors = count * assumptions::MONITOR_MEMORY;
        (
            worst.descriptors - none.descriptors,
            worst.memory - none.memory - monitors,
        )
    };
    let (plain, secure) = (assumptions::CHECK_MEMORY, assumptions::TLS_CHECK_MEMORY);
    let lookup = assumptions::SILENT_LOOKUP_SOCKETS;
    for (url, count, limit, descriptors, memory) in [
        ("http://192.0.2.1", 50, 1_000, 50, 50 * plain),
        ("http://192.0.2.1", 50, 20, 20, 20 * plain),
        ("https://192.0.2.1", 50, 20, 20, 20 * secure),
        ("http://[2001:db8::1]", 50, 1_000, 50, 50 * plain),
        ("http://name", 50, 1_000, 50 * lookup, 50 * plain),
        ("https://name", 50, 20, 20 * lookup, 20 * secure),
    ] {
        assert_eq!(
            of(url, count, limit),
            (descriptors, memory),
            "{url} {limit}"
        );
    }
}

#[test]
fn series_depend_on_the_target_and_on_the_buckets() {
    let series = |url, own: Option<&[f64]>, general: Option<&[f64]>| {
        let mut jobs = jobs(1, url, 1_000, 1_000);
        jobs[0].duration_buckets = own.map(Into::into);
        let settings = Settings {
            duration_buckets: general.map(Into::into),
            ..Settings::default()
        };
        let plan = Plan::within(LIMITS, &settings, &jobs, MACHINE, 0);
        (plan.healthy.monitor_series, plan.worst_case.monitor_series)
    };
    let (well, failed) = series("http://192.0.2.1", None, None);
    // One more histogram of 13 buckets, failures by phase and reason, and another status code.
    assert_eq!(failed - well, 16 + 2);
    let resolve = 2;
    assert_eq!(series("http://name", None, None).0, well + resolve);
    let tls = 2 + 2 * 3 + 1;
    assert_eq!(series("https://192.0.2.1", None, None).0, well + tls);
    let (general, own) = (Some(&[1.0, 2.0, 3.0][..]), Some(&[1.0][..]));
    assert_eq!(series("http://192.0.2.1", None, general).0, well - 10);
    assert_eq!(series("http://192.0.2.1", own, general).0, well - 12);
    assert_eq!(
        series("http://192.0.2.1", own, general).1,
        failed - 2 * 12,
        "of two histograms"
    );
}

#[test]
fn the_ten_busiest_hosts_are_listed() {
    const HOSTS: [&str; 12] = [
        "http://l", "http://k", "http://j", "http://i", "http://h", "http://g", "http://f",
        "http://e", "http://d", "http://c", "http://b", "http://a",
    ];
    let mut all = jobs(1, "no host", 1_000, 1_000);
    for (place, url) in HOSTS.iter().enumerate() {
        let count = if place == 3 { 4 } else { 1 };
        let every = if place == 5 { 500 } else { 1_000 };
        all.extend(jobs(count, url, every, 100));
    }
    let plan = plan_of(&all);
    let listed: Vec<_> = plan
        .hosts
        .iter()
        .map(|host| (&*host.name, host.monitors, host.requests_per_second))
        .collect();
    let mut expected = vec![("i", 4, 4.0), ("g", 1, 2.0)];
    expected.extend(["a", "b", "c", "d", "e", "f", "h", "j"].map(|name| (name, 1, 1.0)));
    assert_eq!(listed, expected);
    assert_eq!(plan.more_hosts, 2);
    assert_eq!(plan_of(&jobs(5, "no host", 1, 1)).hosts, []);
}

/// The warnings about `jobs`, as they are printed.
#[track_caller]
fn check_warnings(jobs: &[Job], limits: Limits, machine: Machine, expected: &[&str]) {
    let plan = Plan::within(limits, &Settings::default(), jobs, machine, 0);
    let warnings: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
    let matches = warnings.len() == expected.len()
        && warnings
            .iter()
            .zip(expected)
            .all(|(warning, expected)| warning.starts_with(expected));
    assert!(matches, "{warnings:#?}");
}

#[test]
fn a_plan_within_all_limits_has_no_warnings() {
    check_warnings(&[], LIMITS, MACHINE, &[]);
    check_warnings(&jobs(10, "http://a", 1_000, 1_000), LIMITS, MACHINE, &[]);
    check_warnings(&jobs(1, "http://a", 200, 200), LIMITS, MACHINE, &[]);
    let limits = Limits {
        checks: 11,
        checks_per_host: Some(10),
        connections: 256,
    };
    check_warnings(&jobs(10, "http://a", 1_000, 1_000), limits, MACHINE, &[]);
}

#[test]
fn a_low_limit_of_concurrent_checks_is_a_warning() {
    let limits = |checks| Limits { checks, ..LIMITS };
    let every_minute = jobs(500, "http://a", 60_000, 5_000);
    check_warnings(
        &every_minute,
        limits(100),
        MACHINE,
        &[
            "if all checks time out, 500 checks are in flight at once, and the limit is 90 for targets \
             that time out: some checks would start late; raise dispatcher.max_concurrent_checks to 555",
        ],
    );
    check_warnings(
        &every_minute,
        limits(25),
        MACHINE,
        // 500 / 12 are in flight on average, and 500 / 60 slots come due a second.
        &[
            "if all checks time out, 500 checks are in flight at once, and the limit is 23 for targets \
             that time out: 3.73 slots per second would be skipped (saturated or overrun); raise",
        ],
    );
    check_warnings(
        &jobs(10, "http://a", 1_000, 1_000),
        limits(5),
        MACHINE,
        &[
            "even if all checks succeed, 10 checks are in flight at once, and the limit is 5: some checks \
             would start late; raise",
            "if all checks time out, 10 checks are in flight at once, and the limit is 5 for targets \
             that time out: 5 slots per second would be skipped (saturated or overrun); raise",
        ],
    );
}

#[test]
fn a_low_limit_for_hosts_is_one_warning() {
    let limits = Limits {
        checks_per_host: Some(4),
        ..LIMITS
    };
    let mut all = jobs(5, "http://a", 1_000, 1_000);
    let of_a = "if all checks time out, 5 checks of a are in flight at once, and the limit for a host \
                is 4: 1 slot per second would be skipped (saturated or overrun); raise \
                dispatcher.max_concurrent_checks_per_host to 5";
    check_warnings(&all, limits, MACHINE, &[of_a]);
    all.extend(jobs(4, "http://b", 1_000, 1_000));
    check_warnings(&all, limits, MACHINE, &[of_a]);
    all.extend(jobs(8, "http://c", 1_000, 1_000));
    let of_c = "if all checks time out, 8 checks of c (and 1 more host) are in flight at once, \
                and the limit for a host is 4: 4 slots per second would be skipped (saturated or overrun); raise \
                dispatcher.max_concurrent_checks_per_host to 8";
    check_warnings(&all, limits, MACHINE, &[of_c]);
}

#[test]
fn too_few_worker_threads_are_a_warning() {
    let threads = |jobs: &[Job], cores| {
        let machine = Machine { cores, ..MACHINE };
        let warnings = Plan::within(LIMITS, &Settings::default(), jobs, machine, 0).warnings;
        warnings.into_iter().find_map(|warning| match warning {
            Warning::WorkerThreads { needed, used } => Some((needed, used)),
            _ => None,
        })
    };
    assert_eq!(threads(&jobs(5_000, "http://a", 1_000, 100), 1), None);
    assert_eq!(
        threads(&jobs(10_001, "http://a", 1_000, 100), 2),
        Some((3, 2))
    );
    assert_eq!(threads(&jobs(10_001, "http://a", 1_000, 100), 3), None);
    assert_eq!(threads(&jobs(1_000, "https://a", 1_000, 100), 1), None);
    assert_eq!(
        threads(&jobs(1_001, "https://a", 1_000, 100), 1),
        Some((2, 1))
    );
}

#[test]
fn a_low_limit_of_open_files_is_a_warning() {
    let jobs = jobs(100, "http://192.0.2.1", 60_000, 60_000);
    let needed = plan_of(&jobs).worst_case.descriptors;
    for (limit, warned) in [(needed, false), (needed - 1, true)] {
        let machine = Machine {
            descriptors: Some(limit as u64),
            ..MACHINE
        };
        let expected = format!(
            "up to {needed} files are open at once, and the system allows {limit}: checks will \
             fail with agent_error; raise the hard limit ("
        );
        let expected = [&*expected];
        check_warnings(&jobs, LIMITS, machine, &expected[..usize::from(warned)]);
    }
}

#[test]
fn too_little_memory_is_a_warning() {
    let jobs = jobs(100, "http://192.0.2.1", 60_000, 60_000);
    let needed = plan_of(&jobs).worst_case.memory as u64;
    let check = |limit, expected: &[&str]| {
        let memory = Some(limit);
        check_warnings(&jobs, LIMITS, Machine { memory, ..MACHINE }, expected);
    };
    check(needed, &[]);
    check(
        needed - 1,
        &["up to 15.4 MB of memory is needed, and 15.4 MB is available: "],
    );
}

#[test]
fn hosts_with_too_many_requests_are_one_warning() {
    let mut all = jobs(11, "http://a", 1_000, 100);
    let of_a = "a gets 11 requests per second, more than 10: the host may limit them";
    check_warnings(&all, LIMITS, MACHINE, &[of_a]);
    all.extend(jobs(25, "http://b", 2_000, 100));
    all.extend(jobs(10, "http://c", 1_000, 100));
    let of_b =
        "b (and 1 more host) gets 12.5 requests per second, more than 10: the host may limit them";
    check_warnings(&all, LIMITS, MACHINE, &[of_b]);
}

#[test]
fn numbers_have_three_significant_digits() {
    for (number, expected) in [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0 / 86_400.0, "0.0000116"),
        (1.0 / 60.0, "0.0167"),
        (0.1, "0.1"),
        (0.4, "0.4"),
        (0.9999, "1"),
        (1.0, "1"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (99.99, "100"),
        (100.0, "100"),
        (2_000.4, "2000"),
    ] {
        assert_eq!(output::rate(number), expected);
    }
    for (size, expected) in [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 KB"),
        (15_120, "15.1 KB"),
        (151_200, "151 KB"),
        (11_000_000, "11.0 MB"),
        (2_500_000_000, "2.5 GB"),
    ] {
        assert_eq!(output::bytes(size), expected);
    }
}

#[test]
fn the_plan_matches_the_golden_file() {
    let mut all = jobs(2, "http://name", 4_000, 4_000);
    all.extend(jobs(12, "http://192.0.2.1", 1_000, 1_000));
    let limits = Limits {
        checks: 12,
        checks_per_host: Some(20),
        connections: 256,
    };
    let machine = Machine {
        descriptors: Some(20_000),
        ..MACHINE
    };
    let plan = Plan::within(limits, &Settings::default(), &all, machine, 14).to_string();
    let lines: Vec<_> = plan.lines().map(str::trim_end).collect();
    let found = lines.join("\n") + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan.txt");
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&golden, &found).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&golden).expect("the golden file is there");
    assert_eq!(found, expected);
}

#[test]
fn a_store_has_a_size_and_a_rate() {
    let settings = storage::Settings::default();
    let load = StorageLoad::estimate(10_000, 1000.0, &settings);
    // 720 hours and 400 days of at most a hundred bytes, and the rest.
    assert!(
        (800_000_000..1_200_000_000).contains(&load.bytes),
        "{load:?}"
    );
    assert!(load.bytes_per_second < 1e6, "{load:?}");
    let week = storage::Settings {
        retention: Duration::from_hours(7 * 24),
        ..settings
    };
    let less = StorageLoad::estimate(10_000, 1000.0, &week);
    assert!(less.bytes < load.bytes / 4, "{less:?}");
}
