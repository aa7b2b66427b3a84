//! Cookies along the redirects of one check.

use monitoringdaemon::check::Report;
use serde_json::{Value, json};

use crate::support::{
    lab::Lab,
    report::assert_success,
    server::{Server, ok, response},
};

/// Redirects `/` to `location` with `cookies`, and has something everywhere else.
fn setting(location: &str, cookies: &[&str]) -> Server {
    let mut headers = vec![format!("location: {location}")];
    headers.extend(cookies.iter().map(|cookie| format!("set-cookie: {cookie}")));
    Server::answering(move |request| {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        match &*request.target {
            "/" => response("302 Elsewhere", &headers, ""),
            _ => ok("there"),
        }
    })
}

async fn check(server: &Server, mut monitor: Value) -> Report {
    monitor["url"] = json!(server.named("http", "a.test", "/"));
    let report = Lab::new().check(monitor).await;
    assert_success(&report);
    report
}

#[tokio::test]
async fn cookies_are_kept_within_a_check_only() {
    let cookies = [
        "session=s3cr3t; HttpOnly; Path=/",
        "b=2; Max-Age=0",
        "c=3; Path=/other",
    ];
    let server = setting("/there", &cookies);
    let lab = Lab::new();
    let job = lab.job(json!({ "url": server.http("/") }));
    for _ in 0..2 {
        assert_success(&job.check_once().await);
    }
    let requests = server.seen().requests;
    let sent: Vec<_> = requests
        .iter()
        .map(|request| request.header("cookie"))
        .collect();
    assert_eq!(
        sent,
        [None, Some("session=s3cr3t"), None, Some("session=s3cr3t")]
    );
}

#[tokio::test]
async fn received_cookies_follow_configured_ones() {
    let server = setting("/there", &["a=1", "b=2"]);
    check(&server, json!({ "headers": { "Cookie": "mine=0" } })).await;
    let requests = server.seen().requests;
    assert_eq!(requests[0].header("cookie"), Some("mine=0"));
    assert_eq!(requests[1].header("cookie"), Some("mine=0; a=1; b=2"));
}

#[tokio::test]
async fn cookies_go_to_their_own_host_only() {
    let other = Server::ok();
    for (host, cookie, expected) in [
        ("b.test", "a=1", None),
        ("b.test", "a=1; Domain=b.test", None),
        ("b.test", "a=1; Domain=a.test", None),
        ("sub.a.test", "a=1", None),
        ("sub.a.test", "a=1; Domain=a.test", Some("a=1")),
        ("a.test", "a=1; Secure", None),
        ("a.test", "a=1", Some("a=1")),
    ] {
        let before = other.seen().requests.len();
        let server = setting(&other.named("http", host, "/there"), &[cookie]);
        check(&server, json!({})).await;
        let requests = other.seen().requests;
        assert_eq!(requests.len(), before + 1);
        assert_eq!(
            requests[before].header("cookie"),
            expected,
            "{host} {cookie}"
        );
    }
}

#[tokio::test]
async fn malformed_cookies_are_ignored() {
    let junk = "x=".to_owned() + &"y".repeat(9000);
    let server = setting(
        "/there",
        &["", "=", ";;;", "novalue", "é=ü", &junk, "good=1"],
    );
    check(&server, json!({})).await;
    let requests = server.seen().requests;
    let sent = requests[1].header("cookie").unwrap_or_default();
    assert!(sent.contains("good=1"), "{sent}");
}

#[tokio::test]
async fn a_cookie_for_a_public_suffix_is_ignored() {
    let other = Server::ok();
    for (domain, expected) in [("co.uk", None), ("uk", None), ("a.co.uk", Some("a=1"))] {
        let cookie = format!("a=1; Domain={domain}");
        let server = setting(&other.named("http", "b.a.co.uk", "/there"), &[&cookie]);
        let url = server.named("http", "c.a.co.uk", "/");
        assert_success(&Lab::new().check(json!({ "url": url })).await);
        let request = other
            .seen()
            .requests
            .pop()
            .expect("the redirect was followed");
        assert_eq!(request.header("cookie"), expected, "{domain}");
    }
}

#[tokio::test]
async fn the_cookies_of_a_check_are_bounded() {
    let value = "x".repeat(1000);
    for (cookies, value) in [(200, "1"), (50, &*value), (2, &*"x".repeat(5000))] {
        let cookies: Vec<_> = (0..cookies).map(|n| format!("c{n}={value}")).collect();
        let cookies: Vec<_> = cookies.iter().map(String::as_str).collect();
        let server = setting("/there", &cookies);
        check(&server, json!({})).await;
        let requests = server.seen().requests;
        let sent = requests[1].header("cookie").unwrap_or_default();
        let number = sent.matches('=').count();
        assert!(
            sent.len() <= 17 << 10 && number <= 64,
            "{number}, {} bytes",
            sent.len()
        );
        assert_eq!(number == 0, value.len() > 4096, "{number}");
    }
}
