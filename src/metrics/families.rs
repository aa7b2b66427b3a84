//! The table of metric families: every name that dashboards and rules depend on, one row for each.

use std::time::SystemTime;

use super::{
    buckets::BucketSet,
    family::{
        Cardinality::{self, Fixed},
        Compact, Family, Kind,
        MonitorWriter::{LastCheck, Phases, Settings, Slots, Snapshot, Status, Totals},
        Scope,
        Writer::{Daemon, Monitor},
    },
    monitor::MonitorMetrics,
    unix_time::unix_seconds,
};
use crate::{
    check::{
        CertificateRole, CertificateValidity, Fact, Outcome, Phase, Report, ServingStatus, Skip,
        State,
    },
    heartbeat::HeartbeatOutcome,
    probe::{ProbeStats, Rejection},
    telemetry::{DropReason, Signal},
};

const HTTP: Scope = Scope::Types(&["http", "websocket"]);
const DNS: Scope = Scope::Types(&["dns"]);
const ICMP: Scope = Scope::Types(&["icmp"]);
const GRPC: Scope = Scope::Types(&["grpc"]);
/// The phases in which responses are read.
const RESPONSE: Scope = Scope::Phases(&[Phase::Request, Phase::Processing]);
const TLS: Scope = Scope::Phases(&[Phase::Tls]);

/// The family that needs the identity of the peer's certificate.
pub(super) const CERTIFICATE_INFO: &str = "monitor_tls_certificate_info";

/// Certificates of which a handshake with a verified chain records the validity.
const CERTIFICATES: usize = CertificateRole::ALL.len();

/// Every metric family on a page of `/metrics`, in the order in which they stand there.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "monitor_up",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "1 if the target is up, 0 if it is down, as confirmed; absent before that. An unreachable monitor \
               keeps its last value, and a check with reason agent_error changes nothing.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(Status(|status, out| {
            out.count_if_known(status.is_up);
        })),
    },
    Family {
        name: "monitor_last_check_success",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "1 if the last check succeeded, else 0.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(LastCheck(|last, out| {
            out.count(&[], (last.outcome == Outcome::Success).into());
        })),
    },
    Family {
        name: "monitor_state",
        kind: Kind::Gauge,
        labels: &["monitor", "state"],
        help: "State of the monitor: 1 for the present one, 0 for the others.",
        scope: Scope::Monitors,
        cardinality: Fixed(State::ALL.len()),
        compact: Compact::Reduced(0),
        writer: Monitor(Status(|status, out| {
            if out.is_compact() {
                // monitor_up tells the others.
                if !matches!(status.state, State::Up | State::Down) {
                    out.count(&[status.state.as_str()], 1);
                }
                return;
            }
            for state in State::ALL {
                out.count(&[state.as_str()], (*state == status.state).into());
            }
        })),
    },
    Family {
        name: "monitor_state_since_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Unix time at which the present state began.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(Status(|status, out| {
            out.number(&[], unix_seconds(status.since));
        })),
    },
    Family {
        name: "monitor_degraded",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "1 if the last check succeeded and violated a degraded_if_... limit, else 0.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Reduced(0),
        writer: Monitor(Status(|status, out| {
            out.flag(status.is_degraded);
        })),
    },
    Family {
        name: "monitor_in_maintenance",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "1 if a maintenance window is open, else 0.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Reduced(0),
        writer: Monitor(Status(|status, out| {
            out.flag(status.in_maintenance);
        })),
    },
    Family {
        name: "monitor_confirm_failures",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Failures that confirm that the monitor is down; absent if one is enough.",
        scope: Scope::Monitors,
        cardinality: Cardinality::Confirmations,
        compact: Compact::Same,
        writer: Monitor(Settings(|monitor, out| {
            if monitor.confirm_failures > 1 {
                out.count(&[], monitor.confirm_failures.into());
            }
        })),
    },
    Family {
        name: "monitor_dependency_info",
        kind: Kind::Gauge,
        labels: &["depends_on", "monitor"],
        help: "The monitors that a monitor depends on; always 1.",
        scope: Scope::Monitors,
        cardinality: Cardinality::Dependencies,
        compact: Compact::Same,
        writer: Monitor(Status(|status, out| {
            for name in status.depends_on.iter() {
                let name = out.label_value(name);
                out.count(&[&name], 1);
            }
        })),
    },
    Family {
        name: "monitor_checks_total",
        kind: Kind::Counter,
        labels: &["monitor", "outcome"],
        help: "Checks completed, by outcome.",
        scope: Scope::Monitors,
        cardinality: Fixed(Outcome::ALL.len()),
        compact: Compact::Same,
        writer: Monitor(Slots(|slots, out| {
            for outcome in Outcome::ALL {
                out.count(&[outcome.as_str()], slots.completed(*outcome));
            }
        })),
    },
    Family {
        name: "monitor_check_failures_total",
        kind: Kind::Counter,
        labels: &["monitor", "phase", "reason"],
        help: "Failed checks, by the phase that failed and the reason.",
        scope: Scope::Monitors,
        cardinality: Cardinality::Failures,
        compact: Compact::Same,
        writer: Monitor(Totals(|totals, out| {
            for ((phase, reason), counter) in totals.failures.iter() {
                out.counter(&[phase.as_str(), reason.as_str()], counter);
            }
        })),
    },
    Family {
        name: "monitor_check_duration_seconds",
        kind: Kind::Histogram,
        labels: &["monitor", "outcome"],
        help: "Latency of the whole check, including the response body.",
        scope: Scope::Monitors,
        cardinality: Cardinality::HistogramPerOutcome(BucketSet::Duration),
        compact: Compact::Same,
        writer: Monitor(Totals(|totals, out| {
            for (outcome, durations) in Outcome::ALL.iter().zip(&totals.durations) {
                out.histogram(&[outcome.as_str()], durations);
            }
        })),
    },
    Family {
        name: "monitor_maintenance_checks_total",
        kind: Kind::Counter,
        labels: &["monitor", "outcome"],
        help: "Those of monitor_checks_total that ended while a maintenance window was open, without those with reason \
               agent_error; absent before the first one.",
        scope: Scope::Monitors,
        cardinality: Cardinality::Maintenance,
        compact: Compact::Same,
        writer: Monitor(Totals(|totals, out| {
            if let Some(maintenance) = &totals.maintenance {
                for outcome in Outcome::ALL {
                    out.count(&[outcome.as_str()], maintenance.checks[*outcome as usize]);
                }
            }
        })),
    },
    Family {
        name: "monitor_maintenance_check_duration_seconds",
        kind: Kind::Histogram,
        labels: &["monitor"],
        help: "Latency of the successful ones of monitor_maintenance_checks_total.",
        scope: Scope::Monitors,
        cardinality: Cardinality::Maintenance,
        compact: Compact::Same,
        writer: Monitor(Totals(|totals, out| {
            if let Some(maintenance) = &totals.maintenance {
                out.histogram(&[], &maintenance.durations);
            }
        })),
    },
    Family {
        name: "monitor_last_check_duration_seconds",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Latency of the last check.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(LastCheck(|last, out| {
            out.number(&[], last.duration.as_secs_f64());
        })),
    },
    Family {
        name: "monitor_phase_duration_seconds",
        kind: Kind::Gauge,
        labels: &["monitor", "phase"],
        help: "Time the last check spent in each phase it reached.",
        scope: Scope::Monitors,
        cardinality: Cardinality::Phases,
        compact: Compact::Nothing,
        writer: Monitor(Phases(|phases, out| {
            for times in phases {
                if let Some(last) = times.last {
                    out.number(&[times.phase.as_str()], last.as_secs_f64());
                }
            }
        })),
    },
    Family {
        name: "monitor_phase_seconds_total",
        kind: Kind::Counter,
        labels: &["monitor", "phase"],
        help: "Time all checks spent in each phase.",
        scope: Scope::Monitors,
        cardinality: Cardinality::Phases,
        compact: Compact::Same,
        writer: Monitor(Phases(|phases, out| {
            for times in phases {
                out.number(&[times.phase.as_str()], times.total.as_secs_f64());
            }
        })),
    },
    Family {
        name: "monitor_response_size_bytes",
        kind: Kind::Histogram,
        labels: &["monitor"],
        help: "Bytes of the response: of HTTP the body as received, of DNS the message, of a query_response \
               everything the peer sent.",
        scope: RESPONSE,
        cardinality: Cardinality::Histogram(BucketSet::ResponseSize),
        compact: Compact::Except(&["dns"]),
        writer: Monitor(Totals(|totals, out| {
            out.histogram(&[], &totals.response_sizes);
        })),
    },
    Family {
        name: "monitor_last_response_size_bytes",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Bytes of the last check's response.",
        scope: RESPONSE,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(LastCheck(|last, out| {
            out.count_if_known(last.response_bytes);
        })),
    },
    Family {
        name: "monitor_http_status_code",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Status code of the last check's HTTP response.",
        scope: HTTP,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(LastCheck(|last, out| out.count_if_known(last.http_status))),
    },
    Family {
        name: "monitor_http_responses_total",
        kind: Kind::Counter,
        labels: &["code", "monitor"],
        help: "HTTP responses, by exact status code.",
        scope: HTTP,
        cardinality: Cardinality::Outcomes,
        compact: Compact::Except(&["websocket"]),
        writer: Monitor(Totals(|totals, out| {
            let mut digits = itoa::Buffer::new();
            for (code, counter) in totals.http_responses.iter() {
                out.counter(&[digits.format(*code)], counter);
            }
        })),
    },
    Family {
        name: "monitor_dns_answer_rrs",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Records in the answer section of the last check's DNS response.",
        scope: DNS,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            if let Some(response) = last.report.dns() {
                // The serial number tells of one record.
                let is_told = response.serial.is_some() && response.answers == 1;
                if !is_told || !out.is_compact() {
                    out.count(&[], response.answers.into());
                }
            }
        })),
    },
    Family {
        name: "monitor_dns_authority_rrs",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Records in the authority section of the last check's DNS response.",
        scope: DNS,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(LastCheck(|last, out| {
            out.count_if_known(last.report.dns().map(|response| response.authorities));
        })),
    },
    Family {
        name: "monitor_dns_additional_rrs",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Records in the additional section of the last check's DNS response.",
        scope: DNS,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(LastCheck(|last, out| {
            out.count_if_known(last.report.dns().map(|response| response.additionals));
        })),
    },
    Family {
        name: "monitor_dns_serial",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Serial number of the zone, from the SOA record in the last check's DNS answer.",
        scope: Scope::SomeOf(&["dns"]),
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            out.count_if_known(last.report.dns().and_then(|response| response.serial));
        })),
    },
    Family {
        name: "monitor_dns_authenticated_data",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "The AD flag of the last check's DNS response: 1 if the server validated it with DNSSEC.",
        scope: DNS,
        cardinality: Fixed(1),
        compact: Compact::Reduced(0),
        writer: Monitor(LastCheck(|last, out| {
            if let Some(response) = last.report.dns() {
                out.flag(response.authenticated_data);
            }
        })),
    },
    Family {
        name: "monitor_dns_truncated",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "The TC flag of the last check's first DNS response: 1 if it did not fit into its datagram.",
        scope: DNS,
        cardinality: Fixed(1),
        compact: Compact::Reduced(0),
        writer: Monitor(LastCheck(|last, out| {
            if let Some(response) = last.report.dns() {
                out.flag(response.truncated);
            }
        })),
    },
    Family {
        name: "monitor_dns_responses_total",
        kind: Kind::Counter,
        labels: &["monitor", "rcode"],
        help: "DNS responses, by response code.",
        scope: DNS,
        cardinality: Cardinality::Outcomes,
        compact: Compact::Same,
        writer: Monitor(Totals(|totals, out| {
            for (rcode, counter) in totals.dns_responses.iter() {
                out.counter(&[&rcode.to_string()], counter);
            }
        })),
    },
    Family {
        name: "monitor_icmp_packets_sent_total",
        kind: Kind::Counter,
        labels: &["monitor"],
        help: "ICMP echo requests sent.",
        scope: ICMP,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(Totals(|totals, out| {
            out.count_if_known(totals.echoes.map(|echoes| echoes.sent));
        })),
    },
    Family {
        name: "monitor_icmp_packets_received_total",
        kind: Kind::Counter,
        labels: &["monitor"],
        help: "ICMP echo requests answered in time.",
        scope: ICMP,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(Totals(|totals, out| {
            out.count_if_known(totals.echoes.map(|echoes| echoes.received));
        })),
    },
    Family {
        name: "monitor_icmp_loss_ratio",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Share of the last check's ICMP echo requests without an answer, from 0 to 1.",
        scope: ICMP,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(LastCheck(|last, out| {
            if let Some(echoes) = last.report.echoes() {
                out.number(&[], echoes.loss_ratio());
            }
        })),
    },
    Family {
        name: "monitor_icmp_round_trip_seconds",
        kind: Kind::Gauge,
        labels: &["monitor", "statistic"],
        help: "Shortest, mean and longest round trip of the last check's ICMP echo requests.",
        scope: ICMP,
        cardinality: Fixed(3),
        compact: Compact::Reduced(2),
        writer: Monitor(LastCheck(|last, out| {
            if let Some(times) = last.report.echoes().and_then(|echoes| echoes.round_trips) {
                if !out.is_compact() {
                    out.number(&["min"], times.min.as_secs_f64());
                }
                out.number(&["avg"], times.avg.as_secs_f64());
                out.number(&["max"], times.max.as_secs_f64());
            }
        })),
    },
    Family {
        name: "monitor_icmp_jitter_seconds",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Mean difference between consecutive round trips of the last check.",
        scope: Scope::SomeOf(&["icmp"]),
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            let times = last.report.echoes().and_then(|echoes| echoes.round_trips);
            if let Some(jitter) = times.and_then(|times| times.jitter) {
                out.number(&[], jitter.as_secs_f64());
            }
        })),
    },
    Family {
        name: "monitor_icmp_reply_hop_limit",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "TTL (IPv4) or hop limit (IPv6) of the last check's last ICMP reply on arrival.",
        scope: ICMP,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            out.count_if_known(
                last.report
                    .echoes()
                    .and_then(|echoes| echoes.reply_hop_limit),
            );
        })),
    },
    Family {
        name: "monitor_grpc_status_code",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Status code of the last check's gRPC call; 0 is OK.",
        scope: GRPC,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            out.count_if_known(last.report.grpc_status());
        })),
    },
    Family {
        name: "monitor_grpc_healthcheck_response",
        kind: Kind::Gauge,
        labels: &["monitor", "serving_status"],
        help: "Answer of the gRPC health service in the last check: 1 for the status it gave, 0 for the others.",
        scope: GRPC,
        cardinality: Fixed(ServingStatus::ALL.len()),
        compact: Compact::Reduced(1),
        writer: Monitor(LastCheck(|last, out| {
            if let Some(answer) = last.report.serving() {
                if out.is_compact() {
                    return out.count(&[answer.as_str()], 1);
                }
                for status in ServingStatus::ALL {
                    out.count(&[status.as_str()], (*status == answer).into());
                }
            }
        })),
    },
    Family {
        name: "monitor_expect_info",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Values captured by query_response in the last check, as its labels; always 1.",
        scope: Scope::SomeOf(&["tcp", "unix", "websocket"]),
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            for fact in &last.report.facts {
                if let Fact::Captured(captures) = fact {
                    out.untrusted_info(captures.iter().map(|(name, value)| (&**name, &**value)));
                }
            }
        })),
    },
    Family {
        name: "monitor_last_check_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Unix time at which the last check ended.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            out.number(&[], unix_seconds(last.ended_at));
        })),
    },
    Family {
        name: "monitor_last_success_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["monitor"],
        help: "Unix time at which the last successful check ended.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Reduced(0),
        writer: Monitor(Snapshot(|monitor, out| {
            let last = monitor.last.as_ref();
            // Otherwise it is the time of the last check.
            if last.is_some_and(|last| last.outcome == Outcome::Failure) || !out.is_compact() {
                out.number_if_known(monitor.last_success.map(unix_seconds));
            }
        })),
    },
    Family {
        name: "monitor_checks_scheduled_total",
        kind: Kind::Counter,
        labels: &["monitor"],
        help: "Slots that came due: checks completed, checks in flight and slots skipped.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Nothing,
        writer: Monitor(Slots(|slots, out| out.count(&[], slots.scheduled()))),
    },
    Family {
        name: "monitor_checks_skipped_total",
        kind: Kind::Counter,
        labels: &["monitor", "reason"],
        help: "Slots skipped, by reason.",
        scope: Scope::Monitors,
        cardinality: Fixed(Skip::ALL.len()),
        compact: Compact::Reduced(0),
        writer: Monitor(Slots(|slots, out| {
            for reason in Skip::ALL {
                out.count_occurred(&[reason.as_str()], slots.skipped(*reason));
            }
        })),
    },
    Family {
        name: "monitor_checks_tainted_total",
        kind: Kind::Counter,
        labels: &["monitor"],
        help: "Checks whose result is unreliable because the daemon lacked CPU while they ran, or was cut off.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Reduced(0),
        writer: Monitor(Slots(|slots, out| {
            out.count_occurred(&[], slots.tainted);
        })),
    },
    Family {
        name: "monitor_tls_certificate_not_before_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["certificate", "monitor"],
        help: "Unix time from which a certificate of the last check's handshake is valid: the server's own (leaf), \
               the one sent that expires first (earliest), the one of the verified chain that expires first (verified).",
        scope: TLS,
        cardinality: Fixed(CERTIFICATES),
        compact: Compact::Reduced(0),
        writer: Monitor(LastCheck(|last, out| {
            for (role, certificate) in certificates(&last.report, out.is_compact()) {
                if !out.is_compact() || expires_soon(certificate, last.ended_at) {
                    out.number(&[role.as_str()], seconds(certificate.not_before));
                }
            }
        })),
    },
    Family {
        name: "monitor_tls_certificate_not_after_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["certificate", "monitor"],
        help: "Unix time until which a certificate of the last check's handshake is valid: the server's own (leaf), \
               the one sent that expires first (earliest), the one of the verified chain that expires first (verified).",
        scope: TLS,
        cardinality: Fixed(CERTIFICATES),
        compact: Compact::Reduced(1),
        writer: Monitor(LastCheck(|last, out| {
            for (role, certificate) in certificates(&last.report, out.is_compact()) {
                out.number(&[role.as_str()], seconds(certificate.not_after));
            }
        })),
    },
    Family {
        name: CERTIFICATE_INFO,
        kind: Kind::Gauge,
        labels: &[
            "dns_names",
            "fingerprint_sha256",
            "issuer",
            "monitor",
            "serial",
            "subject",
        ],
        help: "The server's own certificate in the last check's handshake; always 1.",
        scope: Scope::OptIn(&[Phase::Tls]),
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(LastCheck(|last, out| {
            if let Some(leaf) = last.report.leaf_certificate() {
                let mut names = leaf.dns_names.join(",");
                if leaf.more_dns_names > 0 {
                    names.push_str(",…");
                }
                out.untrusted_info([
                    ("dns_names", &*names),
                    ("fingerprint_sha256", &leaf.fingerprint_sha256),
                    ("issuer", &leaf.issuer),
                    ("serial", &leaf.serial),
                    ("subject", &leaf.subject),
                ]);
            }
        })),
    },
    Family {
        name: "monitor_tls_info",
        kind: Kind::Gauge,
        labels: &["cipher", "monitor", "version"],
        help: "TLS version and cipher suite of the last check's handshake; always 1.",
        scope: TLS,
        cardinality: Fixed(1),
        compact: Compact::Except(&["dns"]),
        writer: Monitor(LastCheck(|last, out| {
            if let Some((version, cipher)) = last.report.tls() {
                out.count(&[cipher, version], 1);
            }
        })),
    },
    Family {
        name: "monitor_info",
        kind: Kind::Gauge,
        labels: &["check_every", "monitor", "target", "timeout", "type"],
        help: "Settings of the monitor, and its own labels; always 1.",
        scope: Scope::Monitors,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Monitor(Settings(MonitorMetrics::write_info)),
    },
    Family {
        name: "monitoringdaemon_monitors",
        kind: Kind::Gauge,
        labels: &["type"],
        help: "Monitors running, by type; paused ones do not count.",
        scope: Scope::Daemon,
        cardinality: Cardinality::MonitorTypes,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            for (kind, count) in &daemon.monitors {
                out.count(&[kind], *count);
            }
        }),
    },
    Family {
        name: "monitoringdaemon_checks_in_flight",
        kind: Kind::Gauge,
        labels: &[],
        help: "Checks in flight.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.count(&[], daemon.checks_in_flight)),
    },
    Family {
        name: "monitoringdaemon_max_concurrent_checks",
        kind: Kind::Gauge,
        labels: &[],
        help: "Limit of checks in flight.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            out.count_if_known(daemon.metrics.limits.map(|limits| limits.checks));
        }),
    },
    Family {
        name: "monitoringdaemon_max_concurrent_checks_per_host",
        kind: Kind::Gauge,
        labels: &[],
        help: "Limit of checks of one host in flight; absent without such a limit.",
        scope: Scope::Daemon,
        cardinality: Cardinality::HostLimit,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            let per_host = daemon.metrics.limits.and_then(|limits| limits.per_host);
            out.count_if_known(per_host);
        }),
    },
    Family {
        name: "monitoringdaemon_checks_tainted_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Checks whose result is unreliable because the daemon lacked CPU while they ran, or was cut off.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.count(&[], daemon.metrics.checks.tainted())),
    },
    Family {
        name: "monitoringdaemon_connected",
        kind: Kind::Gauge,
        labels: &[],
        help: "0 while all monitors of self_check fail, else 1; absent without a self_check.",
        scope: Scope::Daemon,
        cardinality: Cardinality::SelfCheck,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.count_if_known(*daemon.metrics.connected.lock())),
    },
    Family {
        name: "monitoringdaemon_heartbeats_total",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "Heartbeats that were due: sent, failed, or withheld because the daemon did not do its work.",
        scope: Scope::Daemon,
        cardinality: Cardinality::Heartbeats,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            if let Some(heartbeats) = daemon.heartbeats() {
                for outcome in HeartbeatOutcome::ALL {
                    out.count(&[outcome.as_str()], heartbeats.count(outcome));
                }
            }
        }),
    },
    Family {
        name: "monitoringdaemon_runtime_delay_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "Scheduling delay of the threads that run checks, sampled several times a second.",
        scope: Scope::Daemon,
        cardinality: Cardinality::Histogram(BucketSet::Lag),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.histogram(&[], &daemon.metrics.runtime_delay.lock())),
    },
    Family {
        name: "monitoringdaemon_check_start_lag_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "Time from the moment a slot came due to the start of its check.",
        scope: Scope::Daemon,
        cardinality: Cardinality::Histogram(BucketSet::Lag),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            out.histogram(&[], &daemon.metrics.checks.start_lag());
        }),
    },
    Family {
        name: "monitoringdaemon_build_info",
        kind: Kind::Gauge,
        labels: &["revision", "rustc", "version"],
        help: "Version of the daemon, and what it was built from; always 1.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|_, out| {
            let revision = env!("MONITORINGDAEMON_REVISION");
            let rustc = env!("MONITORINGDAEMON_RUSTC");
            out.count(&[revision, rustc, env!("CARGO_PKG_VERSION")], 1);
        }),
    },
    Family {
        name: "monitoringdaemon_config_last_reload_successful",
        kind: Kind::Gauge,
        labels: &[],
        help: "1 if the configuration was valid the last time it was read, else 0.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            out.count(&[], daemon.metrics.reloads.last().successful.into());
        }),
    },
    Family {
        name: "monitoringdaemon_config_last_reload_success_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Unix time at which a valid configuration was last read.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            out.number(&[], unix_seconds(daemon.metrics.reloads.last().success_at));
        }),
    },
    Family {
        name: "monitoringdaemon_config_restart_required",
        kind: Kind::Gauge,
        labels: &[],
        help: "1 if the configuration that was last read has changes that take effect after a restart only.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            out.count(&[], daemon.metrics.reloads.last().restart_required.into());
        }),
    },
    Family {
        name: "monitoringdaemon_log_lines_dropped_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Log lines dropped because standard output was blocked or closed.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.count(&[], (daemon.metrics.dropped_log_lines)())),
    },
    Family {
        name: "monitoringdaemon_storage_errors_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Failed attempts to open, read or write the store.",
        scope: Scope::Storage,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            out.count_if_known(daemon.metrics.storage.as_ref().map(|stats| stats.errors()));
        }),
    },
    Family {
        name: "monitoringdaemon_storage_size_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Size of the files of the store.",
        scope: Scope::Storage,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            let stats = daemon.metrics.storage.as_ref();
            out.count_if_known(stats.and_then(|stats| stats.bytes()));
        }),
    },
    Family {
        name: "monitoringdaemon_storage_last_write_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Unix time at which the store was last written.",
        scope: Scope::Storage,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            let stats = daemon.metrics.storage.as_ref();
            if let Some(at) = stats.and_then(|stats| stats.last_write()) {
                out.number(&[], unix_seconds(at));
            }
        }),
    },
    Family {
        name: "monitoringdaemon_discovery_targets",
        kind: Kind::Gauge,
        labels: &["block", "source"],
        help: "Targets in the last valid list of a discovery source.",
        scope: Scope::Discovery,
        cardinality: Cardinality::DiscoverySources,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            for (block, source, findings) in daemon.discovery_sources() {
                if let Some(targets) = findings.targets {
                    out.count(
                        &[&out.label_value(&block), &out.label_value(&source)],
                        targets as u64,
                    );
                }
            }
        }),
    },
    Family {
        name: "monitoringdaemon_discovery_last_success_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["block", "source"],
        help: "Unix time at which all lists of a discovery source were last valid.",
        scope: Scope::Discovery,
        cardinality: Cardinality::DiscoverySources,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            for (block, source, findings) in daemon.discovery_sources() {
                if let Some(at) = findings.last_success {
                    out.number(
                        &[&out.label_value(&block), &out.label_value(&source)],
                        unix_seconds(at),
                    );
                }
            }
        }),
    },
    Family {
        name: "monitoringdaemon_discovery_failures_total",
        kind: Kind::Counter,
        labels: &["block", "source"],
        help: "Failures of a discovery source to give a valid list.",
        scope: Scope::Discovery,
        cardinality: Cardinality::DiscoverySources,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            for (block, source, findings) in daemon.discovery_sources() {
                out.count(
                    &[&out.label_value(&block), &out.label_value(&source)],
                    findings.failures,
                );
            }
        }),
    },
    Family {
        name: "monitoringdaemon_discovery_block_targets",
        kind: Kind::Gauge,
        labels: &["block", "outcome"],
        help: "Targets of a discovery block, by what became of them: monitor, dropped, duplicate or refused.",
        scope: Scope::Discovery,
        cardinality: Cardinality::DiscoverySources,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            for (block, outcomes) in daemon.discovery_blocks() {
                let block = out.label_value(&block);
                out.count(&[&block, "monitor"], outcomes.monitors as u64);
                out.count(&[&block, "dropped"], outcomes.dropped as u64);
                out.count(&[&block, "duplicate"], outcomes.duplicates as u64);
                out.count(&[&block, "refused"], outcomes.rejected as u64);
            }
        }),
    },
    Family {
        name: "monitoringdaemon_probes_total",
        kind: Kind::Counter,
        labels: &["module", "outcome"],
        help: "Probes on request that have ended, by module and outcome.",
        scope: Scope::Probe,
        cardinality: Cardinality::ProbeModules,
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            let probes = daemon.probes().map(ProbeStats::completed);
            for (module, counts) in probes.unwrap_or_default() {
                for (outcome, count) in Outcome::ALL.iter().zip(counts) {
                    out.count(&[&out.label_value(&module), outcome.as_str()], count);
                }
            }
        }),
    },
    Family {
        name: "monitoringdaemon_probes_in_flight",
        kind: Kind::Gauge,
        labels: &[],
        help: "Probes on request in progress.",
        scope: Scope::Probe,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            out.count_if_known(daemon.probes().map(ProbeStats::in_flight));
        }),
    },
    Family {
        name: "monitoringdaemon_probes_rejected_total",
        kind: Kind::Counter,
        labels: &["reason"],
        help: "Requests for probes that were refused: bad_request, saturated or unknown_module.",
        scope: Scope::Probe,
        cardinality: Fixed(Rejection::ALL.len()),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            if let Some(probes) = daemon.probes() {
                for why in Rejection::ALL {
                    out.count(&[why.as_str()], probes.rejected(why));
                }
            }
        }),
    },
    Family {
        name: "blackbox_exporter_config_last_reload_successful",
        kind: Kind::Gauge,
        labels: &[],
        help: "Blackbox exporter config loaded successfully.",
        scope: Scope::Probe,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            if daemon.probes().is_some() {
                out.count(&[], daemon.metrics.reloads.last().successful.into());
            }
        }),
    },
    Family {
        name: "blackbox_exporter_config_last_reload_success_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Timestamp of the last successful configuration reload.",
        scope: Scope::Probe,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            if daemon.probes().is_some() {
                out.number(&[], unix_seconds(daemon.metrics.reloads.last().success_at));
            }
        }),
    },
    Family {
        name: "blackbox_module_unknown_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Count of unknown modules requested by probes",
        scope: Scope::Probe,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            let probes = daemon.probes();
            out.count_if_known(probes.map(|probes| probes.rejected(Rejection::UnknownModule)));
        }),
    },
    Family {
        name: "monitoringdaemon_telemetry_exported_total",
        kind: Kind::Counter,
        labels: &["signal"],
        help: "Traces, log lines and data points of metrics that a collector accepted.",
        scope: Scope::Telemetry,
        cardinality: Fixed(Signal::ALL.len()),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            for signal in daemon.telemetry().enabled() {
                out.count(&[signal.as_str()], daemon.telemetry().exported(signal));
            }
        }),
    },
    Family {
        name: "monitoringdaemon_telemetry_dropped_total",
        kind: Kind::Counter,
        labels: &["reason", "signal"],
        help: "Traces, log lines and data points of metrics that were lost: queue_full, rejected or undelivered.",
        scope: Scope::Telemetry,
        cardinality: Fixed(Signal::ALL.len() * DropReason::ALL.len()),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| {
            for signal in daemon.telemetry().enabled() {
                for reason in DropReason::ALL {
                    let dropped = daemon.telemetry().dropped(signal, reason);
                    out.count(&[reason.as_str(), signal.as_str()], dropped);
                }
            }
        }),
    },
    Family {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Total user and system CPU time spent in seconds.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.cpu_seconds)),
    },
    Family {
        name: "process_open_fds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Number of open file descriptors.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.open_descriptors)),
    },
    Family {
        name: "process_max_fds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Maximum number of open file descriptors.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.max_descriptors)),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Virtual memory size in bytes.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.virtual_memory_bytes)),
    },
    Family {
        name: "process_virtual_memory_max_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Maximum amount of virtual memory available in bytes.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.max_virtual_memory_bytes)),
    },
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Resident memory size in bytes.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.resident_memory_bytes)),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "Start time of the process since unix epoch in seconds.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.start_time_seconds)),
    },
    Family {
        name: "process_threads",
        kind: Kind::Gauge,
        labels: &[],
        help: "Number of OS threads in the process.",
        scope: Scope::Daemon,
        cardinality: Fixed(1),
        compact: Compact::Same,
        writer: Daemon(|daemon, out| out.number_if_known(daemon.process.threads)),
    },
];

/// The certificates of the last check's handshake; if `is_compact`, only the one that clients judge by: that of the
/// verified chain that expires first, or else, of those sent.
fn certificates(
    last: &Report,
    is_compact: bool,
) -> impl Iterator<Item = (CertificateRole, CertificateValidity)> {
    let all = last.facts.iter().filter_map(|fact| match fact {
        Fact::Certificate(role, certificate) => Some((*role, *certificate)),
        _ => None,
    });
    let verified = all
        .clone()
        .any(|(role, _)| role == CertificateRole::Verified);
    let decisive = if verified {
        CertificateRole::Verified
    } else {
        CertificateRole::EarliestExpiry
    };
    all.filter(move |(role, _)| !is_compact || *role == decisive)
}

/// Returns true if a rule may need the lifetime of a certificate: less than three weeks and less than a third of it are
/// left at `time`.
fn expires_soon(certificate: CertificateValidity, time: SystemTime) -> bool {
    const THREE_WEEKS: f64 = 21.0 * 86_400.0;
    let lifetime = seconds(certificate.not_after) - seconds(certificate.not_before);
    let left = seconds(certificate.not_after) - unix_seconds(time);
    left < THREE_WEEKS.min(lifetime / 3.0)
}

/// Unix seconds as a sample.
#[expect(
    clippy::cast_precision_loss,
    reason = "the seconds of all calendars fit"
)]
fn seconds(unix: i64) -> f64 {
    unix as f64
}
