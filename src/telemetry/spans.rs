//! The spans of a check: one for the check, one for each phase, and an event for each step.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{
        Span, Status,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};
use url::Url;

use super::{
    batch,
    resource::{attribute, text},
};
use crate::check::{Failure, Job, PhaseTimes, Report, SpanId, Step, Trace, grpc_code_name};

/// Methods that the conventions know; any other is `_OTHER`.
const KNOWN_METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// The flags of a sampled span (W3C trace flags, and that its parent is known not to be remote).
const FLAGS: u32 = 0x01 | 0x100;

/// Encodes the spans of `report`; nothing if it has no trace.
pub(super) fn encode(job: &Job, report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(trace) = &report.trace else {
        return out;
    };
    let phases = trace.phases.as_deref().unwrap_or_default();
    let mut root = Span {
        name: name(job),
        kind: SpanKind::Client.into(),
        attributes: attributes(job, report),
        status: report.failure.as_ref().map(failed),
        ..span(trace, trace.context.span_id, Duration::ZERO, trace.elapsed)
    };
    let mut children: Vec<_> = phases.iter().map(|times| child(trace, times)).collect();
    if let Some(failure) = &report.failure {
        let at = phases
            .iter()
            .rposition(|times| times.phase == failure.phase);
        if let Some(span) = at.and_then(|at| children.get_mut(at)) {
            span.status = Some(failed(failure));
            span.attributes
                .push(text("error.type", failure.reason.as_str()));
        }
    }
    for step in &report.steps {
        let span = phase_of(step, phases).and_then(|at| children.get_mut(at));
        let span = span.unwrap_or(&mut root);
        span.events.push(event(trace, step));
    }
    for span in std::iter::once(&root).chain(&children) {
        batch::put_item(span, &mut out);
    }
    out
}

fn span(trace: &Trace, id: SpanId, start: Duration, end: Duration) -> Span {
    Span {
        trace_id: trace.context.trace_id.0.into(),
        span_id: id.0.into(),
        flags: FLAGS,
        start_time_unix_nano: nanos(trace.started_at + start),
        end_time_unix_nano: nanos(trace.started_at + end),
        ..Span::default()
    }
}

fn child(trace: &Trace, times: &PhaseTimes) -> Span {
    Span {
        parent_span_id: trace.context.span_id.0.into(),
        name: times.phase.as_str().to_owned(),
        kind: SpanKind::Internal.into(),
        ..span(trace, SpanId::random(), times.start, times.end)
    }
}

/// The index of the phase that `step` belongs to: the last one of its kind that had begun.
fn phase_of(step: &Step, phases: &[PhaseTimes]) -> Option<usize> {
    let wanted = step.phase?;
    let begun = |times: &PhaseTimes| times.phase == wanted && times.start <= step.at;
    let last = phases.iter().rposition(begun);
    last.or_else(|| phases.iter().position(|times| times.phase == wanted))
}

fn event(trace: &Trace, step: &Step) -> Event {
    Event {
        time_unix_nano: nanos(trace.started_at + step.at),
        name: step.kind.as_str().to_owned(),
        attributes: vec![text("monitoringdaemon.step.text", &*step.text)],
        ..Event::default()
    }
}

fn failed(failure: &Failure) -> Status {
    Status {
        message: failure.error.to_string(),
        code: StatusCode::Error.into(),
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// The name of the span: the method, or else the type, and the monitor, of which there are few.
fn name(job: &Job) -> String {
    let method = job.request_method().map(known_method);
    format!("{} {}", method.unwrap_or_else(|| job.kind()), job.name)
}

/// The method, if it is a known one; a span of any other is named `HTTP`.
fn known_method(method: &str) -> &str {
    if KNOWN_METHODS.contains(&method) {
        method
    } else {
        "HTTP"
    }
}

fn attributes(job: &Job, report: &Report) -> Vec<KeyValue> {
    let number = |key, value: i64| attribute(key, Value::IntValue(value));
    let mut attributes = vec![
        text("monitoringdaemon.monitor.name", &*job.name),
        text("monitoringdaemon.monitor.type", job.kind()),
    ];
    attributes.extend(server_attributes(job));
    if let Some(method) = job.request_method() {
        if KNOWN_METHODS.contains(&method) {
            attributes.push(text("http.request.method", method));
        } else {
            attributes.push(text("http.request.method", "_OTHER"));
            attributes.push(text("http.request.method_original", method));
        }
    }
    if job.kind() == "grpc" {
        attributes.push(text("rpc.system.name", "grpc"));
        attributes.push(text("rpc.method", "grpc.health.v1.Health/Check"));
    }
    if let Some(code) = report.grpc_status() {
        let name = grpc_code_name(code).map(str::to_owned);
        let code = name.unwrap_or_else(|| code.to_string());
        attributes.push(text("rpc.response.status_code", code));
    }
    if let Some(address) = report.address() {
        attributes.push(text("network.peer.address", address.to_string()));
    }
    if let Some(status) = report.status() {
        attributes.push(number("http.response.status_code", status.into()));
    }
    if let Some(failure) = &report.failure {
        attributes.push(text("error.type", failure.reason.as_str()));
        let phase = failure.phase.as_str();
        attributes.push(text("monitoringdaemon.failure.phase", phase));
    }
    if let Some(cause) = &report.cause {
        attributes.push(text("monitoringdaemon.failure.cause", cause.as_str()));
    }
    attributes
}

/// The attributes of the target, which has no secrets.
fn server_attributes(job: &Job) -> Vec<KeyValue> {
    let target = job.target();
    let url = target.contains("://").then(|| Url::parse(&target).ok());
    let url = url.flatten();
    let mut attributes = Vec::new();
    let host = match (&url, job.host()) {
        (_, Some(host)) => host,
        (Some(url), None) => url.host_str().unwrap_or_default().to_owned(),
        (None, None) => target.clone(),
    };
    let without_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    attributes.push(text("server.address", without_brackets.unwrap_or(&host)));
    let port = match &url {
        Some(url) => url.port_or_known_default(),
        None => target.rsplit_once(':').and_then(|(host, port)| {
            // Not the end of an address of IPv6.
            let is_whole = !host.contains(':') || host.ends_with(']');
            port.parse().ok().filter(|_| is_whole)
        }),
    };
    if let Some(port) = port {
        attributes.push(attribute("server.port", Value::IntValue(port.into())));
    }
    if url.is_some() {
        attributes.push(text("url.full", target));
    }
    attributes
}
