//! Which checks are traced, and what their spans have.

use std::time::Duration;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;

use super::{Settings, Signal, Telemetry, batch, resource, running::queue_of};
use crate::{
    check::{
        Attempt, Failure, Job, Monitor, Phase, Reason, Report, StepKind, StepLimits, Steps, Tracer,
    },
    value::{Fields, Path, Problems, yaml},
};

/// A monitor of this target that fails as told.
struct StandIn {
    target: &'static str,
    fails: bool,
}

impl Monitor for StandIn {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn target(&self) -> String {
        self.target.to_owned()
    }

    fn request_method(&self) -> Option<&str> {
        Some("PURGE")
    }

    async fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        for _ in 0..2 {
            attempt.enter(Phase::Connect);
            tokio::time::sleep(Duration::from_secs(1)).await;
            attempt.step(StepKind::Connected, || "connected");
        }
        attempt.enter(Phase::Processing);
        attempt.step(StepKind::Request, || "PURGE /");
        tokio::time::sleep(Duration::from_secs(1)).await;
        if self.fails {
            return Err(attempt.failure(Reason::StatusCode, "HTTP 500, expected 2xx"));
        }
        Ok(())
    }
}

fn telemetry(section: &str) -> Telemetry {
    let node = yaml::parse(section).expect("YAML");
    let problems = Problems::default();
    let fields = Fields::from_node(&node, Path::default(), &problems).expect("a mapping");
    let telemetry = Telemetry::new(&Settings::read(fields));
    assert_eq!(problems.count(), 0);
    telemetry
}

fn job(fails: bool) -> Job {
    let target = "https://[2001:db8::1]/path";
    Job::new("example", StandIn { target, fails })
}

/// The report of a check of `job` as the dispatcher runs it.
async fn check(telemetry: &Telemetry, job: &Job, last_failed: bool) -> Report {
    let tracer = telemetry.tracer();
    let start = tracer.start(job, last_failed);
    let steps = if start.is_some_and(|start| start.is_recorded) {
        Steps::record(StepLimits::EVIDENCE)
    } else {
        Steps::none()
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    let mut report = Attempt::run(job, deadline, steps, start).await;
    tracer.end(job, &mut report);
    report
}

fn exported(telemetry: &Telemetry) -> Vec<Span> {
    let items = queue_of(telemetry, Signal::Traces).take_batch();
    let resource = resource::encode_resource("id", &Settings::default().resource);
    let request = batch::request(&resource, &resource::encode_scope(), &items);
    let request = ExportTraceServiceRequest::decode(&*request).expect("a request");
    let mut of_resources = request.resource_spans;
    assert_eq!(of_resources.len(), 1);
    let mut of_scopes = of_resources.remove(0).scope_spans;
    assert_eq!(of_scopes.len(), 1);
    of_scopes.remove(0).spans
}

const NO_SUCCESSES: &str = "traces: {endpoint: 'http://collector', sample: {successes: 0}}";

#[tokio::test(start_paused = true)]
async fn every_failure_is_exported_and_the_check_after_it() {
    let telemetry = telemetry(NO_SUCCESSES);
    let failed = check(&telemetry, &job(true), false).await;
    let recovered = check(&telemetry, &job(false), true).await;
    assert!(failed.exported_trace_id().is_some());
    assert!(recovered.exported_trace_id().is_some());
    let succeeded = check(&telemetry, &job(false), false).await;
    assert_eq!(succeeded.trace, None);
    let roots = exported(&telemetry);
    let roots = roots.iter().filter(|span| span.parent_span_id.is_empty());
    assert_eq!(roots.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_recorded_if_nothing_is_exported() {
    let off = telemetry("{}");
    let none = telemetry("traces: {endpoint: 'http://x', sample: {failures: 0, successes: 0}}");
    for telemetry in [off, none] {
        let report = check(&telemetry, &job(true), true).await;
        assert_eq!((report.trace, report.steps), (None, Vec::new()));
        let mut job = job(true);
        job.propagate = true;
        let report = check(&telemetry, &job, true).await;
        let trace = report.trace.expect("it is propagated");
        assert_eq!((trace.context.is_sampled, trace.phases), (false, None));
        assert_eq!(queue_of(&telemetry, Signal::Traces).len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_has_a_child_for_each_phase_and_an_event_for_each_step() {
    let telemetry = telemetry(NO_SUCCESSES);
    let report = check(&telemetry, &job(true), false).await;
    let spans = exported(&telemetry);
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["HTTP example", "connect", "processing"]);
    assert_eq!(spans[0].kind, i32::from(SpanKind::Client));
    let seconds =
        |span: &Span| (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000_000;
    assert_eq!(spans.iter().map(seconds).collect::<Vec<_>>(), [3, 2, 1]);
    let events = |span: &Span| {
        span.events
            .iter()
            .map(|event| event.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(events(&spans[1]), ["connected", "connected"]);
    assert_eq!(events(&spans[2]), ["request", "failure"]);
    assert!(spans[0].events.is_empty());
    let trace = report.trace.expect("it is exported");
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id == trace.context.trace_id.0)
    );
    let children = spans[1..].iter();
    assert!(
        children
            .clone()
            .all(|span| span.parent_span_id == spans[0].span_id)
    );
    let text = |key: &str| {
        let attributes = spans[0].attributes.iter();
        let value = attributes
            .clone()
            .find(|attribute| attribute.key == key)?
            .value
            .clone()?;
        match value.value? {
            Value::StringValue(text) => Some(text),
            Value::IntValue(number) => Some(number.to_string()),
            _ => None,
        }
    };
    assert_eq!(text("http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(
        text("http.request.method_original").as_deref(),
        Some("PURGE")
    );
    assert_eq!(text("server.address").as_deref(), Some("2001:db8::1"));
    assert_eq!(text("server.port").as_deref(), Some("443"));
    assert_eq!(text("error.type").as_deref(), Some("status_code"));
}
