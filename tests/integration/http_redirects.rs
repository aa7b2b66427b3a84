//! Redirects, and the parts of a request that go along.

use std::net::SocketAddr;

use bytes::Bytes;
use monitoringdaemon::check::{Phase, Reason, Report};
use serde_json::{Value, json};

use crate::support::{
    lab::Lab,
    pki::{AUTHORITY, IDENTITY, YEARS},
    report::{assert_failure, assert_success},
    server::{Request, Server, Step, ok, redirect, response},
};

/// A server that redirects `/` to `location`, and has something everywhere else.
fn redirecting(status: u16, location: &str) -> Server {
    let location = location.to_owned();
    Server::answering(move |request| match &*request.target {
        "/" => redirect(status, &location),
        _ => ok("there"),
    })
}

async fn check(server: &Server, mut monitor: Value) -> Report {
    monitor["url"] = json!(server.http("/"));
    Lab::new().check(monitor).await
}

#[tokio::test]
async fn the_status_decides_about_method_and_body() {
    for (status, method, after) in [
        (301, "GET", "GET"),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (301, "HEAD", "HEAD"),
        (302, "HEAD", "HEAD"),
        (303, "HEAD", "HEAD"),
        (307, "GET", "GET"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (308, "HEAD", "HEAD"),
    ] {
        let body = match method {
            "GET" | "HEAD" => "",
            _ => "question",
        };
        let server = Server::answering(move |request| match (&*request.target, &*request.method) {
            ("/", "HEAD") => format!("HTTP/1.1 {status} Elsewhere\r\nlocation: /there\r\n\r\n"),
            ("/", _) => redirect(status, "/there"),
            (_, "HEAD") => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            _ => ok("there"),
        });
        let report = check(&server, json!({ "method": method, "body": body })).await;
        assert_success(&report);
        let [first, second] = &server.seen().requests[..] else {
            panic!("not two requests: {:?}", server.seen())
        };
        assert_eq!((&*first.method, &*first.body), (method, body.as_bytes()));
        let body = if after == method { body } else { "" };
        let case = format!("{status} {method}");
        assert_eq!(
            (&*second.method, &*second.body),
            (after, body.as_bytes()),
            "{case}"
        );
        assert_eq!(
            second.header("content-length").is_some(),
            !body.is_empty(),
            "{case}"
        );
    }
}

#[tokio::test]
async fn every_form_of_location_is_followed() {
    // The port is not known before the server is, so the server puts it in.
    let server = Server::answering(|request| {
        let host = request.header("host").unwrap_or_default();
        let location = match &*request.target {
            "/a/relative" => "there?b=c".to_owned(),
            "/a/upwards" => "../there".to_owned(),
            "/a/rooted" => "/there".to_owned(),
            "/a/absolute" => format!("http://{host}/there"),
            "/a/upper-case" => format!("HTTP://{host}/there"),
            "/a/without-scheme" => format!("//{host}/there"),
            "/a/query" => "?there".to_owned(),
            "/a/fragment" => "/there#fragment".to_owned(),
            "/a/user" => format!("http://user:password@{host}/there"),
            _ => return ok("there"),
        };
        redirect(302, &location)
    });
    for (from, to) in [
        ("/a/relative", "/a/there?b=c"),
        ("/a/upwards", "/there"),
        ("/a/rooted", "/there"),
        ("/a/absolute", "/there"),
        ("/a/upper-case", "/there"),
        ("/a/without-scheme", "/there"),
        ("/a/query", "/a/query?there"),
        ("/a/fragment", "/there"),
        ("/a/user", "/there"),
    ] {
        let report = Lab::new().check(json!({ "url": server.http(from) })).await;
        assert_success(&report);
        assert_eq!(
            (report.status(), report.response_bytes()),
            (Some(200), Some(5))
        );
        let request = server.seen().requests.pop().expect("a request");
        assert_eq!(request.target, to, "{from}");
        // The password of a location is the server's to know.
        assert_eq!(request.header("authorization"), None);
    }
}

#[tokio::test]
async fn a_location_that_cannot_be_followed_is_a_protocol_error() {
    for location in [
        "http://",
        "http://[::1",
        "http://exa mple.test/",
        "https://host:99999/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "mailto:someone@service.test",
    ] {
        let server = redirecting(302, location);
        let report = check(&server, json!({})).await;
        let failure = assert_failure(&report, Phase::Processing, Reason::ProtocolError);
        assert!(!failure.error.contains(location), "{failure:?}");
        assert_eq!(report.status(), Some(302));
        assert_eq!(server.seen().requests.len(), 1);
    }
}

#[tokio::test]
async fn a_redirect_is_the_response_with_follow_redirects_off() {
    let server = redirecting(302, "/there");
    let monitor = json!({ "follow_redirects": false });
    let report = check(&server, monitor).await;
    assert_failure(&report, Phase::Processing, Reason::StatusCode);
    let monitor = json!({
        "follow_redirects": false,
        "valid_status_codes": [302],
        "fail_if_header_not_matches": [{ "header": "Location", "regexp": "^/there$" }],
    });
    let report = check(&server, monitor).await;
    assert_success(&report);
    assert_eq!(report.status(), Some(302));
    assert!(
        server
            .seen()
            .requests
            .iter()
            .all(|request| request.target == "/")
    );
}

#[tokio::test]
async fn a_status_without_a_location_or_of_another_kind_is_the_response() {
    for answer in [
        response("302 Nowhere", &[], "hello"),
        response("300 Choices", &["location: /there"], "hello"),
        response("304 Unchanged", &["location: /there"], ""),
        response("201 Created", &["location: /there"], "hello"),
    ] {
        let server = Server::answering(move |_| answer.clone());
        let report = check(&server, json!({ "valid_status_codes": ["2xx", "3xx"] })).await;
        assert_success(&report);
        assert_eq!(server.seen().requests.len(), 1);
    }
}

#[tokio::test]
async fn the_last_response_is_judged() {
    let server = redirecting(302, "/there");
    for (monitor, reason) in [
        (
            json!({ "valid_status_codes": [302] }),
            Some(Reason::StatusCode),
        ),
        (
            json!({ "fail_if_header_matches": [
            { "header": "Location", "regexp": "", "allow_missing": true },
        ] }),
            None,
        ),
        (
            json!({ "fail_if_body_not_matches_regexp": ["^there$"] }),
            None,
        ),
    ] {
        let report = check(&server, monitor).await;
        assert_eq!(report.failure.map(|failure| failure.reason), reason);
    }
    let secure = Server::start([IDENTITY.tls(), Step::answer(|_| ok("there"))]);
    let server = redirecting(302, &secure.https("/"));
    assert_success(&check(&server, json!({ "fail_if_not_ssl": true })).await);
    let report = check(&server, json!({ "fail_if_ssl": true })).await;
    assert_failure(&report, Phase::Tls, Reason::SslForbidden);
}

/// Headers that anyone may know, and headers of which any could be a credential.
const HARMLESS: [&str; 3] = ["accept-language", "cache-control", "user-agent"];
const PRIVATE: [&str; 4] = ["x-api-key", "cookie", "proxy-authorization", "x-anything"];

fn with_headers(mut monitor: Value) -> Value {
    for name in HARMLESS.iter().chain(&PRIVATE) {
        monitor["headers"][name] = json!(format!("value of {name}"));
    }
    monitor
}

#[track_caller]
fn assert_trusted(request: &Request, trusted: bool, credentials: &str) {
    for name in HARMLESS {
        let value = format!("value of {name}");
        assert_eq!(request.header(name), Some(&*value), "{request:#?}");
    }
    for name in PRIVATE.into_iter().chain(["authorization"]) {
        assert_eq!(
            request.header(name).is_some(),
            trusted,
            "{name} in {request:#?}"
        );
    }
    let sent = request.header("authorization");
    assert_eq!(sent, trusted.then_some(credentials), "{request:#?}");
}

/// Every way of having credentials, with the URL's userinfo and the header that comes of it.
fn credentials() -> [(Value, &'static str, &'static str); 4] {
    let basic = "Basic dXNlcjpwYXNzd29yZA==";
    [
        (
            json!({ "basic_auth": { "username": "user", "password": "password" } }),
            "",
            basic,
        ),
        (json!({}), "user:password@", basic),
        (
            json!({ "authorization": { "credentials": "token" } }),
            "",
            "Bearer token",
        ),
        (
            json!({ "headers": { "Authorization": "Own scheme" } }),
            "",
            "Own scheme",
        ),
    ]
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    for (monitor, userinfo, credentials) in credentials() {
        // Home, then another port of the same host, then home, then another name of the same port.
        let home = Server::answering(|request| {
            let here = request.header("host").unwrap_or_default();
            let port = here.rsplit(':').next().unwrap_or_default();
            match request.target.split_once("/via/") {
                Some((_, other)) => redirect(302, &format!("http://{other}/back/{here}")),
                None if request.target == "/home" => {
                    redirect(302, &format!("http://other.test:{port}/end"))
                }
                None => ok("end"),
            }
        });
        let other = Server::answering(|request| {
            let home = request.target.trim_start_matches("/back/");
            redirect(302, &format!("http://{home}/home"))
        });
        let mut monitor = with_headers(monitor);
        let port = home.address.port();
        let other_address = other.address;
        monitor["url"] = json!(format!(
            "http://{userinfo}service.test:{port}/via/{other_address}"
        ));
        let report = Lab::new().check(monitor).await;
        assert_success(&report);
        assert_trusted(&other.request(), false, credentials);
        let requests = home.seen().requests;
        assert_eq!(requests.len(), 3);
        assert_trusted(&requests[0], true, credentials);
        assert_trusted(&requests[1], true, credentials);
        assert_trusted(&requests[2], false, credentials);
        assert_eq!(requests[2].target, "/end");
    }
}

#[tokio::test]
async fn credentials_do_not_go_from_tls_to_plain_text() {
    let Step::Tls(config) = IDENTITY.tls() else {
        unreachable!("a handshake is one step")
    };
    // Both on one port, so that it is the scheme alone that differs.
    let server = Server::start([
        Step::TlsIfWanted(config),
        Step::answer(|request| match &*request.target {
            "/" => {
                let host = request.header("host").unwrap_or_default();
                redirect(302, &format!("http://{host}/plain"))
            }
            _ => ok("there"),
        }),
    ]);
    for (monitor, userinfo, credentials) in credentials() {
        let mut monitor = with_headers(monitor);
        monitor["url"] = json!(format!("https://{userinfo}{}/", server.address));
        assert_success(&Lab::new().check(monitor).await);
        let mut requests = server.seen().requests;
        let (plain, secure) = (requests.pop(), requests.pop());
        assert_trusted(&secure.expect("a request"), true, credentials);
        assert_trusted(&plain.expect("a request"), false, credentials);
    }
}

#[tokio::test]
async fn a_request_body_stays_with_its_origin() {
    let other = Server::ok();
    for status in [307, 308] {
        let server = redirecting(status, &other.http("/"));
        let report = check(&server, json!({ "method": "POST", "body": "question" })).await;
        assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    }
    assert_eq!(other.seen().connections, 0);
    for status in [301, 302, 303] {
        let server = redirecting(status, &other.http("/"));
        let report = check(&server, json!({ "method": "POST", "body": "question" })).await;
        assert_success(&report);
        let request = other.seen().requests.pop().expect("a request");
        assert_eq!((&*request.method, &request.body[..]), ("GET", &b""[..]));
    }
}

#[tokio::test]
async fn a_method_without_a_body_goes_to_another_host() {
    let other = Server::ok();
    let server = redirecting(307, &other.http("/"));
    let report = check(&server, json!({ "method": "DELETE" })).await;
    assert_success(&report);
    assert_eq!(other.request().method, "DELETE");
}

#[tokio::test]
async fn every_server_is_asked_to_close_the_connection() {
    let other = Server::ok();
    let server = redirecting(302, &other.named("http", "service.test", "/"));
    assert_success(&check(&server, json!({})).await);
    for request in [server.request(), other.request()] {
        assert_eq!(request.header("connection"), Some("close"));
    }
}

#[tokio::test]
async fn server_name_and_host_apply_to_the_first_origin_only() {
    let other = Server::start([IDENTITY.tls(), Step::answer(|_| ok("there"))]);
    let there = other.named("https", "service.test", "/there");
    let identity = AUTHORITY.issue(&["inside.test"], YEARS);
    let home = Server::start([
        identity.tls(),
        Step::answer(move |request| match &*request.target {
            "/" => redirect(302, "/again"),
            _ => redirect(302, &there),
        }),
    ]);
    for settings in [
        json!({ "headers": { "Host": "inside.test" } }),
        json!({ "tls_config": { "server_name": "inside.test" } }),
    ] {
        let mut monitor = settings;
        monitor["url"] = json!(home.https("/"));
        assert_success(&Lab::new().check(monitor).await);
        for request in home.seen().requests {
            assert_eq!(request.server_name.as_deref(), Some("inside.test"));
        }
        let request = other.seen().requests.pop().expect("a request");
        assert_eq!(request.server_name.as_deref(), Some("service.test"));
        let host = format!("service.test:{}", SocketAddr::port(&other.address));
        assert_eq!(request.header("host"), Some(&*host));
    }
}

#[tokio::test]
async fn a_failure_after_a_redirect_fails_the_check() {
    let closed = crate::support::server::Closed::new();
    let server = redirecting(302, &format!("http://{}/", closed.address));
    let report = check(&server, json!({})).await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
    assert_eq!(report.status(), None, "the redirect is not the response");
}

#[tokio::test]
async fn a_location_beyond_ascii_is_followed() {
    for (location, target) in [
        (&b"/gr\xf6\xdfe?\xe9"[..], "/gr%F6%DFe?%E9"),
        ("/größe".as_bytes(), "/gr%C3%B6%C3%9Fe"),
    ] {
        let answer = [
            b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: ",
            location,
            b"\r\n\r\n",
        ];
        let answer = Bytes::from(answer.concat());
        let server = Server::answering(move |request| match &*request.target {
            "/" => answer.clone(),
            _ => ok("there").into(),
        });
        assert_success(&Lab::new().check(json!({ "url": server.http("/") })).await);
        assert_eq!(server.seen().requests[1].target, target);
    }
}

#[tokio::test]
async fn an_empty_location_is_no_redirect() {
    let server = Server::answering(|_| redirect(302, ""));
    let report = Lab::new().check(json!({ "url": server.http("/") })).await;
    assert_failure(&report, Phase::Processing, Reason::StatusCode);
    let monitor = json!({ "url": server.http("/"), "valid_status_codes": [302] });
    assert_success(&Lab::new().check(monitor).await);
}
