//! Hints for keys that are written in the wrong mapping.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

use super::SCHEMA;
use crate::value::{Path, Segment};

/// The keys of mappings by the place of the mapping, such as `server` or `monitors.NAME`.
type KeysByPlace = BTreeMap<String, Vec<String>>;

/// The place of the keys of all types of monitors.
const MONITOR: &str = "monitors.NAME";

/// The mappings inside a monitor, by key; the schema describes each under the same name.
const INSIDE_MONITORS: [&str; 5] = ["tls_config", "basic_auth", "oauth2", "confirm", "slo"];

/// Returns where `key` belongs, which the mapping at `path` with the keys `known` does not have, such as `it under
/// tls_config`; `None` if no other mapping has it, or too many could be meant.
pub(super) fn hint(path: &Path, known: &[&str], key: &str) -> Option<String> {
    static MAPPINGS: LazyLock<KeysByPlace> = LazyLock::new(|| keys_by_place(SCHEMA));
    let has = |place: &str| {
        let keys = MAPPINGS.get(place);
        keys.is_some_and(|keys| keys.iter().any(|known| known == key))
    };
    let inside = |place: &&&str| known.contains(*place) && has(place);
    if let Some(inner) = INSIDE_MONITORS.iter().find(inside) {
        return Some(format!("it under {inner}"));
    }
    let names: Vec<_> = path.segments.iter().map(name_of).collect();
    match names[..] {
        [] if has("defaults") => Some("it under defaults or in a monitor".to_owned()),
        [] => {
            // What monitors and heartbeats have, such as url, is meant for a monitor.
            let is_section =
                |place: &&String| *place != MONITOR && !(*place == "heartbeat" && has(MONITOR));
            let mut sections = MAPPINGS.keys().filter(is_section);
            let section = sections.find(|place| known.contains(&place.as_str()) && has(place));
            let place = section
                .map(String::as_str)
                .or_else(|| has(MONITOR).then_some(MONITOR))?;
            Some(format!("it under {place}"))
        }
        [Some("defaults")] if has(MONITOR) => Some("it in a monitor or a template".to_owned()),
        [Some("monitors" | "templates"), _, Some(_), ..] if has(MONITOR) => {
            Some("it in the monitor itself".to_owned())
        }
        _ => None,
    }
}

fn name_of(segment: &Segment) -> Option<&str> {
    match segment {
        Segment::Entry { name, .. } => Some(name),
        Segment::Item(_) => None,
    }
}

fn keys_by_place(schema: &str) -> KeysByPlace {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let keys = |mapping: &Value| -> Vec<String> {
        let properties = mapping["properties"].as_object();
        properties
            .map(|found| found.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut found = KeysByPlace::new();
    let sections = schema["properties"].as_object();
    for (name, section) in sections.into_iter().flatten() {
        found.insert(name.clone(), keys(section));
    }
    let definitions = &schema["$defs"];
    for name in INSIDE_MONITORS {
        found.insert(name.to_owned(), keys(&definitions[name]));
    }
    let types = definitions["monitor"]["else"]["properties"]["type"]["anyOf"][0]["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let of_types = types.flat_map(|name| keys(&definitions[name]));
    found.insert(MONITOR.to_owned(), of_types.collect());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_all_places() {
        let places = keys_by_place(SCHEMA);
        for place in INSIDE_MONITORS
            .into_iter()
            .chain(["server", "log", MONITOR])
        {
            assert!(places[place].len() >= 2, "{place}");
        }
    }
}
