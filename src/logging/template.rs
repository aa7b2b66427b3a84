//! The `%(name)s` templates of Python's `logging`: parsed once, with the
//! padding rules of Python's `%` operator.

use std::{
    fmt::{self, Write},
    str::FromStr,
};

/// The default format.
pub(super) const DEFAULT: &str = "[%(asctime)s] [%(levelname)s] [%(name)s]: %(message)s";

/// Maximum width and precision, so that a typo cannot make every line a megabyte.
const MAX_WIDTH: usize = 1000;

/// A log line with placeholders, ready to be filled in any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Placeholder(Key, Spec),
}

/// The value of a placeholder, with Python's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Asctime,
    LevelName,
    Name,
    Message,
    Created,
    Msecs,
    Process,
    ThreadName,
}

const NAMES: [(&str, Key); 8] = [
    ("asctime", Key::Asctime),
    ("levelname", Key::LevelName),
    ("name", Key::Name),
    ("message", Key::Message),
    ("created", Key::Created),
    ("msecs", Key::Msecs),
    ("process", Key::Process),
    ("threadName", Key::ThreadName),
];

impl Key {
    fn is_number(self) -> bool {
        matches!(self, Self::Created | Self::Msecs | Self::Process)
    }
}

/// Conversion and padding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    align: Align,
    sign: Sign,
    alternate_form: bool,
    width: usize,
    precision: Option<usize>,
    conversion: Conversion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    /// To the right, with zeros between the sign and the digits of a number.
    Zeros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Minus,
    Space,
    Plus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conversion {
    Text,
    Integer,
    Fixed,
}

/// A value that is a number in Python, where `%s` shows a float with its point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Integer(u32),
    Float(f64),
}

/// The reason why a text is not a template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder with a name that `logging` does not have, or that makes no sense here.
    #[error(
        "unknown name {name:?} in the template{} (one of {})",
        suggestion(*.nearest),
        allowed()
    )]
    UnknownName {
        /// The name as written.
        name: String,
        /// The most similar known name, if there is one.
        nearest: Option<&'static str>,
    },
    /// A `%(` without its `)`.
    #[error("`%(` without a closing `)` in the template")]
    Unclosed,
    /// The template ends before a conversion.
    #[error("missing conversion (s, d or f) after `%({name})`")]
    MissingConversion {
        /// The placeholder's name.
        name: &'static str,
    },
    /// An unsupported conversion, or none.
    #[error("unsupported conversion {conversion:?} after `%({name})`, expected s, d or f")]
    UnsupportedConversion {
        /// The placeholder's name.
        name: &'static str,
        /// The character in place of a conversion.
        conversion: char,
    },
    /// `d` or `f` on a name whose value is text.
    #[error(
        "conversion {conversion} of `%({name})` needs a number, and {name} is text, expected s"
    )]
    NotANumber {
        /// The placeholder's name.
        name: &'static str,
        /// The conversion asked for.
        conversion: char,
    },
    /// A width or precision out of bounds.
    #[error("width or precision of `%({name})` is above {MAX_WIDTH}")]
    TooWide {
        /// The placeholder's name.
        name: &'static str,
    },
    /// A `%` that starts no placeholder.
    #[error("`%` followed by neither `(` nor `%` in the template (`%%` is a percent sign)")]
    StrayPercent,
    /// Text alone, which would make every line the same.
    #[error("no placeholder such as `%(message)s` in the template")]
    NoPlaceholder,
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean {name:?}?"))
}

fn allowed() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

impl Default for Template {
    fn default() -> Self {
        DEFAULT.parse().expect("a test reads the default template")
    }
}

impl Template {
    /// Returns true if it has `%(asctime)s`.
    pub(super) fn has_asctime(&self) -> bool {
        let is_asctime = |part: &Part| matches!(part, Part::Placeholder(Key::Asctime, _));
        self.parts.iter().any(is_asctime)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let after = after.strip_prefix('(').ok_or(TemplateError::StrayPercent)?;
            let (written, after) = after.split_once(')').ok_or(TemplateError::Unclosed)?;
            let (word, key) = lookup(written)?;
            let (spec, after) = Spec::parse(word, key, after)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Placeholder(key, spec));
            rest = after;
        }
        if parts.is_empty() {
            return Err(TemplateError::NoPlaceholder);
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }
}

fn lookup(written: &str) -> Result<(&'static str, Key), TemplateError> {
    if let Some(found) = NAMES.into_iter().find(|(word, _)| *word == written) {
        return Ok(found);
    }
    let lower = written.to_ascii_lowercase();
    let nearest = NAMES
        .into_iter()
        .map(|(word, _)| {
            (
                strsim::jaro_winkler(&lower, &word.to_ascii_lowercase()),
                word,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, word)| word);
    Err(TemplateError::UnknownName {
        name: written.to_owned(),
        nearest,
    })
}

impl Spec {
    /// Reads `[flags][width][.precision]conversion` and returns what follows it.
    fn parse<'a>(
        word: &'static str,
        key: Key,
        text: &'a str,
    ) -> Result<(Self, &'a str), TemplateError> {
        let rest = text.trim_start_matches(['-', '0', '+', ' ', '#']);
        let flags = &text[..text.len() - rest.len()];
        let (width, rest) = leading_number(word, rest)?;
        let (precision, rest) = match rest.strip_prefix('.') {
            Some(rest) => {
                let (digits, rest) = leading_number(word, rest)?;
                (Some(digits), rest)
            }
            None => (None, rest),
        };
        let mut rest = rest.chars();
        let letter = rest
            .next()
            .ok_or(TemplateError::MissingConversion { name: word })?;
        let conversion = match letter {
            's' => Conversion::Text,
            'd' => Conversion::Integer,
            'f' => Conversion::Fixed,
            conversion => {
                return Err(TemplateError::UnsupportedConversion {
                    name: word,
                    conversion,
                });
            }
        };
        if conversion != Conversion::Text && !key.is_number() {
            return Err(TemplateError::NotANumber {
                name: word,
                conversion: letter,
            });
        }
        let spec = Self {
            align: if flags.contains('-') {
                Align::Left
            } else if flags.contains('0') {
                Align::Zeros
            } else {
                Align::Right
            },
            sign: if flags.contains('+') {
                Sign::Plus
            } else if flags.contains(' ') {
                Sign::Space
            } else {
                Sign::Minus
            },
            alternate_form: flags.contains('#'),
            width,
            precision,
            conversion,
        };
        Ok((spec, rest.as_str()))
    }

    /// Returns whether a text is written unchanged, so that it needs no buffer.
    pub(super) fn is_plain(&self) -> bool {
        self.width == 0 && self.precision.is_none()
    }

    /// Writes a text cut to the precision and padded to the width, both in characters.
    pub(super) fn write_text(&self, out: &mut impl Write, text: &str) -> fmt::Result {
        let end = self
            .precision
            .and_then(|most| text.char_indices().nth(most))
            .map_or(text.len(), |(index, _)| index);
        let (text, width) = (&text[..end], self.width);
        match self.align {
            _ if width == 0 => out.write_str(text),
            Align::Left => write!(out, "{text:<width$}"),
            Align::Right | Align::Zeros => write!(out, "{text:>width$}"),
        }
    }

    /// Writes a number by the rules of its conversion; `digits` is a scratch buffer.
    pub(super) fn write_number(
        &self,
        out: &mut impl Write,
        digits: &mut String,
        number: Number,
    ) -> fmt::Result {
        digits.clear();
        let value = match number {
            Number::Integer(value) => f64::from(value),
            Number::Float(value) => value,
        };
        let size = value.abs();
        match (self.conversion, number) {
            (Conversion::Text, Number::Integer(value)) => {
                write!(digits, "{value}")?;
                return self.write_text(out, digits);
            }
            (Conversion::Text, Number::Float(value)) => {
                write!(digits, "{value:?}")?;
                return self.write_text(out, digits);
            }
            (Conversion::Integer, _) => {
                let least = self.precision.unwrap_or(0);
                write!(digits, "{:0>least$.0}", size.trunc())?;
            }
            (Conversion::Fixed, _) => {
                let decimals = self.precision.unwrap_or(6);
                write!(digits, "{size:.decimals$}")?;
                if decimals == 0 && self.alternate_form {
                    digits.push('.');
                }
            }
        }
        let sign = match self.sign {
            _ if value < 0.0 => "-",
            Sign::Plus => "+",
            Sign::Space => " ",
            Sign::Minus => "",
        };
        let width = self.width.saturating_sub(sign.len());
        match self.align {
            Align::Left => write!(out, "{sign}{digits:<width$}"),
            Align::Zeros => write!(out, "{sign}{digits:0>width$}"),
            Align::Right => {
                let spaces = width.saturating_sub(digits.len());
                write!(out, "{:spaces$}{sign}{digits}", "")
            }
        }
    }
}

/// The number at the start of a text, 0 if there is none, and the rest.
fn leading_number<'a>(
    name: &'static str,
    text: &'a str,
) -> Result<(usize, &'a str), TemplateError> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    if digits.is_empty() {
        return Ok((0, rest));
    }
    match digits.parse() {
        Ok(number) if number <= MAX_WIDTH => Ok((number, rest)),
        _ => Err(TemplateError::TooWide { name }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALLOWED: &str =
        "(one of asctime, levelname, name, message, created, msecs, process, threadName)";

    /// The one placeholder of a template.
    #[track_caller]
    fn spec(template: &str) -> Spec {
        let template: Template = template.parse().expect("the test's template is valid");
        match template.parts.as_slice() {
            [Part::Placeholder(_, spec)] => *spec,
            parts => panic!("one placeholder expected: {parts:?}"),
        }
    }

    #[track_caller]
    fn check_text(template: &str, value: &str, expected: &str) {
        let mut out = String::new();
        spec(template)
            .write_text(&mut out, value)
            .expect("a String takes all");
        assert_eq!(out, expected, "{template} of {value:?}");
    }

    #[track_caller]
    fn check_number(conversion: &str, number: Number, expected: &str) {
        let mut out = String::new();
        spec(&format!("%(created){conversion}"))
            .write_number(&mut out, &mut String::new(), number)
            .expect("a String takes all");
        assert_eq!(out, expected, "{conversion} of {number:?}");
    }

    #[track_caller]
    fn check_error(template: &str, expected: &str) {
        let error = template.parse::<Template>().expect_err(template);
        assert_eq!(error.to_string(), expected, "{template}");
    }

    #[test]
    fn the_default_is_a_template() {
        assert_eq!(Template::default().parts.len(), 8);
    }

    #[test]
    fn two_percent_signs_are_one() {
        let template: Template = "100%% %(message)s%%".parse().expect("valid");
        let literal = |text: &str| Part::Literal(text.to_owned());
        assert_eq!(template.parts[0], literal("100% "));
        assert_eq!(template.parts[2], literal("%"));
    }

    #[test]
    fn a_text_is_cut_and_padded_by_characters() {
        check_text("%(message)s", "ab", "ab");
        check_text("%(message)5s", "ab", "   ab");
        check_text("%(message)-5s", "ab", "ab   ");
        check_text("%(message)05s", "ab", "   ab");
        check_text("%(message)+05s", "ab", "   ab");
        check_text("%(message)-05s", "ab", "ab   ");
        check_text("%(message)1s", "ab", "ab");
        check_text("%(message).2s", "äöü", "äö");
        check_text("%(message)5.2s", "äöü", "   äö");
        check_text("%(message).s", "ab", "");
        check_text("%(message).1000s", "ab", "ab");
    }

    // The expected values are what CPython's `%` operator gives.
    #[test]
    fn a_whole_number_follows_python() {
        let check = |conversion, expected| check_number(conversion, Number::Integer(42), expected);
        check("d", "42");
        check("s", "42");
        check("f", "42.000000");
        check("+d", "+42");
        check(" d", " 42");
        check("+ d", "+42");
        check("05d", "00042");
        check("-05d", "42   ");
        check("+05d", "+0042");
        check("5d", "   42");
        check("+5d", "  +42");
        check(".5d", "00042");
        check("8.3d", "     042");
        check("08.3d", "00000042");
        check("-8.3d", "042     ");
        check("#d", "42");
        check(".1s", "4");
    }

    #[test]
    fn a_fraction_follows_python() {
        let check = |conversion, value, expected| {
            check_number(conversion, Number::Float(value), expected);
        };
        check("03d", 7.0, "007");
        check("d", 995.9, "995");
        check("d", -3.7, "-3");
        check("s", 995.0, "995.0");
        check("s", 1_700_000_000.123_456_7, "1700000000.1234567");
        check("f", 1_700_000_000.123_456_7, "1700000000.123457");
        check(".3f", 1.5, "1.500");
        check(".f", 2.5, "2");
        check("#.0f", 2.5, "2.");
        check("010.2f", 3.25, "0000003.25");
        check("+010.2f", 3.25, "+000003.25");
        check(" .1f", 3.25, " 3.2");
        check("-10.2f", 3.25, "3.25      ");
        check("06.1f", -3.25, "-003.2");
        check("6.1f", -3.25, "  -3.2");
    }

    #[test]
    fn an_unknown_name_is_reported_with_the_nearest() {
        for (template, name, nearest) in [
            ("%(levelnme)s", "levelnme", ", did you mean \"levelname\"?"),
            (
                "%(threadname)s",
                "threadname",
                ", did you mean \"threadName\"?",
            ),
            ("%(msg)s", "msg", ""),
            ("%(lineno)d", "lineno", ""),
            ("%()s", "", ""),
            ("%(a\u{1b}[31m)s", "a\\u{1b}[31m", ""),
        ] {
            let expected = format!("unknown name \"{name}\" in the template{nearest} {ALLOWED}");
            check_error(template, &expected);
        }
    }

    #[test]
    fn a_mistake_is_reported_with_what_is_expected() {
        for (template, expected) in [
            ("%(message", "`%(` without a closing `)` in the template"),
            (
                "%(message)",
                "missing conversion (s, d or f) after `%(message)`",
            ),
            (
                "%(message)-08.3",
                "missing conversion (s, d or f) after `%(message)`",
            ),
            (
                "[%(message)]",
                "unsupported conversion ']' after `%(message)`, expected s, d or f",
            ),
            (
                "%(process)x",
                "unsupported conversion 'x' after `%(process)`, expected s, d or f",
            ),
            (
                "%(message)*s",
                "unsupported conversion '*' after `%(message)`, expected s, d or f",
            ),
            (
                "%(asctime)d",
                "conversion d of `%(asctime)` needs a number, and asctime is text, expected s",
            ),
            (
                "%(name).2f",
                "conversion f of `%(name)` needs a number, and name is text, expected s",
            ),
            (
                "%(name)1001s",
                "width or precision of `%(name)` is above 1000",
            ),
            (
                "%(name).99999999999999999999s",
                "width or precision of `%(name)` is above 1000",
            ),
            (
                "100% %(message)s",
                "`%` followed by neither `(` nor `%` in the template (`%%` is a percent sign)",
            ),
            (
                "%",
                "`%` followed by neither `(` nor `%` in the template (`%%` is a percent sign)",
            ),
            (
                "JSON %%",
                "no placeholder such as `%(message)s` in the template",
            ),
            ("", "no placeholder such as `%(message)s` in the template"),
        ] {
            check_error(template, expected);
        }
    }

    proptest! {
        #[test]
        fn reading_any_text_never_panics(text in "[%()a-z0-9.+# -]{0,40}|\\PC{0,40}") {
            let _ = text.parse::<Template>();
        }

        #[test]
        fn a_text_is_as_wide_as_its_width_asks(
            text in "\\PC{0,30}",
            width in 0..60_usize,
            precision in 0..60_usize,
            flags in "[-0+ #]{0,3}",
        ) {
            let mut out = String::new();
            let template = format!("%(message){flags}{width}.{precision}s");
            spec(&template).write_text(&mut out, &text).expect("a String takes all");
            let cut = text.chars().count().min(precision);
            prop_assert_eq!(out.chars().count(), cut.max(width));
        }
    }
}
