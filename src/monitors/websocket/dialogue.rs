//! `query_response`: what is expected of the messages that come, and what is sent in turn.

use std::collections::HashSet;

use regex::bytes::Captures;
use tokio_tungstenite::tungstenite::Message;

use crate::value::{Fields, FromNode, Node, Pattern, Secret};

/// One entry: a message that is waited for, and one that is sent.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What a message must match; those before it that do not are skipped.
    pub expect: Option<Pattern>,
    /// What is told of the message that matches: labels, and templates of their values.
    pub labels: Vec<(String, String)>,
    /// What is sent then; a template where there is something to expect.
    pub send: Option<Secret>,
}

/// What a message leads to that is as expected.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub captured: Vec<(String, String)>,
    pub send: Option<Message>,
}

/// What is sent would be longer than [`LONGEST_SEND`].
#[derive(Debug, PartialEq)]
pub(super) struct TooLong;

/// Bytes that a template may become: a peer has a say in how many.
pub(super) const LONGEST_SEND: usize = 1 << 20;

/// Characters of a label's value.
const LONGEST_VALUE: usize = 100;

impl Turn {
    pub(super) fn read(mut fields: Fields<'_>) -> Self {
        let expect = fields
            .node("expect")
            .and_then(|_| fields.required_pattern("expect"));
        let turn = Self {
            labels: fields.list_of("labels", read_label),
            send: fields.optional("send"),
            expect,
        };
        let given = |fields: &mut Fields<'_>, key| fields.node(key).is_some();
        let expects = given(&mut fields, "expect");
        if !expects && !given(&mut fields, "send") {
            fields.wrong("neither expects nor sends anything", "expect, send or both");
        }
        if !expects && !turn.labels.is_empty() {
            let wrong = "are there without expect";
            fields.wrong_value("labels", wrong, "expect beside it, which they tell of");
        }
        fields.finish();
        turn
    }

    /// Adds a problem for each label that stands twice in the whole of a dialogue.
    pub(super) fn check_labels(dialogue: &[Self], fields: &Fields<'_>) {
        let mut names = HashSet::new();
        for (name, _) in dialogue.iter().flat_map(|turn| &turn.labels) {
            if !names.insert(name) {
                let wrong = format_args!("has the label {name} twice");
                fields.wrong_value("query_response", wrong, "each label once");
            }
        }
    }

    /// What is sent without waiting for a message.
    pub(super) fn opening(&self) -> Reply {
        Reply {
            captured: Vec::new(),
            send: self.send.as_ref().map(|text| Message::text(text.reveal())),
        }
    }

    /// What `message` leads to; `None` where it is not as `expect` has it.
    pub(super) fn respond(&self, message: &[u8]) -> Option<Result<Reply, TooLong>> {
        let caught = self.expect.as_ref()?.captures(message)?;
        let expand_all = || {
            let labels = self.labels.iter();
            let captured = labels.map(|(name, template)| {
                let value = expand(template, &caught)?;
                let value = String::from_utf8_lossy(&value);
                Ok((name.clone(), value.chars().take(LONGEST_VALUE).collect()))
            });
            let send = self.send.as_ref();
            let send = send.map(|template| expand(template.reveal(), &caught));
            Ok(Reply {
                captured: captured.collect::<Result<_, _>>()?,
                send: send.transpose()?.map(message_of),
            })
        };
        Some(expand_all())
    }
}

/// `template` with what was caught in the place of `${1}` and `${name}`.
fn expand(template: &str, caught: &Captures<'_>) -> Result<Vec<u8>, TooLong> {
    let groups = caught.iter().flatten();
    let longest = groups.map(|group| group.len()).max().unwrap_or_default();
    let references = template.bytes().filter(|b| *b == b'$').count();
    let bound = references
        .saturating_mul(longest)
        .saturating_add(template.len());
    if bound > LONGEST_SEND {
        return Err(TooLong);
    }
    let mut expanded = Vec::new();
    caught.expand(template.as_bytes(), &mut expanded);
    Ok(expanded)
}

/// A message of text, or of bytes where they are no text.
fn message_of(bytes: Vec<u8>) -> Message {
    match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

/// The name of a label that is told of a check.
struct LabelName(String);

impl FromNode for LabelName {
    const ALLOWED: &'static str =
        "letters, digits and _, no digit and no __ first, and not monitor";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !starts || !name.bytes().all(allowed) {
            return Err(format!("{name:?} is no label name"));
        }
        if name.starts_with("__") || name == "monitor" {
            return Err(format!("{name:?} is reserved"));
        }
        Ok(Self(name))
    }
}

fn read_label(mut fields: Fields<'_>) -> Option<(String, String)> {
    let name = fields.required::<LabelName>("name");
    let value = fields.required("value");
    fields.finish();
    name.map(|LabelName(name)| name).zip(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(expect: &str, labels: &[(&str, &str)], send: Option<&str>) -> Turn {
        let pattern = Pattern::from_node(&Node::Text(expect.to_owned()));
        Turn {
            expect: Some(pattern.expect("a pattern")),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            send: send.map(|text| Secret::from(text.to_owned())),
        }
    }

    fn respond(turn: &Turn, message: &[u8]) -> Option<Result<Reply, TooLong>> {
        turn.respond(message)
    }

    fn sent(turn: &Turn, message: &[u8]) -> Option<Message> {
        let reply = respond(turn, message).expect("it matches");
        reply.expect("it is short").send
    }

    #[test]
    fn what_was_caught_stands_in_what_is_sent() {
        let pong = turn("^ping (?<n>.*)$", &[], Some("pong ${1} $n $$1 ${9}!"));
        assert_eq!(respond(&pong, b"no ping"), None);
        assert_eq!(sent(&pong, b"ping 7"), Some(Message::text("pong 7 7 $1 !")));
    }

    #[test]
    fn what_is_no_text_is_sent_as_it_is() {
        let echo = turn("(?s-u)^(.*)$", &[], Some("${1}"));
        assert_eq!(sent(&echo, b"\xff"), Some(Message::binary(&b"\xff"[..])));
        assert_eq!(sent(&echo, b"text"), Some(Message::text("text")));
        assert_eq!(sent(&turn("", &[], None), b"x"), None);
    }

    #[test]
    fn a_reply_is_bounded_whatever_the_peer_says() {
        let many = "${1}".repeat(5000);
        let long = vec![b'x'; 1 << 19];
        assert_eq!(
            respond(&turn("(x*)", &[], Some(&many)), &long),
            Some(Err(TooLong))
        );
        let labels = [("all", &*many)];
        assert_eq!(
            respond(&turn("(x*)", &labels, None), &long),
            Some(Err(TooLong))
        );
        let label = respond(&turn("(x*)", &[("all", "$1")], None), &long);
        let label = label.expect("it matches").expect("it is short").captured;
        assert_eq!(label, [("all".to_owned(), "x".repeat(100))]);
    }

    #[test]
    fn nothing_is_expanded_where_nothing_is_expected() {
        let opening = Turn {
            expect: None,
            ..turn("", &[], Some("cost: $1"))
        };
        assert_eq!(opening.opening().send, Some(Message::text("cost: $1")));
    }
}
