//! DNS responses: recorded facts and verdicts.

use hickory_proto::{
    op::{Edns, Message, ResponseCode},
    rr::{Name, RData, Record, rdata},
};
use monitoringdaemon::check::{DnsResponse, Phase, Rcode, Reason, Report};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    lab::Lab,
    nameserver::{Act, Asked, NameServer, address},
    report::{assert_failure, assert_success, reached},
};

/// A monitor that asks `server` for the addresses of `www.example.test`.
pub fn monitor(server: &NameServer, settings: Value) -> Value {
    let mut monitor = json!({
        "type": "dns",
        "target": server.address.to_string(),
        "query_name": "www.example.test",
        "query_type": "A",
    });
    let Value::Object(settings) = settings else {
        panic!("no mapping");
    };
    for (key, value) in settings {
        monitor[key] = value;
    }
    monitor
}

async fn check(answer: fn(&Asked) -> Vec<u8>, settings: Value) -> Report {
    let server = NameServer::start(move |asked| vec![Act::Send(answer(asked))]);
    Lab::new().check(monitor(&server, settings)).await
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// The record of a zone with the serial number 2026.
pub fn soa() -> Record {
    let data = rdata::SOA::new(name("ns.test."), name("host.test."), 2026, 1, 2, 3, 4);
    Record::from_rdata(name("example.test."), 60, RData::SOA(data))
}

fn full(asked: &Asked) -> Vec<u8> {
    asked.response(|message: &mut Message| {
        message.metadata.authentic_data = true;
        for last in 1..=3 {
            message.add_answer(address(&asked.message, [127, 0, 0, last]));
        }
        message.add_answer(soa());
        message.add_authority(soa());
        let text = rdata::TXT::new(vec!["a \"quoted\" word".to_owned()]);
        message.add_additional(Record::from_rdata(name("t.test."), 9, RData::TXT(text)));
        message.set_edns(Edns::new());
    })
}

#[tokio::test]
async fn rcode_counts_serial_and_flags_are_recorded() {
    let report = check(full, json!({})).await;
    assert_success(&report);
    let expected = DnsResponse {
        rcode: Rcode(0),
        answers: 4,
        authorities: 1,
        // Without OPT, which is no record.
        additionals: 1,
        serial: Some(2026),
        authenticated_data: true,
        truncated: false,
    };
    assert_eq!(report.dns(), Some(expected));
    assert_eq!(reached(&report), [Phase::Connect, Phase::Request]);
    assert_eq!(
        report.address().map(|ip| ip.to_string()).as_deref(),
        Some("127.0.0.1")
    );
}

#[tokio::test]
async fn the_bytes_are_those_of_the_message() {
    let report = check(Asked::good, json!({})).await;
    assert_success(&report);
    // Header, question, OPT of the query's response, and an A record behind a pointer.
    let question = "_www_example_test_".len() + 4;
    let bytes = report.response_bytes().expect("there was a message");
    assert!(bytes >= 12 + question as u64 + 16, "{bytes}");
    assert_eq!(report.dns().map(|says| says.serial), Some(None));
}

#[tokio::test]
async fn an_invalid_rcode_is_a_mismatch() {
    let cases = [
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::NXDomain, "NXDOMAIN"),
        (ResponseCode::Refused, "REFUSED"),
    ];
    for (code, word) in cases {
        let server = NameServer::start(move |asked| vec![Act::Send(asked.code(code))]);
        let report = Lab::new().check(monitor(&server, json!({}))).await;
        let failure = assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
        assert_eq!(
            failure.error,
            format!("response code {word}, expected NOERROR")
        );
        assert_eq!(
            report.dns().map(|says| says.rcode.to_string()).as_deref(),
            Some(word)
        );

        let valid = json!({ "valid_rcodes": ["NOERROR", word] });
        assert_success(&Lab::new().check(monitor(&server, valid)).await);
        let others = json!({ "valid_rcodes": ["YXDOMAIN", "NOTIMPL"] });
        let report = Lab::new().check(monitor(&server, others)).await;
        let failure = assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
        assert!(
            failure.error.ends_with(", expected YXDOMAIN, NOTIMP"),
            "{}",
            failure.error
        );
    }
}

#[tokio::test]
async fn noerror_is_a_mismatch_if_not_in_valid_rcodes() {
    let report = check(Asked::good, json!({ "valid_rcodes": ["NXDOMAIN"] })).await;
    assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
}

#[tokio::test]
async fn each_section_has_rules_of_its_own() {
    let (answer, authority) = (
        "www.example.test.\t300\tIN\tA\t127.0.0.2",
        "IN\tSOA\tns.test.",
    );
    let additional = r#"^t.test.\t9\tIN\tTXT\t"a \\"quoted\\" word"$"#;
    let sections = [
        ("validate_answer_rrs", answer, "answer"),
        ("validate_authority_rrs", authority, "authority"),
        ("validate_additional_rrs", additional, "additional"),
    ];
    for (key, pattern, word) in sections {
        let absent = json!({ key: { "fail_if_matches_regexp": [pattern] } });
        let report = check(full, absent).await;
        let failure = assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
        assert!(
            failure.error.starts_with(&format!("{word} record ")),
            "{}",
            failure.error
        );
        let present = json!({ key: { "fail_if_none_matches_regexp": [pattern] } });
        assert_success(&check(full, present).await);
        let elsewhere = json!({ key: { "fail_if_none_matches_regexp": ["\tMX\t"] } });
        let report = check(full, elsewhere).await;
        let failure = assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
        assert_eq!(
            failure.error,
            format!("no {word} record matches \"\\tMX\\t\"")
        );
    }
}

#[tokio::test]
async fn fail_if_all_match_fails_only_if_all_match() {
    let rule =
        |pattern: &str| json!({ "validate_answer_rrs": { "fail_if_all_match_regexp": [pattern] } });
    let report = check(full, rule("test.")).await;
    assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
    assert_success(&check(full, rule("127.0.0")).await);
    let rule = |pattern: &str| json!({ "validate_answer_rrs": { "fail_if_not_matches_regexp": [pattern] } });
    assert_success(&check(full, rule("test.")).await);
    let report = check(full, rule("127.0.0")).await;
    assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
}

#[tokio::test]
async fn the_query_follows_the_settings() {
    let server = NameServer::start(|asked| vec![Act::Send(asked.good())]);
    let settings = json!({
        "query_name": "Version.Bind.",
        "query_type": "TXT",
        "query_class": "CH",
        "recursion_desired": false,
    });
    assert_success(&Lab::new().check(monitor(&server, settings)).await);
    let asked = server.asked().message;
    assert_eq!(asked.queries[0].to_string(), "Version.Bind. CH TXT");
    assert!(!asked.metadata.recursion_desired && asked.metadata.authentic_data);
    assert_eq!(asked.edns.map(|edns| edns.max_payload()), Some(1232));
}

#[tokio::test]
async fn the_default_query_is_any_with_recursion() {
    let server = NameServer::start(|asked| vec![Act::Send(asked.good())]);
    let target = server.address.to_string();
    let settings = json!({ "type": "dns", "target": target, "query_name": "." });
    for _ in 0..4 {
        assert_success(&Lab::new().check(settings.clone()).await);
    }
    let seen = server.seen();
    assert_eq!(seen[0].message.queries[0].to_string(), ". IN ANY");
    assert!(seen[0].message.metadata.recursion_desired);
    let ids: Vec<_> = seen.iter().map(|asked| asked.message.metadata.id).collect();
    assert!(ids.iter().any(|id| *id != ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_server_without_edns_is_asked_again_without_it() {
    let server = NameServer::start(|asked| match asked.message.edns {
        // As it stands in RFC 6891: the code, and nothing of EDNS.
        Some(_) => vec![Act::Send(asked.response(|message| {
            message.edns = None;
            message.metadata.response_code = ResponseCode::FormErr;
        }))],
        None => vec![Act::Send(asked.good())],
    });
    let report = Lab::new().check(monitor(&server, json!({}))).await;
    assert_success(&report);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_formerr_with_edns_is_not_retried() {
    let server = NameServer::start(|asked| {
        vec![Act::Send(asked.response(|message| {
            message.metadata.response_code = ResponseCode::FormErr;
            message.set_edns(Edns::new());
        }))]
    });
    let report = Lab::new().check(monitor(&server, json!({}))).await;
    assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_extended_rcode_has_its_name() {
    let server = NameServer::start(|asked| vec![Act::Send(asked.code(ResponseCode::BADVERS))]);
    let report = Lab::new().check(monitor(&server, json!({}))).await;
    let failure = assert_failure(&report, Phase::Request, Reason::ResponseMismatch);
    assert_eq!(failure.error, "response code BADVERS, expected NOERROR");
}

/// Over fifty thousand bytes, for fifty expressions.
#[tokio::test]
async fn matching_a_large_response_blocks_no_worker() {
    let server = NameServer::start(|asked| {
        vec![Act::Send(asked.response(|message| {
            for _ in 0..240 {
                let text = rdata::TXT::new(vec!["word ".repeat(40)]);
                message.add_answer(Record::from_rdata(name("a.test."), 1, RData::TXT(text)));
            }
        }))]
    });
    let patterns: Vec<_> = (0..50).map(|n| format!(r"\b(\w+ )+error{n}\b")).collect();
    let settings = json!({
        "transport_protocol": "tcp",
        "validate_answer_rrs": { "fail_if_matches_regexp": patterns },
    });
    let lab = Lab::new();
    let checking = lab.check(monitor(&server, settings));
    let mut last_turn = Instant::now();
    let others = async {
        loop {
            tokio::task::yield_now().await;
            last_turn = Instant::now();
        }
    };
    let report = tokio::select! {
        biased;
        report = checking => report,
        () = others => unreachable!("it never ends"),
    };
    assert_success(&report);
    assert_eq!(report.dns().map(|says| says.answers), Some(240));
    // Matched on the spot, nobody else would have had a turn for most of the time.
    let waited = last_turn.elapsed();
    assert!(
        waited < report.duration / 3,
        "{waited:?} of {:?}",
        report.duration
    );
}
