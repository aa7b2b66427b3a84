//! The page of a fixed run, pinned by `tests/golden/metrics.txt`.
//!
//! `UPDATE_EXPECT=1 cargo test golden` writes it anew.

use std::{
    env, fs,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    family::{Kind, Writer},
    protobuf_messages::{MetricFamily, as_text, decode},
    *,
};
use crate::{
    check::{
        Attempt, CertificateRole, CertificateValidity, DispatcherObserver, DnsResponse, EchoStats,
        Fact, Failure, Job, LeafCertificate, Monitor, MonitorStatus, Phase, Rcode, Reason, Report,
        RoundTripStats, ServingStatus, Skip, SpanId, State, Trace, TraceContext, TraceId,
    },
    discovery::Stats,
    heartbeat::HeartbeatStats,
    probe::ProbeStats,
    storage,
    telemetry::{ExportStats, Signal},
};

/// A monitor that is never checked: its reports are made up.
pub(super) struct Silent(pub &'static str);

impl Monitor for Silent {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn target(&self) -> String {
        self.0.to_owned()
    }

    async fn check(&self, _: &Attempt) -> Result<(), Failure> {
        Ok(())
    }
}

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn page(metrics: &Metrics) -> String {
    page_in(Syntax::Text, metrics)
}

fn page_in(syntax: Syntax, metrics: &Metrics) -> String {
    String::from_utf8(bytes_in(syntax, metrics)).expect("labels and help are UTF-8")
}

fn bytes_in(syntax: Syntax, metrics: &Metrics) -> Vec<u8> {
    let format = Format {
        syntax,
        names: LabelNames::Plain,
    };
    metrics.exposition(format).collect::<Vec<_>>().concat()
}

fn families(metrics: &Metrics) -> Vec<MetricFamily> {
    decode(&bytes_in(Syntax::Protobuf, metrics))
}

/// The samples of `page` without those of this process and this build.
pub(super) fn fixed_part(page: &str) -> String {
    const VARYING: [&str; 3] = [
        "process_",
        "monitoringdaemon_build_info",
        "monitoringdaemon_config_last_reload_success_",
    ];
    let name = |line: &str| {
        line.trim_start_matches("# HELP ")
            .trim_start_matches("# TYPE ")
            .to_owned()
    };
    let fixed = |line: &&str| {
        !VARYING
            .iter()
            .any(|varying| name(line).starts_with(varying))
    };
    let lines: Vec<_> = page.lines().filter(fixed).collect();
    lines.join("\n") + "\n"
}

/// The trace with an id of these digits.
#[expect(clippy::unnecessary_wraps, reason = "reports have one or none")]
fn traced(digits: u8, is_sampled: bool) -> Option<Box<Trace>> {
    let context = TraceContext {
        trace_id: TraceId([digits; 16]),
        span_id: SpanId([digits; 8]),
        is_sampled,
    };
    Some(Box::new(Trace {
        context,
        is_propagated: true,
        started_at: UNIX_EPOCH,
        elapsed: Duration::ZERO,
        phases: None,
    }))
}

pub(super) fn succeeded() -> Report {
    let validity = |not_after| CertificateValidity {
        not_before: 1_790_000_000,
        not_after,
    };
    Report {
        ended_at: UNIX_EPOCH + ms(1_795_000_000_123),
        duration: ms(74),
        phases: vec![
            (Phase::Resolve, ms(4)),
            (Phase::Connect, ms(10)),
            (Phase::Tls, ms(20)),
            (Phase::Processing, ms(30)),
            (Phase::Transfer, ms(10)),
        ],
        facts: vec![
            Fact::Tls {
                version: "TLS 1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
            },
            Fact::Certificate(CertificateRole::Leaf, validity(1_800_000_000)),
            Fact::Certificate(CertificateRole::EarliestExpiry, validity(1_799_999_999)),
            Fact::Certificate(CertificateRole::Verified, validity(1_800_000_000)),
            Fact::HttpStatus(200),
            Fact::ResponseBytes(648),
        ],
        failure: None,
        steps: Vec::new(),
        cause: None,
        trace: traced(1, true),
    }
}

pub(super) fn failed() -> Report {
    Report {
        ended_at: UNIX_EPOCH + ms(1_795_000_005_456),
        duration: ms(2_600),
        phases: vec![(Phase::Resolve, ms(5)), (Phase::Connect, ms(2_595))],
        facts: Vec::new(),
        failure: Some(Failure::new(
            Phase::Connect,
            Reason::Timeout,
            "no result within 2.6s",
        )),
        steps: Vec::new(),
        cause: None,
        trace: traced(2, true),
    }
}

/// A state that began at a fixed time.
fn status(state: State) -> MonitorStatus {
    MonitorStatus {
        state,
        since: UNIX_EPOCH + ms(1_794_000_000_000),
        is_up: match state {
            State::Down => Some(false),
            State::Unknown => None,
            _ => Some(true),
        },
        is_degraded: state == State::Degraded,
        in_maintenance: state == State::Maintenance,
        depends_on: Arc::new([Arc::from("router \"1\"")]),
        ..MonitorStatus::default()
    }
}

/// A report of no type, with each fact that HTTP has not.
fn of_other_types() -> Report {
    let response = DnsResponse {
        rcode: Rcode(3),
        answers: 2,
        authorities: 1,
        additionals: 4,
        serial: Some(2_026_112_201),
        authenticated_data: true,
        truncated: false,
    };
    let echoes = EchoStats {
        sent: 4,
        received: 3,
        round_trips: Some(RoundTripStats {
            min: ms(1),
            avg: ms(2),
            max: ms(4),
            jitter: Some(ms(3)),
        }),
        reply_hop_limit: Some(63),
    };
    let caught = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Report {
        phases: vec![(Phase::Setup, ms(1)), (Phase::Rtt, ms(2))],
        facts: vec![
            Fact::Address([192, 0, 2, 1].into()),
            Fact::Dns(response),
            Fact::Icmp(Box::new(echoes)),
            Fact::GrpcStatus(5),
            Fact::Serving(ServingStatus::NotServing),
            Fact::Captured(vec![
                caught("version", "OpenSSH_\"9\""),
                caught("comment", ""),
            ]),
            Fact::LeafCertificate(Arc::new(LeafCertificate::new(
                "CN=example.com",
                "O=\"CA\"",
                "0a",
                ["example.com", "www.example.com"],
                "ab01",
            ))),
        ],
        ..succeeded()
    }
}

/// The types that have the facts of [`of_other_types`].
const OTHER_TYPES: [&str; 4] = ["dns", "grpc", "icmp", "tcp"];

/// The metrics of a fixed run.
pub(super) fn fixed_run(settings: &Settings) -> Metrics {
    let metrics = Metrics::new(settings, || 7).with_limits(1000, None);
    let mut example = Job::new("example", Silent("https://example.com/"));
    let team = ("team".to_owned(), "core \"web\"\n\\o/".to_owned());
    example.labels = Arc::new([team].into());
    example.check_every = ms(90_500);
    let example = metrics.observe(&example);
    let mut quoted = Job::new(
        "it's \"quoted\", \\ and 日本",
        Silent("http://localhost:8080/"),
    );
    quoted.duration_buckets = Some(Arc::from([0.5, 5.0]));
    let quoted = metrics.observe(&quoted);
    let never_checked = metrics.observe(&Job::new("never checked", Silent("http://localhost/")));
    let gone = Job::new("gone", Silent("http://localhost/"));
    metrics.observe(&gone).on_skipped(1, Skip::Shutdown);
    metrics.on_stopped(&gone);

    for (lag, report) in [
        (ms(0), succeeded()),
        (ms(3), failed()),
        (ms(1), succeeded()),
    ] {
        example.on_started(lag);
        example.on_completed(&report);
    }
    example.on_tainted();
    metrics.on_runtime_delay(ms(3));
    example.on_skipped(1, Skip::Overrun);
    example.on_skipped(2, Skip::Stalled);
    example.on_started(ms(2));
    quoted.on_started(ms(1));
    quoted.on_completed(&succeeded());
    quoted.on_started(ms(4));
    quoted.on_completed(&failed());
    quoted.on_started(ms(4));
    quoted.on_cancelled();
    let others = OTHER_TYPES.map(|kind| {
        let other = metrics.observe(&Job::new(format!("of type {kind}"), OfType(kind)));
        for _ in 0..2 {
            other.on_started(ms(0));
            other.on_completed(&of_other_types());
        }
        other
    });

    for (observer, state) in [
        (&example, State::Degraded),
        (&quoted, State::Down),
        (&never_checked, State::Unknown),
        (&others[0], State::Maintenance),
        (&others[1], State::Up),
        (&others[2], State::Up),
        (&others[3], State::Up),
    ] {
        observer.on_status(&status(state));
    }
    metrics
}

#[track_caller]
fn check_golden(found: &str, file: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let golden = golden.join(file);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&golden, found).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&golden).expect("the golden file is there");
    assert_eq!(found, expected);
}

#[test]
fn pages_match_the_golden_files() {
    let full = fixed_run(&Settings::default());
    check_golden(&fixed_part(&page(&full)), "metrics.txt");
    let open_metrics = page_in(Syntax::OpenMetrics, &full);
    check_golden(&fixed_part(&open_metrics), "metrics.openmetrics.txt");
    let compact = Settings {
        profile: Profile::Compact,
        ..Settings::default()
    };
    let compact = page(&fixed_run(&compact));
    check_golden(&fixed_part(&compact), "metrics.compact.txt");
}

/// Both formats have the same samples.
#[test]
fn protobuf_has_the_samples_of_the_text_format() {
    for native_histograms in [
        NativeChoice::Off,
        NativeChoice::On(NativeHistograms::default()),
    ] {
        let settings = Settings {
            native_histograms,
            ..with_all_families()
        };
        let metrics = fixed_run(&settings);
        let text = fixed_part(&page(&metrics));
        assert_eq!(fixed_part(&as_text(&families(&metrics))), text);
    }
}

#[test]
fn native_histograms_stand_beside_classic_ones_or_alone() {
    let histograms = |settings: Settings| {
        let families = families(&fixed_run(&settings));
        let name = "monitor_check_duration_seconds";
        let family = families.into_iter().find(|family| family.name == name);
        let metrics = family.expect("it is exported").metric;
        metrics
            .into_iter()
            .map(|metric| metric.histogram.expect("a histogram"))
            .collect::<Vec<_>>()
    };
    for histogram in histograms(Settings::default()) {
        assert_eq!(
            (histogram.schema, &histogram.positive_span[..]),
            (None, &[][..])
        );
        assert!(!histogram.bucket.is_empty());
    }
    let both = histograms(Settings {
        native_histograms: NativeChoice::On(NativeHistograms::default()),
        ..Settings::default()
    });
    let alone = histograms(Settings {
        native_histograms: NativeChoice::On(NativeHistograms::default()),
        classic_histograms: Some(false),
        ..Settings::default()
    });
    for (mut both, alone) in both.into_iter().zip(alone) {
        assert!(!both.bucket.is_empty());
        both.bucket.clear();
        assert_eq!(both, alone);
        assert_eq!(alone.schema, Some(3));
        let mut count = 0;
        let counts = alone.positive_delta.iter().map(|delta| {
            count += delta;
            count
        });
        let total = counts.sum::<i64>() + alone.zero_count.expect("it has one").cast_signed();
        assert_eq!(total.cast_unsigned(), alone.sample_count);
        let lengths = alone.positive_span.iter().map(|span| span.length);
        assert_eq!(lengths.sum::<u32>() as usize, alone.positive_delta.len());
    }
}

#[test]
fn what_never_happened_counts_since_it_happened() {
    let families = families(&fixed_run(&Settings::default()));
    let failures = families
        .iter()
        .find(|family| family.name == "monitor_check_failures_total");
    let counter = failures.and_then(|family| family.metric[0].counter.clone());
    let created = counter.expect("a counter").created_timestamp;
    // When the check began that failed first.
    assert_eq!(
        (created.seconds, created.nanos),
        (1_795_000_002, 856_000_000)
    );
}

#[test]
fn exemplars_are_the_traces_that_are_exported() {
    let id = |digits: u8| format!("{digits:02x}").repeat(16);
    let settings = Settings {
        native_histograms: NativeChoice::On(NativeHistograms::default()),
        ..Settings::default()
    };
    let metrics = fixed_run(&settings);
    let open_metrics = page_in(Syntax::OpenMetrics, &metrics);
    for line in [
        format!(
            "monitor_check_failures_total{{monitor=\"example\",phase=\"connect\",reason=\"timeout\"}} 1 \
             # {{trace_id=\"{}\"}} 1 1795000005.456\n",
            id(2)
        ),
        format!(
            "monitor_check_duration_seconds_bucket{{monitor=\"example\",outcome=\"success\",le=\"0.1\"}} 2 \
             # {{trace_id=\"{}\"}} 0.074 1795000000.123\n",
            id(1)
        ),
    ] {
        assert!(
            open_metrics.contains(&line),
            "{line} is not on\n{open_metrics}"
        );
    }
    assert!(!page(&metrics).contains("trace_id"));

    let families = families(&metrics);
    let first = |name: &str| {
        let family = families.iter().find(|family| family.name == name);
        family.expect("it is exported").metric[0].clone()
    };
    let counter = first("monitor_check_failures_total").counter;
    let exemplar = counter.expect("a counter").exemplar.expect("it has one");
    assert_eq!(exemplar.label[0].value, id(2));
    assert_eq!(
        (exemplar.timestamp.seconds, exemplar.timestamp.nanos),
        (1_795_000_005, 456_000_000)
    );
    let histogram = first("monitor_check_duration_seconds").histogram;
    let histogram = histogram.expect("a histogram");
    assert_eq!(histogram.exemplars.len(), 1);
    assert_eq!(histogram.exemplars[0].label[0].value, id(1));
    let in_buckets = histogram.bucket.iter().filter_map(|b| b.exemplar.as_ref());
    assert_eq!(in_buckets.collect::<Vec<_>>(), [&histogram.exemplars[0]]);

    let metrics = Metrics::new(&settings, || 0);
    let observer = metrics.observe(&Job::new("unsampled", Silent("http://localhost/")));
    observer.on_started(ms(0));
    observer.on_completed(&Report {
        trace: traced(3, false),
        ..failed()
    });
    assert!(!page_in(Syntax::OpenMetrics, &metrics).contains("trace_id"));
}

/// A monitor of a type, that is never checked.
struct OfType(&'static str);

impl Monitor for OfType {
    fn kind(&self) -> &'static str {
        self.0
    }

    fn target(&self) -> String {
        "example.com:443".to_owned()
    }

    async fn check(&self, _: &Attempt) -> Result<(), Failure> {
        Ok(())
    }
}

/// The phases that each type reaches besides `resolve`, over TLS if it can be, and the facts that it then reports.
fn most_facts_by_type() -> Vec<(&'static str, Vec<Phase>, Vec<Fact>)> {
    let facts = |is_its: fn(&Fact) -> bool, has_tls: bool| {
        let of_tls = |fact: &Fact| matches!(fact, Fact::Certificate(..) | Fact::Tls { .. });
        let others = of_other_types().facts.into_iter().filter(is_its);
        let tls = succeeded().facts.into_iter();
        let tls = tls.filter(move |fact| if of_tls(fact) { has_tls } else { is_its(fact) });
        others.chain(tls).collect::<Vec<_>>()
    };
    let size = |fact: &Fact| matches!(fact, Fact::ResponseBytes(_));
    let http = |fact: &Fact| matches!(fact, Fact::HttpStatus(_) | Fact::ResponseBytes(_));
    let dialogue = |fact: &Fact| matches!(fact, Fact::Captured(_) | Fact::ResponseBytes(_));
    let dns = |fact: &Fact| matches!(fact, Fact::Dns(_) | Fact::ResponseBytes(_));
    let icmp = |fact: &Fact| matches!(fact, Fact::Icmp(_));
    let grpc = |fact: &Fact| matches!(fact, Fact::GrpcStatus(_) | Fact::Serving(_));
    let web = |fact: &Fact| {
        let is_status = matches!(fact, Fact::HttpStatus(_));
        is_status || matches!(fact, Fact::Captured(_) | Fact::ResponseBytes(_))
    };
    let (connect, tls, request) = (Phase::Connect, Phase::Tls, Phase::Request);
    let (processing, transfer) = (Phase::Processing, Phase::Transfer);
    vec![
        (
            "http",
            vec![connect, tls, processing, transfer],
            facts(http, true),
        ),
        (
            "websocket",
            vec![connect, tls, processing, transfer],
            facts(web, true),
        ),
        ("dns", vec![connect, request], facts(dns, false)),
        ("dns", vec![connect, tls, request], facts(dns, true)),
        (
            "dns",
            vec![connect, tls, processing, transfer],
            facts(dns, true),
        ),
        ("icmp", vec![Phase::Setup, Phase::Rtt], facts(icmp, false)),
        ("grpc", vec![connect, tls, Phase::Check], facts(grpc, true)),
        ("tls", vec![connect, tls, processing], facts(size, true)),
        (
            "tcp",
            vec![connect, tls, request, processing],
            facts(dialogue, true),
        ),
        (
            "unix",
            vec![connect, request, processing],
            facts(dialogue, false),
        ),
    ]
}

/// The numbers that `plan`, rules and dashboards rely on.
#[test]
fn a_healthy_monitor_has_at_most_16_series_in_the_compact_profile() {
    let settings = Settings {
        profile: Profile::Compact,
        ..Settings::default()
    };
    let metrics = Metrics::new(&settings, || 0);
    let mut names = Vec::new();
    for (index, (kind, phases, facts)) in most_facts_by_type().into_iter().enumerate() {
        for confirm in [1, 3] {
            for has_serial in [false, true] {
                let name = format!("{kind} {index} {confirm} {has_serial}");
                let mut job = Job::new(name.clone(), OfType(kind));
                Arc::make_mut(&mut job.state_rules).confirm.failures = confirm;
                let observer = metrics.observe(&job);
                observer.on_status(&MonitorStatus {
                    depends_on: Arc::default(),
                    ..status(State::Up)
                });
                let mut report = Report {
                    phases: [Phase::Resolve]
                        .iter()
                        .chain(&phases)
                        .map(|phase| (*phase, ms(1)))
                        .collect(),
                    facts: facts.clone(),
                    ..succeeded()
                };
                for fact in &mut report.facts {
                    match fact {
                        Fact::Dns(response) if has_serial => response.answers = 1,
                        Fact::Dns(response) => response.serial = None,
                        // More than three weeks are left.
                        Fact::Certificate(_, validity) => validity.not_after = 1_800_000_000,
                        _ => {}
                    }
                }
                for _ in 0..2 {
                    observer.on_started(ms(0));
                    observer.on_completed(&report);
                }
                names.push(name);
            }
        }
    }
    let families = families(&metrics);
    let mut most = 0;
    for name in &names {
        let is_its = |metric: &&protobuf_messages::Metric| {
            let is_name = |label: &protobuf_messages::LabelPair| label.value == *name;
            metric.label.iter().any(is_name)
        };
        let series: Vec<_> = families
            .iter()
            .flat_map(|family| family.metric.iter().filter(is_its).map(|_| &family.name))
            .collect();
        assert!(series.len() <= 16, "{name}: {}: {series:#?}", series.len());
        assert!(series.len() > 9, "{name}: {series:#?}");
        most = most.max(series.len());
    }
    assert_eq!(most, 16);
}

#[test]
fn the_compact_profile_tells_what_is_unusual() {
    let settings = Settings {
        profile: Profile::Compact,
        enabled: vec!["monitor_last_check_duration_seconds"],
        ..Settings::default()
    };
    let page = page(&fixed_run(&settings));
    for line in [
        "monitor_state{monitor=\"example\",state=\"degraded\"} 1\n",
        "monitor_degraded{monitor=\"example\"} 1\n",
        "monitor_checks_skipped_total{monitor=\"example\",reason=\"stalled\"} 2\n",
        "monitor_checks_tainted_total{monitor=\"example\"} 1\n",
        "monitor_checks_total{monitor=\"never checked\",outcome=\"failure\"} 0\n",
        "monitor_last_check_duration_seconds{monitor=\"example\"} 0.074\n",
        "monitor_check_duration_seconds_sum{monitor=\"example\",outcome=\"success\"} 0.148\n",
        "monitor_last_success_timestamp_seconds{monitor=\"it's \\\"quoted\\\", \\\\ and 日本\"}",
        "monitor_tls_certificate_not_after_timestamp_seconds{certificate=\"verified\",monitor=\"example\"}",
    ] {
        assert!(page.contains(line), "{line} is not on\n{page}");
    }
    for absent in [
        "monitor_degraded{monitor=\"other types\"}",
        "monitor_last_success_timestamp_seconds{monitor=\"example\"}",
        "state=\"up\"",
        "certificate=\"leaf\"",
        "reason=\"saturated\"",
        "monitor_checks_scheduled_total",
    ] {
        assert!(!page.contains(absent), "{absent} is on\n{page}");
    }
}

#[test]
fn units_are_those_that_names_end_with() {
    let of = |name: &str| {
        let family = FAMILIES.iter().find(|family| family.name == name);
        family.expect("it is in the table").unit()
    };
    assert_eq!(of("process_cpu_seconds_total"), Some("seconds"));
    assert_eq!(of("monitor_response_size_bytes"), Some("bytes"));
    assert_eq!(of("monitor_icmp_loss_ratio"), Some("ratio"));
    assert_eq!(of("monitor_up"), None);
    assert_eq!(of("monitor_checks_total"), None);
}

/// Settings that export what is off by default too.
pub(super) fn with_all_families() -> Settings {
    let opt_in = FAMILIES
        .iter()
        .filter(|family| family.is_opt_in(Profile::Full));
    Settings {
        enabled: opt_in.map(|family| family.name).collect(),
        ..Settings::default()
    }
}

#[test]
fn every_listed_family_is_exported_with_type_and_help() {
    let stats = Arc::new(Stats::default());
    stats.fill_for_tests();
    let probes = Arc::new(ProbeStats::default());
    probes.fill_for_tests();
    let storage = Arc::new(storage::Stats::default());
    storage.fill_for_tests();
    let telemetry = Arc::new(ExportStats::default());
    telemetry.set_enabled(Signal::Traces, true);
    let heartbeats = Arc::new(HeartbeatStats::default());
    heartbeats.set_enabled(true);
    let metrics = Metrics::new(&with_all_families(), || 0)
        .with_limits(1000, Some(10))
        .with_discovery(stats)
        .with_probes(probes)
        .with_storage(storage)
        .with_telemetry(telemetry)
        .with_heartbeats(heartbeats);
    let mut job = Job::new("example", Silent("http://localhost/"));
    Arc::make_mut(&mut job.state_rules).confirm.failures = 3;
    let observer = metrics.observe(&job);
    let mut with_every_fact = succeeded();
    with_every_fact.facts.extend(of_other_types().facts);
    observer.on_status(&MonitorStatus {
        in_maintenance: true,
        ..status(State::Maintenance)
    });
    let others = OTHER_TYPES.map(|kind| metrics.observe(&Job::new(kind, OfType(kind))));
    for observer in others.iter().chain([&observer]) {
        for report in [failed(), with_every_fact.clone()] {
            observer.on_started(ms(0));
            observer.on_completed(&report);
        }
    }
    observer.on_status(&status(State::Up));
    metrics.on_connected(Some(true));
    let page = page(&metrics);
    for family in FAMILIES {
        let kind = family.kind.as_str();
        let lines = format!(
            "# HELP {0} {1}\n# TYPE {0} {kind}\n{0}",
            family.name, family.help
        );
        assert!(page.contains(&lines), "{lines} is not on\n{page}");
    }
}

#[test]
fn checks_in_maintenance_are_counted_apart() {
    let metrics = Metrics::new(&Settings::default(), || 0);
    let observer = metrics.observe(&Job::new("example", Silent("http://localhost/")));
    let check = |report: &Report| {
        observer.on_started(ms(0));
        observer.on_completed(report);
    };
    let mut of_daemon = failed();
    of_daemon.failure = Some(Failure::new(
        Phase::Connect,
        Reason::AgentError,
        "no sockets",
    ));
    [failed(), succeeded()].iter().for_each(check);
    assert!(!page(&metrics).contains("monitor_maintenance_"));
    observer.on_status(&MonitorStatus {
        in_maintenance: true,
        ..status(State::Maintenance)
    });
    [failed(), of_daemon, succeeded(), succeeded()]
        .iter()
        .for_each(check);
    observer.on_status(&status(State::Up));
    [failed(), succeeded()].iter().for_each(check);
    let page = page(&metrics);
    for line in [
        "monitor_checks_total{monitor=\"example\",outcome=\"success\"} 4\n",
        "monitor_checks_total{monitor=\"example\",outcome=\"failure\"} 4\n",
        "monitor_maintenance_checks_total{monitor=\"example\",outcome=\"success\"} 2\n",
        "monitor_maintenance_checks_total{monitor=\"example\",outcome=\"failure\"} 1\n",
        "monitor_maintenance_check_duration_seconds_count{monitor=\"example\"} 2\n",
    ] {
        assert!(page.contains(line), "{line} is not on\n{page}");
    }
}

#[test]
fn missing_facts_export_no_sample() {
    let metrics = Metrics::new(&Settings::default(), || 0);
    let observer = metrics.observe(&Job::new("example", Silent("http://localhost/")));
    for report in [succeeded(), failed()] {
        observer.on_started(ms(0));
        observer.on_completed(&report);
    }
    let page = page(&metrics);
    for absent in [
        "monitor_http_status_code{",
        "monitor_last_response_size_bytes{",
        "monitor_tls_info{",
        "monitor_tls_certificate_not_after_timestamp_seconds{",
        "monitor_phase_duration_seconds{monitor=\"example\",phase=\"tls\"}",
    ] {
        assert!(!page.contains(absent), "{absent} is left over:\n{page}");
    }
    assert!(page.contains("monitor_last_check_success{monitor=\"example\"} 0\n"));
    assert!(page.contains("monitor_http_responses_total{code=\"200\",monitor=\"example\"} 1\n"));
}

/// The prometheus crate's vectors would take these two for one.
#[test]
fn monitors_with_equal_joined_labels_stay_apart() {
    let metrics = Metrics::new(&Settings::default(), || 0);
    let mut jobs = [("a", "1-web"), ("a1", "-web")].map(|(name, zone)| {
        let mut job = Job::new(name, Silent("http://localhost/"));
        job.labels = Arc::new([("zone".to_owned(), zone.to_owned())].into());
        job
    });
    let observers: Vec<_> = jobs.iter_mut().map(|job| metrics.observe(job)).collect();
    observers[0].on_skipped(1, Skip::Overrun);
    let page = page(&metrics);
    assert!(page.contains("monitor_checks_scheduled_total{monitor=\"a\"} 1\n"));
    assert!(page.contains("monitor_checks_scheduled_total{monitor=\"a1\"} 0\n"));
}

#[test]
fn a_page_has_the_last_checks_of_its_start() {
    let metrics = Metrics::new(&Settings::default(), || 0);
    let observer = metrics.observe(&Job::new("example", Silent("nowhere")));
    let complete = |report: &Report| {
        observer.on_started(ms(0));
        observer.on_completed(report);
    };
    let sample = |page: &str, name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next())
            .map(str::to_owned)
    };
    complete(&succeeded());
    let begun = metrics.exposition(Format::default());
    complete(&failed());
    complete(&failed());
    let begun = String::from_utf8(begun.collect::<Vec<_>>().concat()).expect("a text");
    for (page, success, failures) in [(begun, "1", "0"), (page(&metrics), "0", "2")] {
        let is_success = sample(&page, "monitor_last_check_success{");
        assert_eq!(is_success.as_deref(), Some(success), "{page}");
        let failed = "monitor_checks_total{monitor=\"example\",outcome=\"failure\"}";
        assert_eq!(sample(&page, failed).as_deref(), Some(failures), "{page}");
    }
}

/// Checks begin, end and are skipped in several threads while pages are rendered.
#[test]
fn slots_add_up_on_every_page() {
    let metrics = Arc::new(Metrics::new(&Settings::default(), || 0));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|n| {
            let observer = metrics.observe(&Job::new(format!("m{n}"), Silent("nowhere")));
            let stop = stop.clone();
            std::thread::spawn(move || {
                let reports = [succeeded(), failed()];
                for report in reports.iter().cycle() {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                    observer.on_started(ms(0));
                    observer.on_completed(report);
                    observer.on_started(ms(0));
                    observer.on_cancelled();
                    observer.on_skipped(3, Skip::Saturated);
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    for _ in 0..40 {
        let page = page(&metrics);
        let sum = |name: &str| -> f64 {
            let samples = page.lines().filter(|line| line.starts_with(name));
            samples
                .map(|line| {
                    line.rsplit(' ')
                        .next()
                        .and_then(|v| v.parse::<f64>().ok())
                        .expect("a value")
                })
                .sum()
        };
        let scheduled = sum("monitor_checks_scheduled_total{");
        let accounted = sum("monitor_checks_total{")
            + sum("monitor_checks_skipped_total{")
            + sum("monitoringdaemon_checks_in_flight ");
        assert!(
            (scheduled - accounted).abs() < 0.5,
            "{scheduled} {accounted}"
        );
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for thread in busy {
        thread.join().expect("it does not panic");
    }
}

#[test]
fn a_page_of_many_chunks_has_every_sample_once() {
    const MONITORS: usize = 3_000;
    let metrics = Metrics::new(&Settings::default(), || 0);
    for n in 0..MONITORS {
        let observer = metrics.observe(&Job::new(format!("monitor {n:04}"), Silent("nowhere")));
        observer.on_started(ms(0));
        observer.on_completed(&succeeded());
    }
    let chunks: Vec<_> = metrics.exposition(Format::default()).collect();
    assert!(chunks.len() > 20, "{} chunks", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.len() < 300 << 10));
    let page = String::from_utf8(chunks.concat()).expect("labels and help are UTF-8");

    let mut samples = vec![0; MONITORS];
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        if let Some((_, name)) = line.split_once("monitor=\"monitor ") {
            let n: usize = name[..4].parse().expect("its number");
            samples[n] += 1;
        }
    }
    assert!(samples[0] > 40, "{samples:?}");
    assert!(
        samples.iter().all(|count| *count == samples[0]),
        "{samples:?}"
    );
    let mut seen = Vec::new();
    for head in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert!(!seen.contains(&head), "{head} stands there twice");
        seen.push(head);
    }
    let up: Vec<_> = page
        .split("# TYPE monitor_degraded gauge\n")
        .nth(1)
        .expect("the family is there")
        .lines()
        .take(MONITORS)
        .collect();
    assert!(up.iter().all(|line| line.starts_with("monitor_degraded{")));
    assert!(up.is_sorted());
}

#[test]
fn disabled_families_are_not_exported() {
    let settings = Settings {
        response_size_buckets: Some(Arc::from([10.0, 1000.0])),
        disabled: vec![
            "monitor_check_duration_seconds",
            "monitor_info",
            "monitor_tls_certificate_info",
        ],
        ..with_all_families()
    };
    let metrics = Metrics::new(&settings, || 0);
    let observer = metrics.observe(&Job::new("example", Silent("http://localhost/")));
    observer.on_started(ms(0));
    let mut with_every_fact = succeeded();
    with_every_fact.facts.extend(of_other_types().facts);
    observer.on_completed(&with_every_fact);
    let page = page(&metrics);
    for disabled in settings.disabled {
        assert!(!page.contains(disabled), "{page}");
    }
    assert!(page.contains("monitor_last_check_success{monitor=\"example\"} 1\n"));
    let sizes = page.matches("monitor_response_size_bytes_bucket{").count();
    assert_eq!(sizes, 3);
}

#[test]
fn the_leaf_certificate_is_exported_only_if_enabled() {
    let many = (0..1_200).map(|n| format!("host-{n}.{}.example\u{1b}", "x".repeat(60)));
    let leaf = LeafCertificate::new("CN=a\nb", &"日".repeat(10_000), "0a", many, "ab01");
    let report = Report {
        facts: vec![Fact::LeafCertificate(Arc::new(leaf))],
        ..succeeded()
    };
    let exported = |settings: &Settings| {
        let metrics = Metrics::new(settings, || 0);
        let observer = metrics.observe(&Job::new("example", Silent("http://localhost/")));
        observer.on_started(ms(0));
        observer.on_completed(&report);
        let page = page(&metrics);
        let mut lines = page.lines();
        let line = lines.find(|line| line.starts_with("monitor_tls_certificate_info{"));
        line.map(ToOwned::to_owned)
    };
    assert_eq!(exported(&Settings::default()), None);
    let line = exported(&with_all_families()).expect("it is asked for");
    assert!(line.len() < 2_000, "{}: {line}", line.len());
    assert!(line.contains(r#",issuer="日"#), "{line}");
    assert!(
        line.contains(r#"…",monitor="example",serial="0a",subject="CN=a\\nb"} 1"#),
        "{line}"
    );
    assert!(!line.contains('\u{1b}'), "{line:?}");
}

#[test]
fn paused_monitors_are_shown_and_not_counted_as_running() {
    let metrics = Metrics::new(&Settings::default(), || 0);
    for (name, state) in [("paused", State::Paused), ("runs", State::Up)] {
        let observer = metrics.observe(&Job::new(name, Silent("http://localhost/")));
        observer.on_status(&status(state));
    }
    let page = page(&metrics);
    assert!(page.contains("monitor_state{monitor=\"paused\",state=\"paused\"} 1\n"));
    assert!(page.contains("monitor_state{monitor=\"paused\",state=\"up\"} 0\n"));
    assert!(page.contains("monitoringdaemon_monitors{type=\"http\"} 1\n"));
}

#[test]
fn every_row_of_the_table_is_consistent() {
    let mut names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAMILIES.len(), "a name stands in two rows");
    for family in FAMILIES {
        let name = family.name;
        assert!(family.labels.is_sorted(), "{name}");
        assert_eq!(
            family.labels.contains(&"monitor"),
            family.is_per_monitor(),
            "{name}"
        );
        assert_eq!(
            name.starts_with("monitor_"),
            family.is_per_monitor(),
            "{name}"
        );
        let is_written_for_monitors = matches!(family.writer, Writer::Monitor(_));
        assert_eq!(is_written_for_monitors, family.is_per_monitor(), "{name}");
        let is_histogram = matches!(
            family.cardinality,
            Cardinality::Histogram(_) | Cardinality::HistogramPerOutcome(_)
        );
        // Of families of maintenance, there are no series to be counted.
        if family.cardinality != Cardinality::Maintenance {
            assert_eq!(is_histogram, family.kind == Kind::Histogram, "{name}");
        }
        assert_eq!(
            name.ends_with("_total"),
            family.kind == Kind::Counter,
            "{name}"
        );
        // They would need other escapes in OpenMetrics.
        assert!(!family.help.contains(['\\', '"', '\n']), "{name}");
        assert!(
            family.is_per_monitor() || family.compact == Compact::Same,
            "{name}"
        );
    }
}
