//! `type: tcp` against servers that speak first, answer, fall silent or say something else.

use std::time::Duration;

use monitoringdaemon::check::{Fact, Phase, Reason, Report};
use serde_json::{Value, json};

use crate::support::{
    SOON,
    lab::{Lab, config_from, millis},
    pki::{AUTHORITY, Authority, Handshake, IDENTITY},
    report::{assert_failure, assert_success, reached},
    server::{Closed, Server, Step},
};

/// Checks a server that follows `script`, with these keys.
async fn check(script: impl Into<Vec<Step>>, mut keys: Value) -> Report {
    let server = Server::start(script);
    keys["type"] = json!("tcp");
    keys["target"] = json!(server.address.to_string());
    Lab::new().check(keys).await
}

/// Holds a dialogue of these entries.
async fn hold(script: impl Into<Vec<Step>>, entries: Value) -> Report {
    check(script, json!({ "query_response": entries })).await
}

fn captured(report: &Report) -> Vec<(&str, &str)> {
    let captured = report.facts.iter().find_map(|fact| match fact {
        Fact::Captured(captured) => Some(captured),
        _ => None,
    });
    let captured = captured.into_iter().flatten();
    captured.map(|(name, value)| (&**name, &**value)).collect()
}

#[tokio::test]
async fn a_connection_is_enough_without_query_response() {
    let report = check([Step::Hang], json!({})).await;
    assert_success(&report);
    assert_eq!(reached(&report), [Phase::Connect]);
    assert_eq!(report.address(), Some([127, 0, 0, 1].into()));
    assert_eq!(report.response_bytes(), None, "nothing was read");
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let server = Server::start([Step::Hang]);
    let target = format!("service.test:{}", server.address.port());
    let report = Lab::new()
        .check(json!({ "type": "tcp", "target": target }))
        .await;
    assert_success(&report);
    assert_eq!(reached(&report), [Phase::Resolve, Phase::Connect]);
    assert_eq!(report.resolved_address(), Some([127, 0, 0, 1].into()));
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let closed = Closed::new();
    let target = closed.address.to_string();
    let report = Lab::new()
        .check(json!({ "type": "tcp", "target": target }))
        .await;
    assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
}

#[tokio::test]
async fn connections_use_the_configured_source_address() {
    let report = check([Step::Hang], json!({ "source_ip_address": "127.0.0.9" })).await;
    assert_success(&report);
    // An address of documentation (RFC 5737) is none of this machine's.
    let report = check([Step::Hang], json!({ "source_ip_address": "192.0.2.1" })).await;
    assert_failure(&report, Phase::Connect, Reason::AgentError);
}

#[tokio::test]
async fn query_response_entries_run_in_order() {
    let script = [
        Step::send("220-mail.test ESMTP\r\n220 at your service\r\n"),
        Step::hear("EHLO prober\r\n"),
        Step::send("250-mail.test\r\n250-STARTTLS\r\n250 HELP\r\n"),
        Step::hear("QUIT\r\n"),
        Step::send("221 bye\r\n"),
    ];
    let entries = json!([
        { "expect": "^220 ", "send": "EHLO prober\r" },
        { "expect": "^250-STARTTLS$" },
        { "expect": "^250 ", "send": "QUIT\r" },
        { "expect": "^221" },
    ]);
    let report = hold(script, entries).await;
    assert_success(&report);
    assert_eq!(reached(&report), [Phase::Connect, Phase::Processing]);
    let said = "220-mail.test ESMTP\r\n220 at your service\r\n".len()
        + "250-mail.test\r\n250-STARTTLS\r\n250 HELP\r\n".len()
        + "221 bye\r\n".len();
    assert_eq!(report.response_bytes(), Some(said as u64));
}

#[tokio::test]
async fn capture_groups_are_sent_and_become_labels() {
    let script = [
        Step::send("SSH-2.0-OpenSSH_9.9 Debian-1\r\n"),
        Step::hear("I know OpenSSH_9.9 too\n"),
        Step::send("ok\n"),
    ];
    let entries = json!([
        {
            "expect": "^SSH-2.0-(?P<version>[^ ]+) (.*)$",
            "labels": [
                { "name": "ssh_version", "value": "${version}" },
                { "name": "ssh_comment", "value": "<$2>" },
            ],
            "send": "I know ${1} too",
        },
        { "expect": "ok" },
    ]);
    let report = hold(script, entries).await;
    assert_success(&report);
    let expected = [
        ("ssh_version", "OpenSSH_9.9"),
        ("ssh_comment", "<Debian-1>"),
    ];
    assert_eq!(captured(&report), expected);
}

#[tokio::test]
async fn a_banner_without_a_line_break_is_enough() {
    let report = hold(
        [Step::send("READY"), Step::Hang],
        json!([{ "expect": "^READY$" }]),
    )
    .await;
    assert_success(&report);
}

#[tokio::test]
async fn a_line_may_come_in_pieces() {
    // Longer than a line may stay unfinished before it is matched as it is.
    let pause = Step::Wait(Duration::from_millis(300));
    let script = [
        Step::send("22"),
        pause.clone(),
        Step::send("0 slow"),
        pause.clone(),
        Step::send(" line\r\n"),
        Step::Hang,
    ];
    let report = hold(script, json!([{ "expect": "^220 slow line$" }])).await;
    assert_success(&report);
    // What matches before it is whole is not waited for.
    let script = [
        Step::send("login: "),
        Step::hear("me\n"),
        Step::send("hi\n"),
    ];
    let entries = json!([{ "expect": "^login: $", "send": "me" }, { "expect": "^hi$" }]);
    assert_success(&hold(script, entries).await);
    // Where TLS follows, the rest of the line would be taken for it.
    let script = [
        Step::send("220 re"),
        pause.clone(),
        Step::send("ady\r\n"),
        Step::hear("STARTTLS\r\n"),
        Step::send("220 go"),
        pause,
        Step::send(" on\r\n"),
        IDENTITY.tls(),
        Step::Hang,
    ];
    let entries = json!([
        { "expect": "^220", "send": "STARTTLS\r" },
        { "expect": "^220" },
        { "starttls": true },
    ]);
    assert_success(&hold(script, entries).await);
}

#[tokio::test]
async fn a_timeout_says_what_was_awaited_and_what_came_last() {
    let text = async |script: Vec<Step>, entries: Value| {
        let keys = json!({ "timeout": millis(300), "query_response": entries });
        let report = check(script, keys).await;
        let failure = assert_failure(&report, Phase::Processing, Reason::Timeout);
        failure.error.clone()
    };
    let silent = text(vec![Step::Hang], json!([{ "expect": "^220" }])).await;
    let waiting = "no result within 300ms, still waiting for a line that matches \"^220\"";
    assert_eq!(silent, format!("{waiting} (query_response[0])"));
    let refusing = vec![Step::send("554 no service\r\n"), Step::Hang];
    let refused = text(refusing, json!([{ "expect": "^220" }])).await;
    let last = "; the last line was \"554 no service\"";
    assert_eq!(refused, format!("{waiting} (query_response[0]){last}"));
    let unfinished = vec![Step::send("554 no"), Step::Hang];
    let unfinished = text(unfinished, json!([{ "expect": "^220" }])).await;
    assert!(
        unfinished.ends_with("the last line was \"554 no\""),
        "{unfinished}"
    );
    let echoing = vec![Step::Read, Step::send("-ERR hunter2?\n"), Step::Hang];
    let entries = json!([{ "send": "AUTH hunter2" }, { "expect": "OK" }]);
    let secret = text(echoing, entries).await;
    assert!(!secret.contains("hunter2"), "{secret}");
    assert!(secret.contains("query_response[1]"), "{secret}");
    let short = vec![Step::send("PO"), Step::Hang];
    let short = text(short, json!([{ "expect_bytes": "PONG" }])).await;
    assert!(short.ends_with("4 bytes (query_response[0])"), "{short}");
}

#[tokio::test]
async fn a_rejected_line_ends_the_check_immediately() {
    let entries = || json!([{ "expect": "^220", "reject": ["^[45]", "busy"] }]);
    for said in ["554 no service\r\n", "554 no service"] {
        let report = hold([Step::send(said), Step::Hang], entries()).await;
        let failure = assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
        let error = "the peer sent \"554 no service\", which matches reject \"^[45]\"";
        assert_eq!(failure.error, error);
    }
    // Also where it would do otherwise.
    let report = hold([Step::send("220 but busy\n"), Step::Hang], entries()).await;
    assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
    let report = hold([Step::send("hello\n220 ready\n"), Step::Hang], entries()).await;
    assert_success(&report);
    let echoing = [Step::Read, Step::send("-ERR hunter2?\n"), Step::Hang];
    let asking = json!([{ "send": "AUTH hunter2" }, { "expect": "OK", "reject": ["^-"] }]);
    let report = hold(echoing, asking).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
    assert!(!failure.error.contains("hunter2"), "{failure:?}");
}

#[tokio::test]
async fn expected_bytes_may_come_in_any_pieces() {
    let entries = json!([
        { "expect": "^hello" },
        { "expect_bytes": "PONG" },
        { "send_bytes": [0, 0xd2, 0xff] },
        { "expect_bytes": [1, 2] },
    ]);
    let script = [
        Step::send("hello\nPO"),
        Step::Wait(Duration::from_millis(20)),
        Step::send("NG"),
        Step::hear(&b"\x00\xd2\xff"[..]),
        Step::send(&b"\x01\x02"[..]),
    ];
    assert_success(&hold(script, entries).await);
    let other = hold([Step::send("PANG")], json!([{ "expect_bytes": "PONG" }])).await;
    let failure = assert_failure(&other, Phase::Processing, Reason::ResponseMismatch);
    assert_eq!(
        failure.error,
        "the peer sent \"PANG\", not the expected bytes"
    );
}

#[tokio::test]
async fn binary_data_is_sent_unchanged() {
    let script = [
        Step::hear(&b"\x00\x00\x00\x08\x04\xd2\x16\x2f"[..]),
        Step::send("N"),
    ];
    let server = Server::start(script);
    let config = config_from(&format!(
        "monitors:\n  postgres:\n    type: tcp\n    target: {}\n    query_response:\n      \
         - send: !!binary AAAACATSFi8=\n      - expect_bytes: !!binary Tg==\n",
        server.address
    ));
    let lab = Lab::new();
    let monitor = &config.monitors[0];
    let job = monitor.settings.bind(&monitor.name, &lab.net);
    assert_success(&job.check_once().await);
}

#[tokio::test]
async fn unexpected_data_and_no_data_are_different_failures() {
    let expecting = || json!([{ "expect": "^220" }]);
    let report = hold([Step::send("554 go\r\nSSH-2.0\r\n")], expecting()).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
    let error = "no line matches \"^220\", the last one was \"SSH-2.0\"";
    assert_eq!(failure.error, error);
    let report = hold([], expecting()).await;
    assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
    // Once it is connected: a reset that comes before that is one of the phase connect.
    let saying = json!([{ "send": "hello" }, { "expect": "^220" }]);
    let report = hold([Step::Read, Step::Reset], saying).await;
    assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
    let report = hold([Step::send("PO")], json!([{ "expect_bytes": "PONG" }])).await;
    assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
}

#[tokio::test]
async fn received_data_is_bounded() {
    let line = [Step::Flood("x".repeat(4096).into())];
    let report = hold(line, json!([{ "expect": "^220" }])).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    assert_eq!(failure.error, "a line is longer than 65536 bytes");
    let lines = [Step::Flood("554 no\r\n".repeat(512).into())];
    let report = hold(lines, json!([{ "expect": "^220" }])).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    assert_eq!(failure.error, "the peer sent more than 1048576 bytes");
}

#[tokio::test]
async fn silence_in_any_phase_ends_with_the_deadline() {
    let timeout = Duration::from_millis(300);
    let dialogue =
        json!([{ "expect": "^220", "send": "STARTTLS" }, { "expect": "^220", "starttls": true }]);
    let greeting = Step::send("220 hello\n");
    let answer = [
        greeting.clone(),
        Step::hear("STARTTLS\n"),
        Step::send("220 go\n"),
    ];
    for (script, tls, phase) in [
        (vec![Step::Hang], false, Phase::Processing),
        (vec![greeting, Step::Hang], false, Phase::Processing),
        ([&answer[..], &[Step::Hang]].concat(), false, Phase::Tls),
        (vec![Step::Hang], true, Phase::Tls),
    ] {
        let mut keys = json!({ "timeout": millis(300), "tls": tls });
        if !tls {
            keys["query_response"] = dialogue.clone();
        }
        let report = check(script, keys).await;
        assert_failure(&report, phase, Reason::Timeout);
        assert!(report.duration >= timeout, "{report:?}");
        assert!(report.duration < SOON, "{report:?}");
    }
}

#[tokio::test]
async fn tls_starts_immediately_or_after_starttls() {
    let entries = json!([{ "expect": "^(\\w+)", "send": "${1} yourself" }]);
    let greeting = [
        IDENTITY.tls(),
        Step::send("hello\n"),
        Step::hear("hello yourself\n"),
    ];
    let keys = json!({ "tls": true, "query_response": entries });
    let report = check(greeting, keys).await;
    assert_success(&report);
    assert_eq!(
        reached(&report),
        [Phase::Connect, Phase::Tls, Phase::Processing]
    );
    assert_eq!(report.tls().map(|(version, _)| version), Some("TLS 1.3"));

    let script = [
        Step::send("220 ready\r\n"),
        Step::hear("STARTTLS\r\n"),
        Step::send("220 go ahead\r\n"),
        IDENTITY.tls(),
        Step::hear("EHLO again\n"),
        Step::send("250 HELP\r\n"),
    ];
    let entries = json!([
        { "expect": "^220", "send": "STARTTLS\r" },
        { "expect": "^220", "starttls": true },
        { "send": "EHLO again" },
        { "expect": "^250" },
    ]);
    let report = hold(script, entries).await;
    assert_success(&report);
    assert_eq!(report.tls().map(|(version, _)| version), Some("TLS 1.3"));
}

#[tokio::test]
async fn a_refused_client_certificate_is_noticed_without_query_response() {
    let client_authority = Authority::new("of clients");
    let demanding = Handshake {
        client_authority: Some(&client_authority),
        ..Handshake::default()
    };
    let tls = demanding.step(&IDENTITY);
    let saying = json!({ "tls": true, "query_response": [{ "send": "hello" }] });
    let report = check([tls.clone(), Step::Hang], saying).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    let script = [Step::send("220 go\r\n"), tls, Step::Hang];
    let report = hold(script, json!([{ "expect": "^220", "starttls": true }])).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
}

#[tokio::test]
async fn a_peer_that_repeats_what_was_sent_is_not_quoted() {
    let script = [
        Step::hear("AUTH hunter2\r\n"),
        Step::send("-ERR unknown AUTH hunter2\r\n"),
    ];
    let entries = json!([{ "send": "AUTH hunter2\r" }, { "expect": "^\\+OK" }]);
    let report = hold(script, entries).await;
    let failure = assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
    assert!(!failure.error.contains("hunter2"), "{failure:?}");
}

#[tokio::test]
async fn plain_text_before_tls_is_not_accepted_as_tls_data() {
    let script = [
        Step::send("220 go ahead\r\n250 injected\r\n"),
        IDENTITY.tls(),
        Step::Hang,
    ];
    let entries = json!([{ "expect": "^220", "starttls": true }, { "expect": "^250" }]);
    let report = hold(script, entries).await;
    assert_failure(&report, Phase::Processing, Reason::ProtocolError);
}

#[tokio::test]
async fn the_certificate_is_verified_for_the_name_of_the_target() {
    let other = AUTHORITY.issue(&["other.test"], 2020..4000);
    let report = check([other.tls()], json!({ "tls": true })).await;
    assert_failure(&report, Phase::Tls, Reason::TlsWrongHost);
    let keys = json!({ "tls": true, "tls_config": { "server_name": "other.test" } });
    assert_success(&check([other.tls()], keys).await);
}

#[tokio::test]
async fn a_certificate_that_expires_soon_fails_the_check() {
    let within = |days: u32| json!({ "tls": true, "fail_if_certificate_expires_within": format!("{days}d") });
    let old = AUTHORITY.issue(&["127.0.0.1"], 2020..3000);
    assert_success(&check([old.tls()], within(366)).await);
    let this_year = AUTHORITY.issue_until_tomorrow(&["127.0.0.1"]);
    let report = check([this_year.tls()], within(3)).await;
    let failure = assert_failure(&report, Phase::Tls, Reason::TlsExpiresSoon);
    assert!(
        failure
            .error
            .starts_with("a certificate of the chain expires in 23h"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_dropped_check_leaves_no_connection() {
    let server = Server::start([Step::Hang]);
    let target = server.address.to_string();
    let keys = json!({
        "type": "tcp", "target": target, "timeout": millis(50), "query_response": [{ "expect": "x" }],
    });
    let report = Lab::new().check(keys).await;
    assert_failure(&report, Phase::Processing, Reason::Timeout);
    server.until(|seen| seen.left == 1).await;
}
