//! `query_response`, as blackbox_exporter has it, with the keys of TLS beside it.

use super::{read_min_validity, read_tls_config, refuse_tls_keys};
use crate::{
    net::query_response::{Entry, Expect, Settings},
    value::{Bytes, CaptureLabel, Fields, Line},
};

/// Reads `tls`, `tls_config`, `fail_if_certificate_expires_within` and `query_response`.
pub(crate) fn read_query_response(fields: &mut Fields<'_>) -> Settings {
    let tls = fields.optional("tls").unwrap_or(false);
    let tls_config = read_tls_config(fields);
    let entries = fields.list_of("query_response", |entry| Some(read_entry(entry)));
    let upgrades = entries.iter().filter(|entry| entry.starttls).count();
    if upgrades + usize::from(tls) > 1 {
        let wrong = "starts TLS more than once";
        fields.add_value_problem("query_response", wrong, "");
    }
    let settings = Settings {
        tls,
        min_validity: read_min_validity(fields),
        entries: entries.into(),
        tls_config,
    };
    if !settings.speaks_tls() {
        let wrong = "has no effect without TLS";
        refuse_tls_keys(fields, wrong, "tls or starttls");
    }
    let labels = settings.entries.iter().flat_map(|entry| &entry.labels);
    CaptureLabel::check_distinct(labels, fields);
    settings
}

fn read_entry(mut fields: Fields<'_>) -> Entry {
    let problems = fields.problems().count();
    fields.at_most_one(&["expect", "expect_bytes"]);
    fields.at_most_one(&["send", "send_bytes"]);
    let line = fields.optional_pattern("expect").map(Expect::Matching);
    let bytes = fields.optional("expect_bytes").map(Expect::Bytes);
    let expect = line.or(bytes);
    let reject = fields.patterns("reject");
    if !reject.is_empty() && fields.node("expect").is_none() {
        let wrong = "labels need expect";
        fields.add_value_problem("reject", wrong, "expect in the same step");
    }
    let labels: Vec<_> = fields.list_of("labels", CaptureLabel::read);
    if !labels.is_empty() && fields.node("expect").is_none() {
        let wrong = "has no effect without expect";
        fields.add_value_problem("labels", wrong, "expect in the same step");
    }
    // As blackbox_exporter has it, a text is a line; its end is the user's own where it is another.
    let line = fields
        .optional::<Line>("send")
        .map(|Line(bytes)| Bytes(bytes));
    let bytes = fields.optional("send_bytes");
    let send = line.or(bytes);
    let starttls = fields.optional("starttls").unwrap_or(false);
    let is_sound = fields.problems().count() == problems;
    if is_sound && expect.is_none() && send.is_none() && !starttls {
        fields.add_problem(
            "empty step",
            "expect, expect_bytes, send, send_bytes or starttls",
        );
    }
    fields.reject_unknown_keys();
    Entry {
        expect,
        reject,
        labels,
        send,
        starttls,
    }
}
