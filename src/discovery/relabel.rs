//! `relabel_configs`: relabels targets by the rules of Prometheus
//! (<https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>).

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use md5::{Digest, Md5};

use crate::value::{Fields, FromNode, Node, Pattern};

/// The labels of a target by name; labels with empty values are omitted.
pub type Labels = BTreeMap<String, String>;

/// Defaults of `separator`, `regex` and `replacement`.
const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

/// Relabelling rules, in order.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

/// One rule.
#[derive(Clone, Debug)]
struct Rule {
    source_labels: Vec<String>,
    separator: String,
    regex: Pattern,
    target_label: String,
    replacement: String,
    modulus: u64,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

impl FromNode for Action {
    const EXPECTED: &'static str = "replace, keep, drop, keepequal, dropequal, hashmod, labelmap, \
                                   labeldrop, labelkeep, lowercase or uppercase";

    fn from_node(node: &Node) -> Result<Self, String> {
        let word = String::from_node(node)?;
        let lower = word.to_lowercase();
        let known = ACTIONS.iter().find(|(name, _)| *name == lower);
        known
            .map(|(_, action)| *action)
            .ok_or_else(|| format!("unknown action {word:?}"))
    }
}

impl Action {
    fn name(self) -> &'static str {
        let named = ACTIONS.iter().find(|(_, action)| *action == self);
        named.map_or("", |(name, _)| name)
    }

    /// Returns true if the action uses `target_label`.
    fn has_target(self) -> bool {
        !matches!(
            self,
            Self::Keep | Self::Drop | Self::LabelMap | Self::LabelDrop | Self::LabelKeep
        )
    }

    /// The keys that the action does not use, as in Prometheus.
    fn unused_keys(self) -> &'static [&'static str] {
        match self {
            Self::LabelDrop | Self::LabelKeep => &[
                "source_labels",
                "separator",
                "target_label",
                "modulus",
                "replacement",
            ],
            Self::KeepEqual | Self::DropEqual => &["separator", "regex", "modulus", "replacement"],
            Self::Lowercase | Self::Uppercase => &["replacement"],
            _ => &[],
        }
    }
}

/// An anchored regular expression.
struct Anchored(Pattern);

impl FromNode for Anchored {
    const EXPECTED: &'static str = Pattern::EXPECTED;

    fn from_node(node: &Node) -> Result<Self, String> {
        let Scalar(text) = Scalar::from_node(node)?;
        Pattern::anchored(&text).map(Self)
    }
}

/// A text, or a number or boolean that is read as text, as in Prometheus.
pub(super) struct Scalar(pub String);

impl FromNode for Scalar {
    const EXPECTED: &'static str = String::EXPECTED;

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Bool(value) => Ok(Self(value.to_string())),
            // The original text of other numbers is not known: 1.10 is 1.1.
            Node::Int(value) => Ok(Self(value.to_string())),
            _ => String::from_node(node).map(Self),
        }
    }
}

/// The modulus of `hashmod`.
struct Modulus(u64);

impl FromNode for Modulus {
    const EXPECTED: &'static str = "a whole number above 0";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(number) => match u64::try_from(*number) {
                Ok(number @ 1..) => Ok(Self(number)),
                _ => Err(format!("{number} is out of range")),
            },
            _ => Err(format!("found {}", node.kind())),
        }
    }
}

impl Rules {
    /// Reads the list under `relabel_configs`.
    #[must_use]
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self(fields.list_of("relabel_configs", Rule::read))
    }

    /// Applies the rules to `labels`.
    ///
    /// # Errors
    /// The index of the rule that drops the target.
    pub fn apply(&self, mut labels: Labels) -> Result<Labels, usize> {
        match self.0.iter().position(|rule| !rule.apply(&mut labels)) {
            Some(index) => Err(index),
            None => Ok(labels),
        }
    }

    /// Returns the rule at `index` in words, as the reason why a target is dropped.
    #[must_use]
    pub(crate) fn describe(&self, index: usize) -> String {
        let rule = self.0.get(index).map(ToString::to_string);
        format!("relabel_configs[{index}]: {}", rule.unwrap_or_default())
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action.name())?;
        if !self.source_labels.is_empty() {
            write!(f, " {}", self.source_labels.join(&self.separator))?;
        }
        match self.action {
            Action::KeepEqual | Action::DropEqual => write!(f, " and {}", self.target_label),
            _ => write!(f, " {:?}", self.regex.to_string()),
        }
    }
}

impl Rule {
    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let problems = fields.problems().count();
        let action = match fields.node("action") {
            Some(_) => fields.optional("action"),
            None => Some(Action::Replace),
        };
        let source_labels: Vec<String> = fields.list("source_labels");
        if source_labels.iter().any(|name| !is_label_name(name)) {
            fields.add_value_problem(
                "source_labels",
                "contains an invalid label name",
                LABEL_NAMES,
            );
        }
        let regex = fields.optional::<Anchored>("regex");
        let modulus = fields.optional("modulus").map(|Modulus(modulus)| modulus);
        let text = |fields: &mut Fields<'_>, key, default: &str| {
            let given = fields.optional(key).map(|Scalar(text)| text);
            given.unwrap_or_else(|| default.to_owned())
        };
        let rule = Self {
            source_labels,
            separator: text(&mut fields, "separator", SEPARATOR),
            regex: match regex {
                Some(Anchored(regex)) => regex,
                None => Pattern::anchored(REGEX).ok()?,
            },
            target_label: text(&mut fields, "target_label", ""),
            replacement: text(&mut fields, "replacement", REPLACEMENT),
            modulus: modulus.unwrap_or_default(),
            action: action?,
        };
        rule.check(&mut fields);
        let is_right = fields.problems().count() == problems;
        fields.reject_unknown_keys();
        is_right.then_some(rule)
    }

    /// Checks the rule as Prometheus does.
    fn check(&self, fields: &mut Fields<'_>) {
        let name = self.action.name();
        for key in self.action.unused_keys() {
            if fields.node(key).is_some() && !self.has_default(key) {
                fields.add_value_problem(key, format_args!("has no effect with action {name}"), "");
            }
        }
        if self.action == Action::HashMod && fields.node("modulus").is_none() {
            fields.add_problem("modulus is missing", Modulus::EXPECTED);
        }
        if self.action.has_target() {
            self.check_target(fields);
        }
        if self.action == Action::LabelMap && !is_label_name(&self.replacement) {
            let wrong = format_args!("invalid label name {:?}", self.replacement);
            fields.add_value_problem("replacement", wrong, LABEL_NAMES);
        }
    }

    /// Returns true if `key` has its default value, which Prometheus accepts for every action.
    fn has_default(&self, key: &str) -> bool {
        match key {
            "separator" => self.separator == SEPARATOR,
            "regex" => self.regex.to_string() == REGEX,
            "replacement" => self.replacement == REPLACEMENT,
            "target_label" => self.target_label.is_empty(),
            _ => false,
        }
    }

    fn check_target(&self, fields: &mut Fields<'_>) {
        if fields.node("target_label").is_none() {
            let wrong = format_args!("action {} needs target_label", self.action.name());
            fields.add_problem(wrong, LABEL_NAMES);
            return;
        }
        let target = &self.target_label;
        if !is_label_name(target) {
            let wrong = format_args!("invalid label name {target:?}");
            fields.add_value_problem("target_label", wrong, LABEL_NAMES);
        }
    }

    /// Applies the rule; returns false if the target is dropped.
    fn apply(&self, labels: &mut Labels) -> bool {
        let value = self.value(labels);
        let matches = |text: &str| self.regex.matches(text.as_bytes());
        let target = || labels.get(&self.target_label).map_or("", String::as_str);
        match self.action {
            Action::Keep => return matches(&value),
            Action::Drop => return !matches(&value),
            Action::KeepEqual => return target() == value,
            Action::DropEqual => return target() != value,
            Action::Replace => self.replace(&value, labels),
            Action::Lowercase => set(labels, &self.target_label, value.to_lowercase()),
            Action::Uppercase => set(labels, &self.target_label, value.to_uppercase()),
            Action::HashMod => set(labels, &self.target_label, self.remainder(&value)),
            Action::LabelMap => {
                let mapped: Vec<_> = labels
                    .iter()
                    .filter_map(|(name, value)| {
                        Some((self.expand(&self.replacement, name)?, value.clone()))
                    })
                    .collect();
                for (name, value) in mapped {
                    if is_label_name(&name) {
                        set(labels, &name, value);
                    }
                }
            }
            Action::LabelDrop => labels.retain(|name, _| !matches(name)),
            Action::LabelKeep => labels.retain(|name, _| matches(name)),
        }
        true
    }

    /// The values of the source labels, joined.
    fn value(&self, labels: &Labels) -> String {
        let values: Vec<_> = self
            .source_labels
            .iter()
            .map(|name| labels.get(name).map_or("", String::as_str))
            .collect();
        values.join(&self.separator)
    }

    fn replace(&self, value: &str, labels: &mut Labels) {
        let (Some(target), Some(replacement)) = (
            self.expand(&self.target_label, value),
            self.expand(&self.replacement, value),
        ) else {
            return;
        };
        if is_label_name(&target) {
            set(labels, &target, replacement);
        }
    }

    /// Expands `template` with groups of the match in `text`; `None` without a match.
    fn expand(&self, template: &str, text: &str) -> Option<String> {
        let captures = self.regex.captures(text.as_bytes())?;
        let expanded = captures.expand(template.as_bytes())?;
        Some(String::from_utf8_lossy(&expanded).into_owned())
    }

    /// The last 8 bytes of the MD5 sum modulo `modulus`, as in Prometheus.
    fn remainder(&self, value: &str) -> String {
        let digest: [u8; 16] = Md5::digest(value.as_bytes()).into();
        let last = digest[8..].iter();
        let number = last.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        (number % self.modulus).to_string()
    }
}

/// Sets a label; an empty value removes it.
fn set(labels: &mut Labels, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

const LABEL_NAMES: &str = "a name, which may be any text";

/// Returns true if `name` is a label name, including reserved ones: in Prometheus 3, any text.
fn is_label_name(name: &str) -> bool {
    !name.is_empty()
}
