//! `type: tls` against servers that speak it, or do not.

use aws_lc_rs::digest::{SHA256, digest};
use monitoringdaemon::check::{CertificateRole, Phase, Reason, Report};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::support::{
    SOON,
    lab::{Lab, millis},
    pki::{AUTHORITY, Authority, Handshake, IDENTITY, start_of},
    report::{assert_failure, assert_success, certificate, reached},
    server::{Server, Step},
};

async fn check(script: impl Into<Vec<Step>>, mut keys: Value) -> Report {
    let server = Server::start(script);
    keys["type"] = json!("tls");
    keys["target"] = json!(server.address.to_string());
    Lab::new().check(keys).await
}

fn speaking(versions: &[&'static rustls::SupportedProtocolVersion]) -> Step {
    let handshake = Handshake {
        versions,
        ..Handshake::default()
    };
    handshake.step(&IDENTITY)
}

#[tokio::test]
async fn version_cipher_and_certificates_are_recorded() {
    for (versions, version) in [(&[&TLS12], "TLS 1.2"), (&[&TLS13], "TLS 1.3")] {
        let report = check([speaking(versions), Step::Hang], json!({})).await;
        assert_success(&report);
        assert_eq!(reached(&report), [Phase::Connect, Phase::Tls]);
        assert_eq!(report.tls().map(|(version, _)| version), Some(version));
        let leaf = certificate(&report, CertificateRole::Leaf).expect("a leaf");
        assert_eq!(leaf.not_before, start_of(2020));
    }
}

#[tokio::test]
async fn the_leaf_certificate_is_recorded_if_enabled() {
    let server = Server::start([IDENTITY.tls(), Step::Hang]);
    let monitor = json!({ "type": "tls", "target": server.address.to_string() });
    let lab = Lab::new();
    let report = lab.check(monitor.clone()).await;
    assert_success(&report);
    assert_eq!(report.leaf_certificate(), None);
    lab.net.record_leaf_certificates(true);
    let report = lab.check(monitor).await;
    let leaf = report.leaf_certificate().expect("it is asked for");
    assert_eq!(leaf.subject, "CN=rcgen self signed cert");
    assert_eq!(leaf.issuer, "CN=trusted root");
    assert_eq!(leaf.dns_names, ["service.test"]);
    let digest = digest(&SHA256, &IDENTITY.certificate());
    let digest: Vec<_> = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(leaf.fingerprint_sha256, digest.concat());
    let is_serial = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    assert!(
        leaf.serial.len() >= 16 && leaf.serial.chars().all(is_serial),
        "{leaf:?}"
    );
}

#[tokio::test]
async fn min_version_refuses_older_versions() {
    let keys = json!({ "tls_config": { "min_version": "TLS13" } });
    let report = check([speaking(&[&TLS12]), Step::Hang], keys).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
}

#[tokio::test]
async fn the_certificate_must_be_for_the_expected_name() {
    let keys = |name: &str| json!({ "tls_config": { "server_name": name } });
    let report = check([IDENTITY.tls(), Step::Hang], keys("service.test")).await;
    assert_success(&report);
    let report = check([IDENTITY.tls(), Step::Hang], keys("other.test")).await;
    assert_failure(&report, Phase::Tls, Reason::TlsWrongHost);
    assert!(certificate(&report, CertificateRole::Leaf).is_some());
}

#[tokio::test]
async fn an_alpn_protocol_is_negotiated() {
    let keys = || json!({ "alpn": ["h2"] });
    assert_success(&check([IDENTITY.tls_h2(), Step::Hang], keys()).await);
    let none = Handshake {
        alpn: &[],
        ..Handshake::default()
    };
    let report = check([none.step(&IDENTITY), Step::Hang], keys()).await;
    assert_failure(&report, Phase::Tls, Reason::ResponseMismatch);
    // This one refuses, as RFC 7301 (section 3.2) has it.
    let report = check([IDENTITY.tls(), Step::Hang], keys()).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
}

#[tokio::test]
async fn a_refused_client_certificate_is_noticed_after_the_handshake() {
    let client_authority = Authority::new("of clients");
    for versions in [&[&TLS12], &[&TLS13]] {
        let demanding = |client_may_refuse| Handshake {
            versions,
            client_authority: Some(&client_authority),
            client_may_refuse,
            ..Handshake::default()
        };
        let refusing = check([demanding(false).step(&IDENTITY)], json!({})).await;
        assert_failure(&refusing, Phase::Tls, Reason::TlsHandshake);
        let content = check([demanding(true).step(&IDENTITY), Step::Hang], json!({})).await;
        assert_success(&content);
    }
}

#[tokio::test]
async fn a_certificate_that_expires_soon_fails_the_check() {
    let soon = AUTHORITY.issue_until_tomorrow(&["127.0.0.1"]);
    let within = |time: &str| json!({ "fail_if_certificate_expires_within": time });
    let report = check([soon.tls(), Step::Hang], within("2d")).await;
    assert_failure(&report, Phase::Tls, Reason::TlsExpiresSoon);
    assert_success(&check([soon.tls(), Step::Hang], within("20h")).await);
}

#[tokio::test]
async fn a_peer_without_tls_fails_in_the_handshake() {
    let report = check([Step::send("SSH-2.0-x\r\n"), Step::Hang], json!({})).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    let report = check([], json!({})).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    let report = check([Step::Hang], json!({ "timeout": millis(100) })).await;
    assert_failure(&report, Phase::Tls, Reason::Timeout);
    assert!(report.duration < SOON, "{report:?}");
}
