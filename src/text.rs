//! Text to show: bounded, on one line, without codes of the operating system; and numbers.

use std::{
    fmt::{Display, Write},
    io,
};

/// The text of an error of the operating system, without ` (os error N)` at its end.
pub(crate) fn io_error(error: &io::Error) -> String {
    without_os_codes(error.to_string())
}

/// Removes each ` (os error N)` from `text`.
pub(crate) fn without_os_codes(mut text: String) -> String {
    const CODE: &str = " (os error ";
    let mut from = 0;
    while let Some(start) = text[from..].find(CODE).map(|at| from + at) {
        let digits = start + CODE.len();
        let length = text[digits..].find(|c: char| !c.is_ascii_digit());
        match length {
            Some(length) if text[digits + length..].starts_with(')') => {
                text.replace_range(start..=digits + length, "");
                from = start;
            }
            _ => from = digits,
        }
    }
    text
}

/// Returns true for a character that could end a line, control a terminal, or reorder text.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// Writes an unsafe character as a JSON escape.
pub(crate) fn write_escape(out: &mut impl Write, c: char) -> std::fmt::Result {
    match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        // Every unsafe character is below U+10000, so four digits suffice.
        c => write!(out, "\\u{:04x}", u32::from(c)),
    }
}

/// Writes a number with three decimals; below a thousandth with six, because a latency of 0.000 says nothing.
pub(crate) fn write_rounded(out: &mut impl Write, number: f64) -> std::fmt::Result {
    let is_small = (0.000_000_5..0.000_999_5).contains(&number.abs());
    let decimals = if is_small { 6 } else { 3 };
    write!(out, "{number:.decimals$}")
}

/// `count` with its noun, such as "1 check" or "2 checks".
pub(crate) fn counted(count: impl Display, noun: &str) -> String {
    let mut text = format!("{count} {noun}");
    if !text.starts_with("1 ") {
        text.push('s');
    }
    text
}

/// `text` in quotes, with the escapes that YAML and PromQL have in common.
///
/// Outside ASCII, a character that is neither a letter nor a digit may end a line of YAML, or be refused there.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let code = u32::from(c);
        let written = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' | '\r' | '\t' => write_escape(&mut quoted, c),
            ' '..='~' => quoted.write_char(c),
            _ if c.is_alphanumeric() => quoted.write_char(c),
            _ if code <= 0xFFFF => write!(quoted, "\\u{code:04x}"),
            _ => write!(quoted, "\\U{code:08x}"),
        };
        written.expect("a String takes all");
    }
    quoted.push('"');
    quoted
}

/// Replaces the end of a text that is cut off.
const MORE: &str = "…";

/// Escapes unsafe characters in `text`, and cuts it off with `…` after `max_bytes`.
pub(crate) fn bounded(text: String, max_bytes: usize) -> String {
    if text.len() <= max_bytes && !text.contains(is_unsafe) {
        return text;
    }
    let room = max_bytes.saturating_sub(MORE.len());
    let mut safe = String::with_capacity(text.len().min(max_bytes));
    // The length after which the text is cut off if it is too long.
    let mut cut = 0;
    for c in text.chars() {
        let written = if is_unsafe(c) {
            write_escape(&mut safe, c)
        } else {
            safe.write_char(c)
        };
        written.expect("a String takes all");
        if safe.len() <= room {
            cut = safe.len();
        } else if safe.len() > max_bytes {
            safe.truncate(cut);
            safe.push_str(MORE);
            break;
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_below_a_thousandth_have_six_decimals() {
        for (number, expected) in [
            (0.0, "0.000"),
            (-0.000_000_1, "-0.000"),
            (0.000_213_4, "0.000213"),
            (0.000_999_49, "0.000999"),
            (0.000_999_6, "0.001"),
            (0.0741, "0.074"),
            (-0.000_5, "-0.000500"),
            (12.3456, "12.346"),
        ] {
            let mut text = String::new();
            write_rounded(&mut text, number).expect("a String takes all");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_count_of_one_is_singular() {
        for (count, expected) in [
            (0, "0 checks"),
            (1, "1 check"),
            (2, "2 checks"),
            (11, "11 checks"),
        ] {
            assert_eq!(counted(count, "check"), expected);
        }
        assert_eq!(counted("1.5", "slot"), "1.5 slots");
    }

    #[test]
    fn codes_of_the_operating_system_are_removed() {
        for (text, expected) in [
            ("Connection refused (os error 111)", "Connection refused"),
            ("a (os error 1): b (os error 2)!", "a: b!"),
            (
                "(os error 1) (os error x) (os error ",
                "(os error 1) (os error x) (os error ",
            ),
        ] {
            assert_eq!(without_os_codes(text.to_owned()), expected);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        for (text, expected) in [
            ("short", "short"),
            ("exactly 12 b", "exactly 12 b"),
            ("exactly 13 by", "exactly 1…"),
            ("ääääääää", "ääää…"),
            ("a\nb", "a\\nb"),
            ("\u{1b}[31mred", "\\u001b[31…"),
            ("12345678\u{7}", "12345678…"),
        ] {
            assert_eq!(bounded(text.to_owned(), 12), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_bounded_and_safe(text in any::<String>(), max in 12_usize..40) {
            let safe = bounded(text.clone(), max);
            prop_assert!(safe.len() <= max);
            prop_assert!(!safe.contains(is_unsafe));
            prop_assert_eq!(bounded(safe.clone(), max), safe);
        }
    }
}
