//! The names that dashboards and rules depend on: one line for each family of series.

use prometheus::proto::MetricType;

use super::Settings;

/// A metric family: its name, type, labels and meaning.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// The labels of its series, apart from users' own and a histogram's `le`.
    pub labels: &'static [&'static str],
    /// Its help.
    pub help: &'static str,
}

impl Family {
    /// Whether each monitor has series of it, and `metrics.disabled` may name it.
    #[must_use]
    pub fn is_of_monitors(&self) -> bool {
        self.labels.contains(&"monitor")
    }

    /// Whether blocks of discovery have series of it, and a daemon without any has none.
    #[must_use]
    pub fn is_of_discovery(&self) -> bool {
        self.labels.contains(&"block")
    }
}

macro_rules! families {
    ($($id:ident $kind:ident $name:literal $labels:tt $help:literal)+) => {
        /// A family of series that [`Metrics`](super::Metrics) collects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Id { $($id,)+ }

        /// Every family of series that is collected when `/metrics` is asked for.
        pub const FAMILIES: &[Family] = &[$(
            Family {
                name: $name,
                kind: MetricType::$kind,
                labels: &$labels,
                help: $help,
            },
        )+];

        impl Id {
            const ALL: &[Self] = &[$(Self::$id,)+];
        }
    };
}

families! {
    Up GAUGE "monitor_up" ["monitor"]
        "Whether the monitor is considered up: 1 if its last check succeeded, else 0."
    Checks COUNTER "monitor_checks_total" ["monitor", "outcome"]
        "Checks completed, by outcome."
    Failures COUNTER "monitor_check_failures_total" ["monitor", "phase", "reason"]
        "Failed checks, by the phase in which and the reason for which they failed."
    Duration HISTOGRAM "monitor_check_duration_seconds" ["monitor", "outcome"]
        "Latency of the whole check, the response's body included."
    LastDuration GAUGE "monitor_last_check_duration_seconds" ["monitor"]
        "Latency of the last check."
    PhaseDuration GAUGE "monitor_phase_duration_seconds" ["monitor", "phase"]
        "Time that the last check spent in each phase that it reached."
    PhaseSeconds COUNTER "monitor_phase_seconds_total" ["monitor", "phase"]
        "Time that all checks spent in each phase."
    ResponseSize HISTOGRAM "monitor_response_size_bytes" ["monitor"]
        "Bytes of the response received: of HTTP its body, of DNS the message, of a dialogue all of it."
    LastResponseSize GAUGE "monitor_last_response_size_bytes" ["monitor"]
        "Bytes of the last check's response received."
    HttpStatus GAUGE "monitor_http_status_code" ["monitor"]
        "Status code of the last check's HTTP response."
    HttpResponses COUNTER "monitor_http_responses_total" ["code", "monitor"]
        "HTTP responses, by exact status code."
    DnsAnswers GAUGE "monitor_dns_answer_rrs" ["monitor"]
        "Records in the answer section of the last check's DNS response."
    DnsAuthorities GAUGE "monitor_dns_authority_rrs" ["monitor"]
        "Records in the authority section of the last check's DNS response."
    DnsAdditionals GAUGE "monitor_dns_additional_rrs" ["monitor"]
        "Records in the additional section of the last check's DNS response."
    DnsSerial GAUGE "monitor_dns_serial" ["monitor"]
        "Serial number of the zone, of the SOA record in the last check's DNS answer."
    DnsAuthenticated GAUGE "monitor_dns_authenticated_data" ["monitor"]
        "Whether the server vouched by DNSSEC for the last check's DNS response (its flag AD)."
    DnsTruncated GAUGE "monitor_dns_truncated" ["monitor"]
        "Whether the last check's first DNS response did not fit into its datagram (its flag TC)."
    DnsResponses COUNTER "monitor_dns_responses_total" ["monitor", "rcode"]
        "DNS responses, by response code."
    IcmpSent COUNTER "monitor_icmp_packets_sent_total" ["monitor"]
        "ICMP echo requests sent."
    IcmpReceived COUNTER "monitor_icmp_packets_received_total" ["monitor"]
        "ICMP echo requests that were answered in time."
    IcmpLoss GAUGE "monitor_icmp_loss_ratio" ["monitor"]
        "Part of the last check's ICMP echo requests that was not answered, from 0 to 1."
    IcmpRoundTrip GAUGE "monitor_icmp_round_trip_seconds" ["monitor", "statistic"]
        "Shortest, mean and longest round trip of the last check's ICMP echo requests."
    IcmpJitter GAUGE "monitor_icmp_jitter_seconds" ["monitor"]
        "Mean difference between one round trip and the next of the last check."
    IcmpHopLimit GAUGE "monitor_icmp_reply_hop_limit" ["monitor"]
        "TTL, or hop limit of IPv6, with which the last check's last ICMP reply arrived."
    GrpcStatus GAUGE "monitor_grpc_status_code" ["monitor"]
        "Status code of the last check's gRPC call, 0 for OK."
    GrpcServing GAUGE "monitor_grpc_healthcheck_response" ["monitor", "serving_status"]
        "What the gRPC health service said in the last check: 1 for that, 0 for the others."
    Expected GAUGE "monitor_expect_info" ["monitor"]
        "What the last check's dialogue caught, under the labels of its query_response; always 1."
    LastCheck GAUGE "monitor_last_check_timestamp_seconds" ["monitor"]
        "When the last check ended, as Unix time."
    LastSuccess GAUGE "monitor_last_success_timestamp_seconds" ["monitor"]
        "When the last successful check ended, as Unix time."
    Scheduled COUNTER "monitor_checks_scheduled_total" ["monitor"]
        "Slots that came due: the checks completed, in flight and skipped."
    Skipped COUNTER "monitor_checks_skipped_total" ["monitor", "reason"]
        "Slots that were not run, by reason."
    NotBefore GAUGE "monitor_tls_certificate_not_before_timestamp_seconds" ["certificate", "monitor"]
        "Start of the validity of a certificate seen in the last check's handshake, as Unix time."
    NotAfter GAUGE "monitor_tls_certificate_not_after_timestamp_seconds" ["certificate", "monitor"]
        "End of the validity of a certificate seen in the last check's handshake, as Unix time."
    Tls GAUGE "monitor_tls_info" ["cipher", "monitor", "version"]
        "What the last check's TLS handshake agreed on; always 1."
    Info GAUGE "monitor_info" ["check_every", "monitor", "target", "timeout", "type"]
        "What the monitor is, with the labels of its own; always 1."
    Monitors GAUGE "monitoringdaemon_monitors" ["type"]
        "Monitors running, by type."
    InFlight GAUGE "monitoringdaemon_checks_in_flight" []
        "Checks in flight."
    MaxConcurrentChecks GAUGE "monitoringdaemon_max_concurrent_checks" []
        "How many checks may be in flight at once."
    MaxConcurrentChecksPerHost GAUGE "monitoringdaemon_max_concurrent_checks_per_host" []
        "How many checks of one host may be in flight at once; absent where there is no such limit."
    Tainted COUNTER "monitoringdaemon_checks_tainted_total" []
        "Checks measured while the daemon itself was starved, whose latency may be its own."
    RuntimeDelay HISTOGRAM "monitoringdaemon_runtime_delay_seconds" []
        "How late the threads that run checks get to what is due, sampled several times a second."
    StartLag HISTOGRAM "monitoringdaemon_check_start_lag_seconds" []
        "How long after their slots came due checks started."
    BuildInfo GAUGE "monitoringdaemon_build_info" ["revision", "rustc", "version"]
        "What the daemon is built from; always 1."
    ReloadSuccessful GAUGE "monitoringdaemon_config_last_reload_successful" []
        "Whether the configuration was read without problems the last time that it was read."
    ReloadTime GAUGE "monitoringdaemon_config_last_reload_success_timestamp_seconds" []
        "When the configuration was last read without problems, as Unix time."
    LogLinesDropped COUNTER "monitoringdaemon_log_lines_dropped_total" []
        "Log lines given up because standard output was blocked or closed."
    DiscoveryTargets GAUGE "monitoringdaemon_discovery_targets" ["block", "source"]
        "Targets in the last good list of a source of discovery."
    DiscoveryLastSuccess GAUGE "monitoringdaemon_discovery_last_success_timestamp_seconds" ["block", "source"]
        "When a source of discovery last gave all of its lists, as Unix time."
    DiscoveryFailures COUNTER "monitoringdaemon_discovery_failures_total" ["block", "source"]
        "Times that a source of discovery gave no list, or a wrong one."
    DiscoveryOutcomes GAUGE "monitoringdaemon_discovery_block_targets" ["block", "outcome"]
        "What became of the targets of a block of discovery: monitor, dropped, duplicate or refused."
    ProcessCpu COUNTER "process_cpu_seconds_total" []
        "Total user and system CPU time spent in seconds."
    ProcessOpenFds GAUGE "process_open_fds" []
        "Number of open file descriptors."
    ProcessMaxFds GAUGE "process_max_fds" []
        "Maximum number of open file descriptors."
    ProcessVirtualMemory GAUGE "process_virtual_memory_bytes" []
        "Virtual memory size in bytes."
    ProcessMaxVirtualMemory GAUGE "process_virtual_memory_max_bytes" []
        "Maximum amount of virtual memory available in bytes."
    ProcessResidentMemory GAUGE "process_resident_memory_bytes" []
        "Resident memory size in bytes."
    ProcessStartTime GAUGE "process_start_time_seconds" []
        "Start time of the process since unix epoch in seconds."
    ProcessThreads GAUGE "process_threads" []
        "Number of OS threads in the process."
}

impl Id {
    /// The families that monitors have with these settings.
    pub(super) fn of_monitors(settings: &Settings) -> Vec<Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|id| settings.gives_monitors(id.family()))
            .collect()
    }

    pub(super) fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }
}
