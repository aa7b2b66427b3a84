//! The steps of a check, as `explain` shows them.

use std::time::Duration;

use monitoringdaemon::check::{Cause, Report, Step as CheckStep, StepKind, StepLimits, Steps};
use serde_json::{Value, json};

use crate::support::{
    dns::{Answer, Dns},
    lab::Lab,
    pki::{IDENTITY, Identity},
    server::{Server, Step, ok, redirect, response},
};

/// A check of the monitor with these keys, told step by step.
async fn check_in(lab: &Lab, monitor: Value) -> Report {
    let steps = Steps::record(StepLimits::EXPLAIN);
    lab.job(monitor).check_with_steps(steps).await
}

pub async fn check(monitor: Value) -> Report {
    check_in(&Lab::new(), monitor).await
}

pub fn texts(report: &Report, kind: StepKind) -> Vec<&str> {
    let steps = report.steps.iter().filter(|step| step.kind == kind);
    steps.map(|step| &*step.text).collect()
}

pub fn whole(report: &Report) -> String {
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
        "request GET /path (query hidden) HTTP/1.1\n",
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

#[tokio::test]
async fn a_lookup_tells_every_server_and_the_choice() {
    let dns = Dns::start(Duration::ZERO, |_| Answer::NoSuchName);
    let report = check_in(
        &Lab::with_dns(dns),
        json!({ "type": "tcp", "target": "missing.test:1" }),
    )
    .await;
    let whole = whole(&report);
    assert!(
        whole.contains("lookup missing.test, IPv4 preferred\n"),
        "{whole}"
    );
    assert!(
        whole.contains("dns_query A missing.test. to 127.0.0.1:"),
        "{whole}"
    );
    assert!(whole.contains(" says NXDOMAIN, no records\n"), "{whole}");
    assert!(
        whole.contains("failure dns_not_found in resolve: "),
        "{whole}"
    );
}

#[tokio::test]
async fn a_rejected_certificate_is_told_with_its_cause() {
    let own = Identity::self_signed(&["service.test"]);
    let server = Server::start([own.tls(), Step::answer(|_| ok("hello"))]);
    let url = format!("https://service.test:{}/", server.address.port());
    let report = check(json!({ "url": url })).await;
    let whole = whole(&report);
    assert_eq!(report.cause, Some(Cause::SelfSigned), "{whole}");
    assert!(whole.contains("certificate_sent 0: CN="), "{whole}");
    assert!(
        whole.contains("certificate_rejected tls_untrusted: "),
        "{whole}"
    );
    assert!(whole.contains("cause self_signed: "), "{whole}");
}

#[tokio::test]
async fn redirects_are_told_with_why_they_are_followed() {
    let other = Server::ok();
    let location = other.http("/there?token=hunter2");
    let server = Server::answering(move |_| redirect(302, &location));
    let report = check(json!({ "url": server.http("/"), "basic_auth": { "username": "a", "password": "hunter2" } })).await;
    assert_eq!(report.failure, None);
    let redirects = texts(&report, StepKind::Redirect);
    assert_eq!(redirects.len(), 1, "{redirects:?}");
    assert!(
        redirects[0].starts_with("followed by GET http://127.0.0.1:"),
        "{redirects:?}"
    );
    assert!(
        redirects[0].contains("/there (1 of 10), without credentials"),
        "{redirects:?}"
    );
    assert!(!whole(&report).contains("hunter2"));
    let server = Server::answering(|_| redirect(302, "/there"));
    let report = check(
        json!({ "url": server.http("/"), "follow_redirects": false, "valid_status_codes": [302] }),
    )
    .await;
    let redirects = texts(&report, StepKind::Redirect);
    assert_eq!(redirects, ["not followed, as follow_redirects is false"]);
}

#[tokio::test]
async fn a_dialogue_is_told_line_by_line_without_what_was_sent() {
    let server = Server::start([
        Step::send("220 ready\r\n"),
        Step::Read,
        Step::send("501 hunter2 is wrong\r\n"),
        Step::Hang,
    ]);
    let report = check(json!({
        "type": "tcp",
        "target": server.address.to_string(),
        "query_response": [
            { "expect": "^220 " },
            { "send": "AUTH hunter2" },
            { "expect": "^235", "reject": ["^5"] },
        ],
    }))
    .await;
    let whole = whole(&report);
    assert_eq!(
        texts(&report, StepKind::Sent),
        ["13 bytes, hidden"],
        "{whole}"
    );
    let received = texts(&report, StepKind::Received);
    assert_eq!(
        received,
        ["\"220 ready\"", "\"501 *** is wrong\""],
        "{whole}"
    );
    assert_eq!(texts(&report, StepKind::Passed).len(), 1, "{whole}");
    let rejected = texts(&report, StepKind::NotPassed);
    assert_eq!(
        rejected,
        ["query_response[2].reject \"^5\": the line matches"]
    );
    assert!(!whole.contains("hunter2"), "{whole}");
}

#[tokio::test]
async fn a_body_that_repeats_the_request_shows_no_secret() {
    let server = Server::answering(|request| {
        let all = format!("{request:?}").replace(|c: char| c.is_control(), "");
        response("500 hunter2", &[&format!("server: {all}")], &all)
    });
    let report = check(json!({
        "url": server.http("/path?token=hunter2"),
        "method": "POST",
        "body": "hunter2-body",
        "basic_auth": { "username": "hunter2-user", "password": "hunter2" },
        "headers": { "X-Api-Key": "hunter2" },
    }))
    .await;
    let whole = whole(&report);
    assert!(whole.contains("response_header server: "), "{whole}");
    assert!(whole.contains("response_body begins with "), "{whole}");
    assert!(!whole.contains("hunter2"), "{whole}");
}
