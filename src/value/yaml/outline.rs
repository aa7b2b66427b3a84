//! A first pass over a text: how deep it nests, and whether it has tags.
//!
//! The YAML library looks at every open `[` and `{` for every token, so the time it takes grows with the
//! nesting, and it finds out how deep that is only once it has read everything. This pass takes linear
//! time. It follows the library's scanner, which is that of YAML 1.1, closely enough that nothing
//! nests deeper there than here.

use std::ops::ControlFlow;

/// Maximum nesting, which is also the library's limit.
pub(super) const MAX_DEPTH: usize = 128;

/// Properties of a text apart from its values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// True if a value has a tag.
    pub(crate) has_tags: bool,
    /// The deepest nesting. A list in a list item or a mapping may count as the same level.
    depth: usize,
}

/// The reason why a text is rejected before it is parsed, and the offset in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub at: usize,
    pub message: &'static str,
}

const TOO_DEEP: &str = "nested more than 128 levels deep";
const VERBATIM_TAG: &str = "verbatim tags, !<…>, are not supported";
const TAG_DIRECTIVE: &str = "%TAG directives are not supported";

/// Scans `text`. Problems of invalid YAML are found later.
pub(super) fn outline(text: &str) -> Result<Outline, Refused> {
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
        line: 0,
        indents: Vec::new(),
        flows: Vec::new(),
        key: None,
        outline: Outline::default(),
    };
    match scanner.run() {
        ControlFlow::Continue(()) => Ok(scanner.outline),
        ControlFlow::Break(refused) => Err(refused),
    }
}

type Step = ControlFlow<Refused>;

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
    /// Start of the current line.
    line: usize,
    /// Columns of the open block collections.
    indents: Vec<usize>,
    /// Start of each open flow collection.
    flows: Vec<Start>,
    /// Start of the anchor or tag before the next value.
    key: Option<Start>,
    outline: Outline,
}

/// The start of a value, which may be the key of a mapping.
#[derive(Clone, Copy)]
struct Start {
    line: usize,
    column: usize,
}

impl Scanner<'_> {
    fn run(&mut self) -> Step {
        self.skip("\u{feff}".as_bytes());
        loop {
            self.skip_blanks_and_comments();
            let Some(byte) = self.peek(0) else {
                return Step::Continue(());
            };
            if self.flows.is_empty() {
                let column = self.column();
                while self.indents.last().is_some_and(|indent| *indent > column) {
                    self.indents.pop();
                }
                if self.is_document_marker() {
                    self.indents.clear();
                    self.at += 3;
                    continue;
                }
                if column == 0 && byte == b'%' {
                    if self.bytes[self.at..].starts_with(b"%TAG") {
                        return self.refuse(TAG_DIRECTIVE);
                    }
                    self.skip_line();
                    continue;
                }
            }
            self.token(byte)?;
        }
    }

    fn token(&mut self, byte: u8) -> Step {
        let in_flow = !self.flows.is_empty();
        match byte {
            b'[' | b'{' => {
                let start = self.start_of_value();
                self.flows.push(start);
                self.check_depth()?;
                self.at += 1;
            }
            b']' | b'}' => {
                self.at += 1;
                if let Some(start) = self.flows.pop() {
                    return self.end_value(start);
                }
            }
            b',' | b'?' | b':' if in_flow => self.at += 1,
            b'-' | b'?' | b':' if !in_flow && self.is_blank(1) => return self.open_block(),
            b'&' | b'!' => {
                self.key = Some(self.start_of_value());
                if byte == b'!' {
                    self.outline.has_tags = true;
                    if self.peek(1) == Some(b'<') {
                        return self.refuse(VERBATIM_TAG);
                    }
                }
                self.skip_word();
            }
            b'*' => {
                let start = self.start_of_value();
                self.skip_word();
                return self.end_value(start);
            }
            b'|' | b'>' if !in_flow => {
                self.key = None;
                self.skip_block_scalar();
            }
            b'"' | b'\'' => {
                let start = self.start_of_value();
                self.skip_quoted(byte);
                return self.end_value(start);
            }
            _ => {
                let start = self.start_of_value();
                self.skip_plain();
                return self.end_value(start);
            }
        }
        Step::Continue(())
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn column(&self) -> usize {
        self.at - self.line
    }

    fn skip(&mut self, prefix: &[u8]) {
        if self.bytes[self.at..].starts_with(prefix) {
            self.at += prefix.len();
            self.line = self.at;
        }
    }

    /// Length of the line break at `ahead`; 0 if there is none.
    fn line_break(&self, ahead: usize) -> usize {
        match self.bytes.get(self.at + ahead..) {
            Some([b'\r', b'\n', ..] | [0xc2, 0x85, ..]) => 2,
            Some([b'\n' | b'\r', ..]) => 1,
            Some([0xe2, 0x80, 0xa8 | 0xa9, ..]) => 3,
            _ => 0,
        }
    }

    /// Returns true for a blank, a line break or the end at `ahead`.
    fn is_blank(&self, ahead: usize) -> bool {
        match self.peek(ahead) {
            None | Some(b' ' | b'\t' | 0) => true,
            Some(_) => self.line_break(ahead) > 0,
        }
    }

    fn is_document_marker(&self) -> bool {
        let rest = &self.bytes[self.at..];
        self.column() == 0
            && (rest.starts_with(b"---") || rest.starts_with(b"..."))
            && self.is_blank(3)
    }

    /// Skips a line break; returns false if there is none.
    fn take_break(&mut self) -> bool {
        let length = self.line_break(0);
        self.at += length;
        if length > 0 {
            self.line = self.at;
        }
        length > 0
    }

    fn skip_line(&mut self) {
        while self.at < self.bytes.len() && self.line_break(0) == 0 {
            self.at += 1;
        }
    }

    fn skip_spaces(&mut self) {
        while let Some(b' ' | b'\t') = self.peek(0) {
            self.at += 1;
        }
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.skip_spaces();
            if self.peek(0) == Some(b'#') {
                self.skip_line();
            }
            if !self.take_break() {
                return;
            }
        }
    }

    /// Skips the rest of an anchor, an alias or a tag.
    fn skip_word(&mut self) {
        self.at += 1;
        while !self.is_blank(0) {
            if !self.flows.is_empty()
                && matches!(self.peek(0), Some(b',' | b'[' | b']' | b'{' | b'}'))
            {
                return;
            }
            self.at += 1;
        }
    }

    fn skip_quoted(&mut self, quote: u8) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            if self.take_break() {
                continue;
            }
            self.at += 1;
            if byte == b'\\' && quote == b'"' {
                if !self.take_break() {
                    self.at += 1;
                }
            } else if byte == quote {
                if quote == b'\'' && self.peek(0) == Some(quote) {
                    self.at += 1;
                } else {
                    return;
                }
            }
        }
    }

    /// Skips a plain scalar, which may have several lines.
    fn skip_plain(&mut self) {
        let in_flow = !self.flows.is_empty();
        let least = self.indents.last().map_or(0, |indent| indent + 1);
        let begin = self.at;
        loop {
            while !self.is_blank(0) {
                let is_end = match self.peek(0) {
                    Some(b':') => {
                        self.is_blank(1)
                            || in_flow
                                && matches!(
                                    self.peek(1),
                                    Some(b',' | b'?' | b'[' | b']' | b'{' | b'}')
                                )
                    }
                    Some(b',' | b'[' | b']' | b'{' | b'}') => in_flow,
                    _ => false,
                };
                if is_end {
                    // Skip a stray character.
                    self.at = self.at.max(begin + 1);
                    return;
                }
                self.at += 1;
            }
            let end = (self.at, self.line);
            self.skip_spaces();
            while self.take_break() {
                self.skip_spaces();
            }
            let is_over = matches!(self.peek(0), None | Some(b'#' | 0))
                || self.is_document_marker()
                || !in_flow && self.column() < least;
            if is_over {
                (self.at, self.line) = end;
                self.at = self.at.max(begin + 1);
                return;
            }
        }
    }

    /// Skips a literal or folded scalar: its header and its indented lines.
    fn skip_block_scalar(&mut self) {
        self.at += 1;
        let mut given = None;
        while let Some(byte @ (b'+' | b'-' | b'1'..=b'9')) = self.peek(0) {
            if byte.is_ascii_digit() {
                given = Some(usize::from(byte - b'0'));
            }
            self.at += 1;
        }
        self.skip_line();
        self.take_break();
        let parent = self.indents.last().copied();
        let indent = match given {
            Some(given) => parent.unwrap_or(0) + given,
            None => self.detect_indent(parent.map_or(1, |parent| parent + 1)),
        };
        loop {
            while self.peek(0) == Some(b' ') && self.column() < indent {
                self.at += 1;
            }
            if self.take_break() {
                continue;
            }
            if self.column() < indent || self.at >= self.bytes.len() {
                return;
            }
            self.skip_line();
            self.take_break();
        }
    }

    /// The indentation of the first line with text, at least `least`.
    fn detect_indent(&self, least: usize) -> usize {
        let mut ahead = Scanner {
            bytes: self.bytes,
            at: self.at,
            line: self.line,
            indents: Vec::new(),
            flows: Vec::new(),
            key: None,
            outline: Outline::default(),
        };
        let mut indent = least;
        loop {
            while ahead.peek(0) == Some(b' ') {
                ahead.at += 1;
            }
            indent = indent.max(ahead.column());
            if !ahead.take_break() {
                return indent;
            }
        }
    }

    /// The start of the value here, with an anchor or tag before it.
    fn start_of_value(&mut self) -> Start {
        let here = Start {
            line: self.line,
            column: self.column(),
        };
        self.key
            .take()
            .filter(|start| start.line == here.line)
            .unwrap_or(here)
    }

    /// Opens a mapping if the value that ends here is its key.
    fn end_value(&mut self, start: Start) -> Step {
        if !self.flows.is_empty() || start.line != self.line {
            return Step::Continue(());
        }
        self.skip_spaces();
        if self.peek(0) == Some(b':') && self.is_blank(1) {
            self.push_indent(start.column)?;
            self.at += 1;
        }
        Step::Continue(())
    }

    /// Opens the block collection of the indicator here.
    fn open_block(&mut self) -> Step {
        self.key = None;
        self.push_indent(self.column())?;
        self.at += 1;
        Step::Continue(())
    }

    fn push_indent(&mut self, column: usize) -> Step {
        if self.indents.last().is_none_or(|indent| *indent < column) {
            self.indents.push(column);
            self.check_depth()?;
        }
        Step::Continue(())
    }

    fn check_depth(&mut self) -> Step {
        let depth = self.indents.len() + self.flows.len();
        self.outline.depth = self.outline.depth.max(depth);
        if depth > MAX_DEPTH {
            return self.refuse(TOO_DEEP);
        }
        Step::Continue(())
    }

    fn refuse(&self, message: &'static str) -> Step {
        Step::Break(Refused {
            at: self.at,
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::{Node, yaml::parse};

    #[track_caller]
    fn check_depth(text: &str, expected: usize) {
        let outline = outline(text).expect("not too deep");
        assert_eq!(outline.depth, expected, "{text}");
    }

    #[test]
    fn brackets_nest_where_they_open_a_collection() {
        check_depth("", 0);
        check_depth("[[], {a: [b]}]", 3);
        check_depth("a: [b]\nc:\n  d: {e: f}\n", 3);
        check_depth("- - - a\n- b: - c\n", 3);
        check_depth("a: b[[[\n  [[[ c\nd: 1\n", 1);
        check_depth("a: '[[''['\nb: \"[[\\\"[[\"\n'[[': c\n", 1);
        check_depth("# [[[\na: 1 # [[[\nb: c#[\n", 1);
        check_depth("a: |\n  [[[\n   [[[\n\n  [[[\nb: 1\n", 1);
        check_depth("a:\n- >2-\n   [[[\n  [[[\n- [b]\n", 2);
        check_depth("a: ![[\n  b\n", 1);
        check_depth("&a[[ b: &c[ d\n*a[[ : 1\n", 1);
        check_depth("{a: b, \"[\": [c], d#[: '[[['}\n", 2);
        check_depth("\u{feff}a:\n  b:\n    c: 1\n", 3);
        check_depth("? [a]\n: [b]\n", 2);
        check_depth("a: 1\n...\n---\nb: [c]\n", 2);
    }

    #[test]
    fn tags_are_found_where_they_are_tags() {
        let has_tags = |text: &str| outline(text).expect("supported").has_tags;
        for text in ["!a b", "a: !!str 5", "[!b]", "a:\n  - !c\n    d: e\n"] {
            assert!(has_tags(text), "{text}");
        }
        for text in ["a: b !c", "a: '!b'", "# !a", "a: |\n  !b\n", "a!b: c"] {
            assert!(!has_tags(text), "{text}");
        }
        let message = |text: &str| outline(text).expect_err("not supported").message;
        assert_eq!(message("a: !<tag:yaml.org,2002:int> 5"), VERBATIM_TAG);
        assert_eq!(message("%TAG !! tag:a,b:\n---\na: 1\n"), TAG_DIRECTIVE);
    }

    #[test]
    fn deep_nesting_is_refused_in_linear_time() {
        let nested: String = (0..1500).map(|depth| " ".repeat(depth) + "a:\n").collect();
        for text in [
            "[".repeat(300_000),
            "{".repeat(300_000),
            "[\n".repeat(150_000),
            "{a: ".repeat(100_000),
            "- ".repeat(150_000),
            "? ".repeat(150_000),
            "- [? ".repeat(60_000),
            "a: 1\nb: \u{2028}[".to_owned() + &"[".repeat(300_000),
            "# \r".to_owned() + &"[".repeat(300_000),
            nested,
        ] {
            let started = tokio::time::Instant::now();
            parse(&text).expect_err("nested too deep");
            let took = started.elapsed();
            assert!(took.as_millis() < 1000, "{took:?} for {text:.20}");
        }
    }

    /// The levels of lists and mappings.
    fn depth(node: &Node) -> usize {
        match node {
            Node::List(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
            Node::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|(_, node)| depth(node))
                    .max()
                    .unwrap_or_default()
            }
            _ => 0,
        }
    }

    fn soup() -> impl Strategy<Value = String> {
        let pieces = [
            "[", "[", "]", "]", "{", "}", ",", ", ", ": ", ":", "- ", "? ", "\n", "\n", "\n  ",
            "\n    ", "\n ", " ", "a", "b", "a: ", "b:\n", "'", "\"", "''", "\\", "#", " #", "|\n",
            ">\n", "|1\n", "|-\n", "\t", "x[", "é", "\u{2028}", "\r", "---", "\n---\n", "-",
            "\n- ", "\n  - ", "%", "~",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn nothing_nests_deeper_or_less_deep_for_the_library(text in soup()) {
            let seen = outline(&text).expect("short").depth;
            if let Ok(node) = parse(&text) {
                let real = depth(&node);
                prop_assert!(real <= 2 * seen, "{real} levels, of which {seen} were seen");
                prop_assert!(seen <= real, "{seen} levels, and {real} were there");
            }
        }
    }
}
