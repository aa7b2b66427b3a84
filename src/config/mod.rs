//! What the user wrote, read and validated whole: nothing downstream checks it again.

mod parts;
mod settings;
mod slo;
mod templates;
#[cfg(test)]
mod tests;
mod version;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::value::{
    Fields, Problem, Problems, read_regular_file,
    yaml::{self, Position},
};

pub use settings::{Config, Dispatcher, Fixed, Log, Monitor, Replicas};
pub use slo::{LatencySlo, Percentage, Slo};
pub use templates::Blueprints;
pub use version::of_files;

/// Room for a hundred thousand monitors; what is larger was not written as a configuration.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// Reads and validates the configuration in the file at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path) -> Result<Config, Invalid> {
    let whole = |position, message: String| {
        let problem = Located {
            position,
            path: "file".to_owned(),
            message,
        };
        Invalid {
            file: path.to_owned(),
            problems: vec![problem],
            more: 0,
        }
    };
    let bytes = read_regular_file(path, MAX_FILE_SIZE).map_err(|error| {
        let allowed = format!("a regular file of at most {MAX_FILE_SIZE} bytes");
        whole(Position::START, format!("{error} ({allowed})"))
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let position = end_of(&bytes[..error.valid_up_to()]);
        whole(position, "is not UTF-8 (YAML in UTF-8)".to_owned())
    })?;
    let config = parse(text).map_err(|(problems, more)| Invalid {
        file: path.to_owned(),
        problems,
        more,
    })?;
    Ok(Config {
        files: vec![path.to_owned()],
        ..config
    })
}

/// The configuration, or the problems of the text and how many more there are.
fn parse(text: &str) -> Result<Config, (Vec<Located>, usize)> {
    let root = yaml::parse(text).map_err(|error| {
        let problem = Located {
            position: error.position,
            path: "file".to_owned(),
            message: format!("{} (YAML)", error.message),
        };
        (vec![problem], 0)
    })?;
    let problems = Problems::default();
    let config = Fields::open(&root, crate::value::Path::default(), &problems)
        .map(|fields| Config::read(fields, std::iter::empty(), false));
    match (config, problems.into_vec()) {
        (Some(config), (problems, 0)) if problems.is_empty() => Ok(config),
        (_, (problems, more)) => Err((located(text, problems), more)),
    }
}

/// The problems with their places, in the order of the file.
fn located(text: &str, problems: Vec<Problem>) -> Vec<Located> {
    let places = problems
        .iter()
        .map(|problem| (&problem.path, problem.place));
    let positions = yaml::locate(text, places);
    let mut located: Vec<_> = problems
        .into_iter()
        .zip(positions)
        .map(|(problem, position)| Located {
            position,
            path: problem.path.to_string(),
            message: problem.message,
        })
        .collect();
    located.sort_by_key(|problem| problem.position);
    located
}

/// The place behind `bytes`.
fn end_of(bytes: &[u8]) -> Position {
    let line = bytes.split(|byte| *byte == b'\n').count();
    let start = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let column = String::from_utf8_lossy(&bytes[start..]).chars().count() + 1;
    Position { line, column }
}

/// A problem with its place in the file.
#[derive(Debug)]
struct Located {
    position: Position,
    path: String,
    message: String,
}

/// A configuration with something wrong in it.
///
/// It is shown as a line for each problem: `FILE:LINE:COLUMN: path: what is wrong (what is allowed)`.
#[derive(Debug)]
pub struct Invalid {
    file: PathBuf,
    problems: Vec<Located>,
    /// Problems beyond these.
    more: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            index,
            Located {
                position,
                path,
                message,
            },
        ) in self.problems.iter().enumerate()
        {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Position { line, column } = position;
            write!(f, "{}:{line}:{column}: {path}: ", self.file.display())?;
            // A file can hold anything, and its text comes back in some messages.
            if message.contains(char::is_control) {
                let mut escaped = String::with_capacity(message.len());
                for c in message.chars() {
                    if c.is_control() {
                        escaped.extend(c.escape_default());
                    } else {
                        escaped.push(c);
                    }
                }
                f.write_str(&escaped)?;
            } else {
                f.write_str(message)?;
            }
        }
        if self.more > 0 {
            write!(
                f,
                "\n{}: and {} more problems",
                self.file.display(),
                self.more
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
