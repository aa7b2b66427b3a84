//! The page of `/metrics`, piece by piece: with ten thousand monitors it has fifty megabytes, which
//! are never in memory at once.

use std::{collections::BTreeMap, sync::Arc};

use prometheus::{Encoder, Registry, TextEncoder};

use super::{
    families::Id,
    series::{Series, Totals},
    text::Samples,
};

/// How large a piece is, or little more.
const PIECE: usize = 256 << 10;

/// A page that is being written: an iterator over its pieces.
///
/// What it tells of slots is of the moment at which it was begun, and so adds up; all else is of
/// the moment at which it is written. To write a piece takes a fraction of a millisecond.
pub struct Page {
    monitors: Vec<(Arc<Series>, Totals)>,
    registry: Registry,
    /// What is to be written, the next at the end.
    parts: Vec<Part>,
}

enum Part {
    /// Of each monitor from the `from`-th on, its samples of this family.
    Family { id: Id, from: usize, has_head: bool },
    /// What is counted over all monitors.
    Sums,
    /// What is in the registry.
    Registry,
}

impl Page {
    /// A page of `families` of `monitors`, and after them of `registry`.
    pub(super) fn new(
        monitors: impl Iterator<Item = Arc<Series>>,
        families: &[Id],
        registry: Registry,
    ) -> Self {
        let whole = |id: &Id| Part::Family {
            id: *id,
            from: 0,
            has_head: false,
        };
        let with_totals = |series: Arc<Series>| {
            let totals = series.totals();
            (series, totals)
        };
        Self {
            monitors: monitors.map(with_totals).collect(),
            registry,
            parts: [Part::Registry, Part::Sums]
                .into_iter()
                .chain(families.iter().rev().map(whole))
                .collect(),
        }
    }

    /// Whether there are no more pieces.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes a part, or as much of it as a piece has room for; returns what is left of it.
    fn write(&self, part: &Part, piece: &mut Vec<u8>) -> Option<Part> {
        match part {
            &Part::Family { id, from, has_head } => {
                let mut samples = Samples::new(piece, id.family(), has_head);
                for (index, (series, totals)) in self.monitors.iter().enumerate().skip(from) {
                    if samples.page_len() >= PIECE {
                        return Some(Part::Family {
                            id,
                            from: index,
                            has_head: samples.has_head(),
                        });
                    }
                    series.write(id, totals, &mut samples);
                }
            }
            Part::Sums => self.write_sums(piece),
            Part::Registry => TextEncoder::new()
                .encode(&self.registry.gather(), piece)
                .expect("a Vec takes all bytes, and no family is empty"),
        }
        None
    }

    fn write_sums(&self, piece: &mut Vec<u8>) {
        let mut types = BTreeMap::<_, u64>::new();
        let mut in_flight = 0;
        for (series, totals) in &self.monitors {
            *types.entry(series.kind).or_default() += 1;
            in_flight += totals.in_flight;
        }
        let mut samples = Samples::new(piece, Id::Monitors.family(), false);
        for (kind, count) in types {
            samples.count(&[("type", kind)], count);
        }
        Samples::new(piece, Id::InFlight.family(), false).count(&[], in_flight);
    }
}

impl Iterator for Page {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE + (PIECE >> 3));
        while piece.len() < PIECE
            && let Some(part) = self.parts.pop()
        {
            let rest = self.write(&part, &mut piece);
            self.parts.extend(rest);
        }
        Some(piece).filter(|piece| !piece.is_empty())
    }
}
