//! Label values: escaped, and bounded if a peer influences them.

use std::{borrow::Cow, fmt::Write};

use memchr::memchr3;

/// Maximum characters of a label value that a peer influences.
const MAX_LABEL_CHARS: usize = 200;

/// Escapes `value` as the text format requires between the quotes of a label.
pub(super) fn escape(value: &str) -> Cow<'_, str> {
    if memchr3(b'\\', b'"', b'\n', value.as_bytes()).is_some() {
        let escaped = value.replace('\\', r"\\").replace('"', "\\\"");
        return escaped.replace('\n', r"\n").into();
    }
    value.into()
}

/// A `value` that a peer influences: control characters become visible (`\u{1b}`), and more than
/// [`MAX_LABEL_CHARS`] characters are cut off, with `…` in their place. It must still be escaped.
pub(super) fn bounded(value: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !is_deceptive(c);
    if value.len() <= MAX_LABEL_CHARS && value.chars().all(is_harmless) {
        return value.into();
    }
    let mut visible = String::new();
    for (index, c) in value.chars().enumerate() {
        if index == MAX_LABEL_CHARS {
            visible.push('…');
            break;
        }
        if is_deceptive(c) {
            let _ = write!(visible, "{}", c.escape_unicode());
        } else {
            visible.push(c);
        }
    }
    visible.into()
}

/// Returns whether a terminal or a page would act on `c` rather than show it: controls, and marks that change the
/// direction of the text around them or have no width.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_with_a_meaning_in_the_text_format_are_escaped() {
        assert_eq!(escape("\"a\\b\n\"日"), "\\\"a\\\\b\\n\\\"日");
        assert_eq!(escape("it's 日"), "it's 日");
    }

    #[test]
    fn control_characters_of_a_peer_are_escaped() {
        for (value, expected) in [
            ("OpenSSH_9.2", "OpenSSH_9.2"),
            ("日 \"9\"", "日 \"9\""),
            ("\u{1b}[2J\r\n", r"\u{1b}[2J\u{d}\u{a}"),
            ("a\u{202e}b", r"a\u{202e}b"),
            (r"C:\", r"C:\"),
        ] {
            assert_eq!(bounded(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_value_of_a_peer_is_bounded() {
        let longest = "日".repeat(MAX_LABEL_CHARS);
        assert_eq!(bounded(&longest), longest);
        let longer = format!("{longest}日");
        assert_eq!(bounded(&longer), format!("{longest}…"));
        let controls = "\u{1b}".repeat(1 << 20);
        assert!(bounded(&controls).len() < 10 * MAX_LABEL_CHARS);
    }
}
