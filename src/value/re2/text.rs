//! Decodes bytes for expressions: each byte that is not part of valid UTF-8 is one U+FFFD.

use std::{borrow::Cow, ops::Range};

/// Bytes that it takes to write U+FFFD.
const REPLACEMENT_BYTES: usize = char::REPLACEMENT_CHARACTER.len_utf8();

/// Bytes, and the text that they are to an expression.
pub(crate) struct Text<'b> {
    text: Cow<'b, str>,
    /// Where in the text a byte was replaced, in order.
    replaced: Vec<usize>,
}

impl<'b> Text<'b> {
    /// The text that `bytes` are; they are copied only if they are not valid UTF-8.
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self {
                text: Cow::Borrowed(text),
                replaced: Vec::new(),
            };
        }
        let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
        let mut replaced = Vec::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for _ in chunk.invalid() {
                replaced.push(text.len());
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Self {
            text: Cow::Owned(text),
            replaced,
        }
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where among the bytes a part of the text is.
    pub(crate) fn bytes_of(&self, part: Range<usize>) -> Range<usize> {
        self.position(part.start)..self.position(part.end)
    }

    fn position(&self, at: usize) -> usize {
        let before = self.replaced.partition_point(|replaced| *replaced < at);
        at - before * (REPLACEMENT_BYTES - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_that_is_not_utf_8_is_one_character() {
        let bytes = b"a\xffb\xe2\x82\xc3\xa9\xe2";
        let text = Text::new(bytes);
        assert_eq!(text.as_str(), "a\u{fffd}b\u{fffd}\u{fffd}é\u{fffd}");
        let mut at = 0;
        for (c, part) in text.as_str().chars().zip([1, 1, 1, 1, 1, 2, 1]) {
            let found = text.bytes_of(at..at + c.len_utf8());
            assert_eq!(found.len(), part, "{c} at {at}");
            assert!(c == char::REPLACEMENT_CHARACTER || bytes[found] == *c.to_string().as_bytes());
            at += c.len_utf8();
        }
        assert!(matches!(Text::new("é".as_bytes()).text, Cow::Borrowed("é")));
    }
}
