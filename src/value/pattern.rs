//! Regular expressions with RE2's syntax and semantics, as in Prometheus and blackbox_exporter.

use std::{fmt, ops::Range, sync::Arc};

use regex_automata::meta;

use super::{
    FromNode, Node,
    re2::{self, Error, Search, Text},
};

/// A regular expression over bytes with linear time. Each byte that is not valid UTF-8 counts as the
/// character U+FFFD.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    regex: meta::Regex,
    /// True if it matches only a fixed set of texts.
    is_literal: bool,
    search: Arc<Search>,
    /// Names of groups by index.
    names: Arc<[Option<Box<str>>]>,
}

impl Pattern {
    /// Maximum memory of each compiled form.
    const MAX_COMPILED_BYTES: usize = 8 << 20;

    /// Maximum length of an expression.
    const MAX_TEXT_BYTES: usize = 256 << 10;

    /// Maximum number of steps of a search that is quick enough not to delay other checks.
    pub(crate) const MAX_QUICK_STEPS: u64 = 100_000;

    /// Compiles an expression that may match anywhere.
    ///
    /// # Errors
    /// The reason why it is rejected.
    pub fn new(text: &str) -> Result<Self, String> {
        Self::compile(text, false).map_err(|error| describe(&error))
    }

    /// Compiles an expression that must match the whole text and whose `.` also matches line feeds, as
    /// in Prometheus' relabelling.
    ///
    /// # Errors
    /// The reason why it is rejected.
    pub(crate) fn anchored(text: &str) -> Result<Self, String> {
        Self::compile(text, true).map_err(|error| describe(&error))
    }

    fn compile(text: &str, is_anchored: bool) -> Result<Self, Error> {
        use regex_syntax::hir::{Hir, Look};

        if text.len() > Self::MAX_TEXT_BYTES {
            return Err(Error::TooLarge);
        }
        let re2::Parsed { mut hir, names } = re2::parse(text, is_anchored)?;
        if is_anchored {
            hir = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        }
        let search = Search::new(&hir, Self::MAX_COMPILED_BYTES)?;
        let config = meta::Config::new().nfa_size_limit(Some(Self::MAX_COMPILED_BYTES));
        let regex = meta::Builder::new().configure(config).build_from_hir(&hir);
        Ok(Self {
            text: text.into(),
            is_literal: hir.properties().is_alternation_literal(),
            regex: regex.map_err(|_| Error::TooLarge)?,
            search: Arc::new(search),
            names: names.into(),
        })
    }

    /// The groups of the first match in `bytes`.
    #[must_use]
    pub fn captures<'b>(&self, bytes: &'b [u8]) -> Option<Captures<'b>> {
        let text = Text::new(bytes);
        let mut found = self.regex.create_captures();
        self.regex.captures(text.as_str(), &mut found);
        let groups = found.is_match().then(|| {
            let groups = found.iter();
            groups
                .map(|group| Some(text.bytes_of(group?.range())))
                .collect()
        });
        Some(Captures {
            bytes,
            groups: groups?,
            names: self.names.clone(),
        })
    }

    /// Returns true if it matches anywhere in `bytes`.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(Text::new(bytes).as_str())
    }

    /// An upper bound for the steps of [`matches`](Self::matches) per byte, of about ten nanoseconds
    /// each. A hostile text may need all of them.
    #[must_use]
    pub(crate) fn steps_per_byte(&self) -> u64 {
        if self.is_literal {
            return 1;
        }
        self.search.states()
    }

    /// Like [`matches`](Self::matches), but returns `None` within a few milliseconds after `stop`
    /// returns true.
    pub(crate) fn matches_unless(&self, bytes: &[u8], stop: impl Fn() -> bool) -> Option<bool> {
        let steps = self.steps_per_byte().saturating_mul(bytes.len() as u64);
        if self.is_literal || steps <= Self::MAX_QUICK_STEPS {
            return Some(self.matches(bytes));
        }
        let quickly = self.search.is_match_quickly(bytes);
        quickly.or_else(|| self.search.is_match(bytes, stop))
    }

    /// Searches with a time limit.
    #[cfg(test)]
    pub(super) fn search(&self) -> &Search {
        &self.search
    }
}

fn describe(error: &Error) -> String {
    format!("invalid regular expression: {error}")
}

/// The groups of a match.
pub struct Captures<'b> {
    bytes: &'b [u8],
    groups: Vec<Option<Range<usize>>>,
    names: Arc<[Option<Box<str>>]>,
}

impl Captures<'_> {
    /// Maximum length of an expanded template, which the peer influences.
    pub(crate) const MAX_EXPANDED_BYTES: usize = 1 << 20;

    /// Replaces `$1`, `${1}` and `${name}` in `template` with groups, as Go's `Expand` does; `None` if
    /// the result is longer than [`MAX_EXPANDED_BYTES`](Self::MAX_EXPANDED_BYTES).
    #[must_use]
    pub fn expand(&self, template: &[u8]) -> Option<Vec<u8>> {
        re2::expand(template, Self::MAX_EXPANDED_BYTES, |name| self.group(name))
    }

    fn group(&self, name: &[u8]) -> &[u8] {
        let bytes_of = |range: &Range<usize>| &self.bytes[range.clone()];
        let group = if let Some(number) = re2::number(name) {
            self.groups.get(number).and_then(Option::as_ref)
        } else {
            let is_named = |known: &Option<Box<str>>| {
                known.as_ref().is_some_and(|known| known.as_bytes() == name)
            };
            // Of several with the same name, the first that matched.
            let mut named = self.groups.iter().zip(&*self.names);
            named.find_map(|(group, known)| group.as_ref().filter(|_| is_named(known)))
        };
        group.map_or(&[], bytes_of)
    }
}

#[cfg(test)]
impl<'b> Captures<'b> {
    /// The bytes of the group with this number.
    pub(super) fn part(&self, number: usize) -> &'b [u8] {
        self.groups[number]
            .as_ref()
            .map_or(&[], |range| &self.bytes[range.clone()])
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FromNode for Pattern {
    const EXPECTED: &'static str =
        "a regular expression in RE2 syntax, https://github.com/google/re2/wiki/Syntax";

    fn from_node(node: &Node) -> Result<Self, String> {
        Self::new(&String::from_node(node)?)
    }
}
