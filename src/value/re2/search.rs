//! Searches whose time is bounded: one that gives up early, and one that can be stopped. A hostile text can
//! make an expression take as many steps for each byte as it has states.

use regex_automata::{
    Input, MatchKind,
    hybrid::dfa,
    nfa::thompson::{self, WhichCaptures},
    util::start,
};
use regex_syntax::hir::Hir;

use super::{Error, Text};

/// Bytes of memory for the states that one search keeps.
const CACHE_BYTES: usize = 2 << 20;

/// The same for a search that gives up when they are used up. To fill them takes a few milliseconds.
const QUICK_CACHE_BYTES: usize = 96 << 10;

/// Steps between two looks at whether to stop: they take a few milliseconds.
const STRIDE_STEPS: usize = 100_000;

/// A replaced byte.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// An expression in the form for such searches.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    quick: dfa::DFA,
    complete: dfa::DFA,
}

impl Search {
    /// Compiles `hir`, unless it takes more than `max_bytes`.
    pub(crate) fn new(hir: &Hir, max_bytes: usize) -> Result<Self, Error> {
        let config = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(max_bytes));
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(hir)
            .map_err(|_| Error::TooLarge)?;
        let build = |config: dfa::Config| {
            let config = config.skip_cache_capacity_check(true);
            let dfa = dfa::Builder::new()
                .configure(config)
                .build_from_nfa(nfa.clone());
            dfa.map_err(|_| Error::TooLarge)
        };
        let quick = dfa::Config::new()
            .cache_capacity(QUICK_CACHE_BYTES)
            .minimum_cache_clear_count(Some(0));
        let complete = dfa::Config::new()
            .cache_capacity(CACHE_BYTES)
            // A match that does not count must not end the search.
            .match_kind(MatchKind::All);
        Ok(Self {
            quick: build(quick)?,
            complete: build(complete)?,
        })
    }

    /// Number of its states, all of which a hostile text may keep busy at each byte.
    pub(crate) fn states(&self) -> u64 {
        self.complete.get_nfa().states().len() as u64
    }

    /// True if there is a match anywhere in `bytes`; `None` if that takes more than a few milliseconds beside
    /// what it takes to read them once.
    pub(crate) fn is_match_quickly(&self, bytes: &[u8]) -> Option<bool> {
        let text = Text::new(bytes);
        let mut cache = self.quick.create_cache();
        let input = Input::new(text.as_str()).earliest(true);
        let found = self.quick.try_search_fwd(&mut cache, &input).ok()?;
        Some(found.is_some())
    }

    /// True if there is a match anywhere in `bytes`; `None` if `stop` says so before that is known.
    pub(crate) fn is_match(&self, bytes: &[u8], stop: impl Fn() -> bool) -> Option<bool> {
        let mut cache = self.complete.create_cache();
        let unanchored = start::Config::new();
        let mut state = self.complete.start_state(&mut cache, &unanchored).ok()?;
        let states = self.complete.get_nfa().states().len();
        let stride = (STRIDE_STEPS / states.max(1)).clamp(16, 64 << 10);
        let mut rest = bytes;
        while !rest.is_empty() {
            if stop() {
                return None;
            }
            let (valid, invalid) = split(rest, stride);
            rest = &rest[valid.len() + usize::from(invalid)..];
            let replaced = if invalid { REPLACEMENT } else { &[] };
            for byte in valid.iter().chain(replaced) {
                state = self.complete.next_state(&mut cache, state, *byte).ok()?;
                if state.is_tagged() {
                    if state.is_dead() {
                        return Some(false);
                    }
                    // It ended before this byte. Within a character, `\B` matches what is no place.
                    if state.is_match() && !is_continuation(*byte) {
                        return Some(true);
                    }
                }
            }
        }
        let end = self.complete.next_eoi_state(&mut cache, state).ok()?;
        Some(end.is_match())
    }
}

/// Returns true if `byte` continues a character of UTF-8.
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// The first bytes that are valid UTF-8, some more than `about` at most, and whether one that is not follows.
fn split(bytes: &[u8], about: usize) -> (&[u8], bool) {
    let first = &bytes[..bytes.len().min(about)];
    match std::str::from_utf8(first) {
        Ok(_) => (first, false),
        Err(error) if error.valid_up_to() > 0 => (&first[..error.valid_up_to()], false),
        Err(_) => {
            // No character is longer.
            let start = &bytes[..bytes.len().min(4)];
            match start.utf8_chunks().next() {
                Some(chunk) if !chunk.valid().is_empty() => (chunk.valid().as_bytes(), false),
                _ => (&[], true),
            }
        }
    }
}
