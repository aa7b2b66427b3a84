//! Reads and validates the whole configuration. No other code validates it again.

mod binding;
mod draft;
mod environment;
mod extends;
mod include;
mod monitor;
mod node_hash;
mod probing;
mod schema;
mod sections;
mod settings;
mod slo;
mod source;
mod templates;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    env, fmt,
    io::Read,
    path::{Path, PathBuf},
};

use crate::server;
use crate::value::{
    self, EntryPart, Fields, Node, Problems, ReadError, read_regular_file, yaml::Position,
};
use environment::{Environment, Variables};
use include::{Included, REDACTED_INCLUDE_ERROR};
use source::{Source, locate, locate_warnings};
use templates::Size;

pub use draft::{escape_references, problems_of_draft};
pub(crate) use monitor::OWN_LABELS;
pub use monitor::{Monitor, Replicas};
pub use schema::SCHEMA;
pub use settings::{Config, Dispatcher, Log, RestartOnlyKeys};
pub use slo::{LatencySlo, Percentage, Slo};
pub use source::{LocatedProblem, Warning};
pub use templates::MonitorBuilder;

/// Maximum size of all files together, enough for a hundred thousand monitors.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// The path that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Reads and validates the configuration in the file at `path`, and in the files that it includes.
///
/// # Errors
/// All problems with it.
pub fn read(path: &Path) -> Result<Config, Invalid> {
    read_with(path, &|name| env::var_os(name))
}

/// Reads and validates the configuration of blackbox_exporter in the file at `path`: one that has modules and
/// no monitors.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_blackbox(path: &Path) -> Result<Config, Invalid> {
    let (source, tree, _) = read_source(path)?;
    let problems = Problems::default();
    problems.set_folder(0, PathBuf::new());
    let files = Loader {
        sources: vec![source],
        ..Loader::default()
    };
    let fields = Fields::from_node(&tree, value::Path::default(), &problems);
    let config = fields.map(Config::read_blackbox);
    files.finish(config, problems)
}

/// Reads a web configuration of Prometheus' exporters from the file at `path`: the settings of a server.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_web(path: &Path) -> Result<server::Settings, Invalid> {
    let (source, tree, _) = read_source(path)?;
    let problems = Problems::default();
    problems.set_folder(0, folder_of(path));
    let files = Loader {
        sources: vec![source],
        ..Loader::default()
    };
    let fields = Fields::from_node(&tree, value::Path::default(), &problems);
    let config = fields.map(|fields| Config {
        server: server::Settings::read_web_config(fields),
        ..Config::default()
    });
    files.finish(config, problems).map(|config| config.server)
}

fn read_standard_input() -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let input = std::io::stdin().lock();
    input.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(ReadError::TooLarge(MAX_FILE_SIZE));
    }
    Ok(bytes)
}

/// The text of the file at `path`, or of standard input if that is `-`, its tree, and the number of bytes that
/// other files may have.
fn read_source(path: &Path) -> Result<(Source, Node, u64), Invalid> {
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
                    "no such file; name one with --config".to_owned()
                }
                error => {
                    format!("{error}: expected a regular file of at most {MAX_FILE_SIZE} bytes")
                }
            },
        })
    })?;
    let left = MAX_FILE_SIZE - bytes.len() as u64;
    let (source, root) = Source::parse(0, path.to_owned(), bytes);
    Ok((source, root.map_err(alone)?, left))
}

fn read_with(path: &Path, variables: Variables<'_>) -> Result<Config, Invalid> {
    let (source, mut main, left) = read_source(path)?;
    let problems = Problems::default();
    problems.set_folder(0, folder_of(path));
    let environment = Environment::new(variables, &problems);
    environment.substitute(&mut main, &value::Path::default());
    let mut files = Loader {
        sources: vec![source],
        bytes_left: left,
        ..Loader::default()
    };
    let mut trees = Vec::new();
    let mut blackbox = None;
    let config = Fields::from_node(&main, value::Path::default(), &problems).map(|mut fields| {
        let included = include::find_included(&mut fields, path, &mut files.folders);
        for included in included {
            trees.extend(files.read(included, &environment, &problems));
        }
        let file = find_blackbox_file(&mut fields);
        blackbox = file.and_then(|file| files.read(file, &environment, &problems));

        let included = trees
            .iter()
            .filter_map(|(path, tree)| Fields::from_node(tree, path.clone(), &problems));
        let blackbox = blackbox.as_ref();
        let blackbox = blackbox.and_then(|(path, tree): &(value::Path, Node)| {
            Fields::from_node(tree, path.clone(), &problems)
        });
        Config::read(fields, included, blackbox, files.is_partial)
    });
    files.finish(config, problems)
}

/// The file that `probe.config_file` names.
fn find_blackbox_file(fields: &mut Fields<'_>) -> Option<Included> {
    let mut probe = fields.section("probe")?;
    let path = probe.file_path("config_file")?;
    let (node, place) = probe.node("config_file")?;
    Some(Included {
        path,
        declared_at: place,
        is_shown: matches!(node, Node::Text(_)),
        is_verbatim: true,
    })
}

/// Reads `server` of the configuration in the file at `path`, and nothing else: problems elsewhere do not
/// matter, and an invalid key has its default.
///
/// # Errors
/// If the file cannot be read or is not YAML.
pub fn read_server(path: &Path) -> Result<server::Settings, Invalid> {
    let (_, mut main, _) = read_source(path)?;
    let problems = Problems::default();
    problems.set_folder(0, folder_of(path));
    let environment = Environment::new(&|name| env::var_os(name), &problems);
    environment.substitute(&mut main, &value::Path::default());
    let mut fields = Fields::from_node(&main, value::Path::default(), &problems);
    let server = fields.as_mut().and_then(|fields| fields.section("server"));
    Ok(server.map(server::Settings::read).unwrap_or_default())
}

/// The folder that paths in `file` are relative to.
fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// Reads files and collects what they contain.
#[derive(Default)]
struct Loader {
    sources: Vec<Source>,
    /// Problems of files that could not be parsed.
    syntax_errors: Vec<LocatedProblem>,
    /// Number of bytes that further files may have.
    bytes_left: u64,
    /// Size of all included trees.
    size: Size,
    /// True if a file could not be read.
    is_partial: bool,
    /// Folders that patterns were matched in.
    folders: BTreeSet<PathBuf>,
}

impl Loader {
    /// Reads `included`, and returns its tree with the path to its top.
    fn read(
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
        let all = format!("regular files of at most {MAX_FILE_SIZE} bytes together");
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

    fn finish(self, config: Option<Config>, problems: Problems) -> Result<Config, Invalid> {
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

/// An invalid configuration.
///
/// Displayed as one line for each problem: `FILE:LINE:COLUMN: path: problem: expected …`.
#[derive(Debug)]
pub struct Invalid {
    /// The file that includes the others.
    file: PathBuf,
    problems: Vec<LocatedProblem>,
    /// Number of further problems.
    more: usize,
    /// All files that were read.
    files: Vec<PathBuf>,
}

impl Invalid {
    /// The problems that are listed, in the order of their places.
    #[must_use]
    pub fn problems(&self) -> &[LocatedProblem] {
        &self.problems
    }

    /// Number of problems beyond those that are listed.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
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
