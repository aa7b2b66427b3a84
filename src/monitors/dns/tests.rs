//! Tests of decoding, rules and settings. Tests over real sockets are in `tests/`.

use std::fmt::Write;

use hickory_proto::rr::Name;
use proptest::prelude::*;

use super::{
    message::{EncodedQuery, Question, Response, ResponseError},
    record_types::{Class, RecordType},
    rules::Rules,
    *,
};
use crate::{
    check::{Rcode, Steps},
    value::{Fields, Node, Path, Problems},
};

/// A pointer to the name in the question.
const THE_NAME: [u8; 2] = [0xc0, 0x0c];

fn question() -> Question {
    Question {
        name: Name::from_ascii("example.test.").expect("a name"),
        kind: RecordType::ANY,
        class: Class::IN,
    }
}

fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a short record");
    let (kind, length) = (kind.to_be_bytes(), length.to_be_bytes());
    [&THE_NAME, &kind[..], &[0, 1, 0, 0, 1, 44], &length, data].concat()
}

/// Two bytes of flags and code, the number of records in each section, and the records.
fn response(
    encoded: &EncodedQuery<'_>,
    flags: [u8; 2],
    counts: [u8; 3],
    records: &[u8],
) -> Vec<u8> {
    let [answers, authorities, additionals] = counts;
    let counts = [0, 1, 0, answers, 0, authorities, 0, additionals];
    let end = 12 + "_example_test_".len() + 4;
    let question = &encoded.bytes[12..end];
    [&encoded.bytes[..2], &flags, &counts, question, records].concat()
}

fn read(flags: [u8; 2], counts: [u8; 3], records: &[u8]) -> Result<Response, ResponseError> {
    let question = question();
    let encoded = question.encode(true, true);
    encoded.decode_response(response(&encoded, flags, counts, records))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect::<Option<_>>().expect("hex")
}

/// The texts are miekg/dns': what blackbox_exporter 0.23 wrote of the records of a BIND 9.18.
const WRITTEN: &[(u16, &str, &str)] = &[
    (1, "7f000001", "A\t127.0.0.1"),
    (
        2,
        "026e73076578616d706c65047465737400",
        "NS\tns.example.test.",
    ),
    (5, "076578616d706c65047465737400", "CNAME\texample.test."),
    (
        6,
        "026e73076578616d706c650474657374000a686f73746d6173746572086d61696c2e626f78076578616d706c6504746573740078c404c900000e1000000258000151800000003c",
        r"SOA	ns.example.test. hostmaster.mail\.box.example.test. 2026112201 3600 600 86400 60",
    ),
    (
        12,
        "04686f7374076578616d706c65047465737400",
        "PTR\thost.example.test.",
    ),
    (
        13,
        "06504320227822054c696e7578",
        r#"HINFO	"PC \"x\"" "Linux""#,
    ),
    (
        15,
        "000a046d61696c076578616d706c65047465737400",
        "MX\t10 mail.example.test.",
    ),
    (
        16,
        "0b763d73706631202d616c6c2171756f74652022206261636b205c2073656d693b636f6c6f6e20c3a42074616209",
        r#"TXT	"v=spf1 -all" "quote \" back \\ semi;colon \195\164 tab\009""#,
    ),
    (
        17,
        "0561646d696e076578616d706c6504746573740003747874076578616d706c65047465737400",
        "RP\tadmin.example.test. txt.example.test.",
    ),
    (
        18,
        "000103616673076578616d706c65047465737400",
        "AFSDB\t1 afs.example.test.",
    ),
    (
        26,
        "000a0161076578616d706c650474657374000162076578616d706c65047465737400",
        "PX\t10 a.example.test. b.example.test.",
    ),
    (28, "00000000000000000000000000000001", "AAAA\t::1"),
    (
        33,
        "0001000213c403736970076578616d706c65047465737400",
        "SRV\t1 2 5060 sip.example.test.",
    ),
    (
        35,
        "0064000a0175074532552b7369701c215e2e2a24217369703a696e666f406578616d706c652e746573742100",
        r#"NAPTR	100 10 "u" "E2U+sip" "!^.*$!sip:info@example.test!" ."#,
    ),
    (39, "056f74686572047465737400", "DNAME\tother.test."),
    (
        43,
        "ec4505012bb183af5f22588179a53b0a98631fad1a292118",
        "DS\t60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    ),
    (
        44,
        "0402123456789abcdef67890123456789abcdef67890123456789abcdef123456789",
        "SSHFP\t4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF123456789",
    ),
    (
        46,
        "00010d030000003c6b2aca576b033d576eb4067369676e6564047465737400983024b87f862cb918ca230b0fd46108e5acabfe77ded0fe4deb35c23c8c23d5be974d782e16432df118368eb25903c721ca91ed0988ee3e5b6b9e45e1e7ee71",
        "RRSIG\tA 13 3 60 20261222190703 20261122190703 28340 signed.test. mDAkuH+GLLkYyiMLD9RhCOWsq/533tD+Tes1wjyMI9W+l014LhZDLfEYNo6yWQPHIcqR7QmI7j5ba55F4efucQ==",
    ),
    (
        48,
        "010003050103d22a6ca77f35b893206fd35e4c506d8378843709b97e041647e1bff43d8d64c649af1e371973c9e8",
        "DNSKEY\t256 3 5 AQPSKmynfzW4kyBv015MUG2DeIQ3Cbl+BBZH4b/0PY1kxkmvHjcZc8no",
    ),
    (
        52,
        "0301010123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "TLSA\t3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ),
    (61, "010203040506", "OPENPGPKEY\tAQIDBAUG"),
    (62, "000000420003000460000008", "CSYNC\t66 3 A NS AAAA"),
    (
        64,
        "000203737663076578616d706c650474657374000000000200010001000403612c62ff0000067820793b227a",
        r#"SVCB	2 svc.example.test. mandatory="alpn" alpn="a\\\044b" key65280="x\ y\;\"z""#,
    ),
    (
        65,
        "000100000100060268330268320003000220fb00040008c0000201c00002020006001020010db8000000000000000000000001",
        r#"HTTPS	1 . alpn="h3,h2" port="8443" ipv4hint="192.0.2.1,192.0.2.2" ipv6hint="2001:db8::1""#,
    ),
    (
        65,
        "000003777777076578616d706c65047465737400",
        "HTTPS\t0 www.example.test.",
    ),
    (104, "000a00144fffff20ee64", "NID\t10 0014:4fff:ff20:ee64"),
    (105, "000a0a010200", "L32\t10 10.1.2.0"),
    (108, "00005e00532a", "EUI48\t00-00-5e-00-53-2a"),
    (
        256,
        "000a000168747470733a2f2f6578616d706c652e746573742f612062",
        r#"URI	10 1 "https://example.test/a b""#,
    ),
    (
        257,
        "000569737375656c657473656e63727970742e6f72673b20706f6c6963793d6576",
        r#"CAA	0 issue "letsencrypt.org; policy=ev""#,
    ),
];

/// The text of a record with this type and data, in a response.
fn written(kind: u16, data: &[u8]) -> Option<String> {
    let response = read([0x84, 0], [1, 0, 0], &record(kind, data)).ok()?;
    response.find_record(0, |text| Some(text.to_owned()))
}

#[test]
fn records_are_written_as_miekg_writes_them() {
    for (kind, data, text) in WRITTEN {
        let expected = format!("example.test.\t300\tIN\t{text}");
        assert_eq!(written(*kind, &bytes(data)), Some(expected));
    }
    let unnamed = written(65400, &bytes("0a000001"));
    let expected = "example.test.\t300\tCLASS1\tTYPE65400\t\\# 4 0a000001";
    assert_eq!(unnamed.as_deref(), Some(expected));
}

#[test]
fn a_salted_hash_is_written_in_base_32() {
    // RFC 5155, appendix A: the record of ns1.example.
    let data = "0101000c04aabbccdd14174eb2409fe28bcb4887a1836f957f0a8425e27b000722010000000290";
    let text = written(50, &bytes(data)).expect("an NSEC3 record");
    let expected =
        "NSEC3\t1 1 12 AABBCCDD 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR NS SOA MX RRSIG DNSKEY NSEC3PARAM";
    assert_eq!(text, format!("example.test.\t300\tIN\t{expected}"));
    let text = written(51, &bytes("0100000000")).expect("an NSEC3PARAM record");
    assert!(text.ends_with("\t1 0 0 -"), "{text}");
}

#[test]
fn data_of_the_wrong_length_is_malformed() {
    for (kind, data, _) in WRITTEN {
        let data = bytes(data);
        let longer = [&data[..], &[7]].concat();
        // What takes all the rest takes this too.
        let open_ended = matches!(kind, 16 | 43 | 44 | 46 | 48 | 52 | 61 | 108 | 256 | 257);
        assert_eq!(
            written(*kind, &longer).is_some(),
            open_ended && *kind != 16,
            "{kind}"
        );
        let found = read([0x84, 0], [1, 0, 0], &record(*kind, &data[..1]));
        let whole = matches!(kind, 61 | 108);
        assert_eq!(found.is_ok(), whole, "{kind}");
    }
}

#[test]
fn counts_rcode_and_serial_are_read() {
    let soa = [&[0, 0][..], &[0, 0, 0, 7].repeat(5)].concat();
    let soa = record(6, &soa);
    let opt = [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0];
    let records = [&soa[..], &record(1, &[0; 4]), &record(1, &[0; 4]), &opt].concat();
    let response =
        read([0x86, 0x27], [1, 1, 2], &records).unwrap_or_else(|error| panic!("{error:?}"));
    assert!(response.has_edns);
    let summary = response.summary;
    // Code 7, and 1 above its four bits.
    assert_eq!(summary.rcode, Rcode(23));
    assert_eq!(
        (summary.answers, summary.authorities, summary.additionals),
        (1, 1, 1)
    );
    assert_eq!(summary.serial, Some(7));
    assert!(summary.authenticated_data && summary.truncated);
}

#[test]
fn responses_to_other_questions_are_mismatched() {
    let question = question();
    let encoded = question.encode(true, true);
    let good = response(&encoded, [0x84, 0], [0; 3], &[]);
    assert!(encoded.decode_response(good.clone()).is_ok());
    let change = |at: usize| {
        let mut changed = good.clone();
        changed[at] ^= 1;
        encoded.decode_response(changed).map(drop)
    };
    for (at, expected) in [
        (1, "the response has another id"),
        (13, "the response answers another question"),
        (good.len() - 3, "the response answers another question"),
        (good.len() - 1, "the response answers another question"),
    ] {
        assert_eq!(change(at), Err(ResponseError::Mismatched(expected)), "{at}");
    }
    // The case of letters is no difference.
    let mut upper = good.clone();
    upper[13] = b'E';
    assert!(encoded.decode_response(upper).is_ok());
    assert!(matches!(
        encoded.decode_response(encoded.bytes.clone()),
        Err(ResponseError::Malformed(_))
    ));
    let mut without = good[..12].to_vec();
    without[5] = 0;
    assert!(encoded.decode_response(without.clone()).is_err());
    without[3] = 5;
    assert!(encoded.decode_response(without).is_ok());
}

#[test]
fn a_cut_response_is_malformed_unless_truncated() {
    let records = record(1, &[192, 0, 2, 1]).repeat(2);
    for cut in 1..records.len() {
        let short = &records[..records.len() - cut];
        assert!(read([0x84, 0], [2, 0, 0], short).is_err());
        let truncated =
            read([0x86, 0], [2, 0, 0], short).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(truncated.summary.answers, u16::from(cut <= 16));
    }
}

fn rules(section: &str, rules: &[(&str, &[&str])]) -> Rules {
    let texts =
        |texts: &[&str]| Node::List(texts.iter().map(|t| Node::Text((*t).into())).collect());
    let entries = rules
        .iter()
        .map(|(key, list)| ((*key).to_owned(), texts(list)));
    let file = Node::Map(vec![(section.to_owned(), Node::Map(entries.collect()))]);
    let problems = Problems::default();
    let mut fields = Fields::from_node(&file, Path::default(), &problems).expect("a mapping");
    let rules = Rules::read(&mut fields);
    fields.reject_unknown_keys();
    assert_eq!(problems.into_vec().0, []);
    rules
}

#[test]
fn rules_are_about_each_record_every_record_or_any() {
    const ABSENT: &str = "fail_if_matches_regexp";
    const NOT_ALL: &str = "fail_if_all_match_regexp";
    const IN_ALL: &str = "fail_if_not_matches_regexp";
    const IN_ONE: &str = "fail_if_none_matches_regexp";
    let two = [record(1, &[127, 0, 0, 1]), record(1, &[127, 0, 0, 2])].concat();
    let two = read([0x84, 0], [2, 0, 0], &two).unwrap_or_else(|error| panic!("{error:?}"));
    let none = read([0x84, 0], [0; 3], &[]).unwrap_or_else(|error| panic!("{error:?}"));
    let first = "answer record example.test. 300 IN A 127.0.0.1";
    for (key, patterns, of_two, of_none) in [
        (
            ABSENT,
            &["3$", "2$"][..],
            Some("answer record example.test. 300 IN A 127.0.0.2 matches \"2$\""),
            None,
        ),
        (ABSENT, &["3$"], None, None),
        (
            NOT_ALL,
            &["1$", "127"],
            Some("every answer record matches \"127\""),
            None,
        ),
        (NOT_ALL, &["1$", "2$"], None, None),
        (
            IN_ALL,
            &["127", "2$"],
            Some(&*format!("{first} does not match \"2$\"")),
            Some("no answer record, expected one that matches \"127\""),
        ),
        (
            IN_ALL,
            &["127", "\tA\t"],
            None,
            Some("no answer record, expected one that matches \"127\""),
        ),
        (
            IN_ONE,
            &["3$", "4$"],
            Some("no answer record matches \"3$\" or \"4$\""),
            Some("no answer record matches \"3$\" or \"4$\""),
        ),
        (
            IN_ONE,
            &["3$", "2$"],
            None,
            Some("no answer record matches \"3$\" or \"2$\""),
        ),
    ] {
        let rules = rules("validate_answer_rrs", &[(key, patterns)]);
        assert_eq!(
            rules.mismatch(&two, &Steps::none()).as_deref(),
            of_two,
            "{key} {patterns:?}"
        );
        assert_eq!(
            rules.mismatch(&none, &Steps::none()).as_deref(),
            of_none,
            "{key} {patterns:?}"
        );
    }
}

#[test]
fn an_error_shows_a_hundred_characters_of_a_record() {
    let long = record(16, &[&[200][..], &[b'x'; 200]].concat());
    let long = read([0x84, 0], [0, 0, 1], &long).unwrap_or_else(|error| panic!("{error:?}"));
    let rules = rules(
        "validate_additional_rrs",
        &[("fail_if_matches_regexp", &["xx"])],
    );
    let mismatch = rules.mismatch(&long, &Steps::none()).expect("it matches");
    let shortened = mismatch
        .strip_prefix("additional record ")
        .and_then(|rest| rest.strip_suffix("… matches \"xx\""))
        .expect("the beginning of the record");
    assert_eq!(shortened.len(), 100);
}

fn read_settings(keys: &[(&str, &str)]) -> Option<Settings> {
    let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), Node::Text((*value).to_owned()));
    let file = Node::Map(keys.iter().map(entry).collect());
    let problems = Problems::default();
    let mut fields = Fields::from_node(&file, Path::default(), &problems)?;
    Settings::read(&mut fields).filter(|_| problems.count() == 0)
}

#[test]
fn a_query_name_is_absolute_and_may_have_escapes() {
    for (text, expected) in [
        ("example.com", Some("example.com.")),
        ("Example.com.", Some("Example.com.")),
        (".", Some(".")),
        ("_sip._tcp.example.com", Some("_sip._tcp.example.com.")),
        ("*.example.com", Some("*.example.com.")),
        (
            "0/25.2.0.192.in-addr.arpa",
            Some("0/25.2.0.192.in-addr.arpa."),
        ),
        (r"a\.b\032c\\.example", Some(r"a\.b\ c\\.example.")),
        (r"\195\164.example", Some(r"\195\164.example.")),
        ("bücher.example", Some("xn--bcher-kva.example.")),
        ("", None),
        ("..", None),
        ("a..b", None),
        (".a", None),
        ("a b", None),
        ("https://example.com/", None),
        (r"a\", None),
        (r"a\25", None),
        (r"a\256", None),
    ] {
        let read =
            read_settings(&[("target", "127.0.0.1"), ("query_name", text)]).map(|settings| {
                let mut name = String::new();
                presentation::write_name(&settings.question.name, &mut name);
                name
            });
        assert_eq!(read.as_deref(), expected, "{text:?}");
    }
    let long = "a".repeat(64);
    assert!(read_settings(&[("target", "::1"), ("query_name", &long)]).is_none());
    let long = "a.".repeat(130);
    assert!(read_settings(&[("target", "::1"), ("query_name", &long)]).is_none());
}

#[test]
fn the_default_port_follows_the_transport() {
    for (keys, expected) in [
        (&[("target", "ns.test")][..], "ns.test:53"),
        (
            &[("target", "::1"), ("transport_protocol", "tcp")],
            "[::1]:53",
        ),
        (
            &[("target", "ns.test"), ("transport_protocol", "tls")],
            "ns.test:853",
        ),
        (&[("target", "ns.test:5353")], "ns.test:5353"),
        (
            &[("target", "https://ns.test/dns-query?key=secret")],
            "https://ns.test/dns-query",
        ),
    ] {
        let keys = [keys, &[("query_name", ".")]].concat();
        let server = read_settings(&keys).expect("good settings").server;
        assert_eq!(server.to_string(), expected);
    }
}

#[test]
fn a_query_follows_the_settings() {
    let question = question();
    let encoded = question.encode(true, true);
    let hex = encoded.bytes[2..]
        .iter()
        .fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes all");
            hex
        });
    // RD and AD; one question, and OPT with 1232 bytes.
    let expected = "01200001000000000001076578616d706c65047465737400\
                    00ff0001000029 04d0 00000000 0000";
    assert_eq!(hex, expected.replace(' ', ""));
    let plain = question.encode(false, false);
    assert_eq!(plain.bytes[2..12], [0, 0x20, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(plain.with_zero_id().bytes[..2], [0, 0]);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let question = question();
        let encoded = question.encode(true, true);
        let _ = encoded.decode_response(bytes.clone());
        let _ = encoded.decode_response([&encoded.bytes[..2], &bytes].concat());
        let _ = encoded.decode_response(response(&encoded, [0x84, 0], [3, 2, 1], &bytes));
    }

    #[test]
    fn any_record_data_is_read_without_panic(
        kind in prop::sample::select(WRITTEN.iter().map(|row| row.0).chain([41, 46, 47, 50, 51, 65400]).collect::<Vec<_>>()),
        data in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let text = written(kind, &data);
        prop_assert!(text.is_none_or(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))));
    }
}
