//! The text of a file: to a tree, and from a path in the tree back to line and column.
//!
//! The one module that knows which YAML library there is.

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, Visitor,
    },
};

use super::{Node, Path, Place, Segment};

/// A place in the file; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// Why a text is no YAML, or more than is read.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub position: Position,
    pub message: String,
}

/// What aliases may make of a file: they repeat parts of it, and parts of parts.
const MAX_NODES: usize = 500_000;
const MAX_TEXT: usize = 16 << 20;

/// The tree that `text` stands for; an empty text stands for nothing.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let grown = RefCell::new(Grown::default());
    read(text, Grow(&grown)).map_err(|error| SyntaxError {
        message: without_values(&error.message),
        ..error
    })
}

/// What `seed` makes of `text`; it is the seed that bounds what aliases make of it.
///
/// The message of an error may repeat a value that the seed does not take.
pub(crate) fn read<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
) -> Result<S::Value, SyntaxError> {
    let value = seed.deserialize(serde_yaml::Deserializer::from_str(text));
    value.map_err(|error| {
        let position = error.location().map(|location| Position {
            line: location.line(),
            column: location.column(),
        });
        let position = position.unwrap_or(Position::START);
        // The place goes in front of the message; what else the message places stays in it.
        let Position { line, column } = position;
        let here = format!(" at line {line} column {column}");
        let message = error.to_string().replace(&here, "");
        SyntaxError { position, message }
    })
}

/// `message` without the value that serde repeats in it, which may be a secret.
fn without_values(message: &str) -> String {
    for repeats in ["invalid type: ", "invalid value: "] {
        if let Some((path, _)) = message.split_once(repeats) {
            return format!("{path}a value is not what its tag says");
        }
    }
    message.to_owned()
}

#[derive(Default)]
struct Grown {
    nodes: usize,
    text: usize,
}

/// Builds a tree of bounded size.
#[derive(Clone, Copy)]
struct Grow<'g>(&'g RefCell<Grown>);

impl Grow<'_> {
    fn count<E: de::Error>(self, text: usize) -> Result<(), E> {
        let mut grown = self.0.borrow_mut();
        grown.nodes += 1;
        grown.text += text;
        if grown.nodes > MAX_NODES || grown.text > MAX_TEXT {
            return Err(E::custom(format_args!(
                "holds too much: more than {MAX_NODES} values or {MAX_TEXT} bytes, aliases expanded"
            )));
        }
        Ok(())
    }

    fn scalar<E: de::Error>(self, node: Node) -> Result<Node, E> {
        self.count(0)?;
        Ok(node)
    }
}

impl<'de> DeserializeSeed<'de> for Grow<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Grow<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Node::Null)
    }

    /// What an empty text has in place of a document.
    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(Node::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(Node::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.scalar(Node::Int(value))
    }

    /// More digits than any setting has.
    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "out of every range, whatever it is"
        )]
        self.scalar(Node::Float(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.scalar(Node::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.count(value.len())?;
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        self.count(0)?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        self.count(0)?;
        let mut entries = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            self.count(key.len())?;
            entries.push((key, map.next_value_seed(self)?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(de::Error::custom(
            "has a tag, and tags have no meaning here",
        ))
    }
}

/// The key of a mapping; a number or a boolean counts as the text that it is written as.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Where each of `places` is in `text`, which [`parse`] has read.
///
/// serde_yaml tells a position only with an error. So the text is walked once more, an error is
/// raised at every place that is asked for, and the walk goes on behind it.
pub(crate) fn locate<'p>(
    text: &str,
    places: impl IntoIterator<Item = (&'p Path, Place)>,
) -> Vec<Position> {
    let mut targets: Vec<_> = places
        .into_iter()
        .enumerate()
        .map(|(id, (path, place))| Target {
            id,
            steps: path.segments.iter().map(step).collect(),
            is_item: matches!(path.segments.last(), Some(Segment::Item(_))),
            place,
        })
        .collect();
    let found = RefCell::new(vec![Position::START; targets.len()]);
    targets.sort_by(|a, b| a.steps.cmp(&b.steps));
    let walk = Walk {
        targets: &targets,
        depth: 0,
        found: &found,
    };
    // Its own errors are caught on the way; any other was reported when the text was parsed.
    let _ = walk.deserialize(serde_yaml::Deserializer::from_str(text));
    found.into_inner()
}

struct Target {
    id: usize,
    /// The index of the entry or item, from the top down.
    steps: Vec<usize>,
    is_item: bool,
    place: Place,
}

fn step(segment: &Segment) -> usize {
    match segment {
        Segment::Entry { index, .. } | Segment::Item(index) => *index,
    }
}

/// Visits the values that lead to `targets`, which are sorted and share their first `depth` steps.
#[derive(Clone, Copy)]
struct Walk<'w> {
    targets: &'w [Target],
    depth: usize,
    found: &'w RefCell<Vec<Position>>,
}

impl<'w> Walk<'w> {
    /// The targets that are here or further down behind the entry or item at `index`.
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

    /// The targets that are here itself.
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

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // An item of a list has no key of its own: it is shown where its first key is.
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
            match map.next_key_seed(Raise) {
                Ok(None) => break,
                Ok(Some(never)) => match never {},
                Err(error) => {
                    let position = raised_at(&error)?;
                    if std::mem::take(&mut items_to_place) {
                        self.found_at(position, is_item);
                    }
                    // All that has no place of its own further down is shown where its key is.
                    behind.found_at(position, |_| true);
                }
            }
            if let Err(error) = map.next_value_seed(behind) {
                let position = raised_at(&error)?;
                behind.found_at(position, |target| {
                    target.steps.len() > behind.depth || target.place == Place::Value
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
                Err(error) => behind.found_at(raised_at(&error)?, |_| true),
            }
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.raise_if_wanted()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.raise_if_wanted()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.raise_if_wanted()
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        self.raise_if_wanted()
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        self.raise_if_wanted()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.raise_if_wanted()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.raise_if_wanted()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.raise_if_wanted()
    }
}

impl Walk<'_> {
    fn raise_if_wanted<E: de::Error>(self) -> Result<(), E> {
        if self.here().next().is_some() {
            Err(E::custom(RAISED))
        } else {
            Ok(())
        }
    }
}

/// Raises an error at any scalar.
struct Raise;

/// What [`Raise`] returns where nothing is raised, which is never.
enum Never {}

impl<'de> DeserializeSeed<'de> for Raise {
    type Value = Never;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Never, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Raise {
    type Value = Never;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Never, E> {
        Err(E::custom(RAISED))
    }
}

const RAISED: &str = "raised to learn where this is";

/// Where an error was raised, as its text tells; an error that was not raised here is passed on.
fn raised_at<E: de::Error>(error: &E) -> Result<Position, E> {
    let text = error.to_string();
    if text.contains(RAISED) {
        // The very first character of a text has no line and column there.
        Ok(position(&text).unwrap_or(Position::START))
    } else {
        Err(E::custom(text))
    }
}

/// The position that serde_yaml puts behind a message: `… at line 3 column 5`.
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
    use std::fmt::Write;

    use super::*;

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
            ("", Place::Key, (1, 1)),
            ("log", Place::Key, (1, 1)),
            ("log", Place::Value, (1, 1)),
            ("log.level", Place::Key, (1, 7)),
            ("log.level", Place::Value, (1, 14)),
            ("log.format", Place::Value, (1, 28)),
            ("monitors.one", Place::Key, (4, 3)),
            ("monitors.one.url", Place::Key, (5, 5)),
            ("monitors.one.url", Place::Value, (5, 10)),
            ("monitors.one.codes.1", Place::Value, (6, 18)),
            ("monitors.one.codes.2", Place::Value, (7, 7)),
            ("monitors.one+", Place::Key, (8, 3)),
            ("monitors.one+", Place::Value, (8, 8)),
            ("monitors.empty", Place::Value, (9, 3)),
            ("monitors.two.0", Place::Key, (11, 7)),
            ("monitors.two.0.b", Place::Value, (12, 10)),
            ("monitors.two.1", Place::Value, (13, 7)),
            ("anchor.url", Place::Value, (15, 8)),
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

    #[track_caller]
    fn check_error(text: &str, line: usize, message: &str) {
        let error = parse(text).expect_err("no YAML");
        assert_eq!(
            (error.position.line, error.message.as_str()),
            (line, message)
        );
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        check_error(
            "a: [1\nb: 2\n",
            2,
            "did not find expected ',' or ']', while parsing a flow sequence at line 1 column 4",
        );
        check_error(
            "a: !tag b\n",
            1,
            "a: has a tag, and tags have no meaning here",
        );
        check_error("a: *nowhere\n", 1, "unknown anchor");
    }

    #[test]
    fn an_alias_repeats_what_it_names_within_bounds() {
        let node = parse("a: &x {k: 1}\nb: *x\n").expect("YAML");
        let Node::Map(entries) = node else {
            panic!("a mapping")
        };
        assert_eq!(entries[0].1, entries[1].1);

        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = level - 1;
            let items = vec![format!("*a{before}"); 9].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{items}]").expect("a String takes all text");
        }
        assert!(parse(&bomb).is_err());

        let linear = format!(
            "a: &a {}\nb:\n{}",
            "x".repeat(50_000),
            "- *a\n".repeat(10_000)
        );
        let error = parse(&linear).expect_err("half a gigabyte");
        assert!(
            error.message.contains("holds too much"),
            "{}",
            error.message
        );
    }

    #[test]
    fn an_empty_text_is_nothing() {
        for text in ["", "\n# only a comment\n", "---\n"] {
            assert_eq!(parse(text).expect("YAML"), Node::Null, "{text:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))).is_err());
    }
}
