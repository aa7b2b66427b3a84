//! Prints the results of `once` as a table, JSON lines or JUnit XML.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use quick_junit::{NonSuccessKind, Report as JunitReport, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::run::CheckResult;
use crate::{
    check::{CertificateValidity, EchoStats, Fact, Phase, Report, Step},
    commands::{
        explain::{self, Style},
        table::Table,
    },
    text,
};

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table
    #[default]
    Table,
    /// A JSON object a line
    Json,
    /// JUnit XML for CI
    Junit,
}

/// Options of what is printed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Printing {
    pub output: Output,
    /// True to print the steps of each check.
    pub verbose: bool,
    /// True to print failed checks only.
    pub quiet: bool,
    /// Characters in a line of the terminal, if there is one.
    pub width: Option<u16>,
    /// True to print the time of each check, because results of other times follow.
    pub(crate) has_time: bool,
}

impl Printing {
    /// Prints `results`. JUnit XML has all of them, because CI systems compare runs.
    pub(super) fn print(self, results: &[CheckResult], out: &mut impl Write) -> io::Result<()> {
        let is_shown = |result: &&CheckResult| !self.quiet || result.report.failure.is_some();
        let shown: Vec<_> = results.iter().filter(is_shown).collect();
        match self.output {
            Output::Table => {
                if self.verbose {
                    let style = Style::for_stdout();
                    for result in &shown {
                        explain::write(result, style, out)?;
                        writeln!(out)?;
                    }
                }
                if !self.quiet || !shown.is_empty() {
                    out.write_all(table(&shown, self.width).into_text(self.width).as_bytes())?;
                }
                if self.quiet {
                    writeln!(out, "{}", summary(results.len(), shown.len()))?;
                }
            }
            Output::Json => {
                for result in shown {
                    write_json(result, self.has_time, out)?;
                }
            }
            Output::Junit => {
                junit(results)
                    .serialize(&mut *out)
                    .map_err(io::Error::other)?;
                writeln!(out)?;
            }
        }
        out.flush()
    }
}

/// The number of checks by outcome.
fn summary(checks: usize, failed: usize) -> String {
    match (checks, failed) {
        (_, 0) => text::counted(checks, "check") + " succeeded",
        (1, _) => "1 check failed".to_owned(),
        _ => format!("{failed} of {checks} checks failed"),
    }
}

/// Writes the result of a check as one line of JSON.
pub(in crate::commands) fn write_json(
    checked: &CheckResult,
    has_time: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line::new(checked, has_time))?;
    writeln!(out)
}

/// One line of JSON; unknown values are `null`.
#[derive(Serialize)]
struct Line<'c> {
    /// When the check ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
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
    fn new(CheckResult { job, report }: &'c CheckResult, has_time: bool) -> Self {
        let time = DateTime::<Utc>::from(report.ended_at);
        let failure = report.failure.as_ref();
        let phases = report.phases.iter();
        Self {
            time: has_time.then(|| time.to_rfc3339_opts(SecondsFormat::Millis, true)),
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
            let caught: Map<_, _> = caught
                .iter()
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

/// Characters in a line that leave room for every column.
const WIDTH_WITH_ADDRESS: u16 = 100;

/// Returns the table, without the addresses if a terminal has few characters in a line.
fn table(checked: &[&CheckResult], width: Option<u16>) -> Table {
    let has_address = width.is_none_or(|width| width >= WIDTH_WITH_ADDRESS);
    let mut header = vec![
        "MONITOR", "TYPE", "OUTCOME", "STATUS", "BYTES", "SECONDS", "TARGET",
    ];
    header.extend(has_address.then_some("ADDRESS"));
    header.push("FAILURE");
    let long: &[usize] = if has_address { &[0, 6, 8] } else { &[0, 6, 7] };
    let mut table = Table::new(&header, &[3, 4, 5], long);
    for CheckResult { job, report } in checked {
        let failure = report.failure.as_ref().map_or(String::new(), |failure| {
            format!("{} in {}: {}", failure.reason, failure.phase, failure.error)
        });
        let mut seconds = String::new();
        text::write_rounded(&mut seconds, report.duration.as_secs_f64())
            .expect("a String takes all");
        let row = [
            job.name.to_string(),
            job.kind().to_owned(),
            report.outcome().to_string(),
            status(report),
            or_dash(report.response_bytes()),
            seconds,
            job.target(),
        ];
        let address = has_address.then(|| or_dash(report.address()));
        table.add_row(row.into_iter().chain(address).chain([failure]));
    }
    table
}

fn or_dash(known: Option<impl ToString>) -> String {
    known.map_or("-".to_owned(), |known| known.to_string())
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
