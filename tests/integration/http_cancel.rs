//! A check that is dropped, wherever it is, leaves nothing behind.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use monitoringdaemon::check::{Job, Report};
use serde_json::json;
use tokio::{runtime::Handle, time::timeout};

use crate::support::{
    PATIENCE,
    dns::{Answer, Dns},
    lab::Lab,
    pki::IDENTITY,
    report::assert_success,
    server::{Deaf, Frame, Server, Step},
};

/// Starts a check and drops it as soon as `reached` says that it is where it should be.
async fn drop_when(job: &Job, reached: impl Future) {
    tokio::select! {
        report = job.check_once() => panic!("it was to be dropped: {report:#?}"),
        _ = reached => {}
    }
}

/// Waits until `condition` holds, and lets everything else run meanwhile.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn assert_tasks_go_back_to(before: usize) {
    until("no task is left", || alive_tasks() <= before).await;
}

/// Drops a check while a server stands where `script` leaves it, with `steps` of it done.
async fn check_with_server(scheme: &str, script: Vec<Step>, steps: usize) {
    let lab = Lab::new();
    let server = Server::start(script);
    let job = lab.job(json!({
        "url": format!("{scheme}://{}/", server.address),
        "body_size_limit": 0,
    }));
    let before = alive_tasks();
    for checks in 1..=3 {
        drop_when(&job, server.until(|seen| seen.steps == checks * steps)).await;
        let seen = server.until(|seen| seen.left == checks).await;
        assert_eq!(seen.connections, checks);
        assert_tasks_go_back_to(before).await;
    }
}

#[tokio::test]
async fn a_lookup_is_cancelled() {
    let lab = Lab::with_dns(Dns::start(Duration::ZERO, |name| match name {
        "silent.test" => Answer::Silence,
        _ => Answer::loopback(),
    }));
    let server = Server::ok();
    let answered = lab.job(json!({ "url": server.named("http", "service.test", "/") }));
    let silent = lab.job(json!({ "url": server.named("http", "silent.test", "/") }));
    // What the resolver keeps for good is there after the first lookup.
    assert_success(&answered.check_once().await);
    let before = alive_tasks();
    for checks in 1..=3 {
        let asked = || {
            let questions = lab.dns.questions();
            let silent = questions.iter().filter(|asked| asked.name == "silent.test");
            silent.count() >= checks
        };
        drop_when(&silent, until("the name server is asked", asked)).await;
        assert_tasks_go_back_to(before).await;
    }
    assert_success(&answered.check_once().await);
    assert_eq!(server.seen().connections, 2);
}

/// Returns whether the kernel still sends SYNs to `address`.
fn is_connecting(address: SocketAddr) -> bool {
    const SYN_SENT: &str = "02";
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("Linux");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        let remote = fields.next().is_some_and(|remote| remote.ends_with(&port));
        remote && fields.next() == Some(SYN_SENT)
    })
}

#[tokio::test]
async fn a_connection_attempt_is_cancelled() {
    let lab = Lab::new();
    let deaf = Deaf::new().await;
    let job = lab.job(json!({ "url": format!("http://{}/", deaf.address) }));
    let before = alive_tasks();
    until("the fillers have connected", || {
        !is_connecting(deaf.address)
    })
    .await;
    drop_when(&job, until("a SYN is sent", || is_connecting(deaf.address))).await;
    assert!(!is_connecting(deaf.address));
    assert_tasks_go_back_to(before).await;
}

#[tokio::test]
async fn a_handshake_is_cancelled() {
    check_with_server("https", vec![Step::Read, Step::Hang], 1).await;
}

#[tokio::test]
async fn a_response_is_cancelled() {
    check_with_server("http", vec![Step::Request, Step::Hang], 1).await;
    check_with_server("https", vec![IDENTITY.tls(), Step::Request, Step::Hang], 2).await;
}

#[tokio::test]
async fn a_body_is_cancelled() {
    // More than the kernel takes for a client that does not read.
    let body = Step::Repeat(Bytes::from(vec![b'x'; 64 << 10]), 128);
    let script = [
        Step::Request,
        Step::send("HTTP/1.1 200 OK\r\n\r\n"),
        body,
        Step::Hang,
    ];
    check_with_server("http", script.to_vec(), 3).await;
    let script = [&[IDENTITY.tls()], &script[..]].concat();
    check_with_server("https", script, 4).await;
}

#[tokio::test]
async fn an_http2_stream_is_cancelled_with_its_connection() {
    let lab = Lab::new();
    let half = vec![Frame::Head(200), Frame::Data(Bytes::from("half"))];
    for frames in [vec![], half] {
        let server = Server::start([IDENTITY.tls_h2(), Step::Http2(frames)]);
        let job = lab.job(json!({ "url": server.https("/") }));
        let before = alive_tasks();
        drop_when(&job, server.until(|seen| seen.requests.len() == 1)).await;
        server.until(|seen| seen.left == 1).await;
        assert_tasks_go_back_to(before).await;
    }
}

#[tokio::test]
async fn a_finished_check_leaves_no_connection() {
    let lab = Lab::new();
    let http2 = vec![
        Frame::Head(200),
        Frame::Data(Bytes::from("half")),
        Frame::End,
    ];
    for (scheme, script) in [
        (
            "http",
            vec![Step::Request, Step::send("HTTP/1.1 200 OK\r\n\r\nhello")],
        ),
        ("https", vec![IDENTITY.tls_h2(), Step::Http2(http2)]),
        ("http", vec![Step::Request, Step::Reset]),
        ("https", vec![Step::Read, Step::send("no TLS"), Step::Hang]),
    ] {
        let server = Server::start(script);
        let url = format!("{scheme}://{}/", server.address);
        let before = alive_tasks();
        let _: Report = lab.check(json!({ "url": url })).await;
        assert_tasks_go_back_to(before).await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_closes_the_connection() {
    let server = Server::start([
        Step::Request,
        Step::send("HTTP/1.1 200 OK\r\n\r\n"),
        Step::Flood(Bytes::from(vec![b'x'; 8 << 10])),
    ]);
    let before = alive_tasks();
    let monitor = json!({ "url": server.http("/"), "body_size_limit": 1000 });
    let report = Lab::new().check(monitor).await;
    assert!(report.failure.is_some());
    server.until(|seen| seen.left == 1).await;
    assert_tasks_go_back_to(before).await;
}
