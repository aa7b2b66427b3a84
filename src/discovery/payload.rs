//! Parses target lists in Prometheus' format for `file_sd` and `http_sd`: groups of targets that share
//! labels, in JSON or YAML. Number and size are limited, because lists are not trusted.

use std::{cell::Cell, collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

use super::relabel::Labels;
use crate::value::yaml;

/// A target from a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its `__address__`.
    pub address: String,
    /// Other labels, shared by the group.
    pub labels: Arc<Labels>,
}

/// Targets that share their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The addresses.
    pub targets: Vec<String>,
    /// The labels.
    pub labels: Labels,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, with strict types.
    Json,
    /// YAML, in which a number is accepted as text.
    Yaml,
}

/// Maximum size of a list: several hundred thousand targets.
pub const MAX_BYTES: u64 = 32 << 20;

/// Maximum number of targets in a list.
pub const MAX_TARGETS: usize = 200_000;

/// Maximum number of labels of a group.
pub const MAX_LABELS: usize = 64;

/// Maximum size of an address, a label name and a label value.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Maximum size of all texts together, with aliases of YAML expanded.
const MAX_TOTAL_BYTES: usize = 64 << 20;

/// Parses a list. An empty text is an error in JSON, and an empty list in YAML.
///
/// # Errors
/// The position and the problem, without values, which may be secret.
pub fn parse(bytes: &[u8], format: Format) -> Result<Vec<Group>, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {MAX_BYTES} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    // Editors on Windows put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let room = PayloadLimits::default();
    match format {
        Format::Json => {
            let mut json = serde_json::Deserializer::from_str(text);
            let list = GroupsSeed(&room)
                .deserialize(&mut json)
                .and_then(|list| json.end().map(|()| list));
            list.map_err(|error| json_error(&error))
        }
        Format::Yaml => yaml::read(text, GroupsSeed(&room)).map_err(|error| {
            let (line, column) = (error.position.line, error.position.column);
            format!(
                "line {line} column {column}: {}",
                redact_value(&error.message).trim_start_matches('.')
            )
        }),
    }
}

fn json_error(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let here = format!(" at line {line} column {column}");
    let message = message.strip_suffix(&here).unwrap_or(&message);
    format!("line {line} column {column}: {}", redact_value(message))
}

/// Removes the value that serde repeats in `message`.
fn redact_value(message: &str) -> String {
    for repeats in ["invalid type: ", "invalid value: "] {
        if let Some((path, rest)) = message.split_once(repeats) {
            let expected = rest
                .rsplit_once(", expected ")
                .map_or("another type", |(_, expected)| expected);
            return format!("{path}expected {expected}");
        }
    }
    message.to_owned()
}

/// The targets of `groups`, each with the labels of its group and those of its source.
#[must_use]
pub fn targets(groups: Vec<Group>, source: &[(&str, &str)]) -> Vec<Target> {
    let mut targets = Vec::with_capacity(groups.iter().map(|group| group.targets.len()).sum());
    for mut group in groups {
        for (name, value) in source {
            group.labels.insert((*name).to_owned(), (*value).to_owned());
        }
        let labels = Arc::new(group.labels);
        targets.extend(group.targets.into_iter().map(|address| Target {
            address,
            labels: labels.clone(),
        }));
    }
    targets
}

/// Number of targets, groups and bytes read so far.
#[derive(Default)]
struct PayloadLimits {
    targets: Cell<usize>,
    groups: Cell<usize>,
    bytes: Cell<usize>,
}

impl PayloadLimits {
    fn text<E: de::Error>(&self, text: String) -> Result<String, E> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(E::custom(format_args!(
                "a text longer than {MAX_TEXT_BYTES} bytes"
            )));
        }
        self.bytes.set(self.bytes.get() + text.len());
        if self.bytes.get() > MAX_TOTAL_BYTES {
            return Err(E::custom(format_args!(
                "more than {MAX_TOTAL_BYTES} bytes of text with aliases expanded"
            )));
        }
        Ok(text)
    }

    fn count<E: de::Error>(counter: &Cell<usize>, what: &str) -> Result<(), E> {
        counter.set(counter.get() + 1);
        if counter.get() > MAX_TARGETS {
            return Err(E::custom(format_args!("more than {MAX_TARGETS} {what}")));
        }
        Ok(())
    }
}

/// Reads the whole list.
struct GroupsSeed<'r>(&'r PayloadLimits);

impl<'de> DeserializeSeed<'de> for GroupsSeed<'_> {
    type Value = Vec<Group>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Group>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for GroupsSeed<'_> {
    type Value = Vec<Group>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of groups of targets")
    }

    /// An empty file.
    fn visit_none<E: de::Error>(self) -> Result<Vec<Group>, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<Group>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Group>, A::Error> {
        let mut groups = Vec::new();
        while let Some(group) = list.next_element_seed(GroupSeed(self.0))? {
            groups.push(group);
        }
        Ok(groups)
    }
}

struct GroupSeed<'r>(&'r PayloadLimits);

impl<'de> DeserializeSeed<'de> for GroupSeed<'_> {
    type Value = Group;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Group, D::Error> {
        PayloadLimits::count(&self.0.groups, "groups")?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for GroupSeed<'_> {
    type Value = Group;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a group of targets: a mapping with targets and labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Group, A::Error> {
        let (mut targets, mut labels) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let is_duplicate = match key.as_str() {
                "targets" => targets
                    .replace(map.next_value_seed(TargetsSeed(self.0))?)
                    .is_some(),
                "labels" => labels
                    .replace(map.next_value_seed(LabelsSeed(self.0))?)
                    .is_some(),
                _ => {
                    let shown: String = key.chars().take(50).collect();
                    let wrong = format_args!("unknown key {shown:?}: expected targets or labels");
                    return Err(de::Error::custom(wrong));
                }
            };
            if is_duplicate {
                return Err(de::Error::custom(format_args!("duplicate key {key}")));
            }
        }
        Ok(Group {
            targets: targets.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
        })
    }
}

struct TargetsSeed<'r>(&'r PayloadLimits);

impl<'de> DeserializeSeed<'de> for TargetsSeed<'_> {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TargetsSeed<'_> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of targets")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<String>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let mut targets = Vec::new();
        while let Some(Text(address)) = list.next_element()? {
            PayloadLimits::count(&self.0.targets, "targets")?;
            if address.is_empty() {
                return Err(de::Error::custom("empty target"));
            }
            targets.push(self.0.text(address)?);
        }
        Ok(targets)
    }
}

struct LabelsSeed<'r>(&'r PayloadLimits);

impl<'de> DeserializeSeed<'de> for LabelsSeed<'_> {
    type Value = Labels;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Labels, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LabelsSeed<'_> {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of labels")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Labels, E> {
        Ok(Labels::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some(Text(name)) = map.next_key()? {
            // In Prometheus 3, any other text is a name.
            if name.is_empty() {
                return Err(de::Error::custom("empty label name"));
            }
            if labels.len() == MAX_LABELS {
                let wrong = format_args!("more than {MAX_LABELS} labels in a group");
                return Err(de::Error::custom(wrong));
            }
            let name = self.0.text(name)?;
            let Text(value) = map.next_value()?;
            let value = self.0.text(value)?;
            if labels.insert(name.clone(), value).is_some() {
                return Err(de::Error::custom(format_args!("duplicate label {name}")));
            }
        }
        // As in Prometheus, a label without a value does not exist.
        labels.retain(|_, value| !value.is_empty());
        Ok(labels)
    }
}

/// A text. In YAML, numbers and booleans are read as their text.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
