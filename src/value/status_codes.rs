//! Sets of HTTP status codes.

use std::{fmt, ops::RangeInclusive};

use http::StatusCode;

use super::{FromNode, Node, node::unexpected_kind};

/// One item of `valid_status_codes`: a code, a class such as `3xx`, or a range such as `500-503`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCodes(RangeInclusive<u16>);

impl StatusCodes {
    /// The default.
    pub(crate) const SUCCESSFUL: Self = Self(200..=299);

    /// Returns true if all codes are redirects.
    #[must_use]
    pub(crate) fn are_redirects(&self) -> bool {
        *self.0.start() >= 300 && *self.0.end() <= 399
    }

    /// Returns true if `status` is included.
    #[must_use]
    pub fn contains(&self, status: StatusCode) -> bool {
        self.0.contains(&status.as_u16())
    }
}

impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last {
            write!(f, "{first}")
        } else if first % 100 == 0 && *last == first + 99 {
            write!(f, "{}xx", first / 100)
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

impl FromNode for StatusCodes {
    const EXPECTED: &'static str = "a code such as 200, a class such as \"3xx\" or a range such as \"500-503\", within 100 to 999";

    fn from_node(node: &Node) -> Result<Self, String> {
        let range = match node {
            Node::Int(code) => u16::try_from(*code).ok().map(|code| code..=code),
            Node::Text(text) => parse(text),
            _ => return Err(unexpected_kind(node)),
        };
        range
            .filter(|range| *range.start() >= 100 && *range.end() <= 999 && !range.is_empty())
            .map(Self)
            .ok_or_else(|| match node {
                Node::Int(code) => format!("invalid status code {code}"),
                Node::Text(text) => format!("invalid status codes {text:?}"),
                _ => unexpected_kind(node),
            })
    }
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(node: &Node, expected: Option<(u16, u16)>) {
        let read = StatusCodes::from_node(node)
            .ok()
            .map(|codes| (*codes.0.start(), *codes.0.end()));
        assert_eq!(read, expected, "{node:?}");
    }

    #[test]
    fn codes_classes_and_ranges_are_read() {
        check(&Node::Int(200), Some((200, 200)));
        check(&Node::Text("3xx".into()), Some((300, 399)));
        check(&Node::Text("500-503".into()), Some((500, 503)));
        check(&Node::Text("404".into()), Some((404, 404)));
        check(&Node::Int(999), Some((999, 999)));
        check(&Node::Text("9xx".into()), Some((900, 999)));
        for text in [
            "", "xx", "0xx", "10xx", "99", "1000", "503-500", "500-", "-500", "2x", "70000", "two",
        ] {
            check(&Node::Text(text.into()), None);
        }
        check(&Node::Int(99), None);
        check(&Node::Int(1_000_000), None);
        check(&Node::Bool(true), None);
    }

    #[test]
    fn a_set_is_shown_as_it_is_written() {
        for text in ["200", "3xx", "500-503"] {
            let codes = StatusCodes::from_node(&Node::Text(text.into())).expect("a set");
            assert_eq!(codes.to_string(), text);
        }
    }
}
