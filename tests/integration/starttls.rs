//! `starttls` of `type: tls`: how each protocol is asked, and what it may answer.

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

/// What the server of each protocol hears and says before TLS.
fn dialogues() -> Vec<(&'static str, Vec<Step>)> {
    let mut mysql_request = vec![32, 0, 0, 1, 0, 0x8a, 0, 0, 0, 0, 0, 1, 33];
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
async fn every_protocol_is_asked_in_its_own_words() {
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
async fn answers_are_understood_in_every_form_that_they_may_have() {
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
async fn silence_ends_with_the_deadline_after_every_word() {
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
            r#"the peer said "554 go away""#,
        ),
        (
            "imap",
            vec![
                Step::send("* OK\r\n"),
                Step::Read,
                Step::send("a1 BAD what\r\n"),
            ],
            r#"the peer said "a1 BAD what""#,
        ),
        (
            "pop3",
            vec![
                Step::send("+OK\r\n"),
                Step::Read,
                Step::send("-ERR what\r\n"),
            ],
            r#"the peer said "-ERR what""#,
        ),
        (
            "ftp",
            vec![
                Step::send("220 hi\r\n"),
                Step::Read,
                Step::send("502 what\r\n"),
            ],
            r#"the peer said "502 what""#,
        ),
        (
            "ldap",
            vec![Step::Read, Step::send(ldap_refusal)],
            "the peer refused TLS with the result code 2",
        ),
        (
            "postgres",
            vec![Step::Read, Step::send("N")],
            "the server does not speak TLS",
        ),
        (
            "mysql",
            vec![Step::send(mysql_without_tls())],
            "the server does not speak TLS",
        ),
    ] {
        let report = check(protocol, &script).await;
        assert_eq!(refusal(&report).error, error, "{protocol}");
    }
}

#[tokio::test]
async fn what_is_another_protocol_is_a_protocol_error() {
    for (protocol, said) in [
        ("ldap", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]),
        ("ldap", b"\x30\x84\xff\xff\xff\xff"),
        ("postgres", b"HTTP/1.1 400"),
        ("mysql", b"\x05\x00\x00\x00hello"),
        ("mysql", b"\x0b\x00\x00\x00\xff\x10\x04too many"),
    ] {
        let report = check(protocol, &[Step::send(said), Step::Hang]).await;
        assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    }
    // A length that no greeting has is not waited for.
    let report = check("mysql", &[Step::Flood(vec![0xff; 4096].into())]).await;
    assert_failure(&report, Phase::Processing, Reason::ProtocolError);
}

#[tokio::test]
async fn a_server_that_leaves_is_told_from_one_that_refuses() {
    for (protocol, _) in dialogues() {
        let report = check(protocol, &[]).await;
        assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
    }
}
