//! Validates configurations that a program has generated, before they are written anywhere.

use std::{env, ffi::OsString, iter, path::Path};

use super::{
    environment::{self, Environment},
    settings::Config,
};
use crate::value::{self, Fields, FileContents, Node, Problem, Problems, Segment, yaml};

/// Escapes all that is a reference to a variable in the texts of `node`.
pub(crate) fn escape_references(node: &mut Node) {
    environment::escape(node);
}

/// The problems of the configuration in `text`, which is meant for a file in `folder`.
///
/// Files that it names may be missing, and variables need not be set: it may be meant for another
/// machine.
///
/// # Errors
/// The first problem with the YAML.
pub fn problems_of_draft(text: &str, folder: &Path) -> Result<Vec<Problem>, String> {
    let mut root = yaml::parse(text).map_err(|error| error.message)?;
    let problems = Problems::default();
    problems.set_folder(0, folder.to_owned());
    let variables = |name: &str| env::var_os(name).or_else(|| Some(OsString::from("variable")));
    let top = value::Path::default();
    Environment::new(&variables, &problems).substitute(&mut root, &top);
    if let Some(mut fields) = Fields::from_node(&root, top, &problems) {
        // Files that are included would be read.
        fields.node("include");
        Config::read(fields, iter::empty(), None, false);
    }
    let (mut problems, _) = problems.into_vec();
    problems.retain(|problem| {
        let is_substituted = matches!(value_at(&root, problem), Some(Node::FromEnvironment(_)));
        !is_substituted && !problem.message.ends_with(FileContents::EXPECTED)
    });
    Ok(problems)
}

/// The value that `problem` is about.
fn value_at<'n>(root: &'n Node, problem: &Problem) -> Option<&'n Node> {
    let mut node = root;
    for segment in &problem.path.segments {
        node = match (segment, node) {
            (Segment::Entry { index, .. }, Node::Map(entries)) => &entries.get(*index)?.1,
            (Segment::Item(index), Node::List(items)) => items.get(*index)?,
            _ => return None,
        };
    }
    Some(node)
}
