//! Parses sets of characters: `[a-z]`, `\d`, `[[:alpha:]]` and `\p{Greek}`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// Ranges of code points, surrogates among them: they are valid in an expression and never match.
pub(super) type Ranges = Vec<ClassUnicodeRange>;

/// The last code point.
pub(super) const MAX_CODE_POINT: u32 = 0x10_ffff;

/// Classes of Perl: they are ASCII in RE2.
const PERL: [(char, &[(u8, u8)]); 3] = [
    ('d', &[(b'0', b'9')]),
    ('s', &[(b'\t', b'\n'), (b'\x0c', b'\r'), (b' ', b' ')]),
    ('w', WORD),
];

const WORD: &[(u8, u8)] = &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];

/// Classes of POSIX by their names.
const POSIX: [(&str, &[(u8, u8)]); 14] = [
    ("alnum", &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
    ("alpha", &[(b'A', b'Z'), (b'a', b'z')]),
    ("ascii", &[(0, 0x7f)]),
    ("blank", &[(b'\t', b'\t'), (b' ', b' ')]),
    ("cntrl", &[(0, 0x1f), (0x7f, 0x7f)]),
    ("digit", &[(b'0', b'9')]),
    ("graph", &[(b'!', b'~')]),
    ("lower", &[(b'a', b'z')]),
    ("print", &[(b' ', b'~')]),
    (
        "punct",
        &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
    ),
    ("space", &[(b'\t', b'\r'), (b' ', b' ')]),
    ("upper", &[(b'A', b'Z')]),
    ("word", WORD),
    ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
];

/// The class of the escape `\letter`, if it has one.
pub(super) fn perl(letter: char, fold: bool) -> Option<Ranges> {
    let lower = letter.to_ascii_lowercase();
    let (_, ranges) = PERL.iter().find(|(name, _)| *name == lower)?;
    Some(ascii(ranges, letter != lower, fold))
}

/// The class of `[:name:]`; `^` before the name negates it.
pub(super) fn posix(name: &str, fold: bool) -> Option<Ranges> {
    let plain = name.strip_prefix('^');
    let wanted = plain.unwrap_or(name);
    let (_, ranges) = POSIX.iter().find(|(name, _)| *name == wanted)?;
    Some(ascii(ranges, plain.is_some(), fold))
}

fn ascii(ranges: &[(u8, u8)], negated: bool, fold: bool) -> Ranges {
    let ranges = ranges
        .iter()
        .map(|(first, last)| ClassUnicodeRange::new(char::from(*first), char::from(*last)));
    signed(ClassUnicode::new(ranges), negated, fold)
}

/// The class of `\p{name}`: a general category, a script, `Any`, `ASCII` or `Assigned`.
pub(super) fn unicode(name: &str, negated: bool, fold: bool) -> Option<Ranges> {
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, !negated),
        None => (name, negated),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    if !name.chars().all(is_plain) {
        return None;
    }
    let canonical: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let class = match canonical.to_ascii_lowercase().as_str() {
        "" => return None,
        // Text has no surrogates.
        "cs" | "surrogate" => ClassUnicode::empty(),
        // For Go, what is not assigned is none of the others.
        "c" | "other" => {
            let mut other = property("gc=Cc")?;
            other.union(&property("gc=Cf")?);
            other.union(&property("gc=Co")?);
            other
        }
        name => property(&format!("gc={name}")).or_else(|| property(&format!("sc={name}")))?,
    };
    Some(signed(class, negated, fold))
}

/// The characters with a property of Unicode.
fn property(name: &str) -> Option<ClassUnicode> {
    let hir = regex_syntax::parse(&format!("\\p{{{name}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // What a class of one character becomes.
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            let range = |c| ClassUnicodeRange::new(c, c);
            Some(ClassUnicode::new(text.chars().map(range)))
        }
        _ => None,
    }
}

fn signed(mut class: ClassUnicode, negated: bool, fold: bool) -> Ranges {
    if negated {
        // What is left out is left out in either case.
        if fold {
            fold_case(&mut class);
        }
        class.negate();
    }
    class.ranges().to_vec()
}

/// Adds the characters that differ in case alone.
pub(super) fn fold_case(class: &mut ClassUnicode) {
    class
        .try_case_fold_simple()
        .expect("the tables for it are a feature that is enabled");
}

/// The characters from one code point to another; those between are no surrogates.
pub(super) fn range(first: u32, last: u32) -> Option<ClassUnicodeRange> {
    let first = char::from_u32(first).unwrap_or('\u{e000}');
    let last = char::from_u32(last).unwrap_or('\u{d7ff}');
    (first <= last).then(|| ClassUnicodeRange::new(first, last))
}
