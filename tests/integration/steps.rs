//! The steps of a check, as `explain` shows them.

use monitoringdaemon::check::{Report, Step as CheckStep, StepKind, StepLimits, Steps};
use serde_json::{Value, json};

use crate::support::{
    lab::Lab,
    pki::IDENTITY,
    server::{Server, Step, ok, response},
};

/// A check of the monitor with these keys, told step by step.
async fn check_in(lab: &Lab, monitor: Value) -> Report {
    let steps = Steps::record(StepLimits::EXPLAIN);
    lab.job(monitor).check_told_to(steps).await
}

async fn check(monitor: Value) -> Report {
    check_in(&Lab::new(), monitor).await
}

fn texts(report: &Report, kind: StepKind) -> Vec<&str> {
    let steps = report.steps.iter().filter(|step| step.kind == kind);
    steps.map(|step| &*step.text).collect()
}

fn whole(report: &Report) -> String {
    let line = |step: &CheckStep| format!("{} {}\n", step.kind, step.text);
    report.steps.iter().map(line).collect()
}

#[tokio::test]
async fn a_check_over_https_is_told_from_its_lookup_to_its_verdict() {
    let server = Server::start([
        IDENTITY.tls(),
        Step::answer(|_| response("200 OK", &["x-request-id: abc", "set-cookie: a=b"], "hello")),
    ]);
    let port = server.address.port();
    let report = check(json!({
        "url": format!("https://service.test:{port}/path?token=hunter2"),
        "headers": { "X-Api-Key": "hunter2", "Accept": "text/html" },
        "fail_if_body_not_matches_regexp": ["hel+o"],
    }))
    .await;
    assert_eq!(report.failure, None);
    let kinds: Vec<_> = report.steps.iter().map(|step| step.kind).collect();
    let whole = whole(&report);
    for kind in [
        StepKind::Lookup,
        StepKind::DnsQuery,
        StepKind::DnsResponse,
        StepKind::Address,
        StepKind::Connect,
        StepKind::Connected,
        StepKind::TlsOffer,
        StepKind::CertificateSent,
        StepKind::CertificateVerified,
        StepKind::TlsAgreed,
        StepKind::Request,
        StepKind::RequestHeader,
        StepKind::Response,
        StepKind::ResponseHeader,
        StepKind::Passed,
        StepKind::ResponseBody,
        StepKind::Success,
    ] {
        assert!(kinds.contains(&kind), "{kind} is missing: {whole}");
    }
    assert!(report.steps.is_sorted_by_key(|step| step.at), "{whole}");
    for line in [
        "request GET /path?… HTTP/1.1\n",
        "request_header x-api-key: (hidden, 7 bytes)\n",
        "request_header accept: text/html\n",
        "response HTTP/1.1 200 OK\n",
        "response_header x-request-id: abc\n",
        "response_header set-cookie: (hidden, 3 bytes)\n",
        "response_body begins with \"hello\"\n",
        "passed fail_if_body_not_matches_regexp \"hel+o\": matches in 5 bytes\n",
    ] {
        assert!(whole.contains(line), "{line} is missing: {whole}");
    }
    assert!(!whole.contains("hunter2"), "{whole}");
}

#[tokio::test]
async fn a_check_that_nobody_listens_to_has_no_steps() {
    let server = Server::answering(|_| ok("hello"));
    let report = Lab::new().check(json!({ "url": server.http("/") })).await;
    assert_eq!(report.steps, []);
}

#[tokio::test]
async fn a_timeout_is_the_last_step_of_what_was_reached() {
    let server = Server::start([Step::Request, Step::Hang]);
    let report = check(json!({ "url": server.http("/"), "timeout": "300ms" })).await;
    let last = report.steps.last().expect("there are steps");
    assert_eq!(last.kind, StepKind::Failure);
    assert!(last.text.starts_with("timeout in processing: "), "{last:?}");
    assert_eq!(texts(&report, StepKind::Request), ["GET / HTTP/1.1"]);
}
