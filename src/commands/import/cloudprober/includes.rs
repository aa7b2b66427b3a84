//! `include "FILE"` in Cloudprober's file, which stands for the lines of other files.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::{
    commands::import::sources::{ImportError, Sources, error_at},
    value::yaml::Position,
};

/// Files that are included, in all and within each other.
const MAX_FILES: usize = 200;
const MAX_DEPTH: usize = 10;

/// Where a place of the text comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The file.
    pub file: Rc<Path>,
    /// The place in it.
    pub position: Position,
}

/// The origins of the lines of a text.
#[derive(Debug, Default)]
pub(super) struct Located {
    /// Where each line starts in the text, and where it comes from.
    lines: Vec<(usize, Rc<Path>, usize)>,
    text: String,
}

impl Located {
    /// The origin of the byte `at`.
    #[must_use]
    pub(super) fn origin(&self, at: usize) -> Origin {
        let index = self.lines.partition_point(|(start, ..)| *start <= at);
        match index.checked_sub(1).map(|index| &self.lines[index]) {
            Some((start, file, line)) => {
                let before = self.text.get(*start..at).unwrap_or_default();
                Origin {
                    file: file.clone(),
                    position: Position {
                        line: *line,
                        column: before.chars().count() + 1,
                    },
                }
            }
            None => Origin {
                file: Path::new("").into(),
                position: Position::START,
            },
        }
    }

    /// The text.
    #[must_use]
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The text of the file at `path` with all that it includes.
///
/// # Errors
/// Where a file cannot be read, or includes itself.
pub(super) fn read(path: &Path, sources: &Sources) -> Result<Located, ImportError> {
    let mut reader = Reader {
        sources,
        located: Located::default(),
        stack: Vec::new(),
        files: 0,
    };
    reader.add(path)?;
    Ok(reader.located)
}

struct Reader<'s> {
    sources: &'s Sources,
    located: Located,
    /// The files that are being read, each of which includes the next one.
    stack: Vec<PathBuf>,
    files: usize,
}

impl Reader<'_> {
    fn add(&mut self, path: &Path) -> Result<(), ImportError> {
        let text = self.sources.read_text(path)?;
        let file: Rc<Path> = path.into();
        self.stack.push(path.to_owned());
        for (index, line) in text.lines().enumerate() {
            let Some(pattern) = included(line) else {
                let start = self.located.text.len();
                self.located.lines.push((start, file.clone(), index + 1));
                self.located.text.push_str(line);
                self.located.text.push('\n');
                continue;
            };
            let position = Position {
                line: index + 1,
                column: 1,
            };
            let wrong = |message: String| error_at(path, position, message);
            for included in Self::matching(path, pattern).map_err(wrong)? {
                let is_known = self.stack.iter().any(|known| is_same(known, &included));
                if is_known {
                    let message = format!("include {} leads in a circle", included.display());
                    return Err(wrong(message));
                }
                self.files += 1;
                if self.files > MAX_FILES || self.stack.len() > MAX_DEPTH {
                    let message = format!(
                        "too many includes: expected at most {MAX_FILES} files, {MAX_DEPTH} within each other"
                    );
                    return Err(wrong(message));
                }
                self.add(&included)?;
            }
        }
        self.stack.pop();
        Ok(())
    }

    /// The files that `pattern` in the file `path` names.
    fn matching(path: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let pattern = folder.join(pattern);
        let found: Vec<_> = glob::glob(&pattern.to_string_lossy())
            .map_err(|_| "include is not a pattern of files".to_owned())?
            .take(MAX_FILES + 1)
            .filter_map(Result::ok)
            .collect();
        if found.is_empty() {
            return Err(format!("include {} matches no file", pattern.display()));
        }
        Ok(found)
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// The pattern that `line` includes, if that is what it does.
fn included(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("include")?;
    let quoted = rest.trim();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let is_apart = rest.starts_with(char::is_whitespace);
    (is_apart && !inner.is_empty() && !inner.contains('"')).then_some(inner)
}
