//! Parses a text into a tree of values.

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess,
        Visitor,
    },
};

use super::{
    tags::{CORE, Tag},
    text::{SyntaxError, Text},
};
use crate::value::{Node, TAKEN_OUT};

/// Limits for the expansion of aliases.
const MAX_NODES: usize = 500_000;
const MAX_TEXT: usize = 16 << 20;

/// Parses `text`; an empty text is null.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let grown = TreeSize::new();
    Text::new(text)?
        .deserialize(BoundedNodeSeed(&grown))
        .map_err(|error| SyntaxError {
            message: redact_values(&error.message),
            ..error
        })
}

/// Removes the value that serde repeats in `message`, because it may be secret.
fn redact_values(message: &str) -> String {
    for repeats in ["invalid type: ", "invalid value: "] {
        if let Some((path, _)) = message.split_once(repeats) {
            return format!("{path}value does not match its tag");
        }
    }
    let known = [
        (
            "deserializing from YAML containing more than one document",
            "more than one document; use `include` to combine files",
        ),
        (
            "repetition limit exceeded",
            "aliases expand to too many values",
        ),
        (
            "found character that cannot start any token",
            "unexpected character; indent with spaces, and quote values that start with @, ` or %",
        ),
        (
            "mapping values are not allowed in this context",
            "unexpected colon; put the keys of a mapping on lines of their own, and quote values with a colon and a space",
        ),
    ];
    let better = known.iter().find(|(theirs, _)| message.starts_with(theirs));
    better.map_or(message, |(_, ours)| ours).to_owned()
}

/// The size of a tree up to now.
#[derive(Default)]
pub(in crate::value) struct TreeSize {
    nodes: usize,
    text: usize,
}

impl TreeSize {
    pub(crate) fn new() -> RefCell<Self> {
        RefCell::default()
    }
}

/// Builds a tree of bounded size.
#[derive(Clone, Copy)]
pub(in crate::value) struct BoundedNodeSeed<'g>(&'g RefCell<TreeSize>);

impl<'g> BoundedNodeSeed<'g> {
    pub(crate) fn new(size: &'g RefCell<TreeSize>) -> Self {
        Self(size)
    }
}

impl BoundedNodeSeed<'_> {
    fn count<E: de::Error>(self, text: usize) -> Result<(), E> {
        let mut grown = self.0.borrow_mut();
        grown.nodes += 1;
        grown.text += text;
        if grown.nodes > MAX_NODES || grown.text > MAX_TEXT {
            return Err(E::custom(format_args!(
                "too large: more than {MAX_NODES} values or {MAX_TEXT} bytes after aliases are expanded"
            )));
        }
        Ok(())
    }

    fn scalar<E: de::Error>(self, node: Node) -> Result<Node, E> {
        self.count(0)?;
        Ok(node)
    }
}

impl<'de> DeserializeSeed<'de> for BoundedNodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BoundedNodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Node::Null)
    }

    /// An empty text.
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

    /// Larger than any setting.
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
            // Stands for entries that were taken out.
            if key == TAKEN_OUT {
                return Err(de::Error::custom("invalid key: a null character"));
            }
            entries.push((key, map.next_value_seed(self)?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Node, A::Error> {
        let (name, value) = access.variant::<String>()?;
        let Some(tag) = Tag::parse(&name) else {
            let shown = match name.strip_prefix(CORE) {
                Some(name) => format!("!!{name:.50}"),
                None => format!("!{name:.50}"),
            };
            return Err(de::Error::custom(format_args!("unsupported tag {shown}")));
        };
        let node = if tag.is_of_text() {
            let Key(text) = value.newtype_variant()?;
            self.count(text.len())?;
            Node::Text(text)
        } else {
            value.newtype_variant_seed(self)?
        };
        tag.apply(node)
            .ok_or_else(|| de::Error::custom("value does not match its tag"))
    }
}

/// A key of a mapping, or a value with the tag of a text, as written.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

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
        check_error("a: !tag b\n", 1, "a: unsupported tag !tag");
        check_error("a: *nowhere\n", 1, "unknown anchor");
    }

    #[track_caller]
    fn check_value(text: &str, expected: &Node) {
        match parse(text) {
            Ok(node) => assert_eq!(&node, expected, "{text}"),
            Err(error) => panic!("{text}: {}", error.message),
        }
    }

    #[test]
    fn tags_of_the_core_are_obeyed() {
        let text = |text: &str| Node::Text(text.to_owned());
        check_value("!!str 5", &text("5"));
        check_value("! 1e3", &text("1e3"));
        check_value("!!str null", &text("null"));
        check_value("!!str", &text(""));
        check_value("!!int '5'", &Node::Int(5));
        check_value("!!float 5", &Node::Float(5.0));
        check_value("!!bool \"true\"", &Node::Bool(true));
        check_value("!!null ~", &Node::Null);
        check_value(
            "!!binary AAAACATSFi8=",
            &Node::Binary(vec![0, 0, 0, 8, 4, 210, 22, 47]),
        );
        check_value("!!binary |\n  /w\n  ==\n", &Node::Binary(vec![255]));
        check_value("!!seq [!!str 1]", &Node::List(vec![text("1")]));
        let map = Node::Map(vec![("a".to_owned(), text("1"))]);
        check_value("!!map {a: !!str 1}", &map);
        check_value("--- !!map\na: !!str 1\n", &map);
        check_value("# comment\n%YAML 1.1\n---\na: !!str 1\n", &map);
        check_value("\u{feff}a: !!str 1\n", &map);
    }

    #[test]
    fn a_value_that_its_tag_does_not_fit_is_refused() {
        let wrong = "a: value does not match its tag";
        for text in [
            "a: !!int hunter2",
            "a: !!bool hunter2",
            "a: !!float [1]",
            "a: !!binary hunter2!",
            "a: !!seq {a: 1}",
            "a: !!map hunter2",
            "a: !!null hunter2",
        ] {
            check_error(text, 1, wrong);
        }
        check_error("b: 1\na: !!set {b}\n", 2, "a: unsupported tag !!set");
        check_error(
            "a: !!str 1\nb: [1\nc: 2\n",
            3,
            "did not find expected ',' or ']', while parsing a flow sequence at line 2 column 4",
        );
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
        assert!(error.message.contains("too large"), "{}", error.message);
    }

    #[test]
    fn a_key_that_stands_for_no_entry_is_refused() {
        check_error("a:\n  \"\\0\": 1\n", 2, "a: invalid key: a null character");
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
