//! Finds the positions of values in the text of a tree.

use std::{cell::RefCell, fmt};

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::text::{Position, Text};
use crate::value::{EntryPart, Path, Segment};

/// Returns the positions of `places` in `text`, which is valid.
///
/// serde_yaml reports a position only with an error. So the text is parsed again, an error is raised at
/// each place, and parsing continues after it.
pub(crate) fn locate<'p>(
    text: &str,
    places: impl IntoIterator<Item = (&'p Path, EntryPart)>,
) -> Vec<Position> {
    let mut targets: Vec<_> = places
        .into_iter()
        .enumerate()
        .map(|(id, (path, part))| Target {
            id,
            steps: path.segments.iter().map(step).collect(),
            is_item: matches!(path.segments.last(), Some(Segment::Item(_))),
            part,
        })
        .collect();
    let found = RefCell::new(vec![Position::START; targets.len()]);
    targets.sort_by(|a, b| a.steps.cmp(&b.steps));
    let walk = PositionWalker {
        targets: &targets,
        depth: 0,
        found: &found,
    };
    let Ok(text) = Text::new(text) else {
        return found.into_inner();
    };
    // Raised errors are caught. Other errors were reported when the text was parsed.
    let _ = text.deserialize(walk);
    let found = found.into_inner().into_iter();
    found.map(|position| text.original(position)).collect()
}

struct Target {
    id: usize,
    /// Indices of entries and items, from the top.
    steps: Vec<usize>,
    is_item: bool,
    part: EntryPart,
}

fn step(segment: &Segment) -> usize {
    match segment {
        Segment::Entry { index, .. } | Segment::Item(index) => *index,
    }
}

/// Visits the values on the way to `targets`, which are sorted and share their first `depth` steps.
#[derive(Clone, Copy)]
struct PositionWalker<'w> {
    targets: &'w [Target],
    depth: usize,
    found: &'w RefCell<Vec<Position>>,
}

impl<'w> PositionWalker<'w> {
    /// The targets at or below the entry or item at `index`.
    fn behind(self, index: usize) -> Self {
        let step = |target: &Target| target.steps.get(self.depth).copied();
        let first = self
            .targets
            .partition_point(|target| step(target) < Some(index));
        let last = self
            .targets
            .partition_point(|target| step(target) <= Some(index));
        Self {
            targets: &self.targets[first..last],
            depth: self.depth + 1,
            found: self.found,
        }
    }

    /// The targets at this value.
    fn here(self) -> impl Iterator<Item = &'w Target> {
        self.targets
            .iter()
            .filter(move |target| target.steps.len() == self.depth)
    }

    fn found_at(self, position: Position, is_found: impl Fn(&Target) -> bool) {
        let mut found = self.found.borrow_mut();
        for target in self.targets.iter().filter(|target| is_found(target)) {
            found[target.id] = position;
        }
    }
}

impl<'de> DeserializeSeed<'de> for PositionWalker<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PositionWalker<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // An item of a list has no key, so its position is that of its first key.
        let is_item = |target: &Target| target.is_item && target.steps.len() == self.depth;
        let mut items_to_place = self.targets.iter().any(is_item);
        for index in 0.. {
            let behind = self.behind(index);
            if behind.targets.is_empty() && !items_to_place {
                if map.next_key::<IgnoredAny>()?.is_none() {
                    break;
                }
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match map.next_key_seed(PositionProbe) {
                Ok(None) => break,
                Ok(Some(never)) => match never {},
                Err(error) => {
                    let position = probe_position(&error)?;
                    if std::mem::take(&mut items_to_place) {
                        self.found_at(position, is_item);
                    }
                    // Targets without a position below have the position of the key.
                    behind.found_at(position, |_| true);
                }
            }
            if let Err(error) = map.next_value_seed(behind) {
                let position = probe_position(&error)?;
                behind.found_at(position, |target| {
                    target.steps.len() > behind.depth || target.part == EntryPart::Value
                });
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let behind = self.behind(index);
            index += 1;
            match list.next_element_seed(behind) {
                Ok(Some(())) => {}
                Ok(None) => return Ok(()),
                Err(error) => behind.found_at(probe_position(&error)?, |_| true),
            }
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.probe_if_target()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.probe_if_target()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.probe_if_target()
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        self.probe_if_target()
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        self.probe_if_target()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.probe_if_target()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.probe_if_target()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.probe_if_target()
    }

    /// A value with a tag.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        let (IgnoredAny, value) = access.variant()?;
        value.newtype_variant_seed(self)
    }
}

impl PositionWalker<'_> {
    fn probe_if_target<E: de::Error>(self) -> Result<(), E> {
        if self.here().next().is_some() {
            Err(E::custom(PROBE_ERROR))
        } else {
            Ok(())
        }
    }
}

/// Raises an error at any scalar.
struct PositionProbe;

/// The result of [`PositionProbe`], which always returns an error.
enum Never {}

impl<'de> DeserializeSeed<'de> for PositionProbe {
    type Value = Never;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Never, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PositionProbe {
    type Value = Never;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Never, E> {
        Err(E::custom(PROBE_ERROR))
    }
}

const PROBE_ERROR: &str = "raised to learn where this is";

/// The position of a raised error, from its text. Other errors are returned.
fn probe_position<E: de::Error>(error: &E) -> Result<Position, E> {
    let text = error.to_string();
    if text.contains(PROBE_ERROR) {
        // The error has no position for the first character of a text.
        Ok(position(&text).unwrap_or(Position::START))
    } else {
        Err(E::custom(text))
    }
}

/// Parses the position at the end of serde_yaml's message: `… at line 3 column 5`.
fn position(text: &str) -> Option<Position> {
    let (_, position) = text.rsplit_once(" at line ")?;
    let (line, column) = position.split_once(" column ")?;
    Some(Position {
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Node, yaml::parse};

    const TEXT: &str = "\
log: {level: INFO, format: x}
monitors:

  one:
    url: http://example.com   # the first
    codes: [200, \"3xx\",
      wrong]
  one: *alias
  empty: {}
  two:
    - a: 1
      b: 2
    - 3
anchor: &alias
  url: 5
";

    /// A path of entries by name, with `+` behind a name for its duplicate, and items by number.
    fn path(text: &str) -> Path {
        let root = parse(&TEXT.replace("*alias", "alias")).expect("YAML");
        let mut node = &root;
        let mut path = Path::default();
        for name in text.split('.').filter(|name| !name.is_empty()) {
            match node {
                Node::Map(entries) => {
                    let (name, nth) = name.strip_suffix('+').map_or((name, 0), |name| (name, 1));
                    let (index, _) = entries
                        .iter()
                        .enumerate()
                        .filter(|(_, (key, _))| key == name)
                        .nth(nth)
                        .expect("a key of the text");
                    path = path.entry(name, index);
                    node = &entries[index].1;
                }
                Node::List(items) => {
                    let index = name.parse().expect("an index");
                    path = path.item(index);
                    node = &items[index];
                }
                _ => panic!("{name} is below a scalar"),
            }
        }
        path
    }

    #[test]
    fn every_place_is_found_in_one_walk() {
        let text = TEXT.replace("*alias", "alias");
        let expected = [
            ("", EntryPart::Key, (1, 1)),
            ("log", EntryPart::Key, (1, 1)),
            ("log", EntryPart::Value, (1, 1)),
            ("log.level", EntryPart::Key, (1, 7)),
            ("log.level", EntryPart::Value, (1, 14)),
            ("log.format", EntryPart::Value, (1, 28)),
            ("monitors.one", EntryPart::Key, (4, 3)),
            ("monitors.one.url", EntryPart::Key, (5, 5)),
            ("monitors.one.url", EntryPart::Value, (5, 10)),
            ("monitors.one.codes.1", EntryPart::Value, (6, 18)),
            ("monitors.one.codes.2", EntryPart::Value, (7, 7)),
            ("monitors.one+", EntryPart::Key, (8, 3)),
            ("monitors.one+", EntryPart::Value, (8, 8)),
            ("monitors.empty", EntryPart::Value, (9, 3)),
            ("monitors.two.0", EntryPart::Key, (11, 7)),
            ("monitors.two.0.b", EntryPart::Value, (12, 10)),
            ("monitors.two.1", EntryPart::Value, (13, 7)),
            ("anchor.url", EntryPart::Value, (15, 8)),
        ];
        let paths: Vec<_> = expected.iter().map(|(text, ..)| path(text)).collect();
        let places = paths
            .iter()
            .zip(expected.iter().map(|(_, place, _)| *place));
        for (order, places) in [
            ("forwards", places.clone().collect::<Vec<_>>()),
            ("backwards", places.rev().collect()),
        ] {
            let mut found = locate(&text, places.iter().copied());
            if order == "backwards" {
                found.reverse();
            }
            for ((text, place, (line, column)), found) in expected.iter().zip(found) {
                let expected = Position {
                    line: *line,
                    column: *column,
                };
                assert_eq!(found, expected, "{text} {place:?}, {order}");
            }
        }
    }

    #[test]
    fn values_with_tags_have_their_places() {
        let text = "a: !!map\n  b: !!str 1\nc: [!!int 5, d]\n";
        let root = Path::default();
        let places = [
            (root.entry("a", 0), (1, 1)),
            (root.entry("a", 0).entry("b", 0), (2, 6)),
            (root.entry("c", 1).item(1), (3, 14)),
        ];
        let found = locate(
            text,
            places.iter().map(|(path, _)| (path, EntryPart::Value)),
        );
        for ((path, (line, column)), found) in places.iter().zip(found) {
            let expected = Position {
                line: *line,
                column: *column,
            };
            assert_eq!(found, expected, "{path}");
        }
    }
}
