//! Tests of the monitor with a fake client. Tests over real sockets are in `tests/`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Version,
    header::{self, HeaderName},
};
use url::Url;

use super::{Http, Settings, matchers::BodyMatchers, settings};
use crate::{
    check::{Attempt, Failure, Job, Phase, Reason, Report},
    net::http::{Body, Request, Transport},
    value::{Fields, FromNode, Node, Path, Problems},
};

/// Answers each request with the next response, and remembers the requests.
#[derive(Clone, Default)]
struct StandIn(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    responses: VecDeque<Response<Chunks>>,
    requests: Vec<Request>,
}

struct Chunks(VecDeque<Result<Bytes, Failure>>);

impl StandIn {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().expect("no test panics while it holds this")
    }

    fn answer(
        self,
        status: u16,
        headers: &[(HeaderName, &'static str)],
        body: &[&'static str],
    ) -> Self {
        let chunks = body
            .iter()
            .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
        let mut response = Response::new(Chunks(chunks.collect()));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in headers {
            response
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        self.script().responses.push_back(response);
        self
    }
}

impl Transport for StandIn {
    type Body = Chunks;

    async fn send(&self, request: Request, attempt: &Attempt) -> Result<Response<Chunks>, Failure> {
        attempt.enter(Phase::Processing);
        let mut script = self.script();
        script.requests.push(request);
        script
            .responses
            .pop_front()
            .ok_or_else(|| attempt.failure(Reason::ConnectionReset, "no more"))
    }
}

impl Body for Chunks {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        self.0.pop_front().transpose()
    }
}

fn settings(url: &str) -> Settings {
    Settings::get(Url::parse(url).expect("a URL"))
}

async fn check(client: &StandIn, settings: Settings) -> Report {
    let job = Job::new("example", Http::new(client.clone(), settings));
    job.check_once().await
}

#[tokio::test]
async fn a_good_response_is_a_success_with_status_and_bytes() {
    let client = StandIn::default().answer(200, &[], &["hello ", "world"]);
    let report = check(&client, settings("http://example.com/")).await;
    assert_eq!(report.failure, None);
    assert_eq!(
        (report.status(), report.response_bytes()),
        (Some(200), Some(11))
    );
    let phases: Vec<_> = report.phases.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, [Phase::Processing, Phase::Transfer]);
}

#[tokio::test]
async fn a_wrong_status_is_a_failure_though_its_body_is_read() {
    let client = StandIn::default().answer(503, &[], &["sorry"]);
    let report = check(&client, settings("http://example.com/")).await;
    let failure = report.failure.clone().expect("503 is not 2xx");
    assert_eq!(
        (failure.phase, failure.reason),
        (Phase::Processing, Reason::StatusCode)
    );
    assert_eq!(failure.error, "HTTP 503, expected 2xx");
    assert_eq!(report.response_bytes(), Some(5));
}

#[tokio::test]
async fn a_failure_of_the_client_is_that_of_the_check() {
    let report = check(&StandIn::default(), settings("http://example.com/")).await;
    assert_eq!(
        report.failure.expect("no answer").reason,
        Reason::ConnectionReset
    );
    assert_eq!((report.facts.len(), report.phases.len()), (0, 1));
}

#[tokio::test]
async fn a_secret_header_goes_to_the_first_origin_only() {
    let hops = [
        "/relative",
        "http://example.com:80/same",
        "https://example.com/upgraded",
        "http://example.com:8080/port",
        "//other.example/host",
        "http://example.com/home",
    ];
    let mut client = StandIn::default();
    for hop in hops {
        client = client.answer(302, &[(header::LOCATION, hop)], &[]);
    }
    client = client.answer(200, &[], &[]);
    let mut settings = settings("http://example.com/");
    settings.headers = Arc::new([
        (
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_static("hunter2"),
        ),
        (header::AUTHORIZATION, HeaderValue::from_static("hunter2")),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
    ]);
    let report = check(&client, settings).await;
    assert_eq!(report.failure, None);
    let script = client.script();
    let told: Vec<_> = script
        .requests
        .iter()
        .map(|request| (request.url.as_str(), request.headers.len()))
        .collect();
    assert_eq!(
        told,
        [
            ("http://example.com/", 3),
            ("http://example.com/relative", 3),
            ("http://example.com/same", 3),
            ("https://example.com/upgraded", 3),
            ("http://example.com:8080/port", 1),
            ("http://other.example/host", 1),
            ("http://example.com/home", 3),
        ]
    );
}

#[tokio::test]
async fn a_matcher_sees_the_whole_body_in_any_chunks() {
    let file = Node::Map(vec![
        ("url".into(), Node::Text("http://example.com/".into())),
        (
            "fail_if_body_not_matches_regexp".into(),
            Node::List(vec![Node::Text("hello world".into())]),
        ),
    ]);
    let problems = Problems::default();
    let mut fields = Fields::from_node(&file, Path::default(), &problems).expect("a mapping");
    let settings = Settings::read(&mut fields).expect("a URL");
    let client = StandIn::default().answer(200, &[], &["hel", "lo wor", "ld"]);
    assert_eq!(check(&client, settings.clone()).await.failure, None);
    let client = StandIn::default().answer(200, &[], &["goodbye"]);
    let failure = check(&client, settings)
        .await
        .failure
        .expect("another body");
    assert_eq!(
        (failure.phase, failure.reason),
        (Phase::Transfer, Reason::BodyMismatch)
    );
}

#[tokio::test]
async fn a_version_is_judged_with_the_head() {
    let client = StandIn::default().answer(200, &[], &[]);
    let mut settings = settings("http://example.com/");
    settings.valid_http_versions = vec![crate::value::HttpVersion(Version::HTTP_2)];
    let failure = check(&client, settings).await.failure.expect("HTTP/1.1");
    assert_eq!(
        (failure.phase, failure.reason),
        (Phase::Processing, Reason::HttpVersion)
    );
}

#[tokio::test]
async fn content_headers_go_with_the_body_on_a_redirect() {
    let client = StandIn::default()
        .answer(307, &[(header::LOCATION, "/kept")], &[])
        .answer(303, &[(header::LOCATION, "/lost")], &[])
        .answer(200, &[], &[]);
    let mut settings = settings("http://example.com/");
    settings.method = Method::POST;
    settings.body = Bytes::from_static(b"{}");
    settings.headers = Arc::new([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )]);
    assert_eq!(check(&client, settings).await.failure, None);
    let script = client.script();
    let told: Vec<_> = script
        .requests
        .iter()
        .map(|request| (&request.method, request.body.len(), request.headers.len()))
        .collect();
    assert_eq!(
        told,
        [
            (&Method::POST, 2, 1),
            (&Method::POST, 2, 1),
            (&Method::GET, 0, 0)
        ]
    );
}

/// The expression is of the slow kind, for it asks for word boundaries in text beyond ASCII.
#[tokio::test]
async fn a_large_body_is_matched_on_a_blocking_thread() {
    let text = "é word ".repeat(1 << 15);
    let body: &'static str = Box::leak(text.into_boxed_str());
    let client = StandIn::default().answer(200, &[], &[body]);
    let mut settings = settings("http://example.com/");
    let node = Node::Text(r"\b(\w+ )+error\b".to_owned());
    settings.body_matchers = Some(Arc::new(BodyMatchers {
        must_not_match: vec![crate::value::Pattern::from_node(&node).expect("a pattern")],
        ..BodyMatchers::default()
    }));
    let checking = check(&client, settings);
    let mut turns = 0_u32;
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    let report = tokio::select! {
        biased;
        report = checking => report,
        () = others => unreachable!("it never ends"),
    };
    assert_eq!(report.failure, None);
    // Matched on the spot, it would be over when it is polled for the first time.
    assert!(turns > 0);
}

#[test]
fn a_valid_host_header_is_the_server_name() {
    let name = |host: &'static str| {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
        settings::host_name(&headers)
    };
    assert_eq!(name("A.example").as_deref(), Some("a.example"));
    assert_eq!(name("a.example:81").as_deref(), Some("a.example"));
    for host in ["192.0.2.1", "[::1]:81", "a..example", "a b", ""] {
        assert_eq!(name(host), None, "{host}");
    }
}
