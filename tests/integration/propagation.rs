//! `propagate`: the identity of a check's trace, as targets see it.

use bytes::Bytes;
use monitoringdaemon::check::Report;
use serde_json::{Value, json};

use crate::support::{
    daemon::Daemon,
    lab::Lab,
    report::assert_success,
    server::{Frame, Request, Server, Step, redirect},
    websocket::upgraded,
};

/// The trace id of `report`, with the header that its target got.
#[track_caller]
fn assert_propagated(report: &Report, request: &Request) {
    let trace = report.trace.as_ref().expect("it has a trace");
    let context = trace.context;
    let expected = format!("00-{}-{}-00", context.trace_id, context.span_id);
    assert_eq!(request.header("traceparent"), Some(&*expected));
    assert_eq!(expected.len(), 55);
    assert!(trace.is_propagated && !context.is_sampled);
}

async fn check(mut monitor: Value, server: &Server) -> (Report, Request) {
    monitor["propagate"] = json!(true);
    let report = Lab::new().check(monitor).await;
    (report, server.request())
}

#[tokio::test]
async fn a_check_over_http_carries_a_new_identity_each_time() {
    let server = Server::ok();
    let job = Lab::new().job(json!({ "url": server.http("/"), "propagate": true }));
    let first = job.check_once().await;
    assert_propagated(&first, &server.request());
    let second = job.check_once().await;
    assert_ne!(first.trace_id(), second.trace_id());
    assert_eq!(first.exported_trace_id(), None, "no trace is exported");
}

#[tokio::test]
async fn a_check_carries_no_identity_by_default() {
    let server = Server::ok();
    let report = Lab::new().check(json!({ "url": server.http("/") })).await;
    assert_success(&report);
    assert_eq!(report.trace, None);
    assert_eq!(server.request().header("traceparent"), None);
}

#[tokio::test]
async fn the_users_own_identity_is_kept() {
    let server = Server::ok();
    let own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let monitor = json!({ "url": server.http("/"), "headers": { "Traceparent": own } });
    let (_, request) = check(monitor, &server).await;
    let sent: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| name == "traceparent")
        .collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1, own);
}

#[tokio::test]
async fn each_hop_of_a_redirect_carries_the_same_identity() {
    let other = Server::ok();
    let location = other.http("/");
    let server = Server::answering(move |_| redirect(302, &location));
    let (report, request) = check(json!({ "url": server.http("/") }), &server).await;
    assert_success(&report);
    assert_propagated(&report, &request);
    assert_propagated(&report, &other.request());
}

#[tokio::test]
async fn a_call_of_grpc_carries_the_identity() {
    let head = Frame::HeadWith(200, vec![("content-type", "application/grpc".to_owned())]);
    let body = Frame::Data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01"));
    let end = Frame::Trailers(vec![("grpc-status", "0".to_owned())]);
    let server = Server::start([Step::Http2(vec![head, body, end])]);
    let monitor = json!({ "type": "grpc", "target": server.address.to_string() });
    let (report, request) = check(monitor, &server).await;
    assert_success(&report);
    assert_propagated(&report, &request);
}

#[tokio::test]
async fn an_upgrade_to_a_websocket_carries_the_identity() {
    let close = b"\x88\x02\x03\xe8";
    let greeting = Step::answer(move |request| [upgraded(request, &[]).as_bytes(), close].concat());
    let server = Server::start([greeting]);
    let target = format!("ws://{}/", server.address);
    let (report, request) = check(json!({ "type": "websocket", "target": target }), &server).await;
    assert_propagated(&report, &request);
}

#[test]
fn the_identity_is_on_the_log_line() {
    let server = Server::ok();
    let daemon = Daemon::start(json!({
        "log": { "format": "logfmt" },
        "defaults": { "propagate": true, "check_every": "1h" },
        "monitors": {
            "web": { "url": server.http("/") },
            "port": { "type": "tcp", "target": server.address.to_string() },
        },
    }));
    let line = daemon.until_logged("monitor=web method");
    let header = server.request();
    let header = header.header("traceparent").expect("it was sent");
    let (_, id) = line.split_once(" trace_id=").expect("the line has the id");
    assert_eq!(header.split('-').nth(1), Some(id));
    let other = daemon.until_logged("monitor=port target");
    assert!(!other.contains("trace_id"), "{other}");
}
