//! `query_response` of WebSockets: expected messages and replies.

use tokio_tungstenite::tungstenite::Message;

use crate::{
    offload::CancelFlag,
    value::{CaptureLabel, Fields, Pattern, Secret},
};

/// One entry: a message that is waited for, and one that is sent.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pattern that a message must match; those before it that do not are skipped.
    pub expect: Option<Pattern>,
    /// Patterns of messages that end the check immediately.
    pub reject: Vec<Pattern>,
    /// The labels made of the message that matches.
    pub labels: Vec<CaptureLabel>,
    /// The message that is sent then; a template if there is something to expect.
    pub send: Option<Secret>,
}

/// The consequence of one message.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It does not match.
    Skip,
    /// It matches a pattern of `reject`.
    Reject(Pattern),
    /// It matches `expect`.
    Match(Result<Reply, ExpansionTooLong>),
}

/// The consequences of a message that matches `expect`.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub captured: Vec<(String, String)>,
    pub send: Option<Message>,
}

/// The expansion of a template is longer than the limit.
#[derive(Debug, PartialEq)]
pub(super) struct ExpansionTooLong;

impl Entry {
    pub(super) fn read(mut fields: Fields<'_>) -> Self {
        let entry = Self {
            expect: fields.optional_pattern("expect"),
            reject: fields.patterns("reject"),
            labels: fields.list_of("labels", CaptureLabel::read),
            send: fields.optional("send"),
        };
        let given = |fields: &mut Fields<'_>, key| fields.node(key).is_some();
        let expects = given(&mut fields, "expect");
        if !expects && !given(&mut fields, "send") {
            fields.add_problem("empty step", "expect, send or both");
        }
        if !expects && !entry.reject.is_empty() {
            fields.add_value_problem("reject", "reject needs expect", "expect in the same step");
        }
        if !expects && !entry.labels.is_empty() {
            let wrong = "labels need expect";
            fields.add_value_problem("labels", wrong, "expect in the same step");
        }
        fields.reject_unknown_keys();
        entry
    }

    /// The reply of an entry without `expect`.
    pub(super) fn opening(&self) -> Reply {
        Reply {
            captured: Vec::new(),
            send: self.send.as_ref().map(|text| Message::text(text.reveal())),
        }
    }

    /// An upper estimate of the steps that a message of so many bytes takes to be judged.
    pub(super) fn cost(&self, length: usize) -> u64 {
        let patterns = self.reject.iter().chain(&self.expect);
        let steps: u64 = patterns.map(Pattern::steps_per_byte).sum();
        steps.saturating_mul(u64::try_from(length).unwrap_or(u64::MAX))
    }

    /// The consequence of `message`. The search ends early once `cancel` is set.
    pub(super) fn judge(&self, message: &[u8], cancel: &CancelFlag) -> Verdict {
        // The result of a cancelled search is not used.
        let matches = |pattern: &&Pattern| {
            let matches = pattern.matches_unless(message, || cancel.is_set());
            matches.unwrap_or_default()
        };
        if let Some(pattern) = self.reject.iter().find(matches) {
            return Verdict::Reject(pattern.clone());
        }
        let expect = self.expect.as_ref().filter(matches);
        let Some(captures) = expect.and_then(|expect| expect.captures(message)) else {
            return Verdict::Skip;
        };
        let expand_all = || {
            let labels = self.labels.iter().map(|label| label.render(&captures));
            let send = self.send.as_ref();
            let expand = |template: &Secret| {
                let expanded = captures.expand(template.reveal().as_bytes());
                expanded.ok_or(ExpansionTooLong)
            };
            let send = send.map(expand).transpose()?;
            Ok(Reply {
                captured: labels.collect::<Option<_>>().ok_or(ExpansionTooLong)?,
                send: send.map(to_message),
            })
        };
        Verdict::Match(expand_all())
    }
}

/// A message of text, or of bytes if they are not UTF-8.
fn to_message(bytes: Vec<u8>) -> Message {
    match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Node, Path, Problems};

    fn entry(expect: &str, labels: &[(&str, &str)], send: Option<&str>) -> Entry {
        let map = |entries: &[(&str, &str)]| {
            let text = |text: &str| Node::Text(text.to_owned());
            let entries = entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), text(value)));
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
        let fields = Fields::from_node(&node, Path::default(), &problems);
        Entry::read(fields.expect("a mapping"))
    }

    #[track_caller]
    fn reply(entry: &Entry, message: &[u8]) -> Result<Reply, ExpansionTooLong> {
        match entry.judge(message, &CancelFlag::default()) {
            Verdict::Match(reply) => reply,
            other => panic!("no match: {other:?}"),
        }
    }

    #[track_caller]
    fn sent(entry: &Entry, message: &[u8]) -> Option<Message> {
        reply(entry, message).expect("it is short").send
    }

    #[test]
    fn captures_are_expanded_in_messages() {
        let pong = entry("^ping (?<n>.*)$", &[], Some("pong ${1} $n $$1 ${9}!"));
        assert_eq!(
            pong.judge(b"no ping", &CancelFlag::default()),
            Verdict::Skip
        );
        assert_eq!(sent(&pong, b"ping 7"), Some(Message::text("pong 7 7 $1 !")));
    }

    #[test]
    fn binary_messages_are_sent_unchanged() {
        let echo = entry("(?s)^(.*)$", &[], Some("${1}"));
        assert_eq!(sent(&echo, b"\xff"), Some(Message::binary(&b"\xff"[..])));
        assert_eq!(sent(&echo, b"text"), Some(Message::text("text")));
        assert_eq!(sent(&entry("", &[], None), b"x"), None);
    }

    #[test]
    fn a_reply_is_bounded_whatever_the_peer_says() {
        let many = "${1}".repeat(5000);
        let long = vec![b'x'; 1 << 19];
        assert_eq!(
            reply(&entry("(x*)", &[], Some(&many)), &long),
            Err(ExpansionTooLong)
        );
        let labels = [("all", &*many)];
        assert_eq!(
            reply(&entry("(x*)", &labels, None), &long),
            Err(ExpansionTooLong)
        );
        let label = reply(&entry("(x*)", &[("all", "$1")], None), &long)
            .expect("it is short")
            .captured;
        assert_eq!(label, [("all".to_owned(), "x".repeat(200))]);
    }

    #[test]
    fn templates_need_expect() {
        let opening = Entry {
            expect: None,
            ..entry("", &[], Some("cost: $1"))
        };
        assert_eq!(opening.opening().send, Some(Message::text("cost: $1")));
    }
}
