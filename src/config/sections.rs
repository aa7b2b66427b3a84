//! `templates` and `monitors`, the sections that every file may have. Names are unique over all files.

use std::collections::{HashMap, hash_map::Entry};

use crate::value::{EntryPart, Fields, Node, Path, Problems};

/// An entry of a mapping whose keys are names: the name, and what is there.
pub(super) type Named<'a> = (&'a str, &'a Node, Path);

/// The sections that any of the files may have.
pub(super) struct Sections<'a> {
    pub templates: Vec<Named<'a>>,
    pub monitors: Vec<Named<'a>>,
}

impl<'a> Sections<'a> {
    /// Reads those of the file that includes the others.
    pub(super) fn read(fields: &mut Fields<'a>) -> Self {
        let mut entries = |key| fields.section(key).map(|section| section.entries());
        Self {
            templates: entries("templates").unwrap_or_default(),
            monitors: entries("monitors").unwrap_or_default(),
        }
    }

    /// Reads those of an included file, and reports the sections that it must not have.
    pub(super) fn read_included(mut fields: Fields<'a>) -> Self {
        let sections = Self::read(&mut fields);
        for key in MAIN_SECTIONS {
            if fields.node(key).is_some() {
                let wrong = "not allowed in an included file";
                let expected = "monitors and templates only";
                fields.add_value_problem(key, wrong, expected);
            }
        }
        fields.reject_unknown_keys();
        sections
    }
}

/// Sections that an included file must not have.
const MAIN_SECTIONS: [&str; 13] = [
    "include",
    "log",
    "server",
    "defaults",
    "discovery",
    "dispatcher",
    "heartbeat",
    "metrics",
    "probe",
    "maintenance",
    "self_check",
    "storage",
    "telemetry",
];

/// Adds a problem for each of `entries` that has no right name, or that of one before it in another file.
pub(super) fn reject_duplicate_names<'a>(
    entries: Vec<Named<'a>>,
    problems: &Problems,
) -> Vec<Named<'a>> {
    let mut first: HashMap<&str, Path> = HashMap::with_capacity(entries.len());
    let mut once = Vec::with_capacity(entries.len());
    for (name, node, path) in entries {
        if let Some(wrong) = wrong_name(name) {
            let expected = "1 to 200 characters without control characters";
            problems.add(path.clone(), EntryPart::Key, wrong, expected);
        }
        match first.entry(name) {
            // Of two in one file, the mapping has told.
            Entry::Occupied(first) if first.get().file == path.file => {}
            Entry::Occupied(first) => {
                problems.add_duplicate_name(path.clone(), first.get().clone());
            }
            Entry::Vacant(vacant) => {
                vacant.insert(path.clone());
            }
        }
        once.push((name, node, path));
    }
    once
}

fn wrong_name(name: &str) -> Option<&'static str> {
    match name.chars().count() {
        0 => Some("the name is empty"),
        1..=200 if name.chars().any(char::is_control) => {
            Some("the name contains a control character")
        }
        1..=200 => None,
        _ => Some("the name is too long"),
    }
}
