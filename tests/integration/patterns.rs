//! Regular expressions have RE2's syntax and meaning wherever they stand.

use serde_json::{Value, json};

use crate::support::{
    lab::Lab,
    report::assert_success,
    server::{Server, Step},
};

/// Checks a web server that answers with this body, and with it in the header `x-text`.
async fn check_http(text: &[u8], keys: Value) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", text.len());
    let answer = [head.as_bytes(), b"x-text: ", text, b"\r\n\r\n", text].concat();
    let server = Server::start([Step::Request, Step::send(answer)]);
    let mut monitor = keys;
    monitor["url"] = json!(server.http("/"));
    assert_success(&Lab::new().check(monitor).await);
}

/// Each pattern matches its text in a body, in a header and in a line that a peer says.
#[tokio::test]
async fn a_pattern_means_the_same_everywhere() {
    for (pattern, text) in [
        (r"\<h1\>Error", &b"<html><h1>Error</h1>"[..]),
        ("^Zustand: gest.rt$", b"Zustand: gest\xf6rt"),
        ("^Zustand: gest.rt$", "Zustand: gestört".as_bytes()),
        ("^[^,]+,K.ln$", b"M\xfcnchen,K\xf6ln"),
        (r#"{"status":"DOWN"}"#, br#"{"status":"DOWN"}"#),
        (r"\Q1+1\E=\062$", b"1+1=2"),
        (r"^[\w.]{1,255}$", b"a.b"),
    ] {
        check_http(
            text,
            json!({ "fail_if_body_not_matches_regexp": [pattern] }),
        )
        .await;
        check_http(
            text,
            json!({ "fail_if_header_not_matches": [{ "header": "x-text", "regexp": pattern }] }),
        )
        .await;
        let line = [text, b"\r\n"].concat();
        let server = Server::start([Step::send(line), Step::Hang]);
        let monitor = json!({
            "type": "tcp",
            "target": server.address.to_string(),
            "query_response": [{ "expect": pattern }],
        });
        assert_success(&Lab::new().check(monitor).await);
    }
}
