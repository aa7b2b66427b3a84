//! Prints the results of `once` as a table, JSON lines or JUnit XML.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
    time::Duration,
};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use quick_junit::{NonSuccessKind, Report as JunitReport, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::run::CheckResult;
use crate::check::{CertificateValidity, EchoStats, Fact, Phase, Report, Step};

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table
    #[default]
    Table,
    /// A JSON object a line
    Json,
    /// JUnit XML for CI
    Junit,
}

impl Output {
    pub(super) fn print(self, checked: &[CheckResult], out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Table => writeln!(out, "{}", table(checked))?,
            Self::Json => {
                for checked in checked {
                    write_json(checked, out)?;
                }
            }
            Self::Junit => {
                junit(checked)
                    .serialize(&mut *out)
                    .map_err(io::Error::other)?;
                writeln!(out)?;
            }
        }
        out.flush()
    }
}

/// Writes the result of a check as one line of JSON.
pub(in crate::commands) fn write_json(
    checked: &CheckResult,
    out: &mut impl Write,
) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line::new(checked))?;
    writeln!(out)
}

/// One line of JSON; unknown values are `null`.
#[derive(Serialize)]
struct Line<'c> {
    monitor: &'c str,
    r#type: &'static str,
    target: String,
    outcome: &'static str,
    status: Option<u16>,
    bytes: Option<u64>,
    seconds: f64,
    phases: BTreeMap<&'static str, f64>,
    reason: Option<&'static str>,
    phase: Option<&'static str>,
    error: Option<&'c str>,
    /// The address that was checked.
    address: Option<IpAddr>,
    /// Further facts; they depend on the type of the check.
    #[serde(skip_serializing_if = "Map::is_empty")]
    facts: Map<String, Value>,
    /// The steps of the check, if somebody listened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepLine<'c>>,
}

/// One step of a check.
#[derive(Serialize)]
struct StepLine<'c> {
    /// Time since the check began.
    seconds: f64,
    phase: Option<&'static str>,
    #[serde(rename = "step")]
    kind: &'static str,
    text: &'c str,
}

impl<'c> StepLine<'c> {
    fn new(step: &'c Step) -> Self {
        Self {
            seconds: step.at.as_secs_f64(),
            phase: step.phase.map(Phase::as_str),
            kind: step.kind.as_str(),
            text: &step.text,
        }
    }
}

impl<'c> Line<'c> {
    fn new(CheckResult { job, report }: &'c CheckResult) -> Self {
        let failure = report.failure.as_ref();
        let phases = report.phases.iter();
        Self {
            monitor: &job.name,
            r#type: job.kind(),
            target: job.target(),
            outcome: report.outcome().as_str(),
            status: report.status(),
            bytes: report.response_bytes(),
            seconds: report.duration.as_secs_f64(),
            phases: phases
                .map(|(phase, spent)| (phase.as_str(), spent.as_secs_f64()))
                .collect(),
            reason: failure.map(|failure| failure.reason.as_str()),
            phase: failure.map(|failure| failure.phase.as_str()),
            error: failure.map(|failure| &*failure.error),
            address: report.address(),
            facts: report.facts.iter().flat_map(fact_to_json).collect(),
            steps: report.steps.iter().map(StepLine::new).collect(),
        }
    }
}

/// The JSON members of `fact`; none if the line has a separate member for it.
fn fact_to_json(fact: &Fact) -> Map<String, Value> {
    let members = match fact {
        Fact::Address(_)
        | Fact::HttpStatus(_)
        | Fact::ResponseBytes(_)
        // Details, which are recorded for a probe only.
        | Fact::FirstAddress(_)
        | Fact::Redirects(_)
        | Fact::HttpHead(_)
        | Fact::DecodedBytes(_)
        | Fact::Unexpected(_)
        | Fact::PeerCertificates(_) => json!({}),
        Fact::Certificate(
            role,
            CertificateValidity {
                not_before,
                not_after,
            },
        ) => json!({
            format!("certificate_{role}_not_before"): not_before,
            format!("certificate_{role}_not_after"): not_after,
        }),
        Fact::LeafCertificate(leaf) => json!({ "leaf_certificate": {
            "subject": leaf.subject,
            "issuer": leaf.issuer,
            "serial": leaf.serial,
            "dns_names": leaf.dns_names,
            "more_dns_names": leaf.more_dns_names,
            "fingerprint_sha256": leaf.fingerprint_sha256,
        } }),
        Fact::Tls { version, cipher } => json!({ "tls_version": version, "tls_cipher": cipher }),
        Fact::Dns(response) => json!({
            "rcode": response.rcode.to_string(),
            "answer_rrs": response.answers,
            "authority_rrs": response.authorities,
            "additional_rrs": response.additionals,
            "serial": response.serial,
            "authenticated_data": response.authenticated_data,
            "truncated": response.truncated,
        }),
        Fact::Icmp(echoes) => {
            let trips = echoes.round_trips;
            let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
            json!({
                "sent": echoes.sent,
                "received": echoes.received,
                "loss_ratio": echoes.loss_ratio(),
                "round_trip_min": seconds(trips.map(|trips| trips.min)),
                "round_trip_avg": seconds(trips.map(|trips| trips.avg)),
                "round_trip_max": seconds(trips.map(|trips| trips.max)),
                "jitter": seconds(trips.and_then(|trips| trips.jitter)),
                "reply_hop_limit": echoes.reply_hop_limit,
            })
        }
        Fact::GrpcStatus(status) => json!({ "grpc_status": status }),
        Fact::Serving(status) => json!({ "serving_status": status.as_str() }),
        Fact::Captured(caught) => {
            let caught = caught.iter();
            let caught: Map<_, _> = caught
                .map(|(name, value)| (name.clone(), Value::from(&**value)))
                .collect();
            json!({ "captured": caught })
        }
    };
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The status in one word: a status code, or the type's equivalent.
fn status(report: &Report) -> String {
    let words = [
        report.status().map(|status| status.to_string()),
        report.dns().map(|response| response.rcode.to_string()),
        report.serving().map(|status| status.to_string()),
        report.grpc_status().map(|status| status.to_string()),
        report
            .echoes()
            .map(|EchoStats { sent, received, .. }| format!("{received}/{sent}")),
        report.tls().map(|(version, _)| version.to_owned()),
    ];
    let word = words.into_iter().flatten().next();
    word.unwrap_or_else(|| "-".to_owned())
}

fn table(checked: &[CheckResult]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "MONITOR", "TYPE", "OUTCOME", "STATUS", "BYTES", "SECONDS", "TARGET", "ADDRESS", "FAILURE",
    ]);
    for number in [3, 4, 5] {
        let column = table
            .column_mut(number)
            .expect("the header has nine columns");
        column.set_cell_alignment(CellAlignment::Right);
    }
    for CheckResult { job, report } in checked {
        let failure = report.failure.as_ref().map_or(String::new(), |failure| {
            format!("{} in {}: {}", failure.reason, failure.phase, failure.error)
        });
        table.add_row([
            job.name.to_string(),
            job.kind().to_owned(),
            report.outcome().to_string(),
            status(report),
            or_dash(report.response_bytes()),
            format!("{:.3}", report.duration.as_secs_f64()),
            job.target(),
            or_dash(report.address()),
            escape_control_chars(&failure),
        ]);
    }
    table
}

fn or_dash(known: Option<impl ToString>) -> String {
    known.map_or("-".to_owned(), |known| known.to_string())
}

/// Escapes control characters, which a target could use against a terminal.
fn escape_control_chars(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

fn junit(checked: &[CheckResult]) -> JunitReport {
    let mut suite = TestSuite::new("monitors");
    for CheckResult { job, report } in checked {
        let status = match &report.failure {
            None => TestCaseStatus::success(),
            Some(failure) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_type(failure.reason.as_str());
                let message = format!("{}: {}", failure.phase, failure.error);
                status.set_message(strip_xml_noncharacters(&message));
                status
            }
        };
        let mut case = TestCase::new(strip_xml_noncharacters(&job.name), status);
        case.set_classname(job.kind());
        case.set_time(report.duration);
        case.add_property(("target", &*job.target()));
        if !report.steps.is_empty() {
            let steps = report.steps.iter();
            let lines = steps.map(|step| format!("{} {}\n", step.kind, step.text));
            case.set_system_out(strip_xml_noncharacters(&lines.collect::<String>()));
        }
        suite.add_test_case(case);
    }
    let mut junit = JunitReport::new("monitoringdaemon");
    junit.add_test_suite(suite);
    junit
}

/// Replaces the two characters that XML does not allow and quick-junit does not remove.
fn strip_xml_noncharacters(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
