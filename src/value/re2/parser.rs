//! Parses an expression from left to right, as Go's parser does, with a stack of open groups.

use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, Look, Repetition};

use super::{
    Error,
    class::{self, MAX_CODE_POINT, Ranges},
};

/// Parts within parts: whatever compiles them calls itself for each.
const MAX_DEPTH: usize = 130;

/// Times that a part may be repeated, by all repetitions around it.
const MAX_REPETITIONS: u32 = 1000;

/// Bytes of memory for the parts of an expression, roughly.
const MAX_PARTS_BYTES: usize = 32 << 20;

/// Bytes that one part takes beside its ranges, roughly.
const PART_BYTES: usize = 256;

/// An expression that has been read.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Its meaning, for text that is valid UTF-8.
    pub(crate) hir: Hir,
    /// The names of its groups, by index; the first is that of the whole match, which has none.
    pub names: Vec<Option<Box<str>>>,
}

/// Reads `text`; `.` matches line feeds too if `dot_matches_newline`.
pub(crate) fn parse(text: &str, dot_matches_newline: bool) -> Result<Parsed, Error> {
    let flags = Flags {
        dot_matches_newline,
        ..Flags::default()
    };
    let mut parser = Parser {
        rest: text,
        flags,
        groups: vec![Group::new(GroupKind::Whole, flags)],
        names: vec![None],
        room: MAX_PARTS_BYTES,
        may_end_named_class: true,
    };
    let mut last_repetition = None;
    while let Some(c) = parser.rest.chars().next() {
        last_repetition = parser.step(c, last_repetition)?;
    }
    parser.finish()
}

/// The flags that `(?imsU)` sets.
#[expect(clippy::struct_excessive_bools, reason = "each is a letter of its own")]
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    fold_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
    swap_greed: bool,
}

/// A group that is open.
struct Group {
    kind: GroupKind,
    /// The flags around it.
    flags: Flags,
    branches: Vec<Part>,
    /// The parts of the last branch, apart from `literal`.
    parts: Vec<Part>,
    /// The characters that follow `parts`.
    literal: String,
}

enum GroupKind {
    Whole,
    Plain,
    Capture(u32),
}

/// A part of an expression.
struct Part {
    hir: Hir,
    /// The product of the counted repetitions within it, at most.
    repetitions: u32,
    /// Number of parts within parts, at most.
    depth: usize,
}

impl From<Hir> for Part {
    fn from(hir: Hir) -> Self {
        Self {
            hir,
            repetitions: 1,
            depth: 1,
        }
    }
}

impl Group {
    fn new(kind: GroupKind, flags: Flags) -> Self {
        Self {
            kind,
            flags,
            branches: Vec::new(),
            parts: Vec::new(),
            literal: String::new(),
        }
    }

    /// Ends the characters that follow each other.
    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal).into_bytes();
            self.parts.push(Hir::literal(literal).into());
        }
    }

    /// The last part, which is what a repetition is of.
    fn pop(&mut self) -> Option<Part> {
        match self.literal.pop() {
            Some(last) => {
                self.end_literal();
                Some(literal(last).into())
            }
            None => self.parts.pop(),
        }
    }

    fn end_branch(&mut self) {
        self.end_literal();
        let parts = std::mem::take(&mut self.parts);
        self.branches.push(join(parts, Hir::concat));
    }

    fn into_part(mut self) -> Result<Part, Error> {
        self.end_branch();
        let mut part = join(self.branches, Hir::alternation);
        if let GroupKind::Capture(index) = self.kind {
            part.depth += 1;
            part.hir = Hir::capture(Capture {
                index,
                // Names are looked up in `Parsed`: Go allows one for several groups.
                name: None,
                sub: Box::new(part.hir),
            });
        }
        part.check_depth()
    }
}

impl Part {
    fn check_depth(self) -> Result<Self, Error> {
        if self.depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        Ok(self)
    }
}

fn join(parts: Vec<Part>, make: fn(Vec<Hir>) -> Hir) -> Part {
    let repetitions = parts.iter().map(|part| part.repetitions).max();
    let depth = parts.iter().map(|part| part.depth).max();
    Part {
        repetitions: repetitions.unwrap_or(1),
        depth: depth.unwrap_or_default() + usize::from(parts.len() != 1),
        hir: make(parts.into_iter().map(|part| part.hir).collect()),
    }
}

fn literal(c: char) -> Hir {
    Hir::literal(c.to_string().into_bytes())
}

struct Parser<'t> {
    rest: &'t str,
    flags: Flags,
    /// The first is the whole expression.
    groups: Vec<Group>,
    names: Vec<Option<Box<str>>>,
    /// Bytes that further parts may take.
    room: usize,
    /// True if `:]` can still follow. Looking for it again and again would take long.
    may_end_named_class: bool,
}

impl<'t> Parser<'t> {
    /// Reads what begins with `c`; `last_repetition` is the text from a repetition on that is right before it.
    fn step(
        &mut self,
        c: char,
        last_repetition: Option<&'t str>,
    ) -> Result<Option<&'t str>, Error> {
        let from = self.rest;
        match c {
            '(' if from.starts_with("(?") => self.flags_or_group()?,
            '(' => {
                self.skip(1);
                self.open_capture(None)?;
            }
            ')' => {
                self.skip(1);
                self.close()?;
            }
            '|' => {
                self.skip(1);
                self.take_room(0)?;
                self.group().end_branch();
            }
            '^' | '$' => {
                self.skip(1);
                let look = match (c, self.flags.multi_line) {
                    ('^', false) => Look::Start,
                    ('^', true) => Look::StartLF,
                    (_, false) => Look::End,
                    (_, true) => Look::EndLF,
                };
                self.push(Hir::look(look))?;
            }
            '.' => {
                self.skip(1);
                let mut ranges = vec![ClassUnicodeRange::new('\0', char::MAX)];
                if !self.flags.dot_matches_newline {
                    ranges = vec![
                        ClassUnicodeRange::new('\0', '\t'),
                        ClassUnicodeRange::new('\x0b', char::MAX),
                    ];
                }
                self.push(Hir::class(Class::Unicode(ClassUnicode::new(ranges))))?;
            }
            '[' => self.class()?,
            '*' | '+' | '?' | '{' => {
                let counts = match c {
                    '*' => Some((0, None)),
                    '+' => Some((1, None)),
                    '?' => Some((0, Some(1))),
                    _ => self.counts()?,
                };
                if let Some(counts) = counts {
                    if c != '{' {
                        self.skip(1);
                    }
                    self.repeat(counts, from, last_repetition)?;
                    return Ok(Some(from));
                }
                self.skip(1);
                self.push_char(c)?;
            }
            '\\' => self.escape()?,
            _ => {
                self.skip(c.len_utf8());
                self.push_char(c)?;
            }
        }
        Ok(None)
    }

    fn finish(mut self) -> Result<Parsed, Error> {
        match (self.groups.pop(), self.groups.is_empty()) {
            (Some(whole), true) => Ok(Parsed {
                hir: whole.into_part()?.hir,
                names: self.names,
            }),
            _ => Err(Error::MissingParen),
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Takes the next character.
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    /// The text that was read since `from` was left.
    fn since(&self, from: &'t str) -> &'t str {
        &from[..from.len() - self.rest.len()]
    }

    fn group(&mut self) -> &mut Group {
        self.groups
            .last_mut()
            .expect("the whole is closed by the end alone")
    }

    fn take_room(&mut self, ranges: usize) -> Result<(), Error> {
        let bytes = PART_BYTES + ranges * size_of::<ClassUnicodeRange>();
        self.room = self.room.checked_sub(bytes).ok_or(Error::TooLarge)?;
        Ok(())
    }

    fn push(&mut self, hir: Hir) -> Result<(), Error> {
        self.take_room(0)?;
        let group = self.group();
        group.end_literal();
        group.parts.push(hir.into());
        Ok(())
    }

    fn push_char(&mut self, c: char) -> Result<(), Error> {
        if self.flags.fold_case {
            let mut folded = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            class::fold_case(&mut folded);
            if folded.ranges().len() > 1 {
                return self.push(Hir::class(Class::Unicode(folded)));
            }
        }
        self.group().literal.push(c);
        Ok(())
    }

    /// Adds a character by its number.
    fn push_code_point(&mut self, code_point: u32) -> Result<(), Error> {
        match char::from_u32(code_point) {
            Some(c) => self.push_char(c),
            // Of text that is UTF-8, no surrogate is a part.
            None => self.push(Hir::fail()),
        }
    }

    fn push_ranges(&mut self, ranges: Ranges, negated: bool) -> Result<(), Error> {
        self.take_room(ranges.len())?;
        let mut class = ClassUnicode::new(ranges);
        if self.flags.fold_case {
            class::fold_case(&mut class);
        }
        if negated {
            class.negate();
        }
        self.take_room(class.ranges().len())?;
        self.push(Hir::class(Class::Unicode(class)))
    }

    fn open(&mut self, kind: GroupKind) -> Result<(), Error> {
        // Those that are never closed would be counted too late.
        if self.groups.len() > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.take_room(0)?;
        self.group().end_literal();
        self.groups.push(Group::new(kind, self.flags));
        Ok(())
    }

    fn open_capture(&mut self, name: Option<&str>) -> Result<(), Error> {
        let index = u32::try_from(self.names.len()).map_err(|_| Error::TooLarge)?;
        self.names.push(name.map(Into::into));
        self.open(GroupKind::Capture(index))
    }

    fn close(&mut self) -> Result<(), Error> {
        let group = match self.groups.pop() {
            Some(group) if !self.groups.is_empty() => group,
            _ => return Err(Error::UnexpectedParen),
        };
        self.flags = group.flags;
        let part = group.into_part()?;
        self.group().parts.push(part);
        Ok(())
    }

    /// Repeats the last part.
    fn repeat(
        &mut self,
        (min, max): (u32, Option<u32>),
        from: &'t str,
        last_repetition: Option<&'t str>,
    ) -> Result<(), Error> {
        let lazy = self.rest.starts_with('?');
        if lazy {
            self.skip(1);
        }
        if let Some(last) = last_repetition {
            let reason = "invalid nested repetition operator";
            return Err(Error::syntax(reason, self.since(last)));
        }
        let here = self.since(from);
        let Some(part) = self.group().pop() else {
            let reason = "missing argument to repetition operator";
            return Err(Error::syntax(reason, here));
        };
        let repetitions = match max.unwrap_or(min) {
            0 if max.is_some() => 1,
            times => part.repetitions.saturating_mul(times.max(1)),
        };
        if repetitions > MAX_REPETITIONS {
            return Err(Error::syntax("invalid repeat count", here));
        }
        self.take_room(0)?;
        let hir = Hir::repetition(Repetition {
            min,
            max,
            greedy: lazy == self.flags.swap_greed,
            sub: Box::new(part.hir),
        });
        let depth = part.depth + 1;
        let repeated = Part {
            hir,
            repetitions,
            depth,
        };
        self.group().parts.push(repeated.check_depth()?);
        Ok(())
    }

    /// Takes `{2}`, `{2,}` or `{2,3}`; anything else that begins with `{` is text.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, Error> {
        let from = self.rest;
        let is_count = |c: char| c.is_ascii_digit() || c == ',';
        let (inner, behind) = match from[1..].split_once(|c| !is_count(c)) {
            Some((inner, behind)) if from[1 + inner.len()..].starts_with('}') => (inner, behind),
            _ => return Ok(None),
        };
        let (min, max) = inner.split_once(',').unwrap_or((inner, inner));
        let is_number = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'))
        };
        if !is_number(min) || !(max.is_empty() && inner.ends_with(',') || is_number(max)) {
            return Ok(None);
        }
        self.rest = behind;
        let number = |text: &str| text.parse().ok().filter(|count| *count <= MAX_REPETITIONS);
        let invalid = || Error::syntax("invalid repeat count", self.since(from));
        let min = number(min).ok_or_else(invalid)?;
        let max = match max {
            "" => None,
            max => Some(number(max).filter(|max| *max >= min).ok_or_else(invalid)?),
        };
        Ok(Some((min, max)))
    }

    /// Takes what begins with `(?`: a group with a name, flags, or a group with flags.
    fn flags_or_group(&mut self) -> Result<(), Error> {
        let from = self.rest;
        let named = from
            .strip_prefix("(?P<")
            .or_else(|| from.strip_prefix("(?<"));
        if let Some(named) = named {
            let invalid = |part: &str| Error::syntax("invalid named capture", part);
            let (name, behind) = named.split_once('>').ok_or_else(|| invalid(from))?;
            self.rest = behind;
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(is_word) {
                return Err(invalid(self.since(from)));
            }
            return self.open_capture(Some(name));
        }
        self.skip(2);
        let mut flags = self.flags;
        let (mut is_set, mut has_sign, mut has_flag) = (true, false, false);
        while let Some(c) = self.next() {
            match c {
                'i' => flags.fold_case = is_set,
                'm' => flags.multi_line = is_set,
                's' => flags.dot_matches_newline = is_set,
                'U' => flags.swap_greed = is_set,
                '-' if !has_sign => {
                    (is_set, has_sign, has_flag) = (false, true, false);
                    continue;
                }
                ':' | ')' if !has_sign || has_flag => {
                    if c == ':' {
                        self.open(GroupKind::Plain)?;
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => break,
            }
            has_flag = true;
        }
        let part = self.since(from);
        let reason = "invalid or unsupported Perl syntax";
        Err(Error::syntax(reason, part))
    }

    /// Takes what begins with a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), Error> {
        let from = self.rest;
        let Some(letter) = from[1..].chars().next() else {
            return Err(trailing_backslash());
        };
        let look = match letter {
            'A' => Some(Look::Start),
            'z' => Some(Look::End),
            'b' => Some(Look::WordAscii),
            'B' => Some(Look::WordAsciiNegate),
            _ => None,
        };
        if let Some(look) = look {
            self.skip(2);
            return self.push(Hir::look(look));
        }
        if letter == 'Q' {
            let quoted = &from[2..];
            let (text, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            self.rest = behind;
            return text.chars().try_for_each(|c| self.push_char(c));
        }
        if let Some(ranges) = self.class_escape()? {
            return self.push_ranges(ranges, false);
        }
        let code_point = self.char_escape()?;
        self.push_code_point(code_point)
    }

    /// Takes `\d` and the like, or `\p{…}`, if one is next.
    fn class_escape(&mut self) -> Result<Option<Ranges>, Error> {
        let from = self.rest;
        let mut chars = from.chars();
        if chars.next() != Some('\\') {
            return Ok(None);
        }
        let Some(letter) = chars.next() else {
            return Ok(None);
        };
        let fold = self.flags.fold_case;
        if !matches!(letter, 'p' | 'P') {
            let ranges = class::perl(letter, fold);
            if ranges.is_some() {
                self.skip(2);
            }
            return Ok(ranges);
        }
        self.skip(2);
        let name = if let Some(braced) = self.rest.strip_prefix('{') {
            let Some((name, behind)) = braced.split_once('}') else {
                return Err(invalid_range(from));
            };
            self.rest = behind;
            name
        } else {
            let at = self.rest;
            self.next();
            self.since(at)
        };
        let ranges = class::unicode(name, letter == 'P', fold)
            .ok_or_else(|| invalid_range(self.since(from)))?;
        Ok(Some(ranges))
    }

    /// Takes an escape of one character.
    fn char_escape(&mut self) -> Result<u32, Error> {
        let from = self.rest;
        self.skip(1);
        let letter = self.next().ok_or_else(trailing_backslash)?;
        let code_point = match letter {
            '0' => Some(self.octal(0)),
            // One digit alone would be a reference to a group.
            '1'..='7' if self.rest.starts_with(|c| matches!(c, '0'..='7')) => {
                letter.to_digit(8).map(|digit| self.octal(digit))
            }
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(u32::from('\n')),
            'r' => Some(u32::from('\r')),
            't' => Some(u32::from('\t')),
            'v' => Some(0x0b),
            _ if letter.is_ascii() && !letter.is_ascii_alphanumeric() => Some(letter.into()),
            _ => None,
        };
        code_point.ok_or_else(|| Error::syntax("invalid escape sequence", self.since(from)))
    }

    /// Takes up to two more octal digits.
    fn octal(&mut self, first: u32) -> u32 {
        let mut number = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else {
                break;
            };
            number = number * 8 + digit;
            self.skip(1);
        }
        number
    }

    /// Takes two hexadecimal digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let mut number = 0;
        if !self.rest.starts_with('{') {
            for _ in 0..2 {
                number = number * 16 + self.next()?.to_digit(16)?;
            }
            return Some(number);
        }
        self.skip(1);
        let mut has_digit = false;
        loop {
            match self.next()? {
                '}' => return has_digit.then_some(number),
                c => number = number * 16 + c.to_digit(16)?,
            }
            if number > MAX_CODE_POINT {
                return None;
            }
            has_digit = true;
        }
    }

    /// Takes a class in brackets.
    fn class(&mut self) -> Result<(), Error> {
        let from = self.rest;
        self.skip(1);
        let negated = self.rest.starts_with('^');
        if negated {
            self.skip(1);
        }
        let mut ranges = Ranges::new();
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if let Some(named) = self.named_class()? {
                self.take_room(named.len())?;
                ranges.extend(named);
                continue;
            }
            if let Some(escaped) = self.class_escape()? {
                self.take_room(escaped.len())?;
                ranges.extend(escaped);
                continue;
            }
            let at = self.rest;
            let first = self.class_char(from)?;
            let mut last = first;
            if let Some(behind) = self.rest.strip_prefix('-')
                && !behind.is_empty()
                && !behind.starts_with(']')
            {
                self.rest = behind;
                last = self.class_char(from)?;
                if last < first {
                    return Err(invalid_range(self.since(at)));
                }
            }
            ranges.extend(class::range(first, last));
        }
        self.skip(1);
        self.push_ranges(ranges, negated)
    }

    /// Takes `[:name:]` if it is next.
    fn named_class(&mut self) -> Result<Option<Ranges>, Error> {
        let from = self.rest;
        let Some(named) = from.strip_prefix("[:").filter(|_| self.may_end_named_class) else {
            return Ok(None);
        };
        let Some((name, behind)) = named.split_once(":]") else {
            self.may_end_named_class = false;
            return Ok(None);
        };
        self.rest = behind;
        let ranges = class::posix(name, self.flags.fold_case)
            .ok_or_else(|| invalid_range(self.since(from)))?;
        Ok(Some(ranges))
    }

    /// Takes a character in the class that begins with `class`.
    fn class_char(&mut self, class: &str) -> Result<u32, Error> {
        if self.rest.starts_with('\\') {
            return self.char_escape();
        }
        let c = self.next();
        c.map(u32::from)
            .ok_or_else(|| Error::syntax("missing closing ]", class))
    }
}

fn invalid_range(part: &str) -> Error {
    Error::syntax("invalid character class range", part)
}

fn trailing_backslash() -> Error {
    Error::syntax("trailing backslash at end of expression", "\\")
}
