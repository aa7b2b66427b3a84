//! Reads the keys of a mapping one by one and collects all that is wrong with them.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    fmt,
};

use super::{FromNode, Node, Pattern};

/// One step from the top of the file to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The `index`-th entry of a mapping, whose key is `name`.
    Entry {
        /// The key as written.
        name: String,
        /// Tells a key from its duplicate.
        index: usize,
    },
    /// The item of a list at an index that counts from 0.
    Item(usize),
}

/// The way from the top of the file to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Segment>);

impl Path {
    /// The path of an entry of the mapping here.
    #[must_use]
    pub fn entry(&self, name: &str, index: usize) -> Self {
        self.join(Segment::Entry {
            name: name.to_owned(),
            index,
        })
    }

    /// The path of an item of the list here.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.join(Segment::Item(index))
    }

    fn join(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("file");
        }
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Item(index) => write!(f, "[{index}]")?,
                Segment::Entry { name, .. } => {
                    if depth > 0 {
                        f.write_str(".")?;
                    }
                    if name.len() > LONGEST_WORD {
                        let start: String = name.chars().take(20).collect();
                        write!(f, "{start:?}…")?;
                        continue;
                    }
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    if !name.is_empty() && name.chars().all(plain) {
                        f.write_str(name)?;
                    } else {
                        write!(f, "{name:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a problem is with the key of an entry or with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The key, or what a mapping lacks.
    Key,
    /// The value.
    Value,
}

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub path: Path,
    /// Which part of the entry there.
    pub place: Place,
    /// What is wrong, with what is allowed in brackets.
    pub message: String,
}

/// What reading a file has found out up to now: its problems, and the patterns that it has.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
    /// Problems beyond those that are kept.
    more: Cell<usize>,
    /// By their text: aliases repeat a pattern as often as they like, and it is compiled once.
    patterns: RefCell<HashMap<String, Pattern>>,
}

/// Problems that are kept; a file that has more of them was made for it.
const MAX_PROBLEMS: usize = 10_000;

impl Problems {
    /// Adds a problem: `wrong` is the case, `allowed` would be right.
    pub fn add(
        &self,
        path: Path,
        place: Place,
        wrong: impl fmt::Display,
        allowed: impl fmt::Display,
    ) {
        let mut found = self.found.borrow_mut();
        if found.len() == MAX_PROBLEMS {
            self.more.set(self.more.get() + 1);
            return;
        }
        let message = format!("{wrong} ({allowed})");
        found.push(Problem {
            path,
            place,
            message,
        });
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found.borrow().len() + self.more.get()
    }

    /// The problems in the order in which they were found, and how many more there are.
    #[must_use]
    pub fn into_vec(self) -> (Vec<Problem>, usize) {
        (self.found.into_inner(), self.more.get())
    }

    fn pattern(&self, node: &Node) -> Result<Pattern, String> {
        let Node::Text(text) = node else {
            return Pattern::from_node(node);
        };
        if let Some(known) = self.patterns.borrow().get(text) {
            return Ok(known.clone());
        }
        let pattern = Pattern::from_node(node)?;
        self.patterns
            .borrow_mut()
            .insert(text.clone(), pattern.clone());
        Ok(pattern)
    }
}

/// The entries of one mapping. Each key is asked for once; [`finish`](Self::finish) reports the rest.
pub struct Fields<'a> {
    entries: &'a [(String, Node)],
    path: Path,
    asked: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// The entries of `node`, which is at `path`; `None`, with a problem added, where it is no mapping.
    ///
    /// Nothing (`tls_config:` and no more) is a mapping without entries.
    #[must_use]
    pub fn open(node: &'a Node, path: Path, problems: &'a Problems) -> Option<Self> {
        let entries: &[_] = match node {
            Node::Map(entries) => entries,
            Node::Null => &[],
            _ => {
                problems.add(
                    path,
                    Place::Value,
                    super::node::wrong_kind(node),
                    "a mapping",
                );
                return None;
            }
        };
        let mut names = HashSet::with_capacity(entries.len());
        for (index, (name, _)) in entries.iter().enumerate() {
            if !names.insert(name) {
                problems.add(
                    path.entry(name, index),
                    Place::Key,
                    "duplicate key",
                    "each key once",
                );
            }
        }
        Some(Self {
            entries,
            path,
            asked: Vec::new(),
            problems,
        })
    }

    /// Where the mapping is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The list that all problems go to.
    #[must_use]
    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// The value of `key` as it stands, if it has one.
    pub fn node(&mut self, key: &'static str) -> Option<(&'a Node, Path)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries
            .iter()
            .enumerate()
            .find(|(_, (name, node))| name == key && *node != Node::Null)
            .map(|(index, (name, node))| (node, self.path.entry(name, index)))
    }

    /// The value of `key`; `None` where there is none, or none that is right.
    pub fn optional<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        let (node, path) = self.node(key)?;
        read(node, path, self.problems)
    }

    /// The value of `key`, which must be there.
    pub fn required<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        let Some((node, path)) = self.node(key) else {
            self.wrong(format_args!("{key} is missing"), T::ALLOWED);
            return None;
        };
        read(node, path, self.problems)
    }

    /// The items of the list under `key`; none where there is no such key.
    pub fn list<T: FromNode>(&mut self, key: &'static str) -> Vec<T> {
        let problems = self.problems;
        let items = self.items(key, T::ALLOWED);
        items
            .into_iter()
            .filter_map(|(node, path)| read(node, path, problems))
            .collect()
    }

    /// The pattern of `key`; `None` where there is none, or none that is right.
    pub fn optional_pattern(&mut self, key: &'static str) -> Option<Pattern> {
        let (node, path) = self.node(key)?;
        accept(self.problems.pattern(node), path, self.problems)
    }

    /// The pattern of `key`, which must be there.
    pub fn required_pattern(&mut self, key: &'static str) -> Option<Pattern> {
        if self.node(key).is_none() {
            self.wrong(format_args!("{key} is missing"), Pattern::ALLOWED);
        }
        self.optional_pattern(key)
    }

    /// The patterns of the list under `key`; none where there is no such key.
    pub fn patterns(&mut self, key: &'static str) -> Vec<Pattern> {
        let problems = self.problems;
        self.items(key, Pattern::ALLOWED)
            .into_iter()
            .filter_map(|(node, path)| accept(problems.pattern(node), path, problems))
            .collect()
    }

    /// What `read_item` makes of each mapping in the list under `key`.
    pub fn list_of<T>(
        &mut self,
        key: &'static str,
        read_item: impl Fn(Fields<'a>) -> Option<T>,
    ) -> Vec<T> {
        let problems = self.problems;
        self.items(key, "a mapping")
            .into_iter()
            .filter_map(|(node, path)| Fields::open(node, path, problems).and_then(&read_item))
            .collect()
    }

    /// The entries of the mapping under `key`, whose keys the user chooses.
    ///
    /// `check_name` says what is wrong with a name, and what is allowed.
    pub fn map<T: FromNode>(
        &mut self,
        key: &'static str,
        check_name: impl Fn(&str) -> Result<(), (String, &'static str)>,
    ) -> Vec<(String, T)> {
        let problems = self.problems;
        let Some(entries) = self.section(key) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, (name, node)) in entries.entries.iter().enumerate() {
            let path = entries.path.entry(name, index);
            if let Err((wrong, allowed)) = check_name(name) {
                problems.add(path, Place::Key, wrong, allowed);
            } else if let Some(value) = read(node, path, problems) {
                values.push((name.clone(), value));
            }
        }
        values
    }

    /// The mapping under `key`, if there is one.
    pub fn section(&mut self, key: &'static str) -> Option<Fields<'a>> {
        let (node, path) = self.node(key)?;
        Fields::open(node, path, self.problems)
    }

    /// Adds a problem with the mapping itself: something it lacks, or two keys that exclude each other.
    pub fn wrong(&self, wrong: impl fmt::Display, allowed: impl fmt::Display) {
        self.problems
            .add(self.path.clone(), Place::Key, wrong, allowed);
    }

    /// Adds a problem with the value of `key`.
    pub fn wrong_value(&self, key: &str, wrong: impl fmt::Display, allowed: impl fmt::Display) {
        let index = self.entries.iter().position(|(name, _)| name == key);
        match index {
            Some(index) => {
                self.problems
                    .add(self.path.entry(key, index), Place::Value, wrong, allowed);
            }
            None => self.wrong(wrong, allowed),
        }
    }

    /// Adds a problem where more than one of `keys`, which exclude each other, has a value.
    pub fn at_most_one(&self, keys: &[&str]) {
        let given = |key: &&&str| {
            self.entries
                .iter()
                .any(|(name, node)| name == **key && *node != Node::Null)
        };
        let given: Vec<&str> = keys.iter().filter(given).copied().collect();
        if let [_, excess, ..] = given[..] {
            self.wrong_value(
                excess,
                format_args!("{} exclude each other", given.join(" and ")),
                "one of them",
            );
        }
    }

    /// Reports every key that nobody asked for, with the nearest one that somebody did.
    pub fn finish(self) {
        for (index, (name, _)) in self.entries.iter().enumerate() {
            if self.asked.contains(&name.as_str()) {
                continue;
            }
            let path = self.path.entry(name, index);
            match nearest(name, &self.asked) {
                Some(near) => self.problems.add(
                    path,
                    Place::Key,
                    "unknown key",
                    format_args!("did you mean {near}?"),
                ),
                None => self.problems.add(
                    path,
                    Place::Key,
                    "unknown key",
                    format_args!("known here: {}", self.asked.join(", ")),
                ),
            }
        }
    }

    fn items(&mut self, key: &'static str, allowed: &str) -> Vec<(&'a Node, Path)> {
        match self.node(key) {
            None => Vec::new(),
            Some((Node::List(items), path)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (item, path.item(index)))
                .collect(),
            Some((node, path)) => {
                let allowed = format!("a list, each item {allowed}");
                self.problems
                    .add(path, Place::Value, super::node::wrong_kind(node), allowed);
                Vec::new()
            }
        }
    }
}

/// Longer ones are no typing errors of any word that is known; to compare them takes long.
const LONGEST_WORD: usize = 200;

/// The one of `known` that is written most like `word`, if any is near enough to be a typing error.
#[must_use]
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_lowercase();
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&word, known), *known))
        .filter(|(distance, known)| *distance * 3 <= known.len().max(word.len()))
        .min()
        .map(|(_, known)| known)
}

fn read<T: FromNode>(node: &Node, path: Path, problems: &Problems) -> Option<T> {
    accept(T::from_node(node), path, problems)
}

fn accept<T: FromNode>(value: Result<T, String>, path: Path, problems: &Problems) -> Option<T> {
    match value {
        Ok(value) => Some(value),
        Err(wrong) => {
            problems.add(path, Place::Value, wrong, T::ALLOWED);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Node)]) -> Node {
        Node::Map(
            entries
                .iter()
                .map(|(name, node)| ((*name).to_owned(), node.clone()))
                .collect(),
        )
    }

    #[track_caller]
    fn check(node: &Node, read: impl Fn(&mut Fields<'_>), expected: &[&str]) {
        let problems = Problems::default();
        if let Some(mut fields) = Fields::open(node, Path::default(), &problems) {
            read(&mut fields);
            fields.finish();
        }
        let found: Vec<_> = problems
            .into_vec()
            .0
            .iter()
            .map(|p| format!("{}: {}", p.path, p.message))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_problem_is_collected() {
        let node = map(&[
            ("count", Node::Int(0)),
            ("flag", Node::Text("yes".into())),
            ("colour", Node::Null),
            ("flag", Node::Bool(true)),
        ]);
        let read = |fields: &mut Fields<'_>| {
            fields.optional::<usize>("count");
            fields.optional::<bool>("flag");
            fields.required::<String>("name");
            fields.optional::<String>("color");
        };
        check(
            &node,
            read,
            &[
                "flag: duplicate key (each key once)",
                "count: 0 is out of range (a whole number from 1 to 1000000)",
                "flag: is a text (true or false)",
                "file: name is missing (a text; quote what YAML takes for something else)",
                "colour: unknown key (did you mean color?)",
            ],
        );
    }

    #[test]
    fn a_key_that_is_like_none_gets_the_list() {
        let read = |fields: &mut Fields<'_>| {
            fields.optional::<bool>("one");
            fields.optional::<bool>("two");
        };
        check(
            &map(&[("elephant", Node::Null)]),
            read,
            &["elephant: unknown key (known here: one, two)"],
        );
    }

    #[test]
    fn a_list_reports_each_of_its_items() {
        let list = Node::List(vec![
            Node::Bool(true),
            Node::Int(1),
            Node::Bool(false),
            Node::Null,
        ]);
        let read = |fields: &mut Fields<'_>| {
            fields.list::<bool>("flags");
        };
        check(
            &map(&[("flags", list)]),
            read,
            &[
                "flags[1]: is a number (true or false)",
                "flags[3]: is nothing (true or false)",
            ],
        );
        check(
            &map(&[("flags", Node::Bool(true))]),
            read,
            &["flags: is a boolean (a list, each item true or false)"],
        );
    }

    #[test]
    fn a_path_quotes_what_would_be_misread() {
        let path = Path::default()
            .entry("monitors", 0)
            .entry("my site.example", 1)
            .entry("headers", 0);
        assert_eq!(
            path.item(2).to_string(),
            r#"monitors."my site.example".headers[2]"#
        );
        assert_eq!(Path::default().entry("a\nb", 0).to_string(), r#""a\nb""#);
    }

    #[test]
    fn keys_that_exclude_each_other_are_named() {
        let node = map(&[("a", Node::Int(1)), ("b", Node::Int(1)), ("c", Node::Null)]);
        let read = |fields: &mut Fields<'_>| {
            for key in ["a", "b", "c"] {
                fields.node(key);
            }
            fields.at_most_one(&["a", "c"]);
            fields.at_most_one(&["a", "b", "c"]);
        };
        check(
            &node,
            read,
            &["b: a and b exclude each other (one of them)"],
        );
    }
}
