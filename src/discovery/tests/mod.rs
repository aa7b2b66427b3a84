//! Tests of discovery that need no socket.

mod assembly;
mod file;
mod payload;
mod relabel;
mod settings;
mod source;

use super::Settings;
use crate::value::{Fields, Path, Problems, yaml};

/// The section `discovery` with this text, or all that is wrong with it.
fn read(text: &str) -> Result<Settings, Vec<String>> {
    let node = yaml::parse(text).expect("YAML");
    let problems = Problems::default();
    let path = Path::default().entry("discovery", 0);
    let fields = Fields::from_node(&node, path, &problems).expect("a mapping");
    let settings = Settings::read(&fields, Some(&["web", "port"]));
    let (found, _) = problems.into_vec();
    if found.is_empty() {
        return Ok(settings);
    }
    let told = found.iter();
    Err(told
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect())
}
