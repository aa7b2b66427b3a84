//! `starttls` of `type: tls`: how each protocol is asked, and what it may answer.

use std::time::Duration;

use monitoringdaemon::check::{Failure, Phase, Reason, Report};
use serde_json::json;

use crate::support::{
    lab::{Lab, millis},
    pki::IDENTITY,
    report::{assert_failure, assert_success, reached},
    server::{Server, Step},
};

async fn check(protocol: &str, script: &[Step]) -> Report {
    let server = Server::start(script);
    let target = server.address.to_string();
    let keys =
        json!({ "type": "tls", "target": target, "starttls": protocol, "timeout": millis(1000) });
    Lab::new().check(keys).await
}

const LDAP_REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const MYSQL_GREETING: &[u8] =
    b"\x20\x00\x00\x00\x0a8.0.36\x00\x01\x00\x00\x00abcdefgh\x00\xff\xffrest.....";

/// A MySQL greeting whose capabilities lack TLS.
fn mysql_without_tls() -> Vec<u8> {
    let mut greeting = MYSQL_GREETING.to_vec();
    let flags = greeting.windows(2).position(|pair| pair == [0xff, 0xff]);
    greeting[flags.expect("the flags") + 1] &= !0x08;
    greeting
}

/// The session of each protocol before TLS.
pub fn dialogues() -> Vec<(&'static str, Vec<Step>)> {
    let mut mysql_request = vec![32, 0, 0, 1, 0, 0x8a, 8, 0, 0, 0, 0, 1, 33];
    mysql_request.resize(36, 0);
    vec![
        (
            "smtp",
            vec![
                Step::send("220-mail.test\r\n220 ESMTP\r\n"),
                Step::hear("EHLO monitoringdaemon\r\n"),
                Step::send("250-mail.test\r\n250 STARTTLS\r\n"),
                Step::hear("STARTTLS\r\n"),
                Step::send("220 go\r\n"),
            ],
        ),
        (
            "imap",
            vec![
                Step::send("* OK ready\r\n"),
                Step::hear("a1 STARTTLS\r\n"),
                Step::send("* CAPABILITY x\r\na1 OK go\r\n"),
            ],
        ),
        (
            "pop3",
            vec![
                Step::send("+OK ready\r\n"),
                Step::hear("STLS\r\n"),
                Step::send("+OK go\r\n"),
            ],
        ),
        (
            "ftp",
            vec![
                Step::send("220-files\r\n no code here\r\n220 ready\r\n"),
                Step::hear("AUTH TLS\r\n"),
                Step::send("234 go\r\n"),
            ],
        ),
        (
            "ldap",
            vec![
                Step::hear(LDAP_REQUEST),
                Step::send(&b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"[..]),
            ],
        ),
        (
            "postgres",
            vec![
                Step::hear(&b"\x00\x00\x00\x08\x04\xd2\x16\x2f"[..]),
                Step::send("S"),
            ],
        ),
        (
            "mysql",
            vec![Step::send(MYSQL_GREETING), Step::hear(mysql_request)],
        ),
    ]
}

#[tokio::test]
async fn starttls_is_requested_in_every_protocol() {
    for (protocol, mut script) in dialogues() {
        script.extend([IDENTITY.tls(), Step::Hang]);
        let report = check(protocol, &script).await;
        assert_success(&report);
        let phases = [Phase::Connect, Phase::Tls, Phase::Processing];
        assert_eq!(reached(&report), phases, "{protocol}");
        assert!(report.tls().is_some(), "{protocol}");
    }
}

#[tokio::test]
async fn every_valid_form_of_a_reply_is_accepted() {
    let long_lengths =
        b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00";
    for (protocol, script) in [
        (
            "ldap",
            vec![Step::hear(LDAP_REQUEST), Step::send(&long_lengths[..])],
        ),
        (
            "ftp",
            vec![
                Step::send("220-a\r\n220\r\n"),
                Step::Read,
                Step::send("234\r\n"),
            ],
        ),
    ] {
        let script = [&script[..], &[IDENTITY.tls(), Step::Hang]].concat();
        assert_success(&check(protocol, &script).await);
    }
}

#[tokio::test]
async fn silence_after_any_step_ends_with_the_deadline() {
    for (protocol, script) in dialogues() {
        for words in 0..=script.len() {
            let mut script = script[..words].to_vec();
            script.push(Step::Hang);
            let server = Server::start(script.clone());
            let target = server.address.to_string();
            let keys = json!({
                "type": "tls", "target": target, "starttls": protocol, "timeout": millis(100),
            });
            let report = Lab::new().check(keys).await;
            let agreed = words == dialogues_len(protocol);
            let phase = if agreed {
                Phase::Tls
            } else {
                Phase::Processing
            };
            // MySQL's server says nothing between the request and the handshake.
            let said_all = protocol == "mysql" && words == 1;
            let phase = if said_all { Phase::Tls } else { phase };
            assert_failure(&report, phase, Reason::Timeout);
        }
    }
}

fn dialogues_len(protocol: &str) -> usize {
    let dialogues = dialogues();
    let mut of = dialogues.iter().filter(|(known, _)| *known == protocol);
    of.next().map_or(0, |(_, script)| script.len())
}

#[track_caller]
fn refusal(report: &Report) -> &Failure {
    assert_failure(report, Phase::Processing, Reason::ResponseMismatch)
}

#[tokio::test]
async fn a_server_that_refuses_is_quoted() {
    let ldap_refusal = &b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"[..];
    for (protocol, script, error) in [
        (
            "smtp",
            vec![Step::send("554 go away\r\n")],
            r#"the peer sent "554 go away", expected 220"#,
        ),
        (
            "imap",
            vec![
                Step::send("* OK\r\n"),
                Step::Read,
                Step::send("a1 BAD what\r\n"),
            ],
            r#"the peer sent "a1 BAD what", expected a1 OK"#,
        ),
        (
            "pop3",
            vec![
                Step::send("+OK\r\n"),
                Step::Read,
                Step::send("-ERR what\r\n"),
            ],
            r#"the peer sent "-ERR what", expected +OK"#,
        ),
        (
            "ftp",
            vec![
                Step::send("220 hi\r\n"),
                Step::Read,
                Step::send("502 what\r\n"),
            ],
            r#"the peer sent "502 what", expected 234"#,
        ),
        (
            "ldap",
            vec![Step::Read, Step::send(ldap_refusal)],
            "the peer refused TLS with result code 2",
        ),
        (
            "postgres",
            vec![Step::Read, Step::send("N")],
            "the server does not offer TLS",
        ),
        (
            "mysql",
            vec![Step::send(mysql_without_tls())],
            "the server does not offer TLS",
        ),
    ] {
        let report = check(protocol, &script).await;
        assert_eq!(refusal(&report).error, error, "{protocol}");
    }
}

#[tokio::test]
async fn another_protocol_is_a_protocol_error() {
    for (protocol, said) in [
        ("ldap", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]),
        ("ldap", b"\x30\x84\xff\xff\xff\xff"),
        ("postgres", b"HTTP/1.1 400"),
        ("mysql", b"\x05\x00\x00\x00hello"),
    ] {
        let report = check(protocol, &[Step::send(said), Step::Hang]).await;
        assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    }
    // A length that no greeting has is not waited for.
    let report = check("mysql", &[Step::Flood(vec![0xff; 4096].into())]).await;
    assert_failure(&report, Phase::Processing, Reason::ProtocolError);
}

#[tokio::test]
async fn closing_and_refusing_are_different_failures() {
    for (protocol, _) in dialogues() {
        let report = check(protocol, &[]).await;
        assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
    }
}

#[tokio::test]
async fn a_greeting_may_come_in_pieces() {
    // Longer than a line of a dialogue may stay unfinished.
    let script = [
        Step::send("220-a\r\n22"),
        Step::Wait(Duration::from_millis(300)),
        Step::send("0 ready\r\n"),
        Step::hear("EHLO monitoringdaemon\r\n"),
        Step::send("250 STARTTLS\r\n"),
        Step::hear("STARTTLS\r\n"),
        Step::send("220 go\r\n"),
        IDENTITY.tls(),
        Step::Hang,
    ];
    assert_success(&check("smtp", &script).await);
}

#[tokio::test]
async fn a_timeout_says_what_was_awaited() {
    let script = [
        Step::send("220 hi\r\n"),
        Step::Read,
        Step::send("250-mail.test\r\n"),
        Step::Hang,
    ];
    let server = Server::start(script);
    let target = server.address.to_string();
    let keys =
        json!({ "type": "tls", "target": target, "starttls": "smtp", "timeout": millis(200) });
    let report = Lab::new().check(keys).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::Timeout);
    let error = "no result within 200ms, still waiting for the reply to EHLO; \
                 the last line was \"250-mail.test\"";
    assert_eq!(failure.error, error);
}

/// The packets of MySQL by which a login is tried and refused, and what ends it in other protocols.
fn farewells() -> Vec<(&'static str, Vec<Step>)> {
    let login = [
        &b"\x48\x00\x00\x02\x00\x8a\x08\x00\x00\x00\x00\x01\x21"[..],
        &[0; 23],
        b"monitoringdaemon\0\0mysql_native_password\0",
    ]
    .concat();
    let mysql = vec![
        Step::hear(login),
        Step::send(&b"\x17\x00\x00\x03\xfemysql_native_password\x00"[..]),
        Step::hear(&b"\x00\x00\x00\x04"[..]),
        Step::send(&b"\x09\x00\x00\x05\xff\x15\x04#28000"[..]),
    ];
    vec![
        (
            "smtp",
            vec![Step::hear("QUIT\r\n"), Step::send("221 bye\r\n")],
        ),
        (
            "pop3",
            vec![Step::hear("QUIT\r\n"), Step::send("+OK bye\r\n")],
        ),
        (
            "ftp",
            vec![Step::hear("QUIT\r\n"), Step::send("221 bye\r\n")],
        ),
        (
            "imap",
            vec![
                Step::hear("a2 LOGOUT\r\n"),
                Step::send("* BYE\r\na2 OK\r\n"),
            ],
        ),
        (
            "ldap",
            vec![Step::hear(&b"\x30\x05\x02\x01\x02\x42\x00"[..])],
        ),
        ("postgres", vec![]),
        ("mysql", mysql),
    ]
}

#[tokio::test]
async fn a_check_ends_the_session_as_the_protocol_requires() {
    for ((protocol, script), (same, farewell)) in dialogues().into_iter().zip({
        let mut farewells = farewells();
        let order: Vec<_> = dialogues().iter().map(|(protocol, _)| *protocol).collect();
        farewells.sort_by_key(|(protocol, _)| order.iter().position(|known| known == protocol));
        farewells
    }) {
        assert_eq!(protocol, same);
        let words = [&script[..], &[IDENTITY.tls()], &farewell].concat();
        let script = [&words[..], &[Step::Farewell]].concat();
        let server = Server::start(script);
        let target = server.address.to_string();
        let keys = json!({ "type": "tls", "target": target, "starttls": protocol });
        let report = Lab::new().check(keys).await;
        assert_success(&report);
        // All was said, and TLS was closed before TCP.
        let seen = server.until(|seen| seen.left == 1).await;
        assert_eq!(seen.steps, words.len() + 1, "{protocol}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_close_delays_the_report_and_changes_nothing_in_it() {
    for (protocol, script) in dialogues() {
        let script = [&script[..], &[IDENTITY.tls(), Step::Deaf]].concat();
        let server = Server::start(script);
        let target = server.address.to_string();
        let keys = json!({
            "type": "tls", "target": target, "starttls": protocol, "timeout": millis(400),
            "fail_if_slower_than": millis(390),
        });
        assert_success(&Lab::new().check(keys).await);
    }
}

#[tokio::test]
async fn the_session_is_ended_after_a_refusal_of_tls() {
    let script = [
        Step::send("220 hi\r\n"),
        Step::hear("EHLO monitoringdaemon\r\n"),
        Step::send("250 hi\r\n"),
        Step::hear("STARTTLS\r\n"),
        Step::send("454 TLS not available\r\n"),
        Step::hear("QUIT\r\n"),
        Step::send("221 bye\r\n"),
    ];
    let server = Server::start(script.clone());
    let target = server.address.to_string();
    let keys = json!({ "type": "tls", "target": target, "starttls": "smtp" });
    let report = Lab::new().check(keys).await;
    assert_eq!(
        refusal(&report).error,
        r#"the peer sent "454 TLS not available", expected 220"#
    );
    server.until(|seen| seen.steps == script.len()).await;
}

#[tokio::test]
async fn a_refusal_of_mysql_has_its_number_and_a_reason() {
    for (packet, reason, error) in [
        (
            &b"\x17\x00\x00\x00\xff\x10\x04Too many connections"[..],
            Reason::NotServing,
            "the server refused the connection with error 1040: \"Too many connections\"",
        ),
        (
            b"\x12\x00\x00\x00\xff\x69\x04Host is blocked",
            Reason::ResponseMismatch,
            "the server refused the connection with error 1129: \"Host is blocked\"",
        ),
    ] {
        let report = check("mysql", &[Step::send(packet)]).await;
        let failure = assert_failure(&report, Phase::Processing, reason);
        assert_eq!(failure.error, error);
    }
}
