//! Reads the keys of a mapping one by one, and collects all problems.

use std::{fmt, path::PathBuf};

use super::{
    EntryPart, FileContents, FromNode, Node, Path, Pattern, Problems, Warning, WarningKind,
    merge::{Layer, Layers},
};

/// The entries of a mapping, merged over those of others.
///
/// Each key is read once; [`reject_unknown_keys`](Self::reject_unknown_keys) reports the rest.
pub struct Fields<'a> {
    /// Entries of earlier layers hide those of later ones.
    layers: Vec<Layer<'a>>,
    asked: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// Opens `node`, which is at `path`. Reports a problem and returns `None` if it is not a mapping.
    ///
    /// Null (`tls_config:` without a value) is an empty mapping.
    #[must_use]
    pub fn from_node(node: &'a Node, path: Path, problems: &'a Problems) -> Option<Self> {
        Self::from_layers(vec![(node, path)], problems)
    }

    /// Merges `values`. If several have a key, the first one's value is used; mappings are merged in
    /// the same way.
    #[must_use]
    pub(crate) fn from_layers(
        values: Vec<(&'a Node, Path)>,
        problems: &'a Problems,
    ) -> Option<Self> {
        let mut layers = Layers {
            found: Vec::with_capacity(values.len()),
            problems,
        };
        for (node, path) in values {
            match node {
                Node::Map(entries) => layers.add(entries, &path, false),
                Node::Null if layers.found.is_empty() => layers.add(&[], &path, false),
                _ if layers.found.is_empty() => {
                    let wrong = super::node::unexpected_kind(node);
                    let expected = match node {
                        Node::List(_) => "a mapping (KEY: VALUE, without dashes)",
                        _ => "a mapping",
                    };
                    problems.add(path, EntryPart::Value, wrong, expected);
                    return None;
                }
                // It hides later layers.
                _ => break,
            }
        }
        Some(Self {
            layers: layers.found,
            asked: Vec::new(),
            problems,
        })
    }

    /// The path of the mapping.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.layers[0].path
    }

    /// The list of problems.
    #[must_use]
    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// The node under `key`, if it is not null.
    pub fn node(&mut self, key: &'static str) -> Option<(&'a Node, Path)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.top(key).filter(|(node, _)| **node != Node::Null)
    }

    /// The visible node under `key`, which may be null.
    fn top(&self, key: &str) -> Option<(&'a Node, Path)> {
        let mut layers = self.layers.iter();
        layers.find_map(|layer| Some(layer.entry(layer.position(key)?)))
    }

    /// Reads the value of `key`; `None` if it is missing or invalid.
    pub(crate) fn optional<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        let (node, path) = self.node(key)?;
        read(node, path, self.problems)
    }

    /// Reads the value of `key`, which is required.
    pub fn required<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        let Some((node, path)) = self.node(key) else {
            self.add_problem(format_args!("{key} is missing"), T::EXPECTED);
            return None;
        };
        read(node, path, self.problems)
    }

    /// Reads the list under `key`; empty if it is missing.
    pub fn list<T: FromNode>(&mut self, key: &'static str) -> Vec<T> {
        let items = self.list_with_paths(key).into_iter();
        items.map(|(item, _)| item).collect()
    }

    /// Reads the list under `key` with the path of each item.
    pub(crate) fn list_with_paths<T: FromNode>(&mut self, key: &'static str) -> Vec<(T, Path)> {
        let problems = self.problems;
        let items = self.items(key, T::EXPECTED).into_iter();
        items
            .filter_map(|(node, path)| Some((read(node, path.clone(), problems)?, path)))
            .collect()
    }

    /// Reads the file named under `key`; `None` if the key is missing or the file unreadable.
    pub fn file(&mut self, key: &'static str) -> Option<FileContents> {
        let (node, path) = self.node(key)?;
        self.read_file(node, path)
    }

    /// Reads the files named in the list under `key`.
    pub fn files(&mut self, key: &'static str) -> Vec<FileContents> {
        let items = self.items(key, FileContents::EXPECTED);
        let files = items.into_iter();
        files
            .filter_map(|(node, path)| self.read_file(node, path))
            .collect()
    }

    fn read_file(&self, node: &Node, path: Path) -> Option<FileContents> {
        let expected = FileContents::EXPECTED;
        let name: String = read_as(node, path.clone(), expected, self.problems)?;
        let file = self.problems.resolve(&path, name.as_ref());
        let contents = FileContents::read(&file);
        let bytes = contents.as_ref().ok().map(|FileContents(bytes)| &**bytes);
        self.problems.add_file(file.clone(), bytes);
        let contents = contents.map_err(|error| match node {
            Node::FromEnvironment(_) => super::node::INVALID_ENVIRONMENT_VALUE.to_owned(),
            _ => format!("\"{}\" {error}", file.display()),
        });
        match contents {
            Ok(contents) => Some(contents),
            Err(wrong) => {
                self.problems.add_unreadable(path, wrong, expected);
                None
            }
        }
    }

    /// Reads the path under `key`, relative to the folder of the configuration file.
    pub(crate) fn file_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let (node, path) = self.node(key)?;
        let name: String = read(node, path.clone(), self.problems)?;
        Some(self.problems.resolve(&path, name.as_ref()))
    }

    /// Reads the pattern under `key`; `None` if it is missing or invalid.
    pub(crate) fn optional_pattern(&mut self, key: &'static str) -> Option<Pattern> {
        let (node, path) = self.node(key)?;
        or_report(self.problems.pattern(node), path, self.problems)
    }

    /// Reads the pattern under `key`, which is required.
    pub(crate) fn required_pattern(&mut self, key: &'static str) -> Option<Pattern> {
        if self.node(key).is_none() {
            self.add_problem(format_args!("{key} is missing"), Pattern::EXPECTED);
        }
        self.optional_pattern(key)
    }

    /// Reads the list of patterns under `key`; empty if it is missing.
    pub fn patterns(&mut self, key: &'static str) -> Vec<Pattern> {
        let problems = self.problems;
        self.items(key, Pattern::EXPECTED)
            .into_iter()
            .filter_map(|(node, path)| or_report(problems.pattern(node), path, problems))
            .collect()
    }

    /// Reads each mapping of the list under `key` with `read_item`.
    pub(crate) fn list_of<T>(
        &mut self,
        key: &'static str,
        read_item: impl Fn(Fields<'a>) -> Option<T>,
    ) -> Vec<T> {
        let problems = self.problems;
        self.items(key, "a mapping")
            .into_iter()
            .filter_map(|(node, path)| Fields::from_node(node, path, problems).and_then(&read_item))
            .collect()
    }

    /// Reads the mapping under `key`, whose keys the user chooses.
    ///
    /// `check_name` returns the problem with a name, and the expectation.
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
        for (name, node, path) in entries.entries() {
            if let Err((wrong, expected)) = check_name(name) {
                problems.add(path, EntryPart::Key, wrong, expected);
            } else if let Some(value) = read(node, path, problems) {
                values.push((name.to_owned(), value));
            }
        }
        values
    }

    /// The entries of the mapping itself, whose keys the user chooses.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'a str, &'a Node, Path)> {
        let mut entries = Vec::new();
        for (depth, layer) in self.layers.iter().enumerate() {
            let (above, beneath) = (&self.layers[..depth], &self.layers[depth + 1..]);
            for (index, name, node) in layer.own_entries() {
                let has = |layer: &Layer<'_>| layer.position(name).is_some();
                // Null removes the entry of later layers.
                let takes_away = *node == Node::Null && beneath.iter().any(has);
                if !takes_away && !above.iter().any(has) {
                    entries.push((name, node, layer.path.entry(name, index)));
                }
            }
        }
        entries
    }

    /// The mapping under `key`, if there is one.
    pub fn section(&mut self, key: &'static str) -> Option<Fields<'a>> {
        self.node(key)?;
        let mut values = Vec::new();
        let mut layers = self.layers.iter().peekable();
        while let Some(layer) = layers.next() {
            if let Some(index) = layer.position(key) {
                values.push(layer.entry(index));
                while layers.next_if(|layer| layer.is_merged).is_some() {}
            }
        }
        Fields::from_layers(values, self.problems)
    }

    /// Adds a problem with the mapping itself: a missing key, or keys that exclude each other.
    pub(crate) fn add_problem(&self, wrong: impl fmt::Display, expected: impl fmt::Display) {
        self.problems
            .add_contextual(self.path().clone(), EntryPart::Key, wrong, expected);
    }

    /// Adds a problem with the value of `key`.
    pub(crate) fn add_value_problem(
        &self,
        key: &str,
        wrong: impl fmt::Display,
        expected: impl fmt::Display,
    ) {
        match self.top(key) {
            Some((Node::FromEnvironment(_), path)) => {
                let wrong = super::node::INVALID_ENVIRONMENT_VALUE;
                self.problems
                    .add_contextual(path, EntryPart::Value, wrong, expected);
            }
            Some((_, path)) => {
                self.problems
                    .add_contextual(path, EntryPart::Value, wrong, expected);
            }
            None => self.add_problem(wrong, expected),
        }
    }

    /// Warns about the value of `key`, which is allowed but probably a mistake.
    pub(crate) fn warn(&self, key: &str, message: impl fmt::Display) {
        if let Some((_, path)) = self.top(key) {
            self.problems.warn(Warning {
                path,
                part: EntryPart::Value,
                message: message.to_string(),
                kind: WarningKind::Suspicious,
            });
        }
    }

    /// Warns about the value of `key` in combination with others, unless several mappings share it.
    pub(crate) fn warn_unless_shared(&self, key: &str, message: impl fmt::Display) {
        if self.top(key).is_some_and(|(_, path)| !path.is_shared()) {
            self.warn(key, message);
        }
    }

    /// The number of seconds under `key`, if it has no unit.
    #[must_use]
    pub(crate) fn seconds_without_unit(&self, key: &str) -> Option<f64> {
        match self.top(key)?.0 {
            node @ (Node::Int(_) | Node::Float(_)) => f64::from_node(node).ok(),
            _ => None,
        }
    }

    /// Adds a problem if more than one of `keys` has a value.
    pub(crate) fn at_most_one(&self, keys: &[&str]) {
        let given = |key: &&&str| matches!(self.top(key), Some((node, _)) if *node != Node::Null);
        let given: Vec<&str> = keys.iter().filter(given).copied().collect();
        if let [_, excess, ..] = given[..]
            && let Some((_, path)) = self.top(excess)
        {
            let wrong = format_args!("{} cannot be used together", given.join(" and "));
            self.problems
                .add_contextual(path, EntryPart::Value, wrong, "one of them");
        }
    }

    /// Reports every key that was not read, with the most similar known key.
    pub fn reject_unknown_keys(self) {
        for layer in &self.layers {
            for (index, name, _) in layer.own_entries() {
                if self.asked.contains(&name) {
                    continue;
                }
                let path = layer.path.entry(name, index);
                let expected = if let Some(near) = suggest(name, &self.asked) {
                    format!("did you mean {near}?")
                } else if let Some(hint) = self.problems.key_hint(&layer.path, &self.asked, name) {
                    hint
                } else {
                    let mut known: Vec<&str> = self.asked.clone();
                    known.sort_unstable();
                    format!("one of {}", known.join(", "))
                };
                self.problems
                    .add(path, EntryPart::Key, "unknown key", expected);
            }
        }
    }

    /// The nodes of the list under `key`; `expected` describes an item.
    pub fn items(&mut self, key: &'static str, expected: &str) -> Vec<(&'a Node, Path)> {
        match self.node(key) {
            None => Vec::new(),
            Some((Node::List(items), path)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (item, path.item(index)))
                .collect(),
            Some((node, path)) => {
                let form = match node {
                    Node::Text(_) | Node::Int(_) | Node::Float(_) => "a list in brackets",
                    _ => "a list",
                };
                let expected = format!("{form} (each item {expected})");
                self.problems.add(
                    path,
                    EntryPart::Value,
                    super::node::unexpected_kind(node),
                    expected,
                );
                Vec::new()
            }
        }
    }
}

/// Keys of other programs, with the equivalent ones here.
const ALIASES: &[(&str, &[&str])] = &[
    ("interval", &["check_every"]),
    ("scrape_interval", &["check_every"]),
    ("period", &["check_every"]),
    ("frequency", &["check_every"]),
    ("every", &["check_every"]),
    ("scrape_timeout", &["timeout"]),
    ("url", &["target"]),
    ("target", &["url"]),
    ("host", &["target", "url"]),
    ("hostname", &["target", "url"]),
    ("address", &["target", "url"]),
    ("endpoint", &["url", "target"]),
    ("uri", &["url", "target"]),
    ("prober", &["type"]),
    ("otlp_endpoint", &["endpoint"]),
    ("kind", &["type"]),
    ("module", &["type"]),
    ("tags", &["labels"]),
    ("template", &["extends"]),
    ("status", &["valid_status_codes"]),
    ("status_codes", &["valid_status_codes"]),
    ("expected_status", &["valid_status_codes"]),
    ("bearer_token", &["authorization"]),
    ("insecure", &["insecure_skip_verify"]),
    ("verify", &["insecure_skip_verify"]),
    ("listen_address", &["listen"]),
    ("port", &["listen"]),
    ("user", &["username"]),
    ("pass", &["password"]),
    ("ca", &["ca_file"]),
    ("cert", &["cert_file"]),
    ("certificate", &["cert_file"]),
    ("key", &["key_file"]),
    ("basic_auth", &["basic_auth_users"]),
    ("users", &["basic_auth_users"]),
    ("proxy", &["proxy_url"]),
    ("ip_protocol", &["preferred_ip_protocol"]),
    ("ip_version", &["preferred_ip_protocol"]),
    ("server", &["target"]),
    ("nameserver", &["target"]),
    ("domain", &["query_name"]),
    ("record_type", &["query_type"]),
    ("retries", &["confirm"]),
    ("failure_threshold", &["confirm"]),
    ("failures", &["confirm"]),
    ("description", &["labels"]),
    ("group", &["labels"]),
    ("user_agent", &["headers"]),
    ("expect", &["query_response"]),
    ("send", &["query_response"]),
    ("regex", &["regexp"]),
    ("payload", &["payload_size"]),
    ("files", &["file_sd_configs"]),
    ("targets", &["static_configs"]),
    ("objective", &["availability"]),
    ("scrape_configs", &["monitors"]),
    ("endpoints", &["monitors"]),
    ("checks", &["monitors"]),
    ("logging", &["log"]),
];

/// Suggests one of `known` for `word`: the most similar one, or the equivalent of another program's
/// key.
fn suggest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    nearest(word, known).or_else(|| {
        let alias = |(alias, _): &&(&str, _)| alias.eq_ignore_ascii_case(word);
        let (_, keys) = ALIASES.iter().find(alias)?;
        let known_key = |key: &&str| known.iter().find(|known| *known == key).copied();
        keys.iter().find_map(known_key)
    })
}

/// Maximum length of words that are compared, because comparing long words is slow.
pub(super) const MAX_WORD_BYTES: usize = 200;

/// Returns the most similar one of `known`, if `word` may be a typing error of it.
#[must_use]
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    let word = word.to_lowercase();
    let longer = |known: &str| known.len().max(word.len());
    known
        .iter()
        // The difference in length is a lower bound of the distance.
        .filter(|known| known.len().abs_diff(word.len()) * 3 <= longer(known))
        .map(|known| (strsim::damerau_levenshtein(&word, known), *known))
        .filter(|(distance, known)| *distance * 3 <= longer(known))
        .min()
        .map(|(_, known)| known)
}

fn read<T: FromNode>(node: &Node, path: Path, problems: &Problems) -> Option<T> {
    read_as(node, path, T::EXPECTED, problems)
}

fn read_as<T: FromNode>(node: &Node, path: Path, expected: &str, problems: &Problems) -> Option<T> {
    or_report_as(T::read_node(node), path, expected, problems)
}

fn or_report<T: FromNode>(value: Result<T, String>, path: Path, problems: &Problems) -> Option<T> {
    or_report_as(value, path, T::EXPECTED, problems)
}

fn or_report_as<T>(
    value: Result<T, String>,
    path: Path,
    expected: &str,
    problems: &Problems,
) -> Option<T> {
    match value {
        Ok(value) => Some(value),
        Err(wrong) => {
            problems.add(path, EntryPart::Value, wrong, expected);
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
        if let Some(mut fields) = Fields::from_node(node, Path::default(), &problems) {
            read(&mut fields);
            fields.reject_unknown_keys();
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
                "flag: duplicate key",
                "count: 0 is out of range: expected a whole number from 1 to 1000000",
                "flag: expected true or false, found text",
                "file: name is missing: expected text",
                "colour: unknown key, did you mean color?",
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
            &["elephant: unknown key: expected one of one, two"],
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
                "flags[1]: expected true or false, found a number",
                "flags[3]: expected true or false, found null",
            ],
        );
        check(
            &map(&[("flags", Node::Bool(true))]),
            read,
            &["flags: expected a list (each item true or false), found a boolean"],
        );
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
            &["b: a and b cannot be used together: expected one of them"],
        );
    }
}
