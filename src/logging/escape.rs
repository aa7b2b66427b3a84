//! Escaping that keeps every event on one line: control characters, and those that reorder or break text, never
//! reach the output as they are, so that a target's answer cannot forge lines or drive a terminal.

use std::fmt::{self, Write};

use crate::text::{is_unsafe, write_escape};

/// Passes text on with unsafe characters in JSON's escapes, which logfmt readers know as well.
pub(super) struct Escaped<'a, W> {
    out: &'a mut W,
    inside_quotes: bool,
}

impl<'a, W: Write> Escaped<'a, W> {
    /// For text that stands alone, where quotes and backslashes mean nothing.
    pub(super) fn bare(out: &'a mut W) -> Self {
        Self {
            out,
            inside_quotes: false,
        }
    }

    /// For text between double quotes, where `"` and `\` are escaped too.
    pub(super) fn inside_quotes(out: &'a mut W) -> Self {
        Self {
            out,
            inside_quotes: true,
        }
    }

    fn passes(&self, c: char) -> bool {
        !(is_unsafe(c) || self.inside_quotes && matches!(c, '"' | '\\'))
    }

    fn write_escape(&mut self, c: char) -> fmt::Result {
        match c {
            '"' => self.out.write_str("\\\""),
            '\\' => self.out.write_str("\\\\"),
            c => write_escape(self.out, c),
        }
    }
}

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_ordinary =
            |b: u8| matches!(b, b' '..=b'~') && !(self.inside_quotes && matches!(b, b'"' | b'\\'));
        if text.bytes().all(is_ordinary) {
            return self.out.write_str(text);
        }
        let mut rest = text;
        while let Some(index) = rest.find(|c| !self.passes(c)) {
            self.out.write_str(&rest[..index])?;
            let mut after = rest[index..].chars();
            if let Some(c) = after.next() {
                self.write_escape(c)?;
            }
            rest = after.as_str();
        }
        self.out.write_str(rest)
    }
}

/// Writes the value of a `key=value` pair: quoted if it would be ambiguous.
pub(super) fn write_value(out: &mut impl Write, text: &str) -> fmt::Result {
    if text.is_empty() || text.contains(needs_quoting) {
        write_quoted(out, text)
    } else {
        out.write_str(text)
    }
}

/// Writes a text between double quotes.
pub(super) fn write_quoted(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    Escaped::inside_quotes(out).write_str(text)?;
    out.write_char('"')
}

fn needs_quoting(c: char) -> bool {
    match c {
        '"' | '=' => true,
        '!'..='~' => false,
        _ => c.is_whitespace() || is_unsafe(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, bare: &str, value: &str) {
        let mut out = String::new();
        Escaped::bare(&mut out)
            .write_str(text)
            .expect("a String takes all");
        assert_eq!(out, bare, "{text:?} alone");
        out.clear();
        write_value(&mut out, text).expect("a String takes all");
        assert_eq!(out, value, "{text:?} as a value");
    }

    #[test]
    fn a_value_is_quoted_only_if_it_is_ambiguous() {
        check("", "", r#""""#);
        check("GET", "GET", "GET");
        check("http://a/b?c", "http://a/b?c", "http://a/b?c");
        check("a=b", "a=b", r#""a=b""#);
        check("two words", "two words", r#""two words""#);
        check(r#"say "hi""#, r#"say "hi""#, r#""say \"hi\"""#);
        check(r"C:\new", r"C:\new", r"C:\new");
        check(r"C:\new dir", r"C:\new dir", r#""C:\\new dir""#);
        check("müller", "müller", "müller");
        check("a\u{a0}b", "a\u{a0}b", "\"a\u{a0}b\"");
    }

    #[test]
    fn control_characters_are_escaped() {
        check("a\nb", r"a\nb", r#""a\nb""#);
        check("a\r\tb", r"a\r\tb", r#""a\r\tb""#);
        check("\u{1b}[31m", r"\u001b[31m", r#""\u001b[31m""#);
        check("\0\u{7f}", r"\u0000\u007f", r#""\u0000\u007f""#);
        check("\u{85}\u{9b}", r"\u0085\u009b", r#""\u0085\u009b""#);
        check("\u{2028}\u{2029}", r"\u2028\u2029", r#""\u2028\u2029""#);
        check("\u{202e}\u{2066}", r"\u202e\u2066", r#""\u202e\u2066""#);
        check(
            "ä\u{61c}\u{200f}ü",
            r"ä\u061c\u200fü",
            r#""ä\u061c\u200fü""#,
        );
    }

    proptest! {
        #[test]
        fn a_quoted_text_reads_back_as_json(text in any::<String>()) {
            let mut out = String::new();
            write_quoted(&mut out, &text).expect("a String takes all");
            prop_assert!(!out.contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&out).expect("valid JSON"), text);
        }
    }
}
