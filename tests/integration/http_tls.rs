//! TLS and certificates that a check records, including those that it rejects.

use monitoringdaemon::check::{CertificateRole, CertificateValidity, Phase, Reason, Report};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::support::{
    lab::Lab,
    pki::{AUTHORITY, Authority, Handshake, IDENTITY, Identity, YEARS, start_of, x509_v1},
    report::{assert_failure, assert_success, certificate},
    server::{Server, Step, ok, redirect},
};

async fn check(handshake: Step, settings: Value) -> Report {
    let server = Server::start([handshake, Step::answer(|_| ok("hello"))]);
    let monitor = json!({ "url": server.https("/"), "tls_config": settings });
    Lab::new().check(monitor).await
}

#[track_caller]
fn assert_certificate(report: &Report, role: CertificateRole, first: i32, last: i32) {
    let expected = CertificateValidity {
        not_before: start_of(first),
        not_after: start_of(last),
    };
    assert_eq!(certificate(report, role), Some(expected), "{report:#?}");
}

#[tokio::test]
async fn the_leaf_and_the_earliest_expiry_are_distinguished() {
    for (of_leaf, of_authority, earliest) in [
        (2020..3000, 2010..3500, 2020..3000),
        (2020..3500, 2010..3000, 2010..3000),
    ] {
        let authority = AUTHORITY.intermediate("intermediate", of_authority);
        let identity = authority.issue(&["127.0.0.1"], of_leaf.clone());
        for versions in [&[&TLS12], &[&TLS13]] {
            let handshake = Handshake {
                versions,
                ..Handshake::default()
            };
            let report = check(handshake.step(&identity), json!({})).await;
            assert_success(&report);
            let (leaf, first) = (CertificateRole::Leaf, CertificateRole::EarliestExpiry);
            assert_certificate(&report, leaf, of_leaf.start, of_leaf.end);
            assert_certificate(&report, first, earliest.start, earliest.end);
        }
    }
}

#[tokio::test]
async fn the_dates_of_a_rejected_certificate_are_recorded() {
    let unknown = Authority::new("unknown root");
    for (identity, years, reason) in [
        (
            AUTHORITY.issue(&["127.0.0.1"], 2000..2001),
            2000..2001,
            Reason::TlsExpired,
        ),
        (
            AUTHORITY.issue(&["127.0.0.1"], 3998..3999),
            3998..3999,
            Reason::TlsNotYetValid,
        ),
        (
            AUTHORITY.issue(&["other.test"], 2019..3999),
            2019..3999,
            Reason::TlsWrongHost,
        ),
        (
            unknown.issue(&["127.0.0.1"], 2018..3999),
            2018..3999,
            Reason::TlsUntrusted,
        ),
        (
            Identity::self_signed(&["127.0.0.1"]),
            YEARS,
            Reason::TlsUntrusted,
        ),
    ] {
        let report = check(identity.tls(), json!({})).await;
        assert_failure(&report, Phase::Tls, reason);
        for role in [CertificateRole::Leaf, CertificateRole::EarliestExpiry] {
            assert_certificate(&report, role, years.start, years.end);
        }
        assert_eq!(certificate(&report, CertificateRole::Verified), None);
    }
}

#[tokio::test]
async fn insecure_skip_verify_still_records_the_certificate() {
    let identity = Authority::new("unknown root").issue(&["other.test"], 2000..2001);
    let report = check(identity.tls(), json!({ "insecure_skip_verify": true })).await;
    assert_success(&report);
    assert_certificate(&report, CertificateRole::Leaf, 2000, 2001);
}

#[tokio::test]
async fn the_version_and_the_cipher_suite_are_those_agreed_on() {
    for (versions, settings, version, prefix) in [
        (&[&TLS12][..], json!({}), "TLS 1.2", "TLS_ECDHE_ECDSA_WITH_"),
        (&[&TLS13], json!({}), "TLS 1.3", "TLS_AES_"),
        (
            &[&TLS12, &TLS13],
            json!({ "max_version": "TLS12" }),
            "TLS 1.2",
            "TLS_ECDHE_ECDSA_WITH_",
        ),
        (
            &[&TLS12, &TLS13],
            json!({ "min_version": "TLS13" }),
            "TLS 1.3",
            "TLS_AES_",
        ),
    ] {
        let handshake = Handshake {
            versions,
            ..Handshake::default()
        };
        let report = check(handshake.step(&IDENTITY), settings).await;
        assert_success(&report);
        let (known, cipher) = report.tls().expect("there was a handshake");
        assert_eq!(known, version);
        assert!(cipher.starts_with(prefix), "{cipher}");
    }
}

#[tokio::test]
async fn a_check_without_tls_has_no_tls_facts() {
    let server = Server::ok();
    let report = Lab::new().check(json!({ "url": server.http("/") })).await;
    assert_success(&report);
    assert_eq!(report.tls(), None);
    assert_eq!(certificate(&report, CertificateRole::Leaf), None);
}

#[tokio::test]
async fn after_redirects_the_facts_are_those_of_the_last_handshake() {
    let last = AUTHORITY.issue(&["127.0.0.1"], 2021..3001);
    let last = Handshake {
        versions: &[&TLS12],
        ..Handshake::default()
    }
    .step(&last);
    let last = Server::start([last, Step::answer(|_| ok("hello"))]);
    let there = last.https("/");
    let first = Server::start([IDENTITY.tls(), Step::answer(move |_| redirect(302, &there))]);
    let report = Lab::new().check(json!({ "url": first.https("/") })).await;
    assert_success(&report);
    assert_certificate(&report, CertificateRole::Leaf, 2021, 3001);
    assert_eq!(report.tls().map(|(version, _)| version), Some("TLS 1.2"));
}

#[tokio::test]
async fn ca_file_replaces_the_system_authorities() {
    let own = Authority::new("of our own");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), own.pem()).expect("room for a temporary file");
    for settings in [
        json!({ "ca_file": file.path() }),
        json!({ "ca": own.pem() }),
    ] {
        let theirs = own.issue(&["127.0.0.1"], YEARS);
        assert_success(&check(theirs.tls(), settings.clone()).await);
        let report = check(IDENTITY.tls(), settings).await;
        assert_failure(&report, Phase::Tls, Reason::TlsUntrusted);
    }
}

#[tokio::test]
async fn a_client_certificate_is_sent_if_the_server_requests_one() {
    let clients = Authority::new("of clients");
    let client = clients.issue(&["client"], YEARS);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [certificate, key] = [
        ("client.pem", client.certificate_pem.clone()),
        ("client.key", client.key_pem()),
    ]
    .map(|(name, pem)| {
        let path = directory.path().join(name);
        std::fs::write(&path, pem).expect("room for a temporary file");
        path
    });
    for settings in [
        json!({ "cert": client.certificate_pem, "key": client.key_pem() }),
        json!({ "cert_file": certificate, "key_file": key }),
    ] {
        for versions in [&[&TLS12], &[&TLS13]] {
            let handshake = Handshake {
                versions,
                client_authority: Some(&clients),
                ..Handshake::default()
            };
            assert_success(&check(handshake.step(&IDENTITY), settings.clone()).await);
        }
    }
}

#[tokio::test]
async fn a_client_certificate_is_not_sent_to_other_hosts_of_redirects() {
    let clients = Authority::new("of clients");
    let client = clients.issue(&["client"], YEARS);
    let handshake = Handshake {
        client_authority: Some(&clients),
        ..Handshake::default()
    };
    let other = Server::start([handshake.step(&IDENTITY), Step::Request]);
    let location = other.https("/");
    let home = Server::start([
        handshake.step(&IDENTITY),
        Step::answer(move |_| redirect(302, &location)),
    ]);
    let monitor = json!({
        "url": home.https("/"),
        "tls_config": {
            "ca": AUTHORITY.pem(),
            "cert": client.certificate_pem,
            "key": client.key_pem(),
        },
    });
    let report = Lab::new().check(monitor).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    assert_eq!(home.seen().requests.len(), 1);
    assert!(other.seen().requests.is_empty());
}

/// Monitors of each type that speaks TLS with `server`, with these settings of `tls_config`.
fn monitors_of(server: &Server, settings: &Value) -> [Value; 3] {
    let target = server.address.to_string();
    let monitors = [
        json!({ "url": server.https("/") }),
        json!({ "type": "tls", "target": target }),
        json!({ "type": "tcp", "target": target, "tls": true }),
    ];
    monitors.map(|mut monitor| {
        monitor["tls_config"] = settings.clone();
        monitor
    })
}

#[tokio::test]
async fn a_certificate_that_is_a_configured_authority_is_trusted() {
    let lab = Lab::new();
    for (names, years, expected) in [
        (["127.0.0.1"], YEARS, None),
        (["other.test"], YEARS, Some(Reason::TlsWrongHost)),
        (["127.0.0.1"], 2000..2001, Some(Reason::TlsExpired)),
        (["127.0.0.1"], 3998..3999, Some(Reason::TlsNotYetValid)),
    ] {
        for identity in [
            Identity::self_signed_authority(&names, years.clone()),
            AUTHORITY.issue(&names, years.clone()),
        ] {
            let server = Server::start([identity.tls(), Step::answer(|_| ok("hello"))]);
            let trusted = json!({ "ca": identity.certificate_pem });
            for monitor in monitors_of(&server, &trusted) {
                let report = lab.check(monitor).await;
                match expected {
                    None => {
                        assert_success(&report);
                        let role = CertificateRole::Verified;
                        assert_certificate(&report, role, years.start, years.end);
                    }
                    Some(reason) => drop(assert_failure(&report, Phase::Tls, reason)),
                }
            }
        }
    }
}

#[tokio::test]
async fn another_authority_of_the_same_kind_is_not_trusted() {
    let identity = Identity::self_signed_authority(&["127.0.0.1"], YEARS);
    let other = Identity::self_signed_authority(&["127.0.0.1"], YEARS);
    let report = check(identity.tls(), json!({ "ca": other.certificate_pem })).await;
    assert_failure(&report, Phase::Tls, Reason::TlsUntrusted);
}

#[tokio::test]
async fn insecure_skip_verify_accepts_any_certificate() {
    let server = Server::start([x509_v1(), Step::answer(|_| ok("hello"))]);
    let lab = Lab::new();
    for monitor in monitors_of(&server, &json!({ "insecure_skip_verify": true })) {
        assert_success(&lab.check(monitor).await);
    }
    for monitor in monitors_of(&server, &json!({})) {
        assert_failure(&lab.check(monitor).await, Phase::Tls, Reason::TlsUntrusted);
    }
}

#[tokio::test]
async fn an_expired_certificate_that_no_path_needs_is_not_counted() {
    let retired = Authority::new("retired root");
    let cross_signed = AUTHORITY.cross_signed_by(&retired, "trusted root", 2000..2001);
    let identity = AUTHORITY
        .issue(&["127.0.0.1"], YEARS)
        .followed_by(cross_signed);
    let server = Server::start([identity.tls(), Step::answer(|_| ok("hello"))]);
    let monitor = json!({
        "url": server.https("/"),
        "fail_if_certificate_expires_within": "30d",
    });
    let report = Lab::new().check(monitor).await;
    assert_success(&report);
    assert_certificate(&report, CertificateRole::EarliestExpiry, 2000, 2001);
    assert_certificate(&report, CertificateRole::Verified, YEARS.start, YEARS.end);
}

#[tokio::test]
async fn without_a_verified_chain_roots_and_extras_are_not_counted() {
    let old = Authority::new("old root");
    let other = Authority::new("other root").issue(&["other.test"], 2000..2001);
    let identity = old
        .issue(&["127.0.0.1"], YEARS)
        .followed_by(other.certificate());
    let server = Server::start([identity.tls(), Step::answer(|_| ok("hello"))]);
    let monitor = json!({
        "url": server.https("/"),
        "fail_if_certificate_expires_within": "30d",
        "tls_config": { "insecure_skip_verify": true },
    });
    let report = Lab::new().check(monitor).await;
    assert_success(&report);
    assert_certificate(
        &report,
        CertificateRole::EarliestExpiry,
        YEARS.start,
        YEARS.end,
    );
    assert_eq!(certificate(&report, CertificateRole::Verified), None);
}

#[tokio::test]
async fn handshake_errors_are_in_plain_english() {
    // An alert of level fatal: handshake_failure, protocol_version.
    let alert = |code: u8| vec![Step::Read, Step::send(vec![21, 3, 3, 0, 2, 2, code])];
    let says = |text: &'static str| vec![Step::Read, Step::send(text)];
    let expired = AUTHORITY.issue(&["127.0.0.1"], 2000..2001);
    let names: Vec<_> = (0..1_200)
        .map(|index| format!("{index}.example.test"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let unknown = Authority::new("unknown root");
    for (script, reason, text) in [
        (
            alert(40),
            Reason::TlsHandshake,
            "no cipher suite or group in common",
        ),
        (alert(70), Reason::TlsHandshake, "no TLS version in common"),
        (
            says("HTTP/1.1 400 Bad Request\r\n\r\n"),
            Reason::TlsHandshake,
            "does not speak TLS",
        ),
        (
            says("220 mail.test ESMTP\r\n"),
            Reason::TlsHandshake,
            "does not speak TLS",
        ),
        (
            vec![expired.tls()],
            Reason::TlsExpired,
            "expired on 2001-01-01 00:00:00 UTC",
        ),
        (
            vec![AUTHORITY.issue(&names, YEARS).tls()],
            Reason::TlsWrongHost,
            "is not for 127.0.0.1: it is for 0.example.test, ",
        ),
        (
            vec![unknown.issue(&["127.0.0.1"], YEARS).tls()],
            Reason::TlsUntrusted,
            "unknown root\" is not trusted; the server sent no intermediate certificate",
        ),
    ] {
        let server = Server::start(script);
        for monitor in monitors_of(&server, &json!({})) {
            let failure = Lab::new().check(monitor).await;
            let failure = assert_failure(&failure, Phase::Tls, reason);
            assert!(failure.error.contains(text), "{}", failure.error);
            assert!(failure.error.len() < 300, "{}", failure.error);
        }
    }
}
