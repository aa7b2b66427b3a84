//! The text of each configuration file, and the positions of problems in it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::value::{
    self, EntryPart, Node, Problem, WarningKind,
    yaml::{self, Position},
};

/// One configuration file.
pub(super) struct Source {
    pub file: Arc<Path>,
    text: String,
}

/// A problem with its place in a file, shown as `FILE:LINE:COLUMN: path: message`, in one line.
#[derive(Clone, Debug)]
pub struct LocatedProblem {
    /// The file.
    pub file: Arc<Path>,
    /// The number of the file, in the order in which they were read.
    pub(super) index: usize,
    /// The place in the file.
    pub(crate) position: Position,
    /// The path to the key, such as `monitors.example.url`.
    pub path: String,
    /// The problem, and the expected value.
    pub message: String,
}

/// Something that is allowed but almost certainly a mistake.
#[derive(Clone, Debug)]
pub struct Warning {
    /// The warning with its place.
    pub problem: LocatedProblem,
    /// Who sees it, and how serious it is.
    pub kind: WarningKind,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl fmt::Display for LocatedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let Position { line, column } = self.position;
        write!(
            f,
            "{}:{line}:{column}: {}: ",
            self.file.display(),
            self.path
        )?;
        // A file can hold anything, and its text comes back in some messages.
        for c in self.message.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Returns the warnings with their positions, file by file.
pub(super) fn locate_warnings(sources: &[Source], warnings: &[value::Warning]) -> Vec<Warning> {
    let places: Vec<_> = warnings
        .iter()
        .map(|warning| (&warning.path, warning.part))
        .collect();
    let positions = positions(sources, &places);
    let located = |(warning, position): (&value::Warning, Position)| LocatedProblem {
        file: sources[warning.path.file].file.clone(),
        index: warning.path.file,
        position,
        path: warning.path.to_string(),
        message: warning.message.clone(),
    };
    let mut located: Vec<_> = warnings
        .iter()
        .zip(positions)
        .map(|(warning, position)| (located((warning, position)), warning.kind))
        .collect();
    located.sort_by_key(|(located, _)| (located.index, located.position));
    let warning = |(problem, kind)| Warning { problem, kind };
    located.into_iter().map(warning).collect()
}

impl Source {
    /// Parses the file with this `index`.
    pub(super) fn parse(
        index: usize,
        path: PathBuf,
        bytes: Vec<u8>,
    ) -> (Self, Result<Node, LocatedProblem>) {
        let file: Arc<Path> = path.into();
        let broken = |position, message| LocatedProblem {
            file: file.clone(),
            index,
            position,
            path: "file".to_owned(),
            message,
        };
        let (text, root) = match String::from_utf8(bytes) {
            Ok(text) => {
                let root = yaml::parse(&text).map_err(|error| {
                    broken(error.position, format!("invalid YAML: {}", error.message))
                });
                (text, root)
            }
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let message = "not UTF-8: expected YAML in UTF-8".to_owned();
                (String::new(), Err(broken(end_of(valid), message)))
            }
        };
        (Self { file, text }, root)
    }
}

/// Returns the problems with their positions, file by file.
pub(super) fn locate(sources: &[Source], problems: Vec<Problem>) -> Vec<LocatedProblem> {
    let mut located = Vec::with_capacity(problems.len());
    let places = problems.iter().map(|problem| (&problem.path, problem.part));
    let firsts = problems.iter().map(|problem| match &problem.duplicate_of {
        Some(first) => (first, EntryPart::Key),
        None => (&problem.path, problem.part),
    });
    let firsts = if problems
        .iter()
        .any(|problem| problem.duplicate_of.is_some())
    {
        positions(sources, &firsts.collect::<Vec<_>>())
    } else {
        Vec::new()
    };
    let positions = positions(sources, &places.collect::<Vec<_>>());
    for (id, (problem, position)) in problems.into_iter().zip(positions).enumerate() {
        let message = match problem.duplicate_of {
            Some(first) => {
                let file = sources[first.file].file.display();
                let Position { line, column } = firsts[id];
                format!("duplicate name, first used at {file}:{line}:{column}")
            }
            None => problem.message,
        };
        located.push(LocatedProblem {
            file: sources[problem.path.file].file.clone(),
            index: problem.path.file,
            position,
            path: problem.path.to_string(),
            message,
        });
    }
    located.sort_by_key(|problem| (problem.index, problem.position));
    located
}

/// Positions of `places` in their files.
fn positions(sources: &[Source], places: &[(&value::Path, EntryPart)]) -> Vec<Position> {
    let mut positions = vec![Position::START; places.len()];
    let mut by_file: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (id, (path, _)) in places.iter().enumerate() {
        by_file.entry(path.file).or_default().push(id);
    }
    for (file, ids) in by_file {
        let found = yaml::locate(&sources[file].text, ids.iter().map(|id| places[*id]));
        for (id, position) in ids.into_iter().zip(found) {
            positions[id] = position;
        }
    }
    positions
}

/// The position after `bytes`.
fn end_of(bytes: &[u8]) -> Position {
    let line = bytes.split(|byte| *byte == b'\n').count();
    let start = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let column = String::from_utf8_lossy(&bytes[start..]).chars().count() + 1;
    Position { line, column }
}
