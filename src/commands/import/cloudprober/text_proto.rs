//! The text format of protocol buffers (<https://protobuf.dev/reference/protobuf/textformat-spec/>).
//!
//! A message becomes a mapping in which a repeated field stands as often as it was written.

use super::includes::{Located, Origin};
use crate::{commands::import::sources::Positions, value::Node};

/// Messages within messages.
const MAX_DEPTH: usize = 50;

/// Fields and values in all.
const MAX_VALUES: usize = 200_000;

/// A problem with a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The byte where it is.
    pub at: usize,
    /// The problem.
    pub message: String,
}

/// The message that `text` is, with the position of each field.
///
/// # Errors
/// The first problem.
pub(super) fn parse(text: &str, located: &Located) -> Result<(Node, Positions), Problem> {
    let mut parser = Parser {
        text,
        at: 0,
        values: 0,
        positions: Positions::new(),
        located,
    };
    let entries = parser.message(None, &mut Vec::new())?;
    Ok((Node::Map(entries), parser.positions))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    values: usize,
    positions: Positions,
    located: &'t Located,
}

impl Parser<'_> {
    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Problem> {
        Err(Problem {
            at: self.at,
            message: message.into(),
        })
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// The next character that is neither white space nor in a comment.
    fn peek(&mut self) -> Option<char> {
        loop {
            let rest = self.rest();
            let next = rest.chars().next()?;
            if next == '#' {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if next.is_whitespace() {
                self.at += next.len_utf8();
            } else {
                return Some(next);
            }
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.at += wanted.len_utf8();
        }
        is_next
    }

    fn count(&mut self) -> Result<(), Problem> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return self.wrong(format!("too large: more than {MAX_VALUES} values"));
        }
        Ok(())
    }

    /// The fields up to `end`, or up to the end of the text.
    fn message(
        &mut self,
        end: Option<char>,
        path: &mut Vec<usize>,
    ) -> Result<Vec<(String, Node)>, Problem> {
        if path.len() > MAX_DEPTH {
            return self.wrong(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let mut entries = Vec::new();
        loop {
            while self.take(',') || self.take(';') {}
            match (self.peek(), end) {
                (None, None) => return Ok(entries),
                (None, Some(end)) => {
                    return self.wrong(format!("unexpected end: expected \"{end}\""));
                }
                (Some(next), Some(end)) if next == end => {
                    self.at += end.len_utf8();
                    return Ok(entries);
                }
                _ => {}
            }
            self.count()?;
            let Origin { file, position } = self.located.origin(self.at);
            path.push(entries.len());
            self.positions.insert(path.clone(), (file, position));
            let name = self.name()?;
            let has_colon = self.take(':');
            let node = self.value(has_colon, path)?;
            path.pop();
            entries.push((name, node));
        }
    }

    fn name(&mut self) -> Result<String, Problem> {
        if self.take('[') {
            let Some(end) = self.rest().find(']') else {
                return self.wrong("unexpected end: expected \"]\"");
            };
            let name = format!("[{}]", self.rest()[..end].trim());
            self.at += end + 1;
            return Ok(name);
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if end == 0 {
            return self.wrong("expected the name of a field");
        }
        let name = rest[..end].to_owned();
        self.at += end;
        Ok(name)
    }

    fn value(&mut self, has_colon: bool, path: &mut Vec<usize>) -> Result<Node, Problem> {
        self.count()?;
        match self.peek() {
            Some(open @ ('{' | '<')) => {
                self.at += 1;
                let end = if open == '{' { '}' } else { '>' };
                self.message(Some(end), path).map(Node::Map)
            }
            Some('[') => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.take(']') {
                    path.push(items.len());
                    if path.len() > MAX_DEPTH {
                        return self.wrong(format!("nested more than {MAX_DEPTH} levels deep"));
                    }
                    items.push(self.value(true, path)?);
                    path.pop();
                    if !self.take(',') && self.peek() != Some(']') {
                        return self.wrong("expected \",\" or \"]\"");
                    }
                }
                Ok(Node::List(items))
            }
            Some(_) if !has_colon => self.wrong("expected \":\" or \"{\""),
            Some('"' | '\'') => self.strings(),
            Some(_) => self.word(),
            None => self.wrong("unexpected end: expected a value"),
        }
    }

    /// A number, or a word such as `true` or that of an enumeration.
    fn word(&mut self) -> Result<Node, Problem> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        if word.is_empty() {
            return self.wrong("expected a value");
        }
        self.at += end;
        Ok(match word.as_str() {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            word => match (
                word.parse(),
                word.trim_end_matches(['f', 'F']).parse::<f64>(),
            ) {
                (Ok(number), _) => Node::Int(number),
                (_, Ok(number)) if word.starts_with(|c: char| !c.is_alphabetic()) => {
                    Node::Float(number)
                }
                _ => Node::Text(word.to_owned()),
            },
        })
    }

    /// Strings that stand behind each other are one.
    fn strings(&mut self) -> Result<Node, Problem> {
        let mut bytes = Vec::new();
        while let Some(quote @ ('"' | '\'')) = self.peek() {
            self.at += 1;
            self.string(quote, &mut bytes)?;
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) => Node::Text(text),
            Err(error) => Node::Binary(error.into_bytes()),
        })
    }

    fn string(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), Problem> {
        loop {
            // A template of Go may have quotes of its own.
            if let Some(end) = template_end(self.rest()) {
                bytes.extend(&self.rest().as_bytes()[..end]);
                self.at += end;
                continue;
            }
            let Some(c) = self.rest().chars().next() else {
                return self.wrong("unexpected end of a string");
            };
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(()),
                '\n' => return self.wrong("a string ends in the line in which it starts"),
                '\\' => self.escape(bytes)?,
                c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), Problem> {
        let Some(c) = self.rest().chars().next() else {
            return self.wrong("unexpected end of a string");
        };
        self.at += c.len_utf8();
        let byte = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' | '?' => c as u8,
            '0'..='7' => {
                self.at -= 1;
                let value = self.digits(8, 3);
                #[expect(clippy::cast_possible_truncation, reason = "as the format has it")]
                let byte = value as u8;
                byte
            }
            'x' | 'X' => {
                #[expect(clippy::cast_possible_truncation, reason = "two digits are a byte")]
                let byte = self.digits(16, 2) as u8;
                byte
            }
            'u' | 'U' => {
                let value = self.digits(16, if c == 'u' { 4 } else { 8 });
                let Some(c) = char::from_u32(value) else {
                    return self.wrong("not a character of Unicode");
                };
                bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.wrong("unknown escape in a string"),
        };
        bytes.push(byte);
        Ok(())
    }

    /// The number that the next digits are, at most `most` of them.
    fn digits(&mut self, radix: u32, most: usize) -> u32 {
        let mut value = 0_u32;
        for _ in 0..most {
            let digit = self.rest().chars().next().and_then(|c| c.to_digit(radix));
            let Some(digit) = digit else { break };
            value = value.wrapping_mul(radix).wrapping_add(digit);
            self.at += 1;
        }
        value
    }
}

/// The end of the template that `text` starts with, in the same line.
fn template_end(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("{{")?;
    let line = inner.split('\n').next()?;
    Some(line.find("}}")? + "{{}}".len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Node, Problem> {
        super::parse(text, &Located::default()).map(|(node, _)| node)
    }

    fn map(entries: &[(&str, Node)]) -> Node {
        let entries = entries.iter();
        Node::Map(
            entries
                .map(|(name, node)| ((*name).to_owned(), node.clone()))
                .collect(),
        )
    }

    #[test]
    fn a_message_becomes_a_mapping() {
        let text = r#"
            # A comment.
            probe {
              name: "a" 'b'  # joined
              type: HTTP, interval_msec: 10000;
              ratio: 0.5f  flag: true
              [ext.field]: < x: -1 >
            }
            probe: { name: "\x41\102\u00e4\n" list: [1, 2] body { } secret: "a{{ env "B" }}c" }
        "#;
        let first = map(&[
            ("name", Node::Text("ab".into())),
            ("type", Node::Text("HTTP".into())),
            ("interval_msec", Node::Int(10_000)),
            ("ratio", Node::Float(0.5)),
            ("flag", Node::Bool(true)),
            ("[ext.field]", map(&[("x", Node::Int(-1))])),
        ]);
        let second = map(&[
            ("name", Node::Text("ABä\n".into())),
            ("list", Node::List(vec![Node::Int(1), Node::Int(2)])),
            ("body", map(&[])),
            ("secret", Node::Text(r#"a{{ env "B" }}c"#.into())),
        ]);
        assert_eq!(parse(text), Ok(map(&[("probe", first), ("probe", second)])));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, message) in [
            ("a: {", 4, "unexpected end: expected \"}\""),
            ("a 5", 2, "expected \":\" or \"{\""),
            ("a: \"x", 5, "unexpected end of a string"),
            ("}", 0, "expected the name of a field"),
            ("a: [1 2]", 6, "expected \",\" or \"]\""),
            ("a: \"\\q\"", 6, "unknown escape in a string"),
        ] {
            let message = message.to_owned();
            assert_eq!(parse(text), Err(Problem { at, message }), "{text}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = parse(&"a{".repeat(100_000)).expect_err("too deep");
        assert!(deep.message.contains("levels deep"), "{deep:?}");
        let deep = parse(&format!("a:{}", "[".repeat(100_000))).expect_err("too deep");
        assert!(deep.message.contains("levels deep"), "{deep:?}");
        let large = parse(&"a: 1\n".repeat(300_000)).expect_err("too large");
        assert!(large.message.contains("too large"), "{large:?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c:{}<>\\[\\],;\"'\\\\#\n ä0-9x]{0,60}") {
            let _ = parse(&text);
        }
    }
}
