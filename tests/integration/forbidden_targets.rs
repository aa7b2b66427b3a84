//! `forbid_targets`: no type connects to an address that is forbidden, however it came to it.

use monitoringdaemon::check::{Phase, Reason};
use serde_json::{Value, json};

use crate::support::{
    lab::{Lab, config_of},
    report::{assert_failure, assert_success},
    server::{Server, Step, ok, redirect},
};

/// A lab that forbids these.
fn lab(forbidden: &Value) -> Lab {
    let lab = Lab::new();
    let config = config_of(&json!({ "forbid_targets": forbidden }));
    lab.net.forbid_targets(config.forbid_targets);
    lab
}

#[tokio::test]
async fn no_type_connects_to_a_forbidden_address() {
    let server = Server::start([Step::Hang]);
    let lab = lab(&json!(["metadata", "127.0.0.0/8"]));
    let address = server.address;
    for host in ["127.0.0.1", "service.test"] {
        let target = format!("{host}:{}", address.port());
        for (kind, target, keys) in [
            ("tcp", target.clone(), json!({})),
            ("tls", target.clone(), json!({})),
            ("grpc", target.clone(), json!({})),
            ("http", format!("http://{target}/"), json!({})),
            (
                "http",
                format!("http://{host}:{}/", address.port()),
                json!({ "all_addresses": true }),
            ),
            ("websocket", format!("ws://{target}/"), json!({})),
            ("dns", target.clone(), json!({ "query_name": "a.test" })),
            (
                "dns",
                target.clone(),
                json!({ "query_name": "a.test", "transport_protocol": "tcp" }),
            ),
            ("icmp", host.to_owned(), json!({})),
        ] {
            if host == "127.0.0.1" && keys.get("all_addresses").is_some() {
                continue;
            }
            let mut monitor = keys;
            monitor["type"] = json!(kind);
            let key = if kind == "http" { "url" } else { "target" };
            monitor[key] = json!(target);
            let report = lab.check(monitor).await;
            let failure = assert_failure(&report, Phase::Resolve, Reason::TargetForbidden);
            let error = "127.0.0.1 is forbidden as a target (forbid_targets: 127.0.0.0/8)";
            assert!(failure.error.ends_with(error), "{kind}: {failure:?}");
        }
    }
    assert_eq!(server.seen().connections, 0);
}

#[tokio::test]
async fn a_redirect_to_a_forbidden_address_fails() {
    let inside = Server::start_at([127, 0, 0, 2].into(), [Step::answer(|_| ok("secret"))]);
    let location = inside.http("/");
    let outside = Server::answering(move |_| redirect(302, &location));
    let keys = json!({ "type": "http", "url": outside.http("/") });
    assert_success(&Lab::new().check(keys.clone()).await);
    let report = lab(&json!(["127.0.0.2"])).check(keys).await;
    assert_failure(&report, Phase::Resolve, Reason::TargetForbidden);
    assert_eq!(inside.seen().connections, 1);
}

#[tokio::test]
async fn a_proxy_may_have_a_forbidden_address() {
    let proxy = Server::start_at([127, 0, 0, 2].into(), [Step::answer(|_| ok("by proxy"))]);
    let lab = lab(&json!(["127.0.0.2", "192.0.2.0/24"]));
    let keys = |target: &str| json!({ "type": "http", "url": target, "proxy_url": proxy.http("") });
    assert_success(&lab.check(keys("http://elsewhere.test/")).await);
    let report = lab.check(keys("http://192.0.2.7/")).await;
    assert_failure(&report, Phase::Resolve, Reason::TargetForbidden);
    assert_eq!(proxy.seen().requests.len(), 1);
}

#[tokio::test]
async fn forbid_targets_applies_to_existing_monitors() {
    let server = Server::start([Step::Hang]);
    let lab = Lab::new();
    let job = lab.job(json!({ "type": "tcp", "target": server.address.to_string() }));
    assert_success(&job.check_once().await);
    let config = config_of(&json!({ "forbid_targets": ["loopback"] }));
    lab.net.forbid_targets(config.forbid_targets);
    let report = job.check_once().await;
    assert_failure(&report, Phase::Resolve, Reason::TargetForbidden);
}
