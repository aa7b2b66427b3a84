//! Tokens of OAuth 2: when they are fetched, who gets them, and what becomes of a check without one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use monitoringdaemon::check::{Phase, Reason};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    SOON,
    lab::{Lab, config, millis},
    report::{assert_failure, assert_success, reached},
    server::{Closed, Request, Server, Step, ok, redirect, response},
};

/// Gives the tokens `s3cr3t-1`, `s3cr3t-2`, … that are good for so many seconds.
fn endpoint(expires_in: u64) -> Server {
    let given = Arc::new(AtomicUsize::new(0));
    Server::answering(move |_| {
        let number = given.fetch_add(1, Ordering::Relaxed) + 1;
        ok(&json!({
            "access_token": format!("s3cr3t-{number}"),
            "token_type": "bearer",
            "expires_in": expires_in,
        })
        .to_string())
    })
}

fn monitor(url: &str, endpoint: &str) -> Value {
    json!({ "url": url, "oauth2": {
        "client_id": "me",
        "client_secret": "s3cr3t pass",
        "token_url": endpoint,
    } })
}

fn authorization(request: &Request) -> Option<&str> {
    request.header("authorization")
}

#[tokio::test]
async fn monitors_with_equal_settings_share_a_token() {
    let (server, endpoint) = (Server::ok(), endpoint(3600));
    let lab = Lab::new();
    let mut keys = monitor(&server.http("/"), &endpoint.http("/token?a=b"));
    keys["oauth2"]["scopes"] = json!(["read", "write"]);
    keys["oauth2"]["endpoint_params"] = json!({ "audience": "a&b" });
    let jobs = [lab.job(keys.clone()), lab.job(keys.clone())];
    for job in jobs.iter().cycle().take(4) {
        let report = job.check_once().await;
        assert_success(&report);
        assert_eq!(
            reached(&report),
            [Phase::Connect, Phase::Processing, Phase::Transfer]
        );
        assert_eq!(report.response_bytes(), Some(5));
    }
    let request = endpoint.request();
    assert_eq!((&*request.method, &*request.target), ("POST", "/token?a=b"));
    assert_eq!(authorization(&request), Some("Basic bWU6czNjcjN0K3Bhc3M="));
    let form = "grant_type=client_credentials&scope=read+write&audience=a%26b";
    assert_eq!(String::from_utf8_lossy(&request.body), form);
    let requests = server.seen().requests;
    assert_eq!(requests.len(), 4);
    assert!(
        requests
            .iter()
            .all(|request| authorization(request) == Some("Bearer s3cr3t-1"))
    );

    keys["oauth2"]["client_secret"] = json!("another");
    assert_success(&lab.check(keys).await);
    assert_eq!(endpoint.seen().requests.len(), 2);
}

#[tokio::test]
async fn concurrent_checks_fetch_one_token() {
    let server = Server::ok();
    let endpoint = Server::start([
        Step::Request,
        Step::Wait(Duration::from_millis(200)),
        Step::send(ok(r#"{"access_token":"t","expires_in":60}"#)),
    ]);
    let lab = Lab::new();
    let jobs: Vec<_> = (0..8)
        .map(|_| lab.job(monitor(&server.http("/"), &endpoint.http("/"))))
        .collect();
    let checks = jobs.iter().map(monitoringdaemon::check::Job::check_once);
    for report in futures_util::future::join_all(checks).await {
        assert_success(&report);
    }
    assert_eq!(endpoint.seen().connections, 1);
}

#[tokio::test]
async fn checks_that_wait_for_the_same_token_fail_together() {
    let server = Server::ok();
    let endpoint = Server::start([
        Step::Request,
        Step::Wait(Duration::from_millis(300)),
        Step::send(response("503 Unavailable", &[], "")),
    ]);
    let lab = Lab::new();
    let job = lab.job(monitor(&server.http("/"), &endpoint.http("/")));
    let checks = (0..8).map(|_| job.check_once());
    for report in futures_util::future::join_all(checks).await {
        assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
    }
    assert_eq!(endpoint.seen().connections, 1);
    assert_failure(
        &job.check_once().await,
        Phase::Processing,
        Reason::ResponseMismatch,
    );
    assert_eq!(
        (endpoint.seen().connections, server.seen().connections),
        (2, 0)
    );
}

#[tokio::test]
async fn a_token_that_has_expired_or_was_refused_is_fetched_anew() {
    let (server, short) = (Server::ok(), endpoint(0));
    let lab = Lab::new();
    let job = lab.job(monitor(&server.http("/"), &short.http("/")));
    for _ in 0..2 {
        assert_success(&job.check_once().await);
    }
    assert_eq!(short.seen().requests.len(), 2);

    let long = endpoint(3600);
    let strict = Server::answering(|request| match authorization(request) {
        Some("Bearer s3cr3t-2") => ok("welcome"),
        _ => response("401 Unauthorized", &[], ""),
    });
    let job = lab.job(monitor(&strict.http("/"), &long.http("/")));
    let report = job.check_once().await;
    assert_failure(&report, Phase::Processing, Reason::StatusCode);
    for _ in 0..2 {
        assert_success(&job.check_once().await);
    }
    assert_eq!(long.seen().requests.len(), 2);
}

#[tokio::test]
async fn credentials_are_sent_in_the_body_if_the_server_requires_it() {
    let server = Server::ok();
    let endpoint = Server::answering(|request| {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let in_body = form.ends_with("&client_id=me&client_secret=s3cr3t+pass");
        match authorization(request) {
            None if in_body => ok(r#"{"access_token":"t","expires_in":0}"#),
            _ => response("401 Unauthorized", &[], r#"{"error":"invalid_client"}"#),
        }
    });
    let lab = Lab::new();
    let job = lab.job(monitor(&server.http("/"), &endpoint.http("/")));
    for _ in 0..2 {
        assert_success(&job.check_once().await);
    }
    // What has worked is what comes first from then on.
    assert_eq!(endpoint.seen().requests.len(), 3);
}

#[tokio::test]
async fn a_token_goes_to_the_first_host_and_to_no_other() {
    let (other, endpoint) = (Server::ok(), endpoint(60));
    let elsewhere = other.http("/");
    let server = Server::answering(move |request| match &*request.target {
        "/" => redirect(302, "/again"),
        _ => redirect(302, &elsewhere),
    });
    let report = Lab::new()
        .check(monitor(&server.http("/"), &endpoint.http("/")))
        .await;
    assert_success(&report);
    let requests = server.seen().requests;
    assert_eq!(requests.len(), 2);
    assert!(
        requests
            .iter()
            .all(|request| authorization(request).is_some())
    );
    assert_eq!(authorization(&other.request()), None);
}

#[tokio::test]
async fn errors_of_the_token_endpoint_name_it() {
    let answers = [
        (
            response("400 Bad", &[], r#"{"error":"invalid_scope"}"#),
            Reason::ResponseMismatch,
            "the token endpoint answered 400 (invalid_scope)",
        ),
        (
            response("500 s3cr3t", &[], "s3cr3t"),
            Reason::ResponseMismatch,
            "the token endpoint answered 500",
        ),
        (
            redirect(302, "/elsewhere"),
            Reason::ResponseMismatch,
            "the token endpoint answered 302",
        ),
        (
            ok("access_token=s3cr3t"),
            Reason::ProtocolError,
            "the token endpoint returned no access_token, expected JSON with one",
        ),
        (
            ok(r#"{"access_token":"s3cr3t","expires_in":"soon"}"#),
            Reason::ProtocolError,
            "the token endpoint returned an invalid expires_in, expected a number of seconds",
        ),
        (
            "s3cr3t\r\n\r\n".to_owned(),
            Reason::ProtocolError,
            "the token endpoint failed: ",
        ),
        (
            ok(&"s".repeat(1 << 19)),
            Reason::BodyTooLarge,
            "the token endpoint failed: answered more than 262144 bytes",
        ),
    ];
    let server = Server::ok();
    for (answer, reason, text) in answers {
        let endpoint = Server::answering(move |_| answer.clone());
        let report = Lab::new()
            .check(monitor(&server.http("/"), &endpoint.http("/")))
            .await;
        let failure = assert_failure(&report, Phase::Processing, reason);
        assert!(failure.error.starts_with(text), "{failure:?}");
        assert!(!format!("{report:?}").contains("s3cr3t"), "{report:?}");
        assert_eq!((reached(&report), report.facts.len()), (vec![], 0));
    }
    let closed = Closed::new();
    let endpoint = format!("http://{}/", closed.address);
    let report = Lab::new()
        .check(monitor(&server.http("/"), &endpoint))
        .await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ConnectionRefused);
    assert!(
        failure.error.starts_with("the token endpoint failed: "),
        "{failure:?}"
    );
    assert_eq!(server.seen().connections, 0);
}

#[tokio::test]
async fn a_silent_token_endpoint_ends_with_the_deadline() {
    let server = Server::ok();
    let head = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{");
    for script in [vec![Step::Hang], vec![Step::Request, head, Step::Hang]] {
        let endpoint = Server::start(script);
        let mut keys = monitor(&server.http("/"), &endpoint.http("/"));
        keys["timeout"] = millis(400);
        let began = Instant::now();
        let report = Lab::new().check(keys).await;
        let failure = assert_failure(&report, Phase::Processing, Reason::Timeout);
        assert_eq!(failure.error, "the token endpoint did not answer in time");
        assert!(began.elapsed() < SOON);
        assert!(report.duration >= Duration::from_millis(400), "{report:#?}");
        endpoint.until(|seen| seen.left == 1).await;
    }
}

#[tokio::test]
async fn fetching_a_token_is_excluded_from_the_latency() {
    let server = Server::ok();
    let delay = Duration::from_millis(1500);
    let endpoint = Server::start([
        Step::Request,
        Step::Wait(delay),
        Step::send(ok(r#"{"access_token":"t"}"#)),
    ]);
    let began = Instant::now();
    let report = Lab::new()
        .check(monitor(&server.http("/"), &endpoint.http("/")))
        .await;
    assert_success(&report);
    assert!(began.elapsed() >= delay);
    assert!(report.duration < delay, "{report:#?}");
}

#[tokio::test]
async fn debug_output_hides_the_client_secret() {
    let keys = monitor("http://127.0.0.1:1/", "http://127.0.0.1:2/");
    let lab = Lab::new();
    let shown = format!("{:?} {:?}", config(keys.clone()), lab.job(keys));
    assert!(!shown.contains("s3cr3t"), "{shown}");
}
