//! Expands templates such as `$1-${name}` with captured text, as Go's `Regexp.Expand` does.

/// A piece of a template.
enum Piece<'t> {
    Text(&'t [u8]),
    Group(&'t [u8]),
}

/// `template` with each reference to a group replaced by what `group` gives for its name or number;
/// `None` if that is longer than `max_bytes`.
pub(crate) fn expand<'g>(
    template: &[u8],
    max_bytes: usize,
    group: impl Fn(&[u8]) -> &'g [u8],
) -> Option<Vec<u8>> {
    let mut expanded = Vec::with_capacity(template.len().min(max_bytes));
    let mut rest = template;
    while let Some((piece, behind)) = next_piece(rest) {
        rest = behind;
        let bytes = match piece {
            Piece::Text(text) => text,
            Piece::Group(name) => group(name),
        };
        if expanded.len() + bytes.len() > max_bytes {
            return None;
        }
        expanded.extend_from_slice(bytes);
    }
    Some(expanded)
}

/// The number that `name` is, if it is that of a group.
pub(crate) fn number(name: &[u8]) -> Option<usize> {
    let is_number = name.iter().all(u8::is_ascii_digit) && (name[0] != b'0' || name.len() == 1);
    let text = std::str::from_utf8(name).ok().filter(|_| is_number)?;
    // One that is too large for a number is larger than that of any group.
    Some(text.parse().unwrap_or(usize::MAX))
}

/// The first piece of `template`, and the rest.
fn next_piece(template: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let Some(behind) = template.strip_prefix(b"$") else {
        let end = template.iter().position(|byte| *byte == b'$');
        let (text, rest) = template.split_at(end.unwrap_or(template.len()));
        return (!text.is_empty()).then_some((Piece::Text(text), rest));
    };
    if let Some(rest) = behind.strip_prefix(b"$") {
        return Some((Piece::Text(b"$"), rest));
    }
    let reference = match behind.strip_prefix(b"{") {
        Some(braced) => {
            let (name, rest) = braced.split_at(word_length(braced));
            rest.strip_prefix(b"}").map(|rest| (name, rest))
        }
        None => Some(behind.split_at(word_length(behind))),
    };
    match reference {
        Some((name, rest)) if !name.is_empty() => Some((Piece::Group(name), rest)),
        _ => Some((Piece::Text(b"$"), behind)),
    }
}

/// Bytes of the letters, digits and `_` at the start of `bytes`.
fn word_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(c) = first_char(&bytes[length..]) {
        if !c.is_alphanumeric() && c != '_' {
            break;
        }
        length += c.len_utf8();
    }
    length
}

fn first_char(bytes: &[u8]) -> Option<char> {
    let start = &bytes[..bytes.len().min(4)];
    let valid = start.utf8_chunks().next()?.valid();
    valid.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let group = |name: &[u8]| -> &'static [u8] {
            match (number(name), name) {
                (Some(0), _) => b"whole",
                (Some(1), _) => b"one",
                (_, b"name") => b"named",
                _ => b"",
            }
        };
        let expanded = expand(template.as_bytes(), 100, group).expect("it is short");
        assert_eq!(String::from_utf8_lossy(&expanded), expected, "{template}");
    }

    #[test]
    fn references_are_read_as_go_reads_them() {
        check("", "");
        check("plain", "plain");
        check("$0 $1 $name", "whole one named");
        check("${1}x $1x ${name}x $namex", "onex  namedx ");
        check("$$1 $", "$1 $");
        check("${ ${} ${a.b} ${1", "${ ${} ${a.b} ${1");
        check("$01 ${00} $2 $99999999999999999999", "   ");
        check("$1é|$1-|$1.", "|one-|one.");
    }

    #[test]
    fn what_becomes_too_long_is_given_up() {
        let expand = |template: &[u8]| expand(template, 10, |_| b"12345");
        assert_eq!(expand(b"$1$1").map(|expanded| expanded.len()), Some(10));
        assert_eq!(expand(b"$1$1."), None);
        assert_eq!(expand(b"12345678901"), None);
    }
}
