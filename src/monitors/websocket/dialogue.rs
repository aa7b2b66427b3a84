//! `query_response`: what is expected of the messages that come, and what is sent in turn.

use tokio_tungstenite::tungstenite::Message;

use crate::value::{CaughtLabel, Fields, Pattern, Secret};

/// One entry: a message that is waited for, and one that is sent.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What a message must match; those before it that do not are skipped.
    pub expect: Option<Pattern>,
    /// What is told of the message that matches.
    pub labels: Vec<CaughtLabel>,
    /// What is sent then; a template where there is something to expect.
    pub send: Option<Secret>,
}

/// What a message leads to that is as expected.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub captured: Vec<(String, String)>,
    pub send: Option<Message>,
}

/// What is sent or told would be longer than what a peer may make of a template.
#[derive(Debug, PartialEq)]
pub(super) struct TooLong;

impl Turn {
    pub(super) fn read(mut fields: Fields<'_>) -> Self {
        let turn = Self {
            expect: fields.optional_pattern("expect"),
            labels: fields.list_of("labels", CaughtLabel::read),
            send: fields.optional("send"),
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
            let captured = self.labels.iter().map(|label| label.of(&caught));
            let send = self.send.as_ref();
            let send =
                send.map(|template| caught.expand(template.reveal().as_bytes()).ok_or(TooLong));
            Ok(Reply {
                captured: captured.collect::<Option<_>>().ok_or(TooLong)?,
                send: send.transpose()?.map(message_of),
            })
        };
        Some(expand_all())
    }
}

/// A message of text, or of bytes where they are no text.
fn message_of(bytes: Vec<u8>) -> Message {
    match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Node, Path, Problems};

    fn turn(expect: &str, labels: &[(&str, &str)], send: Option<&str>) -> Turn {
        let map = |entries: &[(&str, &str)]| {
            let text = |text: &str| Node::Text(text.to_owned());
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| ((*key).to_owned(), text(value)));
            Node::Map(entries.collect())
        };
        let labels = labels
            .iter()
            .map(|(name, value)| map(&[("name", name), ("value", value)]));
        let Node::Map(mut entries) = map(&[("expect", expect)]) else {
            unreachable!("it was made as one");
        };
        entries.push(("labels".to_owned(), Node::List(labels.collect())));
        let send = send.map(|send| ("send".to_owned(), Node::Text(send.to_owned())));
        entries.extend(send);
        let (node, problems) = (Node::Map(entries), Problems::default());
        let fields = Fields::open(&node, Path::default(), &problems);
        Turn::read(fields.expect("a mapping"))
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
        assert_eq!(label, [("all".to_owned(), "x".repeat(200))]);
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
