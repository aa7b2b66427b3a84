//! Reads the files of a configuration, within one limit of size.

use std::{
    collections::BTreeSet,
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

use crate::value::{self, EntryPart, Node, Problems, ReadError, read_regular_file, yaml::Position};

use super::{
    environment::Environment,
    include::{Included, REDACTED_INCLUDE_ERROR},
    invalid::Invalid,
    settings::Config,
    source::{LocatedProblem, Source, locate, locate_warnings},
    templates::Size,
};

/// Maximum size of all files together, enough for a hundred thousand monitors.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// [`MAX_FILE_SIZE`] in messages.
const MAX_FILE_SIZE_TEXT: &str = "16 MiB";

/// The configuration file by default.
pub(crate) const DEFAULT_FILE: &str = "config.yml";

/// The path that stands for standard input.
const STANDARD_INPUT: &str = "-";

fn read_standard_input() -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let input = std::io::stdin().lock();
    input.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(ReadError::TooLarge(MAX_FILE_SIZE));
    }
    Ok(bytes)
}

/// Reads the file at `path`, or standard input if that is `-`. Returns the tree, and a loader for further files.
pub(super) fn read_main(path: &Path) -> Result<(Loader, Node), Invalid> {
    let alone = |problem| Invalid {
        file: path.to_owned(),
        problems: vec![problem],
        more: 0,
        files: vec![path.to_owned()],
    };
    let bytes = if path == Path::new(STANDARD_INPUT) {
        read_standard_input()
    } else {
        read_regular_file(path, MAX_FILE_SIZE)
    };
    let bytes = bytes.map_err(|error| {
        alone(LocatedProblem {
            file: path.into(),
            index: 0,
            position: Position::START,
            path: "file".to_owned(),
            message: match error {
                ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let advice = if path == Path::new(DEFAULT_FILE) {
                        "; name one with --config"
                    } else {
                        ""
                    };
                    format!("no such file{advice}")
                }
                error => {
                    format!("{error}: expected a regular file of at most {MAX_FILE_SIZE_TEXT}")
                }
            },
        })
    })?;
    let bytes_left = MAX_FILE_SIZE - bytes.len() as u64;
    let (source, tree) = Source::parse(0, path.to_owned(), bytes);
    let loader = Loader {
        sources: vec![source],
        bytes_left,
        ..Loader::default()
    };
    Ok((loader, tree.map_err(alone)?))
}

/// The folder that paths in `file` are relative to.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// Reads files and collects what they contain.
#[derive(Default)]
pub(super) struct Loader {
    sources: Vec<Source>,
    /// Problems of files that could not be parsed.
    syntax_errors: Vec<LocatedProblem>,
    /// Number of bytes that further files may have.
    bytes_left: u64,
    /// Size of all included trees.
    size: Size,
    /// True if a file could not be read.
    pub(crate) is_partial: bool,
    /// Folders that patterns were matched in.
    pub folders: BTreeSet<PathBuf>,
}

impl Loader {
    /// Reads `included`, and returns its tree with the path to its top.
    pub(super) fn read(
        &mut self,
        included: Included,
        environment: &Environment<'_>,
        problems: &Problems,
    ) -> Option<(value::Path, Node)> {
        let Included {
            path,
            declared_at: place,
            is_shown,
            is_verbatim,
        } = included;
        let reject = |wrong: &dyn fmt::Display, expected: &dyn fmt::Display| {
            let wrong = if is_shown {
                format!("{} {wrong}", path.display())
            } else {
                REDACTED_INCLUDE_ERROR.to_owned()
            };
            problems.add(place.clone(), EntryPart::Value, wrong, expected);
        };
        let all = format!("regular files of at most {MAX_FILE_SIZE_TEXT} together");
        let bytes = match read_regular_file(&path, self.bytes_left) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.is_partial = true;
                let left = matches!(error, ReadError::TooLarge(_));
                if left {
                    reject(&"is too large with the files before it", &all);
                } else {
                    reject(&error, &all);
                }
                return None;
            }
        };
        self.bytes_left -= bytes.len() as u64;
        let index = self.sources.len();
        let folder = if is_verbatim {
            PathBuf::new()
        } else {
            folder_of(&path)
        };
        problems.set_folder(index, folder);
        let (source, root) = Source::parse(index, path.clone(), bytes);
        self.sources.push(source);
        let mut tree = match root {
            Ok(tree) => tree,
            Err(wrong) => {
                self.is_partial = true;
                self.syntax_errors.push(wrong);
                return None;
            }
        };
        self.size.add(Size::measure(&tree));
        if self.size.exceeds_limit() {
            self.is_partial = true;
            reject(
                &"configuration too large with the files before it",
                &Size::EXPECTED,
            );
            return None;
        }
        let top = value::Path::top_of(index);
        if !is_verbatim {
            environment.substitute(&mut tree, &top);
        }
        Some((top, tree))
    }

    /// Returns the configuration if nothing was wrong with it.
    pub(super) fn finish(
        self,
        config: Option<Config>,
        problems: Problems,
    ) -> Result<Config, Invalid> {
        let files = self.sources.iter().map(|source| source.file.to_path_buf());
        let mut files: Vec<_> = files.collect();
        let warnings = problems.take_warnings();
        let (problems, more) = problems.into_vec();
        if let Some(config) = config
            && problems.is_empty()
            && self.syntax_errors.is_empty()
        {
            files.extend(self.folders);
            files.sort();
            let warnings = locate_warnings(&self.sources, &warnings);
            return Ok(Config {
                files,
                warnings,
                ..config
            });
        }
        let mut problems = locate(&self.sources, problems);
        problems.extend(self.syntax_errors);
        problems.sort_by_key(|problem| problem.index);
        Err(Invalid {
            file: files[0].clone(),
            files,
            problems,
            more,
        })
    }
}
