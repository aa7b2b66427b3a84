//! Tests of RE2's syntax and meaning, with results of Go's `regexp`.

use std::{collections::BTreeSet, fmt, time::Duration};

use proptest::prelude::*;
use tokio::time::Instant;

use super::parse;
use crate::value::Pattern;

/// The part of `text` that `pattern` matches first, by every way there is to search.
#[track_caller]
fn first_match<'t>(pattern: &str, text: &'t [u8]) -> Option<&'t [u8]> {
    let pattern = Pattern::new(pattern).unwrap_or_else(|wrong| panic!("{pattern}: {wrong}"));
    let found = pattern.captures(text).map(|captures| captures.part(0));
    assert_eq!(pattern.matches(text), found.is_some(), "{pattern}");
    let searched = pattern.search().is_match(text, || false);
    assert_eq!(searched, Some(found.is_some()), "{pattern}");
    let searched = pattern.search().is_match_quickly(text);
    assert!(
        searched.is_none_or(|is_match| is_match == found.is_some()),
        "{pattern}"
    );
    found
}

#[track_caller]
fn check(pattern: &str, text: &str, expected: impl Into<Option<&'static str>>) {
    check_bytes(pattern, text.as_bytes(), expected.into().map(str::as_bytes));
}

#[track_caller]
fn check_bytes(pattern: &str, text: &[u8], expected: Option<&[u8]>) {
    let found = first_match(pattern, text);
    let shown = |part: Option<&[u8]>| part.map(|part| part.escape_ascii().to_string());
    assert_eq!(
        shown(found),
        shown(expected),
        "{pattern} on {}",
        text.escape_ascii()
    );
}

#[track_caller]
fn check_refused(pattern: &str, expected: &str) {
    let wrong = Pattern::new(pattern).map(|_| ()).expect_err(pattern);
    assert_eq!(
        wrong,
        format!("invalid regular expression: {expected}"),
        "{pattern}"
    );
}

#[test]
fn escaped_punctuation_stands_for_itself() {
    check(r"\<h1\>Error", "<html><h1>Error</h1>", "<h1>Error");
    check(
        r"\-\_\/\@\!\%\&\~\,\:\;\=\`\'\#\ ",
        "-_/@!%&~,:;=`'# ",
        "-_/@!%&~,:;=`'# ",
    );
    check(
        r#"\"\{\}\[\]\(\)\|\^\$\.\*\+\?\\"#,
        r#""{}[]()|^$.*+?\"#,
        r#""{}[]()|^$.*+?\"#,
    );
    check(r"[\<\-\]]+", "a<-]b", "<-]");
    for letter in ["y", "Z", "G", "C", "h", "R", "K", "8", "1", "é"] {
        check_refused(
            &format!("\\{letter}"),
            &format!("invalid escape sequence: \\{letter}"),
        );
    }
    check_refused("a\\", "trailing backslash at end of expression: \\");
}

#[test]
fn quoted_text_stands_for_itself() {
    check(r"\Qa.b*\E+c", "xa.b**c", "a.b**c");
    check(r"\Q(", "a(", "(");
    check(r"\Q\\E", r"a\", r"\");
    check(r"(?i)\Qk.\E", "K.", "K.");
    check_refused(r"\Q\E*", "missing argument to repetition operator: *");
}

#[test]
fn characters_can_be_written_as_numbers() {
    check(r"\141\060\x41\x{20AC}\0", "a0A€\0", "a0A€\0");
    check(r"[\101-\x43]+", "xABCx", "ABC");
    check(r"\a\f\t\n\r\v", "\x07\x0c\t\n\r\x0b", "\x07\x0c\t\n\r\x0b");
    check(r"[\a\v]", "\x0b", "\x0b");
    // Half of a pair, which no text has.
    check(r"\x{D800}|b", "ab", "b");
    check_refused(r"\x{110000}", r"invalid escape sequence: \x{110000");
    check_refused(r"\xg1", r"invalid escape sequence: \xg");
    check_refused(r"\x{}", r"invalid escape sequence: \x{}");
}

#[test]
fn braces_that_are_no_repetition_are_text() {
    let json = r#"{"status":"DOWN"}"#;
    check(json, json, json);
    check("{", "{}", "{");
    check("a{,2}", "a{,2}", "a{,2}");
    check("a{2", "a{2", "a{2");
    check("a{2,1", "a{2,1", "a{2,1");
    check("a{01}", "a{01}", "a{01}");
    check("{{1}", "{", "{");
    check("x{2,3}y{2}z{1,}", "xxyyzz", "xxyyzz");
    check("(?U)x{1,}", "xxx", "x");
    check("(?U)x{1,}?", "xxx", "xxx");
    check_refused("x{1001}", "invalid repeat count: {1001}");
    check_refused(
        "x{99999999999999999999}",
        "invalid repeat count: {99999999999999999999}",
    );
    check_refused("x{2,1}", "invalid repeat count: {2,1}");
    check_refused("(((x{10}){10}){11})", "invalid repeat count: {11}");
    check_refused("a**", "invalid nested repetition operator: **");
    check_refused("a{2}{3}?", "invalid nested repetition operator: {2}{3}?");
    check_refused("{2}", "missing argument to repetition operator: {2}");
    check_refused("(|*)", "missing argument to repetition operator: *");
}

#[test]
fn classes_have_no_set_operators() {
    check("[a&&b]+", "xa&b&x", "a&b&");
    check("[a~~b]+", "a~b", "a~b");
    check("[+--]+", "+,-", "+,-");
    check("[[a]+]", "x[a]", "[a]");
    check("[a-c-e]+", "b-e", "b-e");
    check("[]a]+", "]a", "]a");
    check("[^]a]", "]ab", "b");
    check("[a-]+", "a-", "a-");
    check(r"[\d\-x]+", "1-x", "1-x");
    check("[[:word:]-]+", "é a_9-", "a_9-");
    check("[[:^digit:]]", "1a", "a");
    check("[^[:space:]]+", " \x0ba ", "a");
    check_refused("[a", "missing closing ]: [a");
    check_refused("[]", "missing closing ]: []");
    check_refused("[b-a]", "invalid character class range: b-a");
    check_refused("[[:wrd:]]", "invalid character class range: [:wrd:]");
    check_refused(r"[a-\d]", r"invalid escape sequence: \d");
    check(r"[^\x00-\x{10FFFF}]|b", "ab", "b");
}

#[test]
fn perl_classes_and_word_boundaries_are_ascii() {
    check(r"\w+", "éaB_9é", "aB_9");
    check(r"\d+", "\u{663}42", "42");
    check(r"\s", "\u{a0}\x0b ", " ");
    check(r"\W\D\S", "aé☺ß", "é☺ß");
    check(r"\bword\b", "éword", "word");
    check(r"é\b", "é", None);
    check(r"a\Bé", "aé", None);
    check(r"^\B$", "", "");
    check(r"(?i)\w", "\u{17f}", "\u{17f}");
}

#[test]
fn classes_of_unicode_have_its_names() {
    check(r"\pN\PN", "1a", "1a");
    check(r"\p{Greek}+", "aσΣb", "σΣ");
    check(r"\p{^Greek}\P{^Greek}", "aσ", "aσ");
    check(r"[\pL_]+", "1é_a", "é_a");
    check(r"\p{Uppercase_Letter}\p{lu}", "aÉÉ", "ÉÉ");
    check(r"(?i)\p{Lu}+", "aÉ", "aÉ");
    check(r"(?i)\P{Lu}", "aÉ1", "1");
    check(r"\p{Zl}", "\u{2028}", "\u{2028}");
    check(r"\pC", "\u{378}\u{1}", "\u{1}");
    check(r"\p{Any}\p{ASCII}\p{Assigned}", "éaé", "éaé");
    check(r"\p{Cs}|a", "a", "a");
    check_refused(r"\p{Greec}", r"invalid character class range: \p{Greec}");
    check_refused(r"\p{Greek", r"invalid character class range: \p{Greek");
    check_refused(
        r"\p{sc=Greek}",
        r"invalid character class range: \p{sc=Greek}",
    );
    check_refused(r"\p", r"invalid character class range: \p");
}

#[test]
fn groups_and_flags() {
    check("(?P<a>x)(?<b>y)(?<a>z)", "xyz", "xyz");
    check("(?i)é(?-i)É(?i:k)", "ÉÉ\u{212a}", "ÉÉ\u{212a}");
    check("a.b", "a\nb", None);
    check("(?s)a.b", "a\nb", "a\nb");
    check("^b$", "a\nb\nc", None);
    check("(?m)^b$", "a\nb\nc", "b");
    check(r"(?m)\Aa$\n^b\z", "a\nb", "a\nb");
    check(r"a\z", "a\n", None);
    check("a$", "a\n", None);
    check("(?ims-U:A.B)x", "a\nbx", "a\nbx");
    check("x*?(?U)y*", "xy", "");
    check("a(?i)*", "aaa", "aaa");
    check("()|a", "a", "");
    check_refused("(a", "missing closing )");
    check_refused("a)", "unexpected )");
    check_refused("(?P<n", "invalid named capture: (?P<n");
    check_refused("(?P<a b>x)", "invalid named capture: (?P<a b>");
    check_refused("(?=a)", "invalid or unsupported Perl syntax: (?=");
    check_refused("(?<!a)", "invalid named capture: (?<!a)");
    check_refused("(?i", "invalid or unsupported Perl syntax: (?i");
    check_refused("(?i-)", "invalid or unsupported Perl syntax: (?i-)");
}

#[test]
fn a_byte_that_is_not_utf_8_is_one_character() {
    check_bytes(
        "Zustand: gest.rt",
        b"Zustand: gest\xf6rt",
        Some(b"Zustand: gest\xf6rt"),
    );
    check("Zustand: gest.rt", "Zustand: gestört", "Zustand: gestört");
    check_bytes("[^,]+,", b"M\xfcnchen,K\xf6ln", Some(b"M\xfcnchen,"));
    check_bytes(
        "^.{2}$",
        "é\u{fffd}".as_bytes(),
        Some("é\u{fffd}".as_bytes()),
    );
    check_bytes("^.{2}$", b"\xe2\x82", Some(b"\xe2\x82"));
    check_bytes("^.$", b"\xe2\x82", None);
    check_bytes(
        r"\x{FFFD}\W\S\D",
        b"\xff\xff\xff\xff",
        Some(b"\xff\xff\xff\xff"),
    );
    check_bytes(r"\xff", b"\xff", None);
    check(r"\xe9", "é", "é");
    check_bytes(r"a\B", b"a\xff", None);
    check_bytes(r"a\b", b"a\xff", Some(b"a"));
}

#[test]
fn groups_are_of_the_bytes_themselves() {
    let pattern = Pattern::new("(?P<city>[^,]+),(?P<other>x)?(?P<city>.)").expect("a pattern");
    let captures = pattern.captures(b"M\xfcnchen,\xff").expect("a match");
    let expand = |template: &str| captures.expand(template.as_bytes());
    assert_eq!(
        expand("<$city|${2}|$other|$3|$4|$$>").as_deref(),
        Some(&b"<M\xfcnchen|||\xff||$>"[..])
    );
}

#[test]
fn anchored_patterns_match_all_of_a_text() {
    let matches = |pattern, text: &str| {
        let pattern = Pattern::anchored(pattern).expect("a pattern");
        pattern.matches(text.as_bytes())
    };
    assert!(matches("a|b", "b"));
    assert!(!matches("a|b", "ab"));
    assert!(matches("a.b", "a\nb"));
    assert!(!matches("(?-s)a.b", "a\nb"));
    assert!(!matches("(?m)a", "a\nb"));
    assert!(matches("", ""));
    assert!(Pattern::anchored("a)|(b").is_err());
}

#[test]
fn there_is_room_for_what_is_usual() {
    check(r"^[\w.]{1,255}@[\w.-]{1,255}$", "a.b@c.de", "a.b@c.de");
    check("^.{1,1000}$", "ab", "ab");
    check("[^,]{0,1000}", "ab", "ab");
    check(r"\pL{1,50}", "äb", "äb");
    let names: Vec<_> = (0..500)
        .map(|n| format!("host-{n}.example.com:9100"))
        .collect();
    let names = Pattern::anchored(&names.join("|"));
    assert!(names.is_ok_and(|names| names.matches(b"host-499.example.com:9100")));
    for deep in [
        format!("{}a{}", "(".repeat(120), ")".repeat(120)),
        format!("{}a{}", "(?:x".repeat(60), "y)*".repeat(60)),
    ] {
        assert!(
            Pattern::new(&deep)
                .is_ok_and(|deep| deep.captures(b"a").is_some() || deep.matches(b"xay"))
        );
    }
}

#[test]
fn no_expression_takes_long_to_read() {
    let long = |part: &str| part.repeat((100 << 10) / part.len());
    for text in [
        long("("),
        long("(?P<"),
        long("[[:"),
        format!("[{}]", long("[:")),
        format!("[{}]", long("a-z")),
        format!("[{}]", long("[:alpha:]")),
        long("{"),
        long("{1"),
        format!("a{}", long("{1,")),
        format!("a{{{}", long("1")),
        format!("({})", long("|")),
        long("a|"),
        long(r"\pL"),
        long("(?i)"),
        format!("(?i){}", long("k")),
        format!("(?i){}", long("[^k]")),
        long(r"\Qa"),
        long("x{1000}"),
    ] {
        let begin = Instant::now();
        let _ = parse(&text, false);
        let took = begin.elapsed();
        let shown: String = text.chars().take(20).collect();
        assert!(took < Duration::from_secs(3), "{shown}: {took:?}");
    }
}

#[test]
fn no_expression_takes_long_or_much_to_compile() {
    for text in [
        "(x?){1000}".repeat(1000),
        "x{1000}".repeat(1000),
        r"\pL{1000}".to_owned(),
        format!("({}){{1000}}", "(xx?)".repeat(1000)),
        r"(?i)[^k]{1000}".repeat(100),
    ] {
        let begin = Instant::now();
        check_refused(&text, "expression too large");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "{text:.20}: {took:?}");
    }
    for text in [
        format!("{}a{}", "(".repeat(64), "{0,1})".repeat(64)),
        format!("{}a{}", "(?:".repeat(129), ")*".repeat(129)),
        format!("{}a{}", "(x?".repeat(42), ")*".repeat(42)),
    ] {
        assert!(Pattern::new(&text).is_ok(), "{text}");
    }
    check_refused(&"(".repeat(1000), "expression nests too deeply");
}

#[test]
fn a_search_that_takes_long_can_be_stopped() {
    let slow = Pattern::new("[ab]*a[ab]{300}c").expect("a pattern");
    // No two parts of it are alike, so that each byte leads to a state that has not been seen.
    let mut number = 1_u64;
    let mut next = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005) + 1;
        if number >> 63 == 0 { b'a' } else { b'b' }
    };
    let text: Vec<u8> = (0..1 << 20).map(|_| next()).collect();
    let begin = Instant::now();
    assert_eq!(slow.search().is_match_quickly(&text), None);
    let quickly = begin.elapsed();
    assert!(quickly < Duration::from_secs(1), "{quickly:?}");
    let is_late = || begin.elapsed() > quickly + Duration::from_millis(50);
    assert_eq!(slow.matches_unless(&text, is_late), None);
    let took = begin.elapsed();
    assert!(took < 3 * quickly + Duration::from_secs(1), "{took:?}");
}

#[test]
fn what_is_usual_is_quick_in_a_long_text() {
    let mut text = b"Error \xff and some text.\n".repeat(10_000);
    let pattern = Pattern::new("Error: [^,]+ \\w+\\.").expect("a pattern");
    assert_eq!(pattern.search().is_match_quickly(&text), Some(false));
    text.extend_from_slice(b"Error: 1\xff x.");
    assert_eq!(pattern.search().is_match_quickly(&text), Some(true));
    assert_eq!(pattern.search().is_match(&text, || false), Some(true));
    let literal = Pattern::new("</html>|</HTML>").expect("a pattern");
    assert_eq!(literal.steps_per_byte(), 1);
    assert_eq!(literal.matches_unless(&text, || true), Some(false));
}

/// An expression, of which a slow matcher knows the meaning too.
#[derive(Clone, Debug)]
enum Tree {
    Char(char),
    Any,
    Class(bool, Vec<char>),
    Start,
    End,
    WordBoundary,
    Concat(Vec<Tree>),
    Either(Vec<Tree>),
    Repeat(Box<Tree>, u32, Option<u32>),
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Char(c) => write!(f, "\\Q{c}\\E"),
            Self::Any => f.write_str("."),
            Self::Class(negated, chars) => {
                f.write_str(if *negated { "[^" } else { "[" })?;
                chars
                    .iter()
                    .try_for_each(|c| write!(f, "\\x{:02x}", u32::from(*c)))?;
                f.write_str("]")
            }
            Self::Start => f.write_str("^"),
            Self::End => f.write_str("$"),
            Self::WordBoundary => f.write_str("\\b"),
            Self::Concat(parts) => parts.iter().try_for_each(|part| write!(f, "{part}")),
            Self::Either(parts) => {
                let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
                write!(f, "({})", parts.join("|"))
            }
            Self::Repeat(part, min, max) => match max {
                Some(max) => write!(f, "(?:{part}){{{min},{max}}}"),
                None => write!(f, "(?:{part}){{{min},}}"),
            },
        }
    }
}

impl Tree {
    /// The places where it can end if it begins at `at`.
    fn ends(&self, text: &[char], at: usize) -> BTreeSet<usize> {
        let one = |matches: &dyn Fn(char) -> bool| {
            let next = text.get(at).is_some_and(|c| matches(*c));
            next.then_some(at + 1).into_iter().collect()
        };
        let here = |holds: bool| holds.then_some(at).into_iter().collect();
        match self {
            Self::Char(wanted) => one(&|c| c == *wanted),
            Self::Any => one(&|c| c != '\n'),
            Self::Class(negated, chars) => one(&|c| chars.contains(&c) != *negated),
            Self::Start => here(at == 0),
            Self::End => here(at == text.len()),
            Self::WordBoundary => {
                let is_word = |c: Option<&char>| c.is_some_and(char::is_ascii_alphanumeric);
                let before = at.checked_sub(1).and_then(|before| text.get(before));
                here(is_word(before) != is_word(text.get(at)))
            }
            Self::Concat(parts) => parts.iter().fold(BTreeSet::from([at]), |places, part| {
                places
                    .into_iter()
                    .flat_map(|at| part.ends(text, at))
                    .collect()
            }),
            Self::Either(parts) => parts.iter().flat_map(|part| part.ends(text, at)).collect(),
            Self::Repeat(part, min, max) => {
                let again = |places: &BTreeSet<usize>| -> BTreeSet<usize> {
                    let places = places.iter();
                    places.flat_map(|at| part.ends(text, *at)).collect()
                };
                let mut places = BTreeSet::from([at]);
                for _ in 0..*min {
                    places = again(&places);
                }
                let mut all = places.clone();
                for _ in *min..max.unwrap_or(*min + 20) {
                    places = again(&places);
                    all.extend(&places);
                }
                all
            }
        }
    }

    fn matches(&self, text: &str) -> bool {
        let text: Vec<_> = text.chars().collect();
        (0..=text.len()).any(|at| !self.ends(&text, at).is_empty())
    }
}

fn some_tree() -> impl Strategy<Value = Tree> {
    let char = || prop_oneof![Just('a'), Just('b'), Just('.'), Just('\n'), Just(']')];
    let leaf = prop_oneof![
        char().prop_map(Tree::Char),
        Just(Tree::Any),
        (any::<bool>(), proptest::collection::vec(char(), 1..3))
            .prop_map(|(negated, chars)| Tree::Class(negated, chars)),
        Just(Tree::Start),
        Just(Tree::End),
        Just(Tree::WordBoundary),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let parts = || proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            parts().prop_map(Tree::Concat),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(Tree::Either),
            (inner.clone(), 0_u32..3, proptest::option::of(0_u32..3)).prop_map(
                |(part, min, more)| Tree::Repeat(Box::new(part), min, more.map(|more| min + more))
            ),
        ]
    })
}

proptest! {
    #[test]
    fn a_slow_matcher_says_the_same(tree in some_tree(), text in "[ab.\\n\\]]{0,6}") {
        let pattern = tree.to_string();
        prop_assert_eq!(first_match(&pattern, text.as_bytes()).is_some(), tree.matches(&text), "{}", pattern);
    }

    #[test]
    fn every_text_is_an_expression_or_refused(
        pattern in r"([a(){}\[\]|*+?\\^$.,:<>PQEpLixU0-9&~-]|\\p\{|\[:|\(\?|é|\n){0,24}",
        text in proptest::collection::vec(any::<u8>(), 0..16),
    ) {
        if Pattern::new(&pattern).is_ok() {
            let _ = first_match(&pattern, &text);
        }
        let _ = Pattern::anchored(&pattern);
    }

    #[test]
    fn whatever_is_quoted_matches_itself(text in "\\PC{0,20}") {
        prop_assume!(!text.contains("\\E"));
        let pattern = format!("\\Q{text}\\E");
        prop_assert_eq!(first_match(&pattern, text.as_bytes()), Some(text.as_bytes()));
    }
}
