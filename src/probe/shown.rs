//! Shows a module as YAML, with secrets hidden.

use std::fmt::Write;

use url::Url;

use crate::value::{HttpUrl, Node, TAKEN_OUT};

/// In place of a secret, as Prometheus has it.
const HIDDEN: &str = "<secret>";

/// Keys whose value is, or may hold, a secret.
const SECRET: [&str; 13] = [
    "bearer_token",
    "body",
    "ca",
    "cert",
    "client_certificate_key",
    "client_secret",
    "credentials",
    "key",
    "password",
    "secrets",
    "send",
    "send_bytes",
    "values",
];

/// Mappings of names to values that may be secrets.
const SECRET_VALUES: [&str; 6] = [
    "claims",
    "endpoint_params",
    "headers",
    "metadata",
    "proxy_connect_header",
    "http_headers",
];

/// The header whose value is shown: it says which host is meant.
const HOST: &str = "host";

/// Lines of `node`, each with two spaces before it for each level.
pub(super) fn yaml(node: &Node) -> String {
    let mut text = String::new();
    write_node(node, 0, Hiding::None, &mut text);
    text
}

/// Which values are hidden.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hiding {
    None,
    All,
    /// All but that of the header Host.
    Headers,
}

/// Writes `node`, which stands behind a key, or at the top.
fn write_node(node: &Node, level: usize, hiding: Hiding, text: &mut String) {
    match node {
        Node::Map(entries) => {
            let entries = entries.iter().filter(|(key, _)| key != TAKEN_OUT);
            for (key, value) in entries {
                let hiding = hiding_of(key, hiding);
                indent(level, text);
                let _ = write!(text, "{}:", quoted(key));
                write_value(value, level + 1, hiding, key, text);
            }
        }
        Node::List(items) => {
            for item in items {
                indent(level, text);
                text.push('-');
                match item {
                    Node::Map(_) | Node::List(_) => {
                        text.push('\n');
                        write_node(item, level + 1, hiding, text);
                    }
                    item => write_value(item, level + 1, hiding, "", text),
                }
            }
        }
        scalar => write_value(scalar, level, hiding, "", text),
    }
}

fn hiding_of(key: &str, outer: Hiding) -> Hiding {
    match outer {
        Hiding::All => Hiding::All,
        Hiding::Headers if key.eq_ignore_ascii_case(HOST) => Hiding::None,
        // The names of files are no secret.
        Hiding::Headers if key == "files" => Hiding::None,
        Hiding::Headers => Hiding::Headers,
        Hiding::None if SECRET_VALUES.contains(&key) => Hiding::Headers,
        Hiding::None if SECRET.contains(&key) => Hiding::All,
        Hiding::None => Hiding::None,
    }
}

/// Writes `value` behind its key, with the line's end.
fn write_value(value: &Node, level: usize, hiding: Hiding, key: &str, text: &mut String) {
    let shown = match value {
        Node::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Node::List(items) if items.is_empty() => "[]".to_owned(),
        Node::Map(_) | Node::List(_) => {
            text.push('\n');
            return write_node(value, level, hiding, text);
        }
        Node::Null => {
            text.push('\n');
            return;
        }
        Node::FromEnvironment(_) => HIDDEN.to_owned(),
        _ if hiding != Hiding::None => HIDDEN.to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Int(number) => number.to_string(),
        Node::Float(number) => number.to_string(),
        Node::Text(value) if key.ends_with("url") => quoted(&redacted(value)),
        Node::Text(value) => quoted(value),
        Node::Binary(bytes) => format!("({} bytes)", bytes.len()),
    };
    let _ = writeln!(text, " {shown}");
}

/// `url` without userinfo and query.
fn redacted(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => HttpUrl::redacted(&url),
        Err(_) if url.contains(['@', '?']) => HIDDEN.to_owned(),
        Err(_) => url.to_owned(),
    }
}

fn indent(level: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", level));
}

/// `value` in quotes, unless YAML reads it as the same text without them.
fn quoted(value: &str) -> String {
    let is_plain = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !matches!(
            &*value.to_ascii_lowercase(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_plain {
        value.to_owned()
    } else {
        serde_json::to_string(value).unwrap_or_else(|_| HIDDEN.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::yaml::parse;

    #[test]
    fn no_secret_is_shown() {
        let module = parse(
            "prober: http\n\
             http:\n\
             \x20 valid_status_codes: [200, 404]\n\
             \x20 headers: {X-Key: hunter2, Host: www.example.com}\n\
             \x20 http_headers: {X-A: {secrets: [hunter2], files: [a.txt]}}\n\
             \x20 basic_auth: {username: me, password: hunter2}\n\
             \x20 body: hunter2\n\
             \x20 proxy_url: http://me:hunter2@proxy.example:3128\n\
             \x20 tls_config: {key: hunter2, server_name: a.example}\n\
             tcp:\n\
             \x20 query_response: [{send: hunter2, expect: '^OK'}]\n\
             grpc: {metadata: {a: [hunter2]}}\n",
        );
        let shown = yaml(&module.expect("YAML"));
        assert!(!shown.contains("hunter2"), "{shown}");
        for part in ["www.example.com", "a.txt", "200", "username: me", "\"^OK\""] {
            assert!(shown.contains(part), "{part} is missing in {shown}");
        }
        let again = parse(&shown).expect("it is YAML again");
        assert_eq!(yaml(&again), shown);
    }
}
